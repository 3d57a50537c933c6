//! Exceptions for commands of the documents: the few that a test cannot run, with the reason; those that must
//! fail; those that do not end; and the values of placeholders. Every other command is run and must succeed.
//!
//! `tests/it/documents.rs` fails if a rule matches nothing. Must not know how anything is run.

use std::{fs, io, path::Path};

/// The documents that are not run in the order of their names. The first one leaves `my-app` for the others,
/// and the last one stops the control plane.
pub const FIRST: &str = "README.md";
pub const LAST: &str = "deploy/local/README.md";

/// A rule for a command. The command is named by document and [`key`](super::read::Command::key), or by the
/// beginning of the key and an ellipsis.
pub struct Rule {
    pub document: &'static str,
    pub command: &'static str,
    pub what: What,
}

pub enum What {
    /// It is not run, for this reason.
    NotRun(&'static str),
    /// It is not run if the Python module that it needs could not be installed.
    Module(&'static str),
    /// It exits with these statuses, one for each place in the document.
    Exits(&'static [i32]),
    /// It prints each of these.
    Prints(&'static [&'static str]),
    /// It does not end. It is stopped, as by Ctrl-C, when it has printed each of these.
    Lasts(&'static [&'static str]),
    /// It runs until the end of the document. The next command is run when it has printed each of these.
    Stays(&'static [&'static str]),
}

impl Rule {
    pub fn is_for(&self, document: &str, key: &str) -> bool {
        let named = match self.command.strip_suffix('…') {
            Some(beginning) => key.starts_with(beginning),
            None => key == self.command,
        };
        named && document == self.document
    }
}

const fn rule(document: &'static str, command: &'static str, what: What) -> Rule {
    Rule { document, command, what }
}

/// What a daemon logs when it has read the cluster.
const READY: What = What::Stays(&["ready apps="]);

