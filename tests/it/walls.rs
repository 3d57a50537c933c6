//! The dependency rules of `src/`, enforced by a test: which crates and modules each top-level module may
//! use, and the form that every source file has.
//!
//! Owns the rules, as functions from paths and texts to violations; tests apply them to the source tree.
//! `code` reads Rust as far as that needs, and `imports` finds which file names items of which other file.
//! Must not know the inside of any module: a new file needs no change here, but a new top-level module does.
//! ARCHITECTURE.md gives the reason for each rule.

mod code;
mod imports;
mod tests;
pub(crate) mod tree;

use std::{collections::BTreeMap, fmt};

use self::{
    code::{Code, Reference},
    imports::Arrow,
};

/// A top-level module (`src/<name>.rs` and `src/<name>/`) and what its code must not mention.
struct Room {
    name: &'static str,
    /// Crates, by the first segment of a path.
    crates: &'static [&'static str],
    /// Other top-level modules.
    rooms: &'static [&'static str],
    /// Also forbids the clock, the network, files, processes and threads.
    pure: bool,
}

const KUBE: &[&str] = &["kube", "kube_client", "kube_core", "kube_runtime", "k8s_openapi"];
const SERVERS: &[&str] = &[
    "tonic",
    "tonic_health",
    "tonic_reflection",
    "tonic_types",
    "axum",
    "hyper",
    "hyper_util",
    "tower",
    "tower_http",
];
const IO: &[&str] = &[
    "kube",
    "kube_client",
    "kube_core",
    "kube_runtime",
    "k8s_openapi",
    "tonic",
    "tonic_health",
    "tonic_reflection",
    "tonic_types",
    "axum",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "tower",
    "tower_http",
    "tokio",
    "tokio_stream",
    "tokio_util",
];

const ROOMS: &[Room] = &[
    Room {
        name: "domain",
        crates: IO,
        rooms: &["index", "cluster", "grpc", "metrics", "runtime"],
        pure: true,
    },
    Room {
        name: "autoscale",
        crates: IO,
        rooms: &["index", "cluster", "grpc", "metrics", "runtime"],
        pure: true,
    },
    Room { name: "index", crates: SERVERS, rooms: &["cluster", "grpc", "metrics", "runtime"], pure: false },
    Room {
        name: "metrics",
        crates: IO,
        rooms: &["domain", "autoscale", "index", "cluster", "grpc", "runtime"],
        pure: false,
    },
    Room {
        name: "cluster",
        crates: &["tonic", "tonic_health", "tonic_reflection", "tonic_types", "axum"],
        rooms: &["grpc", "runtime"],
        pure: false,
    },
    Room { name: "grpc", crates: KUBE, rooms: &["cluster", "runtime"], pure: false },
    Room { name: "runtime", crates: &[], rooms: &[], pure: false },
];

/// Parts of `std` that do I/O, start something or read the state of this machine.
const STD_IO: &[&str] = &["env", "fs", "net", "os", "process", "thread"];
/// Addresses are data, although they are in `std::net`.
const ADDRESSES: &[&str] = &["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr"];
/// Types whose `now` reads a clock. `SystemTime` has no other use and may not be named at all.
const CLOCKS: &[&str] = &["Instant", "SystemTime", "Timestamp", "Zoned", "Utc", "Local"];

const MAX_LINES: usize = 500;

/// One violation, and its place.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Every violation that can be found in one file alone.
fn check(path: &str, text: &str) -> Vec<Violation> {
    let mut found = shape(path, text);
    if is_rust(path) && path.starts_with("src/") {
        found.extend(walls(path, text));
    }
    found
}

