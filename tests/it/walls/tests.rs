//! The source tree keeps the dependency rules, and the checker finds each kind of violation.

use std::{collections::BTreeSet, path::Path};

use super::{MAX_LINES, ROOMS, check, code::module_of, orphans, tree};

#[test]
fn the_walls_hold() {
    let files = tree::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let mut found: Vec<String> =
        files.iter().flat_map(|(path, text)| check(path, text)).map(|v| v.to_string()).collect();
    // Otherwise a renamed module would lose its rules unnoticed.
    for file in ROOMS.iter().map(|room| format!("src/{}.rs", room.name)) {
        if !files.iter().any(|(path, _)| *path == file) {
            found.push(format!("{file} is gone, but tests/it/walls.rs has rules for it"));
        }
    }

    let root_of = |path: &str| {
        path.strip_suffix("/main.rs").or_else(|| path.strip_suffix("/lib.rs")).map(str::to_owned)
    };
    let roots: BTreeSet<String> = files.iter().filter_map(|(path, _)| root_of(path)).collect();
    assert!(roots.contains("src") && roots.contains("tests/it"), "{roots:?}");
    found.extend(roots.iter().flat_map(|root| orphans(root, &files)).map(|v| v.to_string()));
    assert!(found.is_empty(), "{} broken:\n{}", found.len(), found.join("\n"));
}

/// The violations in `body` as the file `path`, without their place.
fn said(path: &str, body: &str) -> Vec<String> {
    check(path, &format!("//! About.\n{body}")).into_iter().map(|v| v.what).collect()
}

fn breaks(path: &str, body: &str) {
    assert!(!said(path, body).is_empty(), "not seen in {path}: {body}");
}

fn passes(path: &str, body: &str) {
    assert_eq!(said(path, body), Vec::<String>::new(), "seen in {path}: {body}");
}

#[test]
fn pure_rooms_know_no_io_crate() {
    for room in [
        "src/domain.rs",
        "src/domain/plan.rs",
        "src/autoscale.rs",
        "src/autoscale/law.rs",
        "src/autoscale/law/tests.rs",
    ] {
        for name in ["kube", "k8s_openapi", "tonic", "axum", "tokio", "hyper", "kube_runtime", "tokio_util"] {
            breaks(room, &format!("use {name}::x;"));
            breaks(room, &format!("use ::{name}::x;"));
            breaks(room, &format!("use {name} as innocent;"));
            breaks(room, &format!("use {{std::fmt, {name}::{{a, b::c}}}};"));
            breaks(room, &format!("fn f(x: &{name}::X) {{}}"));
            breaks(room, &format!("fn f() {{ g(::{name}::x()) }}"));
            breaks(room, &format!("#[{name}::test] async fn f() {{}}"));
            breaks(room, &format!("extern crate {name};"));
        }
        passes(
            room,
            "use serde::Serialize; use crate::domain::name::Name; fn f() -> Vec<u8> { Vec::<u8>::new() }",
        );
    }
}

#[test]
fn pure_rooms_do_no_io_and_have_no_clock() {
    for room in ["src/domain/plan.rs", "src/autoscale/law.rs"] {
        breaks(room, "use std::fs;");
        breaks(room, "use std::{fmt, net::{IpAddr, TcpStream}};");
        breaks(room, "fn f() { std::fs::read(\"x\"); }");
        breaks(room, "fn f() { std::env::var(\"X\"); }");
        breaks(room, "fn f() { std::thread::sleep(d); }");
        breaks(room, "use std::time::{Duration, SystemTime};");
        breaks(room, "use std::time; fn f() { time::SystemTime::now(); }");
        breaks(room, "use std::time::Instant; fn f() { Instant::now(); }");
        breaks(room, "fn f() { std::time::Instant::now(); }");
        breaks(room, "fn f() { jiff::Timestamp::now(); }");
        passes(
            room,
            "use std::{fmt, time::{Duration, Instant}}; use jiff::Timestamp; fn f(now: Instant) { now.elapsed(); }",
        );
    }
    passes("src/cluster/client.rs", "use std::fs; fn f() { std::time::Instant::now(); }");
}