pub const RULES: &[Rule] = &[
    rule("README.md", "make demo", What::NotRun("it is a separate test on its own control plane")),
    rule("README.md", "make test", What::NotRun("it is what runs this test")),
    rule("README.md", "make run", READY),
    rule(
        "README.md",
        "gantry deploy my-app --image my-app:1.1 --dry-run",
        What::Prints(&["my-app:1.0", "my-app:1.1", "replaces the replicas"]),
    ),
    rule("README.md", "gantry deploy my-app --image my-app:does-not-exist", What::Exits(&[1])),
    rule(
        "README.md",
        "gantry rollouts my-app",
        What::Prints(&["first try", "ROLLBACK", "IMAGE_PULL_FAILED"]),
    ),
    rule("README.md", "grpcurl -plaintext 127.0.0.1:7420 list", What::Prints(&["gantry.v1.AppService"])),
    rule(
        "README.md",
        r#"grpcurl -plaintext -d '{"name": "namespaces/default/apps/my-ap"}' 127.0.0.1:7420 gantry.v1.AppService/GetApp"#,
        What::Exits(&[64 + 5]), // grpcurl adds the code
    ),
    rule(
        "README.md",
        r#"curl -H 'content-type: application/json' -d '{"name": "namespaces/default/apps/my-app"}' http://127.0.0.1:7420/gantry.v1.AppService/GetApp"#,
        What::Prints(&[r#""image":"my-app:1.1""#]),
    ),
    rule(
        "README.md",
        r#"curl -N -H 'content-type: application/json' -d '{"parent": "namespaces/default"}' http://127.0.0.1:7420/gantry.v1.AppService/WatchApps"#,
        What::Lasts(&["apps/my-app", "apps/two", r#""synced":{}"#]),
    ),
    rule("README.md", "python3 - <<'END' …", What::Prints(&["namespaces/default/apps/my-app APP_STATE_"])),
    rule("README.md", "python3 -m grpc_tools.protoc …", What::Module("grpc_tools")),
    rule("README.md", "PYTHONPATH=target/gen python3 - <<'END' …", What::Module("grpc")),
    rule(
        "README.md",
        "PYTHONPATH=target/gen python3 - <<'END' …",
        What::Prints(&["2 of 2 replicas are ready."]),
    ),
    rule("README.md", "gantry restart my-app", What::Exits(&[1, 0])),
    rule("README.md", "gantry autoscale my-app", What::Prints(&["ACTIVE", "3 to 10 replicas"])),
    rule("CONTRIBUTING.md", "make test", What::NotRun("it is what runs this test")),
    rule("CONTRIBUTING.md", "make unit", What::NotRun("make test runs it before this test")),
    rule("CONTRIBUTING.md", "make run", READY),
    rule(
        "CONTRIBUTING.md",
        "make bench",
        What::NotRun("it measures for ten minutes, on a machine that must be quiet"),
    ),
    rule(
        "clients/cli/README.md",
        "cargo install --path clients/cli",
        What::NotRun("it compiles everything again, for minutes"),
    ),
    rule("docs/autoscaling.md", "make run", READY),
    rule(
        "docs/autoscaling.md",
        "gantry autoscale my-app",
        What::Prints(&["2 to 20 replicas", "CPU at 60 %"]),
    ),
    rule("docs/autoscaling.md", "gantry decisions my-app --follow", What::Lasts(&["SCALED"])),
    rule("docs/autoscaling.md", "gantry get my-app", What::Prints(&["held until", "the sale begins at ten"])),
    rule(
        "docs/autoscaling.md",
        "gantry decisions my-app --explain",
        What::Prints(&["cpu_percent", "metrics-api"]),
    ),
    rule("docs/languages.md", "make run", READY),
    rule("docs/languages.md", "grpcurl -plaintext 127.0.0.1:7420 describe …", What::Prints(&["WaitRollout"])),
    rule("docs/languages.md", "curl -N …", What::Lasts(&["apps/my-app", r#""synced":{}"#])),
    rule("docs/languages.md", "curl -G …", What::Prints(&["apps/my-app"])),
    rule("docs/operations.md", "gantryd --insecure-loopback", READY),
    rule("docs/operations.md", "curl 127.0.0.1:7421/log", What::Prints(&["kube_client=off"])),
    rule("docs/operations.md", "gantry info", What::Prints(&["gantry-local"])),
    rule("docs/operations.md", "gantry get NAME", What::Prints(&["my-app"])),
    rule(
        "deploy/local/README.md",
        "deploy/local/cluster status [--dir D]",
        What::Prints(&["kube-apiserver"]),
    ),
];

/// Options of kubectl that the texts name.
pub const FOREIGN: &[&str] = &["--cascade", "--previous", "--since", "--tail", "--timestamps"];

/// The replacement of a placeholder, or of a port or folder that may be taken on this machine.
#[derive(Clone, Copy)]
pub enum Place {
    Text(&'static str),
    /// The address of the daemon.
    Address,
    /// The address of its admin port.
    Admin,
    /// The folder of the control plane.
    Plane,
}

/// The replacements, made in this order.
pub const PLACES: &[(&str, Place)] = &[
    ("127.0.0.1:7420", Place::Address),
    ("127.0.0.1:7421", Place::Admin),
    (" [--nodes N] [--detach] [--keep] [--real-node]", Place::Text(" --detach --keep")),
    (" [--real-node]", Place::Text("")), // not every machine allows one
    ("[--dir D]", Place::Text("--dir target/cluster")),
    ("target/cluster", Place::Plane),
    (" NAME", Place::Text(" my-app")),
];

/// The paths of all documents, relative to the root of the project, in the order in which they are run.
pub fn documents(root: &Path) -> io::Result<Vec<String>> {
    let (mut found, mut dirs) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned());
            }
        }
    }
    found.sort_by_key(|path| (path != FIRST, path == LAST, path.clone()));
    Ok(found)
}
