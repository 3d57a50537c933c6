//! One view per app: what readers see, made anew from rows when one of them changes. Keeps verdicts once they are reached.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use jiff::Timestamp;

use super::tables::Tables;
use crate::domain::{
    Error,
    app::{App, State},
    error::Missing,
    name::{self, Scope},
    observed::Revision,
    revision::End,
    rollout::Rollout,
};

/// Views of all apps, by name.
#[derive(Default)]
pub(super) struct Views(BTreeMap<name::App, View>);

#[derive(Default)]
struct View {
    /// Absent while there are only revisions.
    app: Option<Arc<App>>,
    /// The newest rollout, for apps that Gantry made.
    rollout: Option<Arc<Rollout>>,
    /// The verdict on the rollout of this number: reached once, it stays, whatever the replicas do later.
    decided: Option<(u64, End)>,
    /// The verdict is not yet kept in the cluster.
    unrecorded: bool,
}

// === impl Views ===

impl Views {
    /// Makes the view of one app anew. True if readers see a difference.
    pub(super) fn rebuild(&mut self, name: &name::App, tables: &Tables, now: Timestamp) -> bool {
        let old = self.0.remove(name).unwrap_or_default();
        let newest = tables.revisions.get(name).and_then(|all| all.values().next_back());
        // Numbers begin again when an app is deleted and made anew, perhaps unseen by a watch that was down.
        let same = |r: &Revision| {
            old.rollout
                .as_ref()
                .is_some_and(|o| o.number == r.number && o.start == r.created && o.digest == r.digest)
        };
        let decided = old.decided.filter(|_| newest.is_some_and(same));
        let (app, rollout) = tables.with_facts(name, |facts| {
            let earlier = decided.as_ref().map(|(_, end)| end);
            let rollout = newest.map(|revision| Rollout::newest(revision, facts, earlier, now));
            let mut app = facts.deployment.map(|d| App::new(d, newest, rollout.as_ref(), facts));
            // While an app is deleted its revisions go one by one; what it was must not seem to change meanwhile.
            if let (Some(app), Some(last)) = (app.as_mut().filter(|a| a.state == State::Deleting), &old.app) {
                app.keep_content_of(last);
            }
            (app, rollout)
        });
        let decided = rollout.as_ref().and_then(|r| Some((r.number, r.to_end()?)));
        let unrecorded = decided.is_some() && newest.is_some_and(|r| r.end.is_none());
        let changed = app.as_ref() != old.app.as_deref() || rollout.as_ref() != old.rollout.as_deref();
        if app.is_some() || rollout.is_some() {
            let keep = |new: Option<App>| new.map(Arc::new);
            let (app, rollout) =
                if changed { (keep(app), rollout.map(Arc::new)) } else { (old.app, old.rollout) };
            self.0.insert(name.clone(), View { app, rollout, decided, unrecorded });
        }
        changed
    }

    pub(super) fn app(&self, name: &name::App) -> Option<Arc<App>> {
        self.0.get(name)?.app.clone()
    }

    pub(super) fn newest_rollout(&self, name: &name::App) -> Option<Arc<Rollout>> {
        self.0.get(name)?.rollout.clone()
    }

    /// Apps of a scope after a name, in order.
    pub(super) fn after<'a>(
        &'a self,
        scope: &'a Scope,
        after: Option<&name::App>,
    ) -> impl Iterator<Item = &'a Arc<App>> {
        let first = match scope {
            Scope::All => name::App::new("", ""),
            Scope::Namespace(namespace) => name::App::new(namespace, ""),
            Scope::App(app) => app.clone(),
        };
        let start = match after {
            Some(after) if *after >= first => Bound::Excluded(after.clone()),
            _ => Bound::Included(first),
        };
        self.0
            .range((start, Bound::Unbounded))
            .take_while(|(name, _)| scope.holds(name))
            .filter_map(|(_, view)| view.app.as_ref())
    }

    /// Apps whose verdict may change without any row changing.
    pub(super) fn waiting_for_time(&self) -> Vec<name::App> {
        let waits =
            |view: &View| view.rollout.as_ref().is_some_and(|r| !r.state.ended() && !r.problems.is_empty());
        self.0.iter().filter(|(_, view)| waits(view)).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn unrecorded(&self) -> Vec<(name::App, u64, End)> {
        self.0
            .iter()
            .filter(|(_, view)| view.unrecorded)
            .filter_map(|(name, view)| view.decided.clone().map(|(number, end)| (name.clone(), number, end)))
            .collect()
    }

    /// The error for an app that is not there, with a name that may have been meant.
    pub(super) fn missing(&self, name: &name::App) -> Error {
        let scope = Scope::Namespace(name.namespace.clone());
        let close = self
            .after(&scope, None)
            .map(|app| (distance(&app.name.app, &name.app), &app.name))
            .filter(|(d, _)| *d <= 2)
            .min_by_key(|(d, _)| *d);
        Error::NotFound {
            kind: Missing::App,
            name: name.to_string(),
            did_you_mean: close.map(|(_, name)| name.to_string()),
        }
    }
}

/// Levenshtein distance; names have at most 253 bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
