//! Every command in every document is run as it is written there, on a control plane that this test starts,
//! and must print what the document shows.
//!
//! `tests/it/documents/read.rs` decides what a command is, and `rules.rs` beside it has the exceptions. A
//! document is one shell session.

#[path = "../it/documents/read.rs"]
mod read;
#[path = "../it/documents/rules.rs"]
mod rules;
mod session;

use std::{collections::BTreeSet, fs, net::TcpListener, path::Path, time::Instant};

use regex::Regex;

use self::{
    read::{Command, Document},
    rules::{FOREIGN, PLACES, Place, RULES, What},
    session::Session,
};
use crate::support::program;

/// Ports and folders to use instead of those in the documents, which may be taken on this machine.
struct Ground {
    dir: tempfile::TempDir,
    address: String,
    admin: String,
}

impl Ground {
    fn new() -> Self {
        // Both ports stay bound until both numbers are known, so that they differ.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [address, admin] = ports.map(|port| port.local_addr().unwrap().to_string());
        Self { dir: tempfile::tempdir().unwrap(), address, admin }
    }

    fn plane(&self) -> String {
        self.dir.path().join("plane").to_str().unwrap().to_owned()
    }

    fn put_in_place(&self, text: &str) -> String {
        PLACES.iter().fold(text.to_owned(), |text, (from, to)| match to {
            Place::Text(to) => text.replace(from, to),
            Place::Address => text.replace(from, &self.address),
            Place::Admin => text.replace(from, &self.admin),
            Place::Plane => text.replace(from, &self.plane()),
        })
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // A cluster stops when its folder is removed. This one is stopped explicitly, so that nothing runs
        // after the test.
        let cluster = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local/cluster");
        let _ = std::process::Command::new(cluster).args(["down", "--dir", &self.plane()]).status();
    }
}

/// A line with its times and pod names replaced, because they differ from run to run.
fn stable(line: &str) -> String {
    let time = Regex::new(r"[0-9]+(\.[0-9]+)? ?(ms|s|m|min)([^a-z0-9]|$)").unwrap();
    let pod = Regex::new(r"-[0-9a-f]{5,10}-[a-z0-9]{5}([^a-z0-9]|$)").unwrap();
    let line = time.replace_all(line, "TIME$3");
    let line = pod.replace_all(&line, "-POD$1");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first shown line that was not printed after the shown lines before it.
fn missing<'a>(shown: &'a [String], printed: &str) -> Option<&'a str> {
    let mut printed = printed.lines().map(stable);
    shown.iter().find(|line| !printed.any(|one| one == stable(line))).map(String::as_str)
}

async fn run_document(ground: &Ground, path: &str, document: &Document) -> usize {
    let mut session = Session::start(ground).await;
    let steps = read::plan(document);
    let mut run = 0;
    for (at, step) in steps.iter().enumerate() {
        let rules = || RULES.iter().filter(|rule| rule.is_for(path, &step.key));
        let reason = rules().find_map(|rule| match rule.what {
            What::NotRun(why) => Some(why),
            What::Module(module) if !session::has_module(module) => Some("its Python module is not here"),
            _ => None,
        });
        if let Some(why) = reason {
            eprintln!("{path}:{}: not run, {why}", step.line);
            continue;
        }
        let earlier = steps[..at].iter().filter(|one| one.key == step.key).count();
        let (mut prints, mut status): (Vec<&str>, _) = (Vec::new(), 0);
        let (mut lasts, mut stays) = (false, false);
        for rule in rules() {
            match rule.what {
                What::NotRun(_) | What::Module(_) => {}
                What::Exits(statuses) => status = statuses[earlier],
                What::Prints(texts) => prints.extend(texts),
                What::Lasts(texts) | What::Stays(texts) => {
                    prints.extend(texts);
                    lasts = true;
                    stays |= matches!(rule.what, What::Stays(_));
                }
            }
        }
        let place = format!("{path}:{}: {}", step.line, step.text);
        let text = ground.put_in_place(&step.text);
        let begin = Instant::now();
        let output = if lasts {
            session.run_until(&place, &text, &prints, stays).await
        } else {
            session.run(&place, &text, status).await
        };
        check(&place, step, &prints, &output);
        eprintln!("{path}:{}: {:.1?}", step.line, begin.elapsed());
        run += 1;
    }
    session.end().await;
    run
}

