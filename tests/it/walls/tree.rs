//! Reads the source tree for the walls. Knows where source lies, and no rule.

use std::{fs, io, path::Path};

/// Directories that hold source of ours.
const SOURCE: &[&str] = &["src", "tests", "clients", "benches", "deploy"];
/// Directories below them that do not: what tools install, build or generate.
const FOREIGN: &[&str] =
    &["target", "node_modules", ".venv", "venv", "__pycache__", "gen", "dist", "testdata"];

/// The source files below `root` as (path from there, text), without those that are no text.
pub(super) fn read(root: &Path) -> io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for dir in SOURCE {
        collect(root, &root.join(dir), &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn collect(root: &Path, dir: &Path, files: &mut Vec<(String, String)>) -> io::Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !FOREIGN.contains(&name.as_str()) {
                collect(root, &path, files)?;
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            let inside = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push((inside, text));
        }
    }
    Ok(())
}
