//! The imports of this crate have no cycle, and the checker finds each kind of cycle.

use std::path::Path;

use super::{
    super::{file_circles, group_circles, tree},
    arrows,
};

#[test]
fn no_files_import_each_other() {
    let files = tree::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let found = file_circles("src", &files);
    assert!(found.is_empty(), "{} in src:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_import_runs_back_up_within_a_room() {
    let files = tree::read(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let found = group_circles("src", &files);
    assert!(found.is_empty(), "{} in src:\n{}", found.len(), found.join("\n"));
}

fn mk_files(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(path, text)| (format!("src/{path}"), (*text).to_owned())).collect()
}

/// Each arrow as `a.rs -> b.rs: X, Y`.
fn drawn(files: &[(&str, &str)]) -> Vec<String> {
    let names = |names: std::collections::BTreeMap<String, usize>| names.into_keys().collect::<Vec<_>>();
    let inside = |path: &str| path.strip_prefix("src/").unwrap().to_owned();
    let drawn =
        |a: super::Arrow| format!("{} -> {}: {}", inside(&a.from), inside(&a.to), names(a.names).join(", "));
    arrows("src", &mk_files(files)).into_iter().map(drawn).collect()
}

/// The names of other files in `a.rs`, if `text` is its code.
fn named_by_a(text: &str) -> Vec<String> {
    drawn(&[
        ("lib.rs", "pub mod a; pub mod b; pub use self::b::Passed as Known;"),
        ("a.rs", text),
        ("a/child.rs", "pub struct X; pub fn go() {} pub const C: u8 = 1; pub struct child;"),
        (
            "b.rs",
            "mod deep; mod made; pub use self::deep::{Passed, deep}; pub(crate) use deep::*; pub struct Own;",
        ),
        (
            "b/deep.rs",
            "pub struct Passed; pub struct Behind; pub fn deep() {} pub mod inline { pub fn f() {} } pub enum E { V }",
        ),
        ("b/made.rs", "make! {}"),
    ])
}

#[test]
fn an_item_belongs_to_the_file_that_defines_it() {
    for (text, to) in [
        ("use crate::b::Own;", "b.rs: Own"),
        ("use super::b::Own as Mine;", "b.rs: Own"),
        ("use crate::{b::{self}}; fn f() -> b::Own {}", "b.rs: Own"),
        ("use crate::b as other; fn f() -> other::Own {}", "b.rs: Own"),
        ("fn f() { crate::b::Own::new() }", "b.rs: Own"),
        ("use crate::b::Passed;", "b/deep.rs: Passed"),
        ("use crate::Known;", "b/deep.rs: Passed"),
        ("use crate::b::Behind;", "b/deep.rs: Behind"),
        ("fn f() { crate::b::deep::inline::f() }", "b/deep.rs: f"),
        ("fn f() { crate::b::deep() }", "b/deep.rs: deep"),
        ("use crate::b::E::V;", "b/deep.rs: E"),
        ("use crate::b::E::*;", "b/deep.rs: E"),
        ("use crate::b::made::What;", "b/made.rs: What"),
        ("use crate::b::*;", "b.rs: *"),
        ("mod inner { use super::super::b::Own; }", "b.rs: Own"),
        ("fn f() { go!(crate::b::Own) }", "b.rs: Own"),
        ("fn f() { use crate::b; select! { _ => b::Own {} } }", "b.rs: Own"),
    ] {
        assert_eq!(named_by_a(text), [format!("a.rs -> {to}")], "{text}");
    }
}

#[test]
fn a_child_counts_where_it_is_named() {
    for text in [
        "mod child; use self::child::X;",
        "mod child; use child::X;",
        "mod child; fn f(_: child::X) {}",
        "mod child; fn f(_: self::child::X) {}",
        "mod child; pub use self::child::X; fn f(_: X) {}",
        "mod child; pub(crate) use self::child::*; fn f() -> Option<X> {}",
        "mod child; pub use self::child::X; fn f() { vec![X] }",
    ] {
        assert_eq!(named_by_a(text), ["a.rs -> a/child.rs: X"], "{text}");
    }
    for text in [
        "mod child; pub use self::child::go; fn f() { go() }",
        "mod child; pub use self::child::go; fn f() { let go = go(); }",
        "mod child; pub use self::child::go; fn f() { vec![go()] }",
        "mod child; pub use self::child::go; fn f() { x.map(go) }",
    ] {
        assert_eq!(named_by_a(text), ["a.rs -> a/child.rs: go"], "{text}");
    }
}

#[test]
fn what_is_no_import() {
    for text in [
        "mod child;",
        "use crate::b;",
        "mod child; pub use self::child::{X, go};",
        "mod child; pub use self::child::{X, go}; fn f(go: u8) { vec![x.go(), go, go != 1]; x.go(); go.x() }",
        "mod child; pub(super) use child::*;",
        "#[cfg(test)] mod tests { use crate::b::Own; }",
        "#[cfg(all(test, unix))] use crate::b::Own;",
        "#[cfg(test)] fn f() { crate::b::Own }",
        "struct A; impl A { #[cfg(test)] fn f() { crate::b::Own } }",
        "/// [`crate::b::Own`]\nstruct A; // crate::b::Own",
        "use std::b::Own; use serde::serde; fn f() { serde::b::Own }",
        "struct Own; fn f() -> Own {}",
    ] {
        assert_eq!(named_by_a(text), Vec::<String>::new(), "{text}");
    }
    let uses = "use crate::b::Own; use crate::a::x;";
    for (declared, path) in [
        ("mod tests;", "a/tests.rs"),
        ("mod tests;", "a/tests/x.rs"),
        ("#[cfg(test)] mod mk;", "a/mk.rs"),
        ("#[cfg(test)] mod mk;", "a/mk/x.rs"),
        ("", "main.rs"),
    ] {
        let files = [("lib.rs", "mod a; mod b;"), ("a.rs", declared), ("b.rs", "struct Own;"), (path, uses)];
        assert_eq!(drawn(&files), Vec::<String>::new(), "{path}");
    }
    let cfg_not = "#[cfg(not(test))] use crate::b::Own;";
    assert_eq!(named_by_a(cfg_not), ["a.rs -> b.rs: Own"]);
}

#[test]
fn a_cycle_of_files_is_reported_with_its_arrows() {
    let lib = ("lib.rs", "mod a; mod b; mod c; mod d;");
    let straight = [
        lib,
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "\nuse crate::c::C; pub struct B;"),
        ("c.rs", "pub struct C;"),
        ("d.rs", "use crate::a::A; pub struct D;"),
    ];
    assert_eq!(file_circles("src", &mk_files(&straight)), Vec::<String>::new());
    let mut closed = straight;
    closed[3].1 = "pub struct C;\nfn f() -> (crate::a::A, crate::b::B) {}";
    assert_eq!(
        file_circles("src", &mk_files(&closed)),
        [
            "a circle of 3 files:\n  src/a.rs:1 -> src/b.rs: B\n  src/b.rs:2 -> src/c.rs: C\n  src/c.rs:2 -> src/a.rs: A\n  src/c.rs:2 -> src/b.rs: B"
        ]
    );
    // Two cycles without a common file are two findings.
    let two = [
        lib,
        ("a.rs", "use crate::b::B; pub struct A;"),
        ("b.rs", "use crate::a::A; pub struct B;"),
        ("c.rs", "use crate::{a::A, d::D}; pub struct C;"),
        ("d.rs", "use crate::c::C; pub struct D;"),
    ];
    assert_eq!(file_circles("src", &mk_files(&two)).len(), 2);
}

