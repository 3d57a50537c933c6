//! Reads the source tree for the dependency rules. Knows where source files are, and no rule.

use std::{fs, io, path::Path};

/// Directories with source files of this project.
const SOURCE: &[&str] = &["src", "proto", "tests", "clients", "benches", "deploy"];
/// Directories below them without such files: what tools install, build or generate.
const FOREIGN: &[&str] =
    &["target", "node_modules", ".venv", "venv", "__pycache__", "gen", "dist", "testdata"];

/// The source files below `root` as pairs of relative path and text. Files that are not text are left out.
pub(crate) fn read(root: &Path) -> io::Result<Vec<(String, String)>> {
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