#[test]
fn inner_rooms_know_no_server_and_grpc_no_kubernetes() {
    for room in ["src/index.rs", "src/index/tables.rs", "src/cluster/act.rs"] {
        breaks(room, "use tonic::Status;");
        breaks(room, "use axum::Router;");
        passes(room, "use tokio::sync::watch; use k8s_openapi::api::core::v1::Pod;");
    }
    for name in ["kube", "kube_core", "k8s_openapi"] {
        breaks("src/grpc/apps.rs", &format!("use {name}::x;"));
    }
    passes("src/grpc/apps.rs", "use tonic::Status;");
    passes("src/runtime/build.rs", "use kube::Client; use tonic::Status; use crate::{cluster, grpc, index};");
}

#[test]
fn rooms_know_only_the_rooms_before_them() {
    let allowed = [
        ("domain", [false, false, false, false]),
        ("autoscale", [false, false, false, false]),
        ("index", [true, false, false, false]),
        ("cluster", [true, true, false, false]),
        ("grpc", [true, false, true, false]),
        ("runtime", [true, true, true, true]),
    ];
    for (room, may) in allowed {
        for (other, may) in ["index", "cluster", "grpc", "runtime"].iter().zip(may) {
            let path = format!("src/{room}/part.rs");
            for body in [
                format!("use crate::{other}::X;"),
                format!("use crate::{{domain, {other}}};"),
                format!("use super::super::{other};"),
                format!("fn f() {{ crate::{other}::x() }}"),
                format!("mod inner {{ use super::super::super::{other}::X; }}"),
                format!("mod inner {{ mod deep {{}} }} use super::super::{other}::X;"),
            ] {
                if may { passes(&path, &body) } else { breaks(&path, &body) }
            }
        }
    }
    breaks("src/domain/part.rs", "use crate::*;");
    breaks("src/domain/part.rs", "use crate as all;");
    breaks("src/domain.rs", "use super::*;");
    passes("src/domain/part.rs", "pub(crate) fn f() {} mod tests { use super::*; use super::super::*; }");
    // A module inside a top-level module may have the name of another top-level module.
    passes("src/domain/part.rs", "use super::index::X; use crate::domain::cluster;");
}

#[test]
fn only_runtime_spawns() {
    for path in ["src/grpc/server.rs", "src/cluster.rs", "src/main.rs"] {
        breaks(path, "fn f() { tokio::spawn(async {}); }");
        breaks(path, "use tokio::spawn;");
        breaks(path, "use tokio::{sync, task::{self, spawn}};");
        breaks(path, "use tokio::task; fn f() { task::spawn(async {}); }");
    }
    passes("src/runtime/tasks.rs", "fn f() { tokio::spawn(async {}); }");
    passes("src/runtime.rs", "fn f() { tokio::spawn(async {}); }");
    passes("src/grpc/server.rs", "fn f(tasks: &Tasks) { tasks.spawn(async {}); tokio::task::yield_now(); }");
}

#[test]
fn only_code_counts() {
    let room = "src/domain/plan.rs";
    passes(room, "// use kube::x;\n/* kube::x /* kube::x */ tokio::spawn */ /// kube::Client\nfn f() {}");
    passes(
        room,
        "const A: &str = \"use kube::x; \\\" tokio::x\"; const B: &str = r#\"a \" kube::x\"#; const C: &[u8] = br\"kube::x\";",
    );
    // After each of these texts the reader must be back in code.
    for before in [
        "/* a /* b */ c */",
        "const A: char = '\"';",
        "const A: char = '\\'';",
        "const A: &str = r#\"\"#;",
        "fn f<'a>(x: &'a str) {}",
        "const A: f64 = 1e-9;",
    ] {
        breaks(room, &format!("{before} use kube::x;"));
    }
    breaks(room, "use r#kube::x;");
}

