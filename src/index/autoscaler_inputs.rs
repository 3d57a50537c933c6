//! What the autoscaling loop reads of each app that has an autoscaler: its policy, its replica count, and the
//! pods whose use counts.

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

/// The longest time that the start of a replica can take. After the same time Kubernetes by default counts a
/// rollout as stalled. A replica that became ready later is assumed to have been ready before, and to have
/// failed its probe under load.
const LONGEST_START: SignedDuration = SignedDuration::from_secs(600);

/// An app as its autoscaler sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoscalerInput {
    /// The app.
    pub app: name::App,
    /// Its policy. The default policy, which is off, if it has none.
    pub policy: Arc<Policy>,
    /// The hold in force: a caller's replica count that overrides the autoscaler.
    pub hold: Option<Arc<Hold>>,
    /// The external autoscaler that sets the replica count.
    pub other_autoscaler: Option<Arc<str>>,
    /// The replica count, `spec.replicas`.
    pub desired: i32,
    /// When the replica count was last set.
    pub count_set: Option<Timestamp>,
    /// Generation of its Deployment.
    pub generation: i64,
    /// What the Deployment records about its replica count, including what is past.
    pub scaling: Scaling,
    /// Whether a rollout is pending, running or paused.
    pub rollout: bool,
    /// The pods whose use counts: those that run and are not being deleted.
    pub pods: Vec<Replica>,
    /// Cores that a replica requests.
    pub cpu_request: Option<f64>,
    /// Bytes of memory that a replica requests.
    pub memory_request: Option<f64>,
    /// Time from the creation of a replica until it was ready: the 90th percentile of the current replicas.
    /// Whole seconds, because Kubernetes' times are whole seconds.
    pub startup: Option<Duration>,
}

impl Index {
    /// Returns every app whose autoscaler is on.
    pub fn autoscaler_inputs(&self, now: Timestamp) -> Vec<AutoscalerInput> {
        let state = self.state.read();
        let on =
            |d: &&Deployment| d.scaling.policy.as_ref().is_some_and(|p| p.mode != Mode::Off) && !d.deleting;
        state.tables.deployments.values().filter(on).map(|d| state.autoscaler_input(d, now)).collect()
    }

    /// Returns one app, whether its autoscaler is on or not.
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
            // The smallest start time that at least nine in ten do not exceed.
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
        // This replica was ready before. Its use must go on counting, or an overload that makes replicas
        // unready would never be scaled out of.
        Some(_) | None => Start::Past,
    };
    Replica { pod: pod.name.clone(), start }
}
