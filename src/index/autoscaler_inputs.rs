//! What the autoscaler is told of each app that has one: its policy, its count, and whose use counts.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::state::{Index, IndexState};
use crate::{
    autoscale::{Hold, Mode, Policy, Replica, Start},
    domain::{
        Error, name,
        observed::{Deployment, Pod},
        rollout::State,
        scaling::Scaling,
    },
};

/// How long the start of a replica can take: after that, a rollout of Kubernetes counts as stalled if nothing
/// else is said. A replica that becomes ready later is taken for one that was ready before, and failed its
/// probe under its load.
const LONGEST_START: SignedDuration = SignedDuration::from_secs(600);

/// An app as its autoscaler sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoscalerInput {
    /// The app.
    pub app: name::App,
    /// Its policy; the default one, which is off, if it has none.
    pub policy: Arc<Policy>,
    /// A caller's count over it that is in force.
    pub hold: Option<Arc<Hold>>,
    /// An autoscaler that is not ours and decides the count.
    pub other_autoscaler: Option<Arc<str>>,
    /// Replicas asked for.
    pub desired: i32,
    /// When that count was set last.
    pub count_set: Option<Timestamp>,
    /// Generation of its Deployment.
    pub generation: i64,
    /// What the Deployment says about its count, what is past included.
    pub scaling: Scaling,
    /// A rollout runs, waits or is held.
    pub rollout: bool,
    /// The pods whose use counts: those that run and were not told to stop.
    pub pods: Vec<Replica>,
    /// Cores that a replica asks for.
    pub cpu_request: Option<f64>,
    /// Bytes that a replica asks for.
    pub memory_request: Option<f64>,
    /// Time from the creation of a replica until it was ready: the 90th percentile of those that are there.
    /// Whole seconds, since Kubernetes counts in these.
    pub startup: Option<Duration>,
}

impl Index {
    /// Every app whose autoscaler is on.
    pub fn autoscaler_inputs(&self, now: Timestamp) -> Vec<AutoscalerInput> {
        let state = self.state.read();
        let on =
            |d: &&Deployment| d.scaling.policy.as_ref().is_some_and(|p| p.mode != Mode::Off) && !d.deleting;
        state.tables.deployments.values().filter(on).map(|d| state.autoscaler_input(d, now)).collect()
    }

    /// One app, whether its autoscaler is on or not.
    pub fn autoscaler_input(&self, name: &name::App, now: Timestamp) -> Result<AutoscalerInput, Error> {
        let state = self.state.read();
        let deployment = state.tables.deployments.get(name);
        deployment.map(|d| state.autoscaler_input(d, now)).ok_or_else(|| state.views.missing(name))
    }
}

impl IndexState {
    fn autoscaler_input(&self, d: &Deployment, now: Timestamp) -> AutoscalerInput {
        let rollout = self.views.newest_rollout(&d.name);
        let (pods, startup) = self.tables.with_rows(&d.name, |facts| {
            let running = facts.pods.iter().filter(|pod| pod.running && !pod.deleting);
            let mut starts: Vec<_> = facts
                .pods
                .iter()
                .filter(|pod| pod.restarts == 0)
                .filter_map(|pod| Duration::try_from(pod.ready_since()?.duration_since(pod.created)).ok())
                .collect();
            starts.sort();
            // The smallest that at least nine in ten do not exceed.
            let at = (starts.len() * 9).div_ceil(10).checked_sub(1);
            (running.map(|pod| replica(pod)).collect(), at.and_then(|at| starts.get(at).copied()))
        });
        AutoscalerInput {
            app: d.name.clone(),
            policy: d.scaling.policy(),
            hold: d.scaling.active_hold(now).cloned(),
            other_autoscaler: self.tables.autoscaler_of(&d.name).map(Into::into),
            desired: d.desired,
            count_set: d.count_by.as_ref().map(|by| by.time),
            generation: d.generation,
            scaling: d.scaling.clone(),
            rollout: rollout
                .is_some_and(|r| matches!(r.state, State::Pending | State::Running | State::Paused)),
            pods,
            cpu_request: d.scaling.cpu_request,
            memory_request: d.scaling.memory_request,
            startup,
        }
    }
}

fn replica(pod: &Pod) -> Replica {
    let start = match pod.ready_changed {
        _ if !pod.ready && !pod.once_ready => Start::Open,
        Some(since) if pod.ready && since.duration_since(pod.created) <= LONGEST_START => Start::Ended(since),
        // Ready no longer: an overload must go on counting, or the app would not be scaled out of it.
        Some(_) | None => Start::Past,
    };
    Replica { pod: pod.name.clone(), start }
}
