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

/// Views of all apps, by name, and the verdicts that the cluster does not hold yet.
#[derive(Default)]
pub(super) struct Views {
    apps: BTreeMap<name::App, View>,
    /// Verdicts reached here, by app and number: reached once, they stay, whatever the replicas do later and whatever rollout
    /// comes next. They leave when the revision comes back with its end, or goes.
    verdicts: BTreeMap<name::App, BTreeMap<u64, Verdict>>,
}

#[derive(Default)]
struct View {
    /// Absent while there are only revisions.
    app: Option<Arc<App>>,
    /// The newest rollout, for apps that Gantry made.
    rollout: Option<Arc<Rollout>>,
}

struct Verdict {
    /// Numbers begin again when an app is deleted and made anew, perhaps unseen by a watch that was down.
    created: Timestamp,
    digest: String,
    end: End,
}

// === impl Views ===

impl Views {
    /// Makes the view of one app anew. True if readers see a difference.
    pub(super) fn rebuild(&mut self, name: &name::App, tables: &Tables, now: Timestamp) -> bool {
        let old = self.apps.remove(name).unwrap_or_default();
        let revisions = tables.revisions.get(name);
        self.forget_recorded(name, revisions);
        let newest = revisions.and_then(|all| all.values().next_back());
        let (app, rollout) = tables.with_facts(name, |facts| {
            let decided = newest.and_then(|revision| self.verdict(revision));
            let rollout = newest.map(|revision| Rollout::newest(revision, facts, decided, now));
            let mut app = facts.deployment.map(|d| App::new(d, newest, rollout.as_ref(), facts));
            // While an app is deleted its revisions go one by one; what it was must not seem to change meanwhile.
            if let (Some(app), Some(last)) = (app.as_mut().filter(|a| a.state == State::Deleting), &old.app) {
                app.keep_content_of(last);
            }
            (app, rollout)
        });
        if let (Some(revision), Some(end)) = (newest, rollout.as_ref().and_then(Rollout::to_end))
            && revision.end.is_none()
        {
            let verdict = Verdict { created: revision.created, digest: revision.digest.clone(), end };
            self.verdicts.entry(name.clone()).or_default().insert(revision.number, verdict);
        }
        let changed = app.as_ref() != old.app.as_deref() || rollout.as_ref() != old.rollout.as_deref();
        if app.is_some() || rollout.is_some() {
            let view =
                if changed { View { app: app.map(Arc::new), rollout: rollout.map(Arc::new) } } else { old };
            self.apps.insert(name.clone(), view);
        }
        changed
    }

    /// The verdict on a revision's rollout, if it was reached here and is not in the revision yet.
    pub(super) fn verdict(&self, revision: &Revision) -> Option<&End> {
        let verdict = self.verdicts.get(&revision.app)?.get(&revision.number)?;
        verdict.is_on(revision).then_some(&verdict.end)
    }

    fn forget_recorded(&mut self, name: &name::App, revisions: Option<&BTreeMap<u64, Revision>>) {
        let Some(verdicts) = self.verdicts.get_mut(name) else { return };
        verdicts.retain(|number, verdict| {
            let revision = revisions.and_then(|all| all.get(number));
            revision.is_some_and(|r| r.end.is_none() && verdict.is_on(r))
        });
        if verdicts.is_empty() {
            self.verdicts.remove(name);
        }
    }

    pub(super) fn app(&self, name: &name::App) -> Option<Arc<App>> {
        self.apps.get(name)?.app.clone()
    }

    pub(super) fn newest_rollout(&self, name: &name::App) -> Option<Arc<Rollout>> {
        self.apps.get(name)?.rollout.clone()
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
        self.apps
            .range((start, Bound::Unbounded))
            .take_while(|(name, _)| scope.holds(name))
            .filter_map(|(_, view)| view.app.as_ref())
    }

    /// Apps whose verdict may change without any row changing.
    pub(super) fn waiting_for_time(&self) -> Vec<name::App> {
        let waits = |view: &View| view.rollout.as_ref().is_some_and(|r| !r.state.ended());
        self.apps.iter().filter(|(_, view)| waits(view)).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn unrecorded(&self) -> Vec<(name::App, u64, End)> {
        let of_app = |(name, verdicts): (&name::App, &BTreeMap<u64, Verdict>)| {
            verdicts.iter().map(|(number, v)| (name.clone(), *number, v.end.clone())).collect::<Vec<_>>()
        };
        self.verdicts.iter().flat_map(of_app).collect()
    }

    /// The error for an app that is not there, with a name that may have been meant.
    pub(super) fn missing(&self, name: &name::App) -> Error {
        let scope = Scope::Namespace(name.namespace.clone());
        let close = self
            .after(&scope, None)
            .map(|app| (distance(&app.name.app, &name.app), &app.name))
            .filter(|(d, _)| *d <= 2 && *d * 3 <= name.app.len())
            .min_by_key(|(d, _)| *d);
        Error::NotFound {
            kind: Missing::App,
            name: name.to_string(),
            did_you_mean: close.map(|(_, name)| name.to_string()),
        }
    }
}

impl Verdict {
    fn is_on(&self, revision: &Revision) -> bool {
        self.created == revision.created && self.digest == revision.digest
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
