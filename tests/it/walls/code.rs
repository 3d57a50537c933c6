//! Reads a Rust file as far as the walls need: the paths that its code names and the modules that it declares, nothing inside comments or
//! literals. Knows no rule. A full parser would be a dependency of 60,000 lines for these two answers.

use std::fmt;

/// What one file names and declares.
pub(super) struct Code {
    /// Every path with more than one segment, and every import.
    pub(super) references: Vec<Reference>,
    /// Path of each module declared by `mod x;`, from the root of the crate.
    pub(super) modules: Vec<Vec<String>>,
}

/// A path in the code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) line: usize,
    /// True if it leads into this crate (`crate`, `self`, `super`); `path` is then counted from the root.
    pub(super) local: bool,
    pub(super) path: Vec<String>,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = if self.local && self.path.is_empty() {
            "crate"
        } else if self.local {
            "crate::"
        } else {
            ""
        };
        write!(f, "{prefix}{}", self.path.join("::"))
    }
}

/// The module that a file holds, from the root of its crate: `src/a/b.rs` in `src` is `[a, b]`.
pub(super) fn module_of(path: &str, root: &str) -> Vec<String> {
    let inside = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/').trim_end_matches(".rs");
    if inside == "main" || inside == "lib" {
        Vec::new()
    } else {
        inside.split('/').map(str::to_owned).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Name(String),
    PathSep,
    Other(char),
}

// === impl Code ===

impl Code {
    /// Reads `text`, the file of the module `module`.
    pub(super) fn read(module: &[String], text: &str) -> Self {
        let mut reader = Reader {
            tokens: tokens(text),
            at: 0,
            module: module.to_vec(),
            code: Self { references: Vec::new(), modules: Vec::new() },
        };
        reader.run(module.len());
        reader.code
    }
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    at: usize,
    /// The module at this point: that of the file and the inline ones around.
    module: Vec<String>,
    code: Code,
}

// === impl Reader ===

impl Reader {
    fn run(&mut self, file_depth: usize) {
        // Brace depth at which each inline module began.
        let (mut depth, mut inline) = (0, Vec::new());
        while let Some(token) = self.peek(0).cloned() {
            match token {
                Token::Other('{') => depth += 1,
                Token::Other('}') => {
                    depth -= 1;
                    if inline.last() == Some(&depth) {
                        inline.pop();
                        self.module.truncate(file_depth + inline.len());
                    }
                }
                Token::Name(word) if word == "mod" => match (self.name(1), self.peek(2)) {
                    (Some(name), Some(Token::Other(';'))) => {
                        self.code.modules.push([self.module.as_slice(), &[name]].concat());
                    }
                    (Some(name), Some(Token::Other('{'))) => {
                        inline.push(depth);
                        self.module.push(name);
                    }
                    _ => {}
                },
                // `use<'a>` in a type is no import.
                Token::Name(word) if word == "use" && self.peek(1) != Some(&Token::Other('<')) => {
                    self.at += 1;
                    self.import(&[]);
                    continue;
                }
                Token::Name(word)
                    if word == "crate"
                        && self.at > 0
                        && self.before(1) == Some(&Token::Name("extern".into())) =>
                {
                    if let Some(name) = self.name(1) {
                        self.add(vec![name]);
                    }
                }
                Token::Name(_) if self.peek(1) == Some(&Token::PathSep) && self.starts_path() => {
                    self.path();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    // A path in an expression, a type, an attribute or a macro.
    fn path(&mut self) {
        let mut path: Vec<String> = self.name(0).into_iter().collect();
        while let (Some(Token::PathSep), Some(name)) = (self.peek(1), self.name(2)) {
            path.push(name);
            self.at += 2;
        }
        self.at += 1;
        self.add(path);
    }

    // One branch of an import, after `prefix`; ends behind it.
    fn import(&mut self, prefix: &[String]) {
        let mut path = prefix.to_vec();
        loop {
            match self.peek(0).cloned() {
                Some(Token::Name(word)) if word == "as" => {
                    self.at += 2;
                    break;
                }
                Some(Token::Name(word)) => path.push(word),
                Some(Token::PathSep) => {}
                Some(Token::Other('*')) => path.push("*".into()),
                Some(Token::Other('{')) => {
                    self.at += 1;
                    while !matches!(self.peek(0), None | Some(Token::Other('}'))) {
                        self.import(&path);
                        if self.peek(0) == Some(&Token::Other(',')) {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                _ => break,
            }
            self.at += 1;
        }
        // Unlike in expressions, a `self` behind other names only repeats them.
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        self.add(path);
    }

    fn add(&mut self, path: Vec<String>) {
        let line = self.tokens.get(self.at.saturating_sub(1)).map_or(0, |t| t.0);
        let local = matches!(path.first().map(String::as_str), Some("crate" | "self" | "super"));
        let mut from =
            if path.first().is_some_and(|p| p == "crate") { Vec::new() } else { self.module.clone() };
        let mut rest = path.into_iter().peekable();
        if local {
            while let Some(step) = rest.next_if(|name| matches!(name.as_str(), "crate" | "self" | "super")) {
                if step == "super" {
                    from.pop();
                }
            }
        }
        let path = if local { from.into_iter().chain(rest).collect() } else { rest.collect() };
        self.code.references.push(Reference { line, local, path });
    }

    // False for a name in the middle of a path, as `new` in `Vec::<u8>::new`; true behind a leading `::`.
    fn starts_path(&self) -> bool {
        self.before(1) != Some(&Token::PathSep)
            || !matches!(self.before(2), Some(Token::Name(_) | Token::Other('>')))
    }

    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|t| &t.1)
    }

    fn before(&self, back: usize) -> Option<&Token> {
        self.at.checked_sub(back).and_then(|at| self.tokens.get(at)).map(|t| &t.1)
    }

    fn name(&self, ahead: usize) -> Option<String> {
        if let Some(Token::Name(name)) = self.peek(ahead) { Some(name.clone()) } else { None }
    }
}

/// The tokens of a Rust text with their lines, without comments, literals, lifetimes and numbers.
fn tokens(text: &str) -> Vec<(usize, Token)> {
    let chars: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let word_end = |at: usize| {
        (at..chars.len()).find(|&i| !(chars[i].is_alphanumeric() || chars[i] == '_')).unwrap_or(chars.len())
    };
    let (mut out, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let begin = at;
        match chars[at] {
            '/' if starts(at, "//") => {
                at = (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len());
            }
            '/' if starts(at, "/*") => at = block_comment_end(&chars, at),
            '"' => at = quoted_end(&chars, at, '"'),
            '\'' if chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => {
                at = quoted_end(&chars, at, '\'');
            }
            '\'' => at = word_end(at + 1),
            c if c.is_ascii_digit() => at = word_end(at),
            c if c.is_alphabetic() || c == '_' => {
                let end = word_end(at);
                let word: String = chars[at..end].iter().collect();
                if let Some(literal_end) = raw_string_end(&chars, &word, end) {
                    at = literal_end;
                } else if word == "r" && starts(end, "#") {
                    at = end + 1; // a raw identifier: the name follows
                } else {
                    out.push((line, Token::Name(word)));
                    at = end;
                }
            }
            ':' if starts(at, "::") => {
                out.push((line, Token::PathSep));
                at += 2;
            }
            c => {
                if !c.is_whitespace() {
                    out.push((line, Token::Other(c)));
                }
                at += 1;
            }
        }
        line += chars[begin..at].iter().filter(|&&c| c == '\n').count();
    }
    out
}

fn block_comment_end(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 1;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 1;
            }
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_end(chars: &[char], from: usize, quote: char) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

// The end of the raw string whose prefix is `word`, or nothing if no raw string begins there.
fn raw_string_end(chars: &[char], word: &str, after_word: usize) -> Option<usize> {
    if !matches!(word, "r" | "br" | "cr") {
        return None;
    }
    let hashes = chars[after_word..].iter().take_while(|&&c| c == '#').count();
    let open = after_word + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |i: usize| {
        chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    Some((open + 1..chars.len()).find(|&i| closes(i)).map_or(chars.len(), |i| i + 1 + hashes))
}
