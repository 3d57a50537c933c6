//! Whether a rollout whose count was raised meanwhile has brought what it began with. The replicas beyond
//! that count are a matter of room, and say nothing about the version. Pure.

use jiff::Timestamp;

use super::{Rollout, counts::Counts, judge::replicas};
use crate::domain::{diagnosis, observed::Deployment};

impl Rollout {
    /// Returns the sentence about the success, if as many new replicas run as were wanted when the rollout
    /// began, or would run in the room that was taken since, and if more are wanted now and nothing but the
    /// want of room is wrong with the others.
    pub(super) fn brought_enough(
        &self,
        d: &Deployment,
        counts: &Counts<'_>,
        now: Timestamp,
    ) -> Option<String> {
        let p = self.progress;
        let count = self.count.filter(|count| *count > 0 && *count < p.desired)?;
        let have_no_place = counts.updated.iter().filter(|pod| !pod.ready).all(|pod| pod.node.is_none());
        // Old replicas beyond the count at the beginning hold room that the new ones would have. The
        // Deployment controller raises both.
        let taken = (p.old - count).max(0);
        let is_brought = p.ready > 0 && p.ready + taken >= count;
        // They come by different watches, and either may be late.
        let is_seen = d.available >= count && d.updated >= p.ready;
        let is_crowded = !self.problems.is_empty()
            && self.problems.iter().all(diagnosis::is_want_of_room)
            && have_no_place;
        if !(counts.observed && is_brought && is_seen && is_crowded && counts.proved(&self.content, now)) {
            return None;
        }
        let old =
            if p.old > 0 { format!(", and {} of older rollouts still serve", p.old) } else { String::new() };
        Some(format!(
            "{} ready. The count was raised from {count} meanwhile, and there is no room for the others{old}.",
            replicas(p.ready, p.desired)
        ))
    }
}
