//! docs/coverage.md is complete and correct: every method and every reason has a row, and every test that it
//! names exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use gantry::pb::{self, ErrorReason};
use prost::Message;
use tonic::Code;

use crate::{
    support::Server,
    wire::rules::{call, valid_request},
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The cells of the rows of the table below a heading.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = read("docs/coverage.md");
    let (_, section) =
        text.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The errors in the tests that a cell names. `later` and `none` name no test.
fn untrue(cell: &str) -> Vec<String> {
    if ["later", "none"].contains(&cell) {
        return vec![];
    }
    let missing = |named: &str| {
        let Some((path, test)) = named.trim_matches('`').split_once("::") else {
            return Some(format!("{named} names no test"));
        };
        (!is_test(&read(path), test)).then(|| format!("{path} has no test {test}"))
    };
    cell.split(", ").filter_map(missing).collect()
}

/// Whether a source has a test function of this name.
fn is_test(source: &str, name: &str) -> bool {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let of_name = |line: &&str| line.contains(&format!("fn {name}("));
    let Some(at) = lines.iter().position(of_name) else { return false };
    let above = lines[..at].iter().rev().take_while(|line| line.starts_with('#') || line.starts_with("//"));
    above.clone().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

#[test]
fn a_test_is_a_function_that_is_run() {
    let source = "#[tokio::test]\n#[ignore = \"x\"]\nasync fn a() {}\n\n/// Helps.\nfn b() {}\n";
    assert!(is_test(source, "a"));
    assert!(!is_test(source, "b"), "a helper");
    assert!(!is_test(source, "c"), "not there");
}

#[test]
fn every_test_that_is_named_exists() {
    let rows = ["Methods", "Reasons of errors", "Traps of Kubernetes"].map(table);
    let cells = rows
        .iter()
        .flatten()
        .flatten()
        .filter(|cell| cell.starts_with("`tests/") || cell.starts_with("`src/"));
    let wrong: Vec<_> = cells.clone().flat_map(|cell| untrue(cell)).collect();
    assert!(cells.count() > 80);
    assert_eq!(wrong, Vec::<String>::new());
    let numbers: Vec<_> = rows[2].iter().map(|row| row[0].parse::<usize>().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    assert!(
        rows[2].iter().all(|row| row.len() == 4 && row[3] != "none" || row[2].starts_with("Not concerned: "))
    );
}

/// Exactly the methods marked `later` answer UNIMPLEMENTED.
#[tokio::test]
async fn every_method_has_its_row() {
    let server = Server::start().await;
    let mut rows: BTreeMap<_, _> = table("Methods").into_iter().map(|row| (row[0].clone(), row)).collect();
    let set = prost_types::FileDescriptorSet::decode(pb::DESCRIPTOR).unwrap();
    for service in set.file.iter().filter(|file| file.package() == "gantry.v1").flat_map(|file| &file.service)
    {
        for method in &service.method {
            let name = format!("{}/{}", service.name(), method.name());
            let row = rows.remove(&name).unwrap_or_else(|| panic!("{name} has no row"));
            let path = format!("/gantry.v1.{name}");
            let answer = call(&server, &path, valid_request(&path)).await;
            let is_later = answer.is_err_and(|status| status.code() == Code::Unimplemented);
            assert_eq!(row.len(), 3, "{name}");
            assert!(row[1..].iter().all(|cell| (cell == "later") == is_later), "{name}: {row:?}");
        }
    }
    assert_eq!(rows, BTreeMap::new(), "rows of methods that there are not");
}

/// The code that the contract promises for each reason. The comment of a reason begins with its code.
fn promised() -> BTreeMap<String, String> {
    let contract = read("proto/gantry/v1/error.proto");
    let lines: Vec<_> = contract.lines().map(str::trim).collect();
    let reasons = lines.iter().enumerate().filter_map(|(at, line)| {
        let name = line.split_once(" = ")?.0;
        ErrorReason::from_str_name(name).filter(|reason| *reason != ErrorReason::Unspecified)?;
        let comment = lines[..at].iter().rev().take_while(|line| line.starts_with("//")).last()?;
        let (first, _) = comment.trim_start_matches("// ").split_once(": ")?;
        let code = if first.starts_with("In Problem") { "in a rollout" } else { first };
        Some((name.to_owned(), code.to_owned()))
    });
    reasons.collect()
}

/// The text of all files in `src/`.
fn sources() -> String {
    fn collect(dir: &Path, text: &mut String) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, text);
            } else {
                text.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut text = String::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    text
}

/// The name of an enum value in Rust.
fn camel(name: &str) -> String {
    let word = |word: &str| word[..1].to_owned() + &word[1..].to_lowercase();
    name.split('_').map(word).collect()
}

/// Exactly the reasons marked `later` are given nowhere in `src/`.
#[test]
fn every_reason_has_its_row_and_the_code_that_the_contract_promises() {
    let promised = promised();
    assert_eq!(
        promised.len(),
        (1..100).filter(|n| ErrorReason::try_from(*n).is_ok()).count(),
        "{promised:?}"
    );
    let rows = table("Reasons of errors");
    let listed: BTreeMap<_, _> = rows.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    assert_eq!(listed, promised);
    assert_eq!(rows.len(), promised.len(), "each once");
    let sources = sources();
    let given = |name: &str| {
        sources.contains(&format!("ErrorReason::{}", camel(name)))
            || sources.contains(&format!("=> \"{name}\""))
    };
    let absent: BTreeSet<_> = promised.keys().filter(|name| !given(name)).collect();
    let later: BTreeSet<_> = rows.iter().filter(|row| row[3] == "later").map(|row| &row[0]).collect();
    assert_eq!(later, absent);
}
