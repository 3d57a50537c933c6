//! The comments of source and contract are readable: no line is too wide, and each says who or what it means.

use std::path::Path;

use crate::walls::{has_extension, tree};

/// Columns of the widest line of a comment.
const WIDEST: usize = 110;
/// Words that leave open who or what is meant. A comment names the caller, controller or field manager.
const WORDS: [&str; 5] = ["anew", "nobody", "past this server", "somebody", "whoever"];

/// What is wrong with the comments of a file, line by line.
fn wrong(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
        let width = line.chars().count();
        // An address cannot be broken.
        if width > WIDEST && !comment.contains("://") {
            found.push(format!("{path}:{number}: {width} columns; at most {WIDEST}"));
        }
        let comment = comment.to_lowercase();
        let words: Vec<&str> = comment.split(|c: char| !c.is_alphanumeric()).collect();
        let comment = format!(" {} ", words.join(" "));
        for word in WORDS.iter().filter(|word| comment.contains(&format!(" {word} "))) {
            found.push(format!("{path}:{number}: \"{word}\": name who or what is meant"));
        }
    }
    found
}

#[test]
fn comments_are_narrow_and_name_who_they_mean() {
    let files = tree::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let kept = files.iter().filter(|(path, _)| has_extension(path, &["rs", "proto"]));
    let found: Vec<String> = kept.flat_map(|(path, text)| wrong(path, text)).collect();
    assert!(found.is_empty(), "{} lines:\n{}", found.len(), found.join("\n"));
}

#[test]
fn each_fault_of_a_comment_is_seen() {
    let wide = format!("    // {}", "x".repeat(WIDEST - 6));
    let seen = |line: &str| wrong("a.rs", line).len();
    assert_eq!((seen(&wide), seen(&wide[..WIDEST]), seen(&format!("{wide} https://x"))), (1, 0, 0));
    assert_eq!((seen("/// Whoever comes first."), seen("//! Set past this server.")), (1, 1));
    assert_eq!((seen("let whoever = \"anew\";"), seen("// A caller, renewed.")), (0, 0));
}
