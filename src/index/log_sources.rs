//! The logs of an app: its replicas, each with the container to read. Must not know the content of logs.

use std::sync::Arc;

use super::state::Index;
use crate::domain::name;

/// The log of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    /// Name of the pod.
    pub pod: Arc<str>,
    /// The container of the app in this pod.
    pub container: Arc<str>,
    /// Restarts of that container.
    pub restarts: i32,
    /// Whether all containers of the pod run.
    pub running: bool,
}

// === impl Index ===

impl Index {
    /// Returns the logs of the replicas of an app, the youngest replica first, and only those of one rollout
    /// if `rollout` is set. Empty if the app does not exist.
    pub fn log_sources(&self, app: &name::App, rollout: Option<u64>) -> Vec<LogSource> {
        let state = self.state.read();
        let meant = rollout.map(|number| state.carries_rollout(app, number));
        let wanted = state.tables.deployments.get(app).map(|d| d.spec.container());
        let revisions = state.tables.revisions.get(app);
        let replicas = state.tables.replicas(app);
        let mut found: Vec<_> = replicas
            .filter(|(_, rs)| meant.as_ref().is_none_or(|meant| meant(rs)))
            .map(|(pod, rs)| {
                // A replica has the container of the revision that it was made from, which may have had
                // another name.
                let revision = rs.revision.and_then(|number| revisions?.get(&number));
                let container = revision.map(|r| r.content.spec.container()).or(wanted).unwrap_or_default();
                let log = LogSource {
                    pod: pod.name.clone(),
                    container: container.into(),
                    restarts: pod.own_restarts,
                    running: pod.running,
                };
                (pod.created, log)
            })
            .collect();
        found.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| a.pod.cmp(&b.pod)));
        found.into_iter().map(|(_, log)| log).collect()
    }
}
