//! The graph of imports between the files of a crate: which file names which items of which other file.
//!
//! An item belongs to the file that defines it, however many re-exports lie between. Tests are left out, and
//! a re-export alone is no import. Knows no rule: `walls` says what such a graph must not have.

mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::code::{self, Code, Reference};

/// The items of another file that the code of one file names.
#[derive(Debug)]
pub(super) struct Arrow {
    pub(super) from: String,
    pub(super) to: String,
    /// Each name, with the first line that has it.
    pub(super) names: BTreeMap<String, usize>,
}

/// How many imports may lead from one to the next. A longer chain is a cycle of imports.
const STEPS: usize = 8;

/// The arrows between the files below `root`, the directory of a `lib.rs`.
pub(super) fn arrows(root: &str, files: &[(String, String)]) -> Vec<Arrow> {
    let files = parse(root, files);
    let modules = Modules::of(&files);
    let mut arrows: BTreeMap<(&str, &str), BTreeMap<String, usize>> = BTreeMap::new();
    for (from, _, code) in &files {
        let passed_on = |r: &&Reference| r.import.as_ref().is_some_and(|import| import.passed_on);
        let named = code.references.iter().filter(|r| !r.test && !passed_on(r)).chain(&code.names);
        for reference in named {
            let (to, name) = match modules.find_from(reference) {
                Some(Found::Item { file, name }) => (file, name),
                Some(Found::Module(file)) if reference.path.last().is_some_and(|last| last == "*") => {
                    (file, "*".to_owned())
                }
                _ => continue,
            };
            if to != *from {
                let names = arrows.entry((from, to)).or_default();
                let line = names.entry(name).or_insert(reference.line);
                *line = reference.line.min(*line);
            }
        }
    }
    let owned = |((from, to), names): ((&str, &str), _)| Arrow { from: from.into(), to: to.into(), names };
    arrows.into_iter().map(owned).collect()
}

/// The sets of nodes that can all reach each other.
pub(super) fn circles<'a>(edges: &BTreeSet<(&'a str, &'a str)>) -> Vec<BTreeSet<&'a str>> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in edges {
        next.entry(from).or_default().insert(to);
    }
    let reached_from = |start: &'a str| {
        let (mut reached, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(node) = open.pop() {
            open.extend(next.get(node).into_iter().flatten().filter(|to| reached.insert(**to)));
        }
        reached
    };
    let nodes: BTreeSet<&'a str> = edges.iter().map(|(from, _)| *from).collect();
    let reached: BTreeMap<&str, BTreeSet<&'a str>> =
        nodes.iter().map(|node| (*node, reached_from(node))).collect();
    let circle = |node: &&str| {
        let leads_back = |other: &&str| reached.get(other).is_some_and(|r| r.contains(node));
        reached[*node].iter().copied().filter(leads_back).collect::<BTreeSet<_>>()
    };
    let found: BTreeSet<_> = nodes.iter().map(circle).filter(|circle| circle.len() > 1).collect();
    found.into_iter().collect()
}

// Path, module and code of each file that is not a test.
fn parse<'a>(root: &str, files: &'a [(String, String)]) -> Vec<(&'a str, Vec<String>, Code)> {
    let of_tests = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let of_crate = files.iter().filter(|(path, _)| {
        super::is_rust(path)
            && path.starts_with(&format!("{root}/"))
            && *path != format!("{root}/main.rs")
            && !of_tests(path.strip_prefix(root).unwrap_or(path))
    });
    let read = |(path, text): &'a (String, String)| {
        let module = code::module_of(path, root);
        let code = Code::read(&module, text).unwrap_or_default();
        (path.as_str(), module, code)
    };
    let mut files: Vec<_> = of_crate.map(read).collect();
    let tests: Vec<Vec<String>> = files
        .iter()
        .flat_map(|(_, _, code)| code.modules.iter().filter(|m| m.test).map(|m| m.path.clone()))
        .collect();
    files.retain(|(_, module, _)| !tests.iter().any(|test| module.starts_with(test)));
    files
}

/// The target of a path.
enum Found<'a> {
    Item { file: &'a str, name: String },
    Module(&'a str),
    Outside,
}

struct Module<'a> {
    file: &'a str,
    defined: BTreeSet<&'a str>,
    imports: Vec<&'a Reference>,
}

struct Modules<'a>(BTreeMap<Vec<String>, Module<'a>>);

// === impl Modules ===

impl<'a> Modules<'a> {
    fn of(files: &'a [(&'a str, Vec<String>, Code)]) -> Self {
        let new = |file| Module { file, defined: BTreeSet::new(), imports: Vec::new() };
        let mut all = BTreeMap::new();
        for (file, module, code) in files {
            all.insert(module.clone(), new(*file));
            let inline = code.modules.iter().filter(|m| !m.apart && !m.test);
            all.extend(inline.map(|m| (m.path.clone(), new(*file))));
        }
        for (_, _, code) in files {
            for (module, name) in &code.definitions {
                all.entry(module.clone()).and_modify(|m| {
                    m.defined.insert(name);
                });
            }
            for reference in code.references.iter().filter(|r| !r.test && r.import.is_some()) {
                all.entry(reference.module.clone()).and_modify(|m| m.imports.push(reference));
            }
        }
        Self(all)
    }

    fn find_from(&self, reference: &Reference) -> Option<Found<'a>> {
        self.follow(reference, &[], STEPS)
    }

    fn follow(&self, reference: &Reference, rest: &[String], steps: usize) -> Option<Found<'a>> {
        let from: &[String] = if reference.local { &[] } else { &reference.module };
        self.find(from, &[reference.path.as_slice(), rest].concat(), steps)
    }

    /// None if the module `from` has no such name.
    fn find(&self, from: &[String], names: &[String], steps: usize) -> Option<Found<'a>> {
        let module = self.0.get(from)?;
        let steps = steps.checked_sub(1)?;
        let Some((first, rest)) = names.split_first().filter(|(first, _)| *first != "*") else {
            return Some(Found::Module(module.file));
        };
        let child = || {
            let path = [from, std::slice::from_ref(first)].concat();
            let file = self.0.get(&path)?.file;
            // A name that is not found was made by a macro in that module.
            let made = || Found::Item { file, name: rest[0].clone() };
            Some(self.find(&path, rest, STEPS).unwrap_or_else(made))
        };
        // A function may have the same name as a module. The path after the name decides which of them is
        // meant.
        if let (false, Some(found)) = (rest.is_empty(), child()) {
            return Some(found);
        }
        if module.defined.contains(first.as_str()) {
            return Some(Found::Item { file: module.file, name: first.clone() });
        }
        let known_as = |r: &Reference, name: &str| r.import.as_ref().is_some_and(|i| i.name == name);
        if let Some(import) = module.imports.iter().find(|r| known_as(r, first)) {
            return Some(self.follow(import, rest, steps).unwrap_or(Found::Outside));
        }
        let globs = module.imports.iter().filter(|r| known_as(r, "*"));
        let mut behind = globs.filter_map(|glob| {
            let whole = &glob.path[..glob.path.len() - 1];
            let module = if glob.local { whole.to_vec() } else { [&glob.module, whole].concat() };
            self.find(&module, names, steps)
        });
        behind.next().or_else(|| if rest.is_empty() { child() } else { None })
    }
}