fn shape(path: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |line, what: String| found.push(Violation { path: path.to_owned(), line, what });
    if is_rust(path) && !text.starts_with("//!") {
        add(1, "does not begin with `//!`: what it owns and what it must not know".to_owned());
    }
    if path.ends_with("/mod.rs") {
        add(1, "is a mod.rs: this house has foo.rs beside foo/".to_owned());
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && is_source(path, text) && !is_generated(text) {
        add(lines, format!("has {lines} lines: split it before {MAX_LINES}"));
    }
    found
}

fn walls(path: &str, text: &str) -> Vec<Violation> {
    let code = match Code::read(&code::module_of(path, "src"), text) {
        Ok(code) => code,
        Err(error) => {
            let (line, what) = (error.span().start().line, format!("is not Rust: {error}"));
            return vec![Violation { path: path.to_owned(), line, what }];
        }
    };
    let mut found = Vec::new();
    for reference in &code.references {
        for what in forbidden(room_of(path), reference) {
            found.push(Violation { path: path.to_owned(), line: reference.line, what });
        }
    }
    found
}

fn forbidden(room: &str, reference: &Reference) -> Vec<String> {
    let names: Vec<&str> = reference.path.iter().map(String::as_str).collect();
    let shown = reference.to_string();
    let mut found = Vec::new();
    if room != "runtime" && !reference.local && spawns(&names) {
        found.push(format!("`{shown}`: only runtime starts tasks, so that each is supervised and joined"));
    }
    let Some(room) = ROOMS.iter().find(|r| r.name == room) else { return found };
    if reference.local {
        match names.first() {
            None | Some(&"*") if !room.rooms.is_empty() => {
                found.push(format!("`{shown}` in {}: names the whole crate, and so every room", room.name));
            }
            Some(first) if room.rooms.contains(first) => {
                found.push(format!("`{shown}`: {} must not know {first}", room.name));
            }
            _ => {}
        }
        return found;
    }
    match names.first() {
        Some(first) if room.crates.contains(first) => {
            found.push(format!("`{shown}`: {} must not know {first}", room.name));
        }
        Some(&("std" | "core")) if room.pure && does_io(&names[1..]) => {
            found.push(format!("`{shown}`: {} does no I/O", room.name));
        }
        _ => {}
    }
    if room.pure && reads_clock(&names) {
        found.push(format!("`{shown}`: {} has no clock; time comes in as an argument", room.name));
    }
    found
}

fn does_io(inside_std: &[&str]) -> bool {
    match inside_std {
        ["net", name, ..] => !ADDRESSES.contains(name),
        [module, ..] => STD_IO.contains(module),
        [] => false,
    }
}

fn reads_clock(names: &[&str]) -> bool {
    names.contains(&"SystemTime") || names.windows(2).any(|w| CLOCKS.contains(&w[0]) && w[1] == "now")
}

fn spawns(names: &[&str]) -> bool {
    matches!(
        names,
        ["tokio", "spawn"] | ["tokio", "task", "spawn" | "spawn_local"] | ["task", "spawn" | "spawn_local"]
    )
}

/// The files of one crate that no other file of it declares. They are never compiled, so their tests never
/// run. `root` is the directory of its `main.rs` or `lib.rs`.
fn orphans(root: &str, files: &[(String, String)]) -> Vec<Violation> {
    let of_crate = || files.iter().filter(|(path, _)| is_rust(path) && path.starts_with(&format!("{root}/")));
    let is_root =
        |path: &str| [format!("{root}/main.rs"), format!("{root}/lib.rs")].iter().any(|r| r == path);
    let read = |path: &str, text: &str| Code::read(&code::module_of(path, root), text).unwrap_or_default();
    let modules = of_crate().flat_map(|(path, text)| read(path, text).modules);
    let declared: Vec<Vec<String>> = modules.filter(|m| m.apart).map(|m| m.path).collect();
    of_crate()
        .filter(|(path, _)| !is_root(path) && !declared.contains(&code::module_of(path, root)))
        .map(|(path, _)| Violation {
            path: path.clone(),
            line: 1,
            what: "no `mod` declares it: it is never compiled".to_owned(),
        })
        .collect()
}

/// The cycles of files that name each other, each with the imports that form it. No file of a cycle can be
/// understood, moved or tested without the others.
fn file_circles(root: &str, files: &[(String, String)]) -> Vec<String> {
    let arrows = imports::arrows(root, files);
    let edges = arrows.iter().map(|a| (a.from.as_str(), a.to.as_str())).collect();
    let circles = imports::circles(&edges).into_iter();
    circles
        .map(|circle| {
            let tying =
                arrows.iter().filter(|a| circle.contains(a.from.as_str()) && circle.contains(a.to.as_str()));
            format!("a circle of {} files:\n{}", circle.len(), shown(tying))
        })
        .collect()
}

/// The cycles between the entries of one directory, and between a file and its directory. `x.rs` and
/// everything below `x/` count as one entry. Imports between them run in one direction, and never back up.
fn group_circles(root: &str, files: &[(String, String)]) -> Vec<String> {
    // An import counts in the directory where the paths of its two files part.
    let mut levels: BTreeMap<String, Vec<(String, String, Arrow)>> = BTreeMap::new();
    for arrow in imports::arrows(root, files) {
        let (from, to) = (code::module_of(&arrow.from, root), code::module_of(&arrow.to, root));
        let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let group = |module: &[String], file: &str| match module.get(shared) {
            Some(_) => format!("{root}/{}", module[..=shared].join("/")),
            None => file.to_owned(),
        };
        let level = [&[root.to_owned()], &from[..shared]].concat().join("/");
        let ends = (group(&from, &arrow.from), group(&to, &arrow.to));
        levels.entry(level).or_default().push((ends.0, ends.1, arrow));
    }
    let mut found = Vec::new();
    for (level, arrows) in levels {
        let edges = arrows.iter().map(|(from, to, _)| (from.as_str(), to.as_str())).collect();
        for circle in imports::circles(&edges) {
            let names: Vec<&str> = circle.iter().copied().collect();
            let inside = |group: &str| circle.contains(group);
            let tying = arrows.iter().filter(|(from, to, _)| inside(from) && inside(to)).map(|(_, _, a)| a);
            found.push(format!("a circle in {level} of {}:\n{}", names.join(", "), shown(tying)));
        }
    }
    found
}

fn shown<'a>(arrows: impl Iterator<Item = &'a Arrow>) -> String {
    let line = |a: &Arrow| {
        let first = a.names.values().min().copied().unwrap_or_default();
        let names: Vec<&str> = a.names.keys().map(String::as_str).collect();
        format!("  {}:{first} -> {}: {}", a.from, a.to, names.join(", "))
    };
    arrows.map(line).collect::<Vec<_>>().join("\n")
}

fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

fn is_rust(path: &str) -> bool {
    has_extension(path, &["rs"])
}

fn is_source(path: &str, text: &str) -> bool {
    has_extension(path, &["rs", "go", "py", "ts", "js", "java", "sh"]) || text.starts_with("#!")
}

pub(crate) fn has_extension(path: &str, extensions: &[&str]) -> bool {
    std::path::Path::new(path).extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e))
}

// The two marks of generated code, in the first lines, where generators put them.
fn is_generated(text: &str) -> bool {
    text.lines().take(5).any(|line| line.contains("@generated") || line.contains("Code generated"))
}
