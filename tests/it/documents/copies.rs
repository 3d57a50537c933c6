//! Finds the files that a document shows: fenced blocks below a line `<!-- path/of/the/file -->`. Pure; reads
//! no file.

/// A fenced block that is a copy of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Copy {
    /// The line of the fence, from 1. 0 if there is none.
    pub line: usize,
    /// The path of the file, relative to the root of the project.
    pub path: String,
    /// The text between the fences.
    pub text: String,
}

/// Finds the copies in a document.
pub fn copies(markdown: &str) -> Vec<Copy> {
    let mut found = Vec::new();
    let mut lines = markdown.lines().zip(1..).peekable();
    while let Some((line, _)) = lines.next() {
        let comment = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        let Some(path) = comment.filter(|text| text.contains('/') && !text.contains(' ')) else { continue };
        let fence = lines.next_if(|(line, _)| line.starts_with("```"));
        let mut text = String::new();
        if fence.is_some() {
            for (line, _) in lines.by_ref().take_while(|(line, _)| *line != "```") {
                text.push_str(line);
                text.push('\n');
            }
        }
        found.push(Copy { line: fence.map_or(0, |(_, line)| line), path: path.to_owned(), text });
    }
    found
}