#[test]
fn what_macros_and_attributes_are_given_counts() {
    let room = "src/grpc/server.rs";
    breaks(room, "fn f() { select! { _ = stop => {} else => { tokio::spawn(async {}); } } }");
    breaks(room, "fn f() { vec![Vec::<u8>::new(), kube::x()]; }");
    breaks(room, "macro_rules! m { ($x:expr) => { { use std::{fmt, vec}; use kube::{a, b}; $x } } }");
    breaks(room, "macro_rules! m { () => { $crate::cluster::x() } }");
    breaks(room, "#[derive(Clone, kube::CustomResource)] struct A;");
    breaks(room, "#[cfg_attr(test, kube::x)] struct A;");
    passes(
        room,
        "fn f() { println!(\"kube::x\"); vec![Vec::<u8>::kube::<u8>(), x::kube::y(), task.spawn()]; }",
    );
}

#[test]
fn what_is_not_rust_is_said() {
    let found = check("src/domain/plan.rs", "//! About.\nfn f() {\n    let = 3;\n}\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].to_string().starts_with("src/domain/plan.rs:3: is not Rust: "), "{}", found[0]);
}

#[test]
fn a_violation_names_its_line() {
    let found = check(
        "src/domain/plan.rs",
        "//! About.\n\n/* two\nlines */\nconst A: &str = \"a\nb\";\nuse kube::x;\n",
    );
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), "src/domain/plan.rs:7: `kube::x`: domain must not know kube");
}

#[test]
fn every_file_says_what_it_is() {
    for path in ["src/domain/plan.rs", "tests/it/main.rs", "clients/cli/src/main.rs"] {
        assert_eq!(check(path, "use std::fmt;\n").len(), 1, "{path}");
        assert_eq!(check(path, "//! About.\n").len(), 0, "{path}");
    }
    assert_eq!(check("src/domain/mod.rs", "//! About.\n").len(), 1);
}

#[test]
fn no_file_is_too_long() {
    let text = |lines: usize| format!("//! About.\n{}", "\n".repeat(lines - 1));
    for path in [
        "src/grpc/apps.rs",
        "tests/cluster/main.rs",
        "clients/cli/src/main.rs",
        "deploy/local/cmd/cluster/main.go",
    ] {
        assert_eq!(check(path, &text(MAX_LINES)).len(), 0, "{path}");
        assert_eq!(check(path, &text(MAX_LINES + 1)).len(), 1, "{path}");
    }
    assert_eq!(check("deploy/demo/run", &format!("#!/usr/bin/env bash\n{}", text(MAX_LINES))).len(), 1);
    assert_eq!(check("deploy/local/go.sum", &text(MAX_LINES + 1)).len(), 0);
    assert_eq!(
        check(
            "clients/go/gantry.pb.go",
            &format!("// Code generated by x. DO NOT EDIT.\n{}", text(MAX_LINES))
        )
        .len(),
        0
    );
}

#[test]
fn every_file_is_in_the_module_tree() {
    let lost = |files: &[(&str, &str)]| -> Vec<String> {
        let files: Vec<_> =
            files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        orphans("src", &files).into_iter().map(|v| v.path).collect()
    };
    let base = [
        ("src/main.rs", ""),
        ("src/lib.rs", "pub mod a; mod b { mod c; }"),
        ("src/a.rs", "mod d;"),
        ("src/a/d.rs", ""),
        ("src/b/c.rs", ""),
    ];
    assert_eq!(lost(&base), Vec::<String>::new());
    let with = |path, text| [base.as_slice(), &[(path, text)]].concat();
    assert_eq!(lost(&with("src/a/lost.rs", "")), ["src/a/lost.rs"]);
    assert_eq!(lost(&with("src/lost.rs", "")), ["src/lost.rs"]);
    // Declared only in a comment, or in another directory.
    assert_eq!(lost(&with("src/a/d/e.rs", "// mod e;")), ["src/a/d/e.rs"]);
    assert_eq!(lost(&with("src/d.rs", "")), ["src/d.rs"]);
    assert_eq!(lost(&with("tests/it/other.rs", "")), Vec::<String>::new());
    assert_eq!(module_of("src/a/d.rs", "src"), ["a", "d"]);
}
