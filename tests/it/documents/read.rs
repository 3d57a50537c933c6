//! Reads the commands in a Markdown document: each with its line, and with the output that the document shows
//! for it.
//!
//! Commands are in indented blocks, and in fenced blocks without a language or with `sh`, `bash` or
//! `console`. A block with a line that begins with `$ ` is a transcript, which has commands, each with its
//! output. A block that begins with a program has commands only, one on each line unless a command continues
//! (backslash, quotes, here document). Any other block is the output of the command before it. Pure; must not
//! know how anything is run.

/// First words of a command. A line that begins with another word is output of the command before it. A
/// misspelled command is found because that output is compared with what is printed.
const PROGRAMS: &[&str] = &[
    "cargo",
    "curl",
    "deploy/demo/record",
    "deploy/local/cluster",
    "eval",
    "export",
    "gantry",
    "gantryd",
    "go",
    "grpcurl",
    "kill",
    "kubectl",
    "make",
    "mkdir",
    "python3",
    "sleep",
];

/// The parts of a document that are commands or name them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Document {
    pub commands: Vec<Command>,
    /// The lines of output blocks that follow no command.
    pub strays: Vec<usize>,
    /// Code in running text and tables, with its line.
    pub mentions: Vec<(usize, String)>,
}

/// One command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Its line in the document, from 1.
    pub line: usize,
    /// The command as a shell reads it, comments included.
    pub text: String,
    /// The command without comments, in one line and with single spaces. Rules name it in this form.
    pub key: String,
    /// Whether it was shown with a prompt.
    pub transcript: bool,
    /// The lines that it prints, as the document shows them.
    pub output: Vec<String>,
}

/// Reads a document.
pub fn read(markdown: &str) -> Document {
    let mut document = Document::default();
    let lines: Vec<&str> = markdown.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let (line, begin) = (lines[at], at);
        if let Some(fence) = fence(line) {
            let language = line.trim().trim_start_matches(['`', '~']).trim();
            at += 1;
            let body = at;
            while at < lines.len() && !lines[at].trim().starts_with(fence) {
                at += 1;
            }
            if ["", "sh", "bash", "console"].contains(&language) {
                document.block(body, &lines[body..at.min(lines.len())]);
            }
            at += 1;
        } else if line.starts_with("    ") && (begin == 0 || lines[begin - 1].trim().is_empty()) {
            while at < lines.len() && (lines[at].starts_with("    ") || lines[at].trim().is_empty()) {
                at += 1;
            }
            let body: Vec<&str> = lines[begin..at].iter().map(|line| line.get(4..).unwrap_or("")).collect();
            document.block(begin, &body);
        } else {
            document.mentions.extend(spans(line).map(|span| (at + 1, span)));
            at += 1;
        }
    }
    document
}

/// The commands to run, in their order. If a command of a transcript appears again below without a prompt,
/// only the later one is run, and the output of the transcript is expected from it.
pub fn plan(document: &Document) -> Vec<Command> {
    let mut steps: Vec<Command> = Vec::new();
    let mut told: Vec<&Command> = Vec::new();
    for (at, command) in document.commands.iter().enumerate() {
        let below = &document.commands[at + 1..];
        if command.transcript && below.iter().any(|later| !later.transcript && later.key == command.key) {
            told.push(command);
            continue;
        }
        let mut step = command.clone();
        if !step.transcript
            && let Some(at) = told.iter().position(|earlier| earlier.key == step.key)
        {
            step.output.extend(told.remove(at).output.iter().cloned());
        }
        steps.push(step);
    }
    steps
}

fn fence(line: &str) -> Option<&'static str> {
    ["```", "~~~"].into_iter().find(|fence| line.trim_start().starts_with(fence))
}

/// The code between backticks in a table or a sentence.
fn spans(line: &str) -> impl Iterator<Item = String> {
    line.split('`').skip(1).step_by(2).map(|span| span.replace("\\|", "|"))
}

impl Document {
    fn block(&mut self, offset: usize, lines: &[&str]) {
        let transcript = lines.iter().any(|line| line.starts_with("$ "));
        let first = lines.iter().find(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let commands = first.is_some_and(|line| begins_with_program(line));
        let mut at = 0;
        while at < lines.len() {
            let line = offset + at + 1;
            let prompted = lines[at].strip_prefix("$ ");
            if prompted.is_some() || (!transcript && commands) {
                let first = prompted.unwrap_or(lines[at]);
                if first.trim().is_empty() || first.starts_with('#') {
                    at += 1;
                    continue;
                }
                let (text, end) = statement(first, &lines[at + 1..]);
                at += 1 + end;
                let key = key(&text);
                self.commands.push(Command { line, text, key, transcript, output: Vec::new() });
                continue;
            }
            if !lines[at].trim().is_empty() {
                match self.commands.last_mut() {
                    Some(command) => command.output.push(lines[at].to_owned()),
                    None => self.strays.push(line),
                }
            }
            at += 1;
        }
    }
}

fn begins_with_program(line: &str) -> bool {
    let assigns = |word: &&str| word.split_once('=').is_some_and(|(name, _)| is_name(name));
    line.split_whitespace().find(|word| !assigns(word)).is_some_and(|word| PROGRAMS.contains(&word))
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// The command that begins with this line, and how many of the following lines belong to it.
fn statement(first: &str, following: &[&str]) -> (String, usize) {
    let mut text = first.to_owned();
    let mut taken = 0;
    while let Some(next) = following.get(taken) {
        if !goes_on(&text) {
            break;
        }
        text = format!("{text}\n{next}");
        taken += 1;
    }
    if let Some(end) = here_document(&text).map(str::to_owned) {
        for next in &following[taken..] {
            text = format!("{text}\n{next}");
            taken += 1;
            if *next == end {
                break;
            }
        }
    }
    (text, taken)
}

/// Whether a shell waits for another line, because a quote is open or a backslash is at the end.
fn goes_on(text: &str) -> bool {
    let mut scan = Scan::default();
    text.chars().for_each(|c| scan.next(c));
    scan.quote.is_some() || (scan.escaped && !scan.comment)
}

/// The word that ends the here document of a command, if it has one.
fn here_document(text: &str) -> Option<&str> {
    let (_, rest) = text.lines().next_back()?.split_once("<<")?;
    let word = rest.trim_start_matches('-').split_whitespace().next()?;
    Some(word.trim_matches(['\'', '"']))
}

fn key(text: &str) -> String {
    let mut scan = Scan::default();
    let mut bare = String::new();
    for c in text.chars() {
        let escaped = scan.escaped;
        scan.next(c);
        if escaped && c == '\n' {
            bare.pop(); // the backslash
        }
        if !scan.comment {
            bare.push(c);
        }
    }
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The position of a reader in a command, with what is needed to distinguish a comment from other text.
#[derive(Default)]
struct Scan {
    quote: Option<char>,
    escaped: bool,
    comment: bool,
    inside_word: bool,
}

impl Scan {
    fn next(&mut self, c: char) {
        if self.comment {
            self.comment = c != '\n';
            self.inside_word = false;
        } else if self.escaped {
            self.escaped = false;
            self.inside_word = c != '\n';
        } else if let Some(quote) = self.quote {
            match c {
                '\\' if quote == '"' => self.escaped = true,
                c if c == quote => self.quote = None,
                _ => {}
            }
        } else {
            match c {
                '\\' => self.escaped = true,
                '\'' | '"' => self.quote = Some(c),
                '#' if !self.inside_word => self.comment = true,
                _ => {}
            }
            self.inside_word = !c.is_whitespace();
        }
    }
}
