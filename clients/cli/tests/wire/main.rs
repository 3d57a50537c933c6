//! The program against a stand-in for the daemon, over a real connection: what it prints, and how it ends.

#![allow(clippy::expect_used)] // helpers of tests are tests too

mod autoscaling;
mod changes;
mod reads;
mod server;
mod settings;
mod timeline;

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time,
};

const LIMIT: Duration = Duration::from_secs(20);

struct Ran {
    exit: Option<i32>,
    out: String,
    err: String,
}

/// Runs `gantry` with these arguments against the stand-in.
async fn gantry(line: &str) -> Ran {
    run(line, "").await
}

async fn run(line: &str, input: &str) -> Ran {
    run_with(line, input, &[]).await
}

/// Runs `gantry` also with these variables; `{}` in them stands for the address of the stand-in.
async fn run_with(line: &str, input: &str, variables: &[(&str, &str)]) -> Ran {
    let server = server::Server::bind();
    let address = server.address();
    let mut command = program(line);
    if variables.is_empty() {
        command.env("GANTRY_ADDR", &address).env("GANTRY_NAMESPACE", "prod");
    }
    command.envs(variables.iter().map(|(name, value)| (name, value.replace("{}", &address))));
    let program = async {
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(input.as_bytes()).await.expect("the program reads");
        drop(stdin);
        output(child).await
    };
    tokio::select! {
        ran = program => ran,
        ended = server.serve() => panic!("the server ended: {ended:?}"),
    }
}

/// Makes the command, without the settings of the user who runs the tests.
fn program(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gantry"));
    command.args(line.split(' ')).kill_on_drop(true);
    for variable in [
        "CI",
        "GANTRY_ADDR",
        "GANTRY_NAMESPACE",
        "GANTRY_TOKEN",
        "GANTRY_TOKEN_FILE",
        "GANTRY_CA_FILE",
        "GANTRY_CONFIG",
    ] {
        command.env_remove(variable);
    }
    command.env("XDG_CONFIG_HOME", "/nowhere");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn output(child: Child) -> Ran {
    let Output { status, stdout, stderr } =
        time::timeout(LIMIT, child.wait_with_output()).await.expect("it ends").expect("it ran");
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    Ran { exit: status.code(), out: text(stdout), err: text(stderr) }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