#[test]
fn a_child_may_not_name_a_file_above_that_names_it() {
    let room = |parent: &str, child: &str| {
        let files = [
            ("lib.rs", "pub mod a;"),
            ("a.rs", parent),
            ("a/b.rs", "pub mod c; pub use self::c::C;"),
            ("a/b/c.rs", child),
        ];
        (file_circles("src", &mk_files(&files)).len(), group_circles("src", &mk_files(&files)).len())
    };
    assert_eq!(room("mod b; pub struct A;", "use crate::a::A; pub struct C;"), (0, 0));
    assert_eq!(
        room("mod b; pub use self::b::C; pub struct A;", "use super::super::A; pub struct C;"),
        (0, 0)
    );
    assert_eq!(room("mod b; pub struct A; fn f(_: b::C) {}", "pub struct C;"), (0, 0));
    assert_eq!(room("mod b; pub struct A; fn f(_: b::C) {}", "use super::super::A; pub struct C;"), (1, 1));
}

#[test]
fn a_circle_of_groups_needs_no_circle_of_files() {
    let files = [
        ("lib.rs", "pub mod room;"),
        ("room.rs", "pub mod a; pub mod b; pub mod c;"),
        ("room/a.rs", "mod x; pub struct A;"),
        ("room/a/x.rs", "use crate::room::b::B;"),
        ("room/b.rs", "mod y; pub struct B;"),
        ("room/b/y.rs", "use super::super::{a::A, c::C};"),
        ("room/c.rs", "pub struct C;"),
    ];
    assert_eq!(file_circles("src", &mk_files(&files)), Vec::<String>::new());
    assert_eq!(
        group_circles("src", &mk_files(&files)),
        [
            "a circle in src/room of src/room/a, src/room/b:\n  src/room/a/x.rs:1 -> src/room/b.rs: B\n  src/room/b/y.rs:1 -> src/room/a.rs: A"
        ]
    );
    // A file, a child that the file names, and another child that names the file.
    let mut files = files;
    files[2].1 = "mod x; mod z; pub struct A; fn f(_: x::X) {}";
    files[3].1 = "use super::z::Z; pub struct X;";
    files[4].1 = "pub struct B;";
    files[5] = ("room/a/z.rs", "mod w; pub struct Z;");
    files[6] = ("room/a/z/w.rs", "use crate::room::a::A;");
    assert_eq!(file_circles("src", &mk_files(&files)), Vec::<String>::new());
    let found = group_circles("src", &mk_files(&files));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("a circle in src/room/a of src/room/a.rs, src/room/a/x, src/room/a/z:\n"),
        "{}",
        found[0]
    );
}
