//! Whether the failure of a rollout has passed since. The verdict stays, but the app is judged by what is
//! wrong now. Pure.

use jiff::Timestamp;

use super::{AppRows, Rollout, State, counts::Counts};
use crate::domain::{
    observed::Deployment,
    problem::{Problem, Reason},
};

impl Rollout {
    /// Returns since when a failed rollout has what it was to bring: every replica is current, ready, and has
    /// run long enough to count as working. `None` if it has not, or did not fail.
    pub fn recovered(&self, d: &Deployment, facts: &AppRows<'_>, now: Timestamp) -> Option<Timestamp> {
        let end = self.end.filter(|_| self.state == State::Failed)?;
        let counts = Counts::new(d, facts, now);
        // A replica that ends again and again may be ready in between, whatever its probe.
        let steady = match self.error.as_ref().map(|error| error.reason) {
            Some(Reason::CrashLoop | Reason::OutOfMemory) => d.desired == 0 || counts.keeps_running(now),
            _ => counts.proved(&self.content, now),
        };
        let whole = self.is_own(d, &counts) && counts.complete(d) && steady;
        let ready = counts.updated.iter().filter_map(|pod| pod.ready_since()).max();
        whole.then(|| ready.map_or(end, |ready| ready.max(end)))
    }

    /// Returns whether the current replicas are those of this rollout. One that was never applied leaves the
    /// replicas of the one before.
    fn is_own(&self, d: &Deployment, counts: &Counts<'_>) -> bool {
        match &self.set {
            Some((set, _)) => counts.current.is_some_and(|current| current.name == *set),
            None => d.revision == Some(self.number),
        }
    }

    /// Returns the problem of the replica that was told to stop and that this rollout waits for.
    pub fn stopping_problem(&self, d: &Deployment, facts: &AppRows<'_>, now: Timestamp) -> Option<Problem> {
        let waits = !matches!(self.state, State::Pending | State::Succeeded) && d.is_observed();
        let counts = waits.then(|| Counts::new(d, facts, now)).filter(|counts| counts.current.is_none())?;
        counts.stopping?.problem
    }

    /// Returns the number of ready replicas of a rollout that succeeded at zero replicas, once all that are
    /// wanted since then run as those of a success do.
    pub fn is_tried(&self, d: &Deployment, facts: &AppRows<'_>, now: Timestamp) -> Option<i32> {
        let counts = (self.untried && d.desired > 0).then(|| Counts::new(d, facts, now))?;
        let runs = self.is_own(d, &counts) && counts.complete(d) && counts.proved(&self.content, now);
        runs.then_some(d.desired)
    }

    /// Returns the problem that made it fail, as long as nothing shows that it has passed. Problems that rows
    /// show for as long as they last are left out, because then the rows decide.
    pub fn standing_error(&self, d: &Deployment, facts: &AppRows<'_>, now: Timestamp) -> Option<&Problem> {
        let error = self.error.as_ref()?;
        let stands = match error.reason {
            Reason::ImagePullFailed
            | Reason::ConfigMissing
            | Reason::VolumeFailed
            | Reason::AdmissionDenied
            | Reason::QuotaExceeded
            | Reason::NodeLost
            | Reason::Unschedulable => false,
            // Between two crashes the replica runs.
            Reason::CrashLoop | Reason::OutOfMemory => {
                Counts::new(d, facts, now).updated.iter().any(|pod| pod.restarts > 0)
            }
            Reason::ProbeFailing | Reason::ProgressTimeout => {
                d.completed.is_none_or(|completed| self.end.is_none_or(|end| completed <= end))
            }
        };
        Some(error).filter(|_| stands)
    }
}
