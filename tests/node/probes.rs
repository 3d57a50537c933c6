//! Probes that a real kubelet runs: failing probes are named, and slow starts are not taken for failures.

use gantry::pb::{self, probe::Check};

use crate::{
    case::{Case, each_second, http, patience, play, seconds, serving},
    support::run,
};

fn ask(url: &str) -> pb::Probe {
    each_second(Check::Exec(pb::Exec { command: ["/sample", "ask", url].map(Into::into).to_vec() }))
}

/// Ends at once after SIGTERM, so that the test waits only for the kubelet.
fn quick(spec: pb::AppSpec) -> pb::AppSpec {
    let policy = pb::RolloutPolicy { tolerated_restarts: Some(1), ..pb::RolloutPolicy::default() };
    pb::AppSpec { drain_delay: seconds(0), rollout_policy: Some(policy), ..spec }
}

#[tokio::test]
async fn a_probe_that_does_not_pass_is_named_with_its_answer() {
    run(|env| async move {
        let mut unready = serving(&["-ready-after=1h"]);
        unready.rollout_policy = patience(6);
        let mut told = unready.clone();
        told.probes =
            Some(pb::Probes { readiness: Some(ask("http://127.0.0.1:8080/ready")), ..pb::Probes::default() });
        let mut refused = unready.clone();
        refused.args = vec!["serve".into(), "-start-after=1h".into()];
        let name = "PROBE_FAILING";
        let cases = vec![
            Case::fails("readiness_failing", unready, name, &["readiness", "503"]),
            Case::fails("readiness_refused", refused, name, &["readiness", "connection refused"]),
            Case::fails("exec_probe_failing", told, name, &["readiness", "503", "not now"]),
        ];
        play(&env, cases).await;
    })
    .await;
}

#[tokio::test]
async fn a_container_that_its_probes_end_is_not_taken_for_one_that_crashes() {
    run(|env| async move {
        let mut sick = quick(serving(&["-ready-after=1h", "-sick-after=1s", "-linger=0s"]));
        sick.probes.as_mut().unwrap().liveness = Some(http("/live"));
        let mut late = quick(serving(&["-start-after=1h"]));
        let port = Check::TcpPort("http".into());
        late.probes.as_mut().unwrap().startup = Some(each_second(port));
        let name = "PROBE_FAILING";
        let cases = vec![
            Case::fails("liveness_failing", sick, name, &["liveness", "503"]),
            Case::fails("startup_failing", late, name, &["startup", "connection refused"]),
        ];
        play(&env, cases).await;
    })
    .await;
}

#[tokio::test]
async fn a_slow_start_is_no_failure() {
    run(|env| async move {
        let mut slow = serving(&["-start-after=4s", "-ready-after=6s"]);
        let startup = pb::Probe { failure_threshold: 30, ..ask("http://127.0.0.1:8080/live") };
        slow.probes.as_mut().unwrap().startup = Some(startup);
        play(&env, vec![Case::succeeds("slow_start", slow), Case::succeeds("plain_start", serving(&[]))])
            .await;
    })
    .await;
}
