//! Takes rows in, and rebuilds the views of the apps that they change. Must not know how rows arrive.

use jiff::Timestamp;

use super::{
    kind::Kind,
    state::{Index, IndexState},
    tables::Row,
};
use crate::domain::rollout::Moment;

// === impl Index ===

impl Index {
    /// Takes in new and changed rows, and removes deleted ones, in one step.
    pub fn update_rows<R: Row>(&self, applied: Vec<R>, deleted: Vec<R::Key>, now: Timestamp) {
        let mut state = self.state.write();
        for row in applied {
            row.insert(&mut state.tables);
        }
        for key in deleted {
            R::remove(&key, &mut state.tables);
        }
        state.publish(now);
    }

    /// Replaces all rows of a kind by these.
    pub fn reset_rows<R: Row>(&self, kind: Kind, rows: Vec<R>, now: Timestamp) {
        let mut state = self.state.write();
        state.tables.reset(rows);
        state.note_heard(kind, now);
        state.refused.remove(&kind);
        state.publish(now);
    }

    /// Records that the daemon may not read a kind. If the kind is optional and was never read, the index
    /// does without it.
    pub fn refuse_kind(&self, kind: Kind, now: Timestamp) {
        let mut state = self.state.write();
        if kind.is_optional() && !state.heard.contains_key(&kind) && state.refused.insert(kind) {
            state.publish(now);
        }
    }

    /// Records that everything about Deployments up to this resourceVersion has been taken in.
    pub fn set_deployments_version(&self, version: u64) {
        let mut state = self.state.write();
        state.deployments_version = state.deployments_version.max(version);
    }

    /// Records that the cluster has sent something about a kind, even if only that nothing changed.
    pub fn note_heard(&self, kind: Kind, now: Timestamp) {
        // A kind counts as read only after its first reset.
        let mut state = self.state.write();
        if state.heard.contains_key(&kind) {
            state.note_heard(kind, now);
        }
    }

    /// Judges again what changes with time alone: problems that outlast their grace, and holds that end.
    pub fn tick(&self, now: Timestamp) {
        let now = self.state.read().as_of(now);
        let (waiting, moved) = {
            let state = self.state.read();
            (state.views.waiting_for_time(now), state.has_moved())
        };
        if moved {
            self.state.write().count_endpoints(now);
        }
        if !waiting.is_empty() {
            let mut state = self.state.write();
            state.tables.touch(waiting);
            state.publish(now);
        }
    }
}

// === impl IndexState ===

impl IndexState {
    fn note_heard(&mut self, kind: Kind, now: Timestamp) {
        self.heard.insert(kind, now);
        if kind == Kind::Revisions {
            self.tables.revisions_heard = Some(now);
        }
    }

    /// Rebuilds the views of changed apps. Does nothing before every kind was read, because a verdict on half
    /// of the rows would stay.
    fn publish(&mut self, now: Timestamp) {
        if !self.is_filled() {
            return;
        }
        let moved = self.tables.take_moved();
        let dirty = self.tables.take_dirty();
        let at = Moment { now, heard: self.as_of(now) };
        for name in moved.union(&dirty) {
            self.endpoint_channels.publish(name, &self.tables);
        }
        for name in &dirty {
            let before = (self.views.app(name), self.views.newest_rollout(name));
            let had_verdict = self.views.has_verdict(name);
            if self.views.rebuild(name, &self.tables, at) {
                self.note_changes(name, before, now);
                let exists = self.views.app(name).is_some();
                let version = self.changes.record(name, exists);
                self.app_subscriptions.notify(name, version);
            }
            if had_verdict && !self.views.has_unrecorded_verdict(name, &self.tables) {
                self.verdict_subscriptions.notify(name, 0);
            }
        }
        self.note_events(moved.into_iter().chain(dirty), now);
    }
}
