//! Which logs an app has: its replicas, with the container that is meant. Must not know what is in them.

use std::sync::Arc;

use super::state::Index;
use crate::domain::name;

/// The log of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSource {
    /// Name of the pod.
    pub pod: Arc<str>,
    /// The app's own container in it.
    pub container: Arc<str>,
    /// Restarts of that container.
    pub restarts: i32,
    /// All its containers run.
    pub running: bool,
}

// === impl Index ===

impl Index {
    /// The logs of the replicas of an app, of one rollout if that is given, the youngest replica first; none
    /// if there is no such app.
    pub fn log_sources(&self, app: &name::App, rollout: Option<u64>) -> Vec<LogSource> {
        let state = self.state.read();
        let meant = rollout.map(|number| state.carries_rollout(app, number));
        let wanted = state.tables.deployments.get(app).map(|d| d.spec.container());
        let revisions = state.tables.revisions.get(app);
        let replicas = state.tables.replicas(app);
        let mut found: Vec<_> = replicas
            .filter(|(_, rs)| meant.as_ref().is_none_or(|meant| meant(rs)))
            .map(|(pod, rs)| {
                // A replica has the container of the content that it was made of, which may have been called
                // otherwise.
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
