//! A replica as callers see it: the state of its pod, with the reason in one sentence. Pure; derived when a
//! caller asks for it.

use std::{net::IpAddr, sync::Arc};

use jiff::Timestamp;

use super::{
    diagnosis::{self, Surroundings, diagnose_pod},
    evidence,
    observed::{Pod, TroubleKind},
    spec::Policy,
};

pub use super::replica_state::State;

/// A replica.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    /// Name of its pod.
    pub pod: Arc<str>,
    /// Its state.
    pub state: State,
    /// One sentence that gives the reason.
    pub message: String,
    /// The number of the rollout that it belongs to.
    pub rollout: Option<u64>,
    /// Its node.
    pub node: Option<Arc<str>>,
    /// The zone of the node.
    pub zone: Option<Arc<str>>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Restarts of the app's container.
    pub restarts: i32,
    /// When it was created.
    pub created: Timestamp,
    /// When it became ready, if it is ready now.
    pub ready: Option<Timestamp>,
}

// === impl Replica ===

impl Replica {
    /// Derives the replica of a pod.
    pub fn new(
        pod: &Pod,
        rollout: Option<u64>,
        zone: Option<Arc<str>>,
        around: Surroundings<'_>,
        policy: &Policy,
    ) -> Self {
        let (state, message) = find_state(pod, around, policy);
        Self {
            pod: pod.name.clone(),
            state,
            message,
            rollout,
            node: pod.node.clone(),
            zone,
            address: pod.address,
            restarts: pod.own_restarts,
            created: pod.created,
            ready: pod.ready_since(),
        }
    }
}

fn find_state(pod: &Pod, around: Surroundings<'_>, policy: &Policy) -> (State, String) {
    if pod.deleting {
        return (State::Draining, "Asked to stop; finishes its current work.".to_owned());
    }
    if pod.ready {
        return (State::Ready, "Takes traffic.".to_owned());
    }
    let problem = diagnose_pod(pod, around, policy).map(|problem| problem.message);
    let waits = diagnosis::describe_wait(pod).map(|(message, _)| message);
    match pod.trouble.as_ref().map(|trouble| trouble.kind) {
        Some(TroubleKind::Image | TroubleKind::Config | TroubleKind::Crash) => {
            (State::Failing, problem.unwrap_or_default())
        }
        Some(TroubleKind::Unschedulable) => (State::Pending, problem.unwrap_or_default()),
        None if pod.node.is_none() => {
            (State::Pending, waits.unwrap_or_else(|| "Waits for a node.".to_owned()))
        }
        None if pod.was_ready => {
            let said = "Runs, but fails its readiness probe after having passed it.".to_owned();
            (State::Unready, waits.map_or(said, |waits| format!("Was ready before. {waits}")))
        }
        None if let Some(waits) = waits => (State::Starting, waits),
        None if pod.running => {
            (State::Starting, "Runs, but has not passed its readiness probe yet.".to_owned())
        }
        None => (State::Starting, "Its containers are being started.".to_owned()),
    }
}

impl From<Replica> for evidence::Replica {
    fn from(replica: Replica) -> Self {
        let text = |shared: Option<Arc<str>>| shared.map(|text| text.to_string()).unwrap_or_default();
        Self {
            pod: replica.pod.to_string(),
            state: replica.state,
            message: replica.message,
            node: text(replica.node),
            zone: text(replica.zone),
            restarts: replica.restarts,
            created: replica.created,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::observed::testing;
    use crate::domain::{
        observed::{Exit, Trouble},
        spec::Spec,
    };

    fn mk_pod() -> Pod {
        Pod {
            node: Some("n".into()),
            ready: false,
            ready_changed: Some(Timestamp::UNIX_EPOCH),
            running: false,
            ..testing::pod("a", "s", "p")
        }
    }

    fn troubled(kind: TroubleKind) -> Pod {
        let trouble = Trouble {
            container: "app".into(),
            kind,
            reason: "X".into(),
            message: "its words".into(),
            since: None,
            exit: Some(Exit { code: 3, signal: 0, reason: "Error".into(), finished: None }),
            restarts: 2,
        };
        Pod { trouble: Some(Box::new(trouble)), ..mk_pod() }
    }

    #[test]
    fn each_pod_stands_where_the_contract_says() {
        for (pod, state, word) in [
            (Pod { node: None, ..mk_pod() }, State::Pending, "node"),
            (Pod { node: None, ..troubled(TroubleKind::Unschedulable) }, State::Pending, "its words"),
            (mk_pod(), State::Starting, "started"),
            (Pod { running: true, ..mk_pod() }, State::Starting, "not passed its readiness probe yet"),
            (Pod { running: true, was_ready: true, ..mk_pod() }, State::Unready, "after having passed it"),
            (Pod { running: true, ready: true, ..mk_pod() }, State::Ready, "traffic"),
            (troubled(TroubleKind::Image), State::Failing, "its words"),
            (troubled(TroubleKind::Config), State::Failing, "its words"),
            (troubled(TroubleKind::Crash), State::Failing, "3 times"),
            (Pod { deleting: true, ready: true, ..mk_pod() }, State::Draining, "stop"),
            (Pod { deleting: true, ..troubled(TroubleKind::Crash) }, State::Draining, "stop"),
        ] {
            let replica =
                Replica::new(&pod, Some(2), None, Surroundings::nothing(), &Spec::default().policy());
            assert_eq!(replica.state, state, "{pod:?}");
            assert!(replica.message.contains(word), "{}", replica.message);
            assert_eq!(replica.ready.is_some(), pod.ready, "{pod:?}");
        }
    }
}
