//! Containers that end or do not start: by their exit status, by a signal, for lack of memory, for a missing
//! command.

use std::collections::BTreeMap;

use gantry::pb;

use crate::{
    case::{Case, play, sample, serving},
    support::run,
};

/// Has a port, and so a probe.
fn ending(args: &[&str]) -> pb::AppSpec {
    pb::AppSpec { ports: serving(&[]).ports, ..sample(args) }
}

#[tokio::test]
async fn a_container_that_ends_again_and_again_is_named_with_how_it_ended() {
    run(|env| async move {
        let mut hungry = ending(&["eat", "-mib=1024"]);
        let resources = hungry.resources.as_mut().unwrap();
        resources.limits = BTreeMap::from([("memory".to_owned(), "32Mi".to_owned())]);
        let cases = vec![
            Case::fails(
                "crash_code",
                ending(&["end", "-code=3", "-say=no database"]),
                "CRASH_LOOP",
                &["3 times", "status 3"],
            ),
            // Without a probe Kubernetes takes the container for ready from each start to its end.
            Case::fails(
                "crash_unprobed",
                sample(&["end", "-code=3"]),
                "CRASH_LOOP",
                &["3 times", "status 3"],
            ),
            Case::fails("crash_signal", ending(&["fault"]), "CRASH_LOOP", &["3 times"]),
            Case::fails("completed", ending(&["end"]), "CRASH_LOOP", &["3 times", "status 0"]),
            Case::fails("out_of_memory", hungry, "OUT_OF_MEMORY", &["more memory than its limit"]),
        ];
        play(&env, cases).await;
    })
    .await;
}

#[tokio::test]
async fn a_command_that_cannot_be_run_is_named() {
    run(|env| async move {
        let command = |program: &str| pb::AppSpec { command: vec![program.into()], ..sample(&[]) };
        let cases = vec![
            Case::fails(
                "command_not_found",
                command("/nothing"),
                "CONFIG_MISSING",
                &["/nothing", "no such file"],
            ),
            Case::fails(
                "command_not_executable",
                command("/etc/passwd"),
                "CONFIG_MISSING",
                &["permission denied"],
            ),
        ];
        play(&env, cases).await;
    })
    .await;
}