fn check(place: &str, step: &Command, prints: &[&str], output: &str) {
    for text in prints {
        assert!(output.contains(text), "{place}\nshould have printed {text:?}, and printed\n{output}");
    }
    if let Some(line) = missing(&step.output, output) {
        panic!("{place}\nshould have printed as shown\n  {line}\nand printed\n{output}");
    }
}

/// Every option and every command of `gantry` and `gantryd` that running text and tables name must exist.
fn check_mentions(path: &str, document: &Document, help: &Help) {
    for (line, text) in &document.mentions {
        let mut words = text.split([' ', ',', '=', '[', ']']).filter(|word| !word.is_empty()).peekable();
        let first = words.peek().copied().unwrap_or_default();
        let ours = ["gantry", "gantryd"].contains(&first) || first.starts_with("--");
        if first == "gantry"
            && let Some(command) = words.nth(1).filter(|word| word.chars().all(|c| c.is_ascii_lowercase()))
        {
            assert!(help.commands.contains(command), "{path}:{line}: `{text}`: there is no gantry {command}");
        }
        for option in words.filter(|word| ours && word.starts_with("--") && word.len() > 2) {
            let known = help.options.contains(option) || FOREIGN.contains(&option);
            assert!(known, "{path}:{line}: `{text}`: there is no {option}");
        }
    }
}

/// The help texts of `gantry` and `gantryd`.
#[derive(Default)]
struct Help {
    commands: BTreeSet<String>,
    options: BTreeSet<String>,
}

impl Help {
    async fn read() -> Self {
        let mut help = Self::default();
        let option = Regex::new("--[a-z-]+").unwrap();
        let mut todo = vec![("gantryd", None), ("gantry", None)];
        while let Some((name, command)) = todo.pop() {
            let output = program(name).args(&command).arg("--help").output().await.unwrap();
            assert!(output.status.success(), "{name} {command:?} --help");
            let text = String::from_utf8(output.stdout).unwrap();
            help.options.extend(option.find_iter(&text).map(|found| found.as_str().to_owned()));
            if name == "gantry" && command.is_none() {
                let (_, list) = text.split_once("Commands:\n").unwrap();
                let names = list.lines().map_while(|line| line.split_whitespace().next());
                for name in names {
                    help.commands.insert(name.to_owned());
                    todo.push(("gantry", Some(name.to_owned())));
                }
            }
        }
        let cluster = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/local/cluster");
        for command in ["up", "down"] {
            let output = std::process::Command::new(&cluster).args([command, "--help"]).output().unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            help.options.extend(option.find_iter(&text).map(|found| found.as_str().to_owned()));
        }
        assert!(help.commands.len() > 10 && help.options.len() > 20);
        help
    }
}

#[tokio::test]
async fn every_command_and_option_that_is_named_is_there() {
    let help = Help::read().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in rules::documents(root).unwrap() {
        check_mentions(&path, &read::read(&fs::read_to_string(root.join(&path)).unwrap()), &help);
    }
}

#[tokio::test]
#[ignore = "starts a separate control plane and needs simulated pods"]
async fn every_command_of_the_documents_does_what_they_say() {
    let ground = Ground::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for path in rules::documents(root).unwrap() {
        let document = read::read(&fs::read_to_string(root.join(&path)).unwrap());
        if !document.commands.is_empty() {
            let start = Instant::now();
            let run = run_document(&ground, &path, &document).await;
            eprintln!("{path}: {run} of {} commands run, {:?}", document.commands.len(), start.elapsed());
        }
    }
}

#[test]
fn what_differs_from_run_to_run_is_not_compared() {
    let printed = "  0.3s  my-app rollout 1 begins\nx\npod/my-app-7ff64f7-x2z4n failed after 12 ms\n";
    let shown = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let good = shown(&["0.1s my-app rollout 1 begins", "pod/my-app-abc5678-55555 failed after 2.5 s"]);
    assert_eq!(missing(&good, printed), None);
    assert_eq!(
        missing(&shown(&["0.1s my-app rollout 2 begins"]), printed),
        Some("0.1s my-app rollout 2 begins")
    );
    let order = shown(&["x", "0.1s my-app rollout 1 begins"]);
    assert_eq!(missing(&order, printed), Some("0.1s my-app rollout 1 begins"), "the order counts");
}
