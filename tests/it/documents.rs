//! The commands in the documents, checked as far as that is possible without running them.
//! `tests/cluster/documents.rs` runs them.

#[path = "documents/copies.rs"]
mod copies;
#[path = "documents/read.rs"]
mod read;
#[allow(dead_code)] // the run on a control plane reads the rest
#[path = "documents/rules.rs"]
mod rules;
mod tests;

use std::{collections::BTreeSet, fs, path::Path};

use self::{read::Document, rules::RULES};

/// Every document of the project, by its path.
fn documents() -> Vec<(String, Document)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = rules::documents(root).unwrap();
    found
        .into_iter()
        .map(|path| (path.clone(), read::read(&fs::read_to_string(root.join(path)).unwrap())))
        .collect()
}

#[test]
fn output_stands_below_the_command_that_prints_it() {
    let strays: Vec<String> = documents()
        .iter()
        .flat_map(|(path, document)| document.strays.iter().map(move |line| format!("{path}:{line}")))
        .collect();
    assert!(
        strays.is_empty(),
        "neither a command nor what one prints; if it is neither, fence it as ```text: {strays:?}"
    );
}

#[test]
fn every_rule_and_every_placeholder_is_for_a_command_that_is_there() {
    let documents = documents();
    for rule in RULES {
        let (_, document) = documents
            .iter()
            .find(|(path, _)| path == rule.document)
            .unwrap_or_else(|| panic!("tests/it/documents/rules.rs names {}, which is gone", rule.document));
        let found = read::plan(document).iter().filter(|step| rule.is_for(rule.document, &step.key)).count();
        let named = format!("`{}` of tests/it/documents/rules.rs, for {}", rule.command, rule.document);
        assert!(found > 0, "{named}, is not there any more");
        if let rules::What::Exits(statuses) = rule.what {
            assert_eq!(found, statuses.len(), "{named}, stands there as often as it has statuses");
        }
    }
    for (from, _) in rules::PLACES {
        let used =
            documents.iter().flat_map(|(_, document)| &document.commands).any(|c| c.text.contains(from));
        let used = used
            || rules::PLACES.iter().any(|(_, to)| matches!(to, rules::Place::Text(to) if to.contains(from)));
        assert!(used, "no command has {from:?} any more, which tests/it/documents/rules.rs replaces");
    }
}

#[test]
fn every_option_of_kubectl_is_named_somewhere() {
    let documents = documents();
    for option in rules::FOREIGN {
        let named = documents
            .iter()
            .flat_map(|(_, document)| &document.mentions)
            .any(|(_, text)| text.contains(option));
        assert!(named, "no document names {option} any more, which tests/it/documents/rules.rs knows");
    }
}

#[test]
fn every_target_of_make_that_is_named_is_there() {
    let makefile = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    let targets: BTreeSet<&str> =
        makefile.lines().filter_map(|line| line.split_once(':')).map(|line| line.0).collect();
    let mut seen = 0;
    for (path, document) in documents() {
        let commands = document.commands.iter().map(|command| (command.line, command.key.clone()));
        for (line, text) in document.mentions.iter().cloned().chain(commands) {
            let mut words = text.split_whitespace().skip_while(|word| word.contains('=')).peekable();
            if words.next_if_eq(&"make").is_none() {
                continue;
            }
            for target in words.filter(|word| !word.contains('=')) {
                assert!(targets.contains(target), "{path}:{line}: make has no target {target}");
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn programs_that_are_shown_are_the_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for path in rules::documents(root).unwrap() {
        for copy in copies::copies(&fs::read_to_string(root.join(&path)).unwrap()) {
            let file = fs::read_to_string(root.join(&copy.path));
            let file = file.unwrap_or_else(|error| panic!("{path} shows {}: {error}", copy.path));
            let place = format!("{path}:{}", copy.line);
            assert!(copy.text == file, "{place}: not as in {}; copy the file there", copy.path);
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}
