//! One view per app, which is what readers see. It is rebuilt from rows when one of them changes. Verdicts
//! stay once they are reached.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use jiff::Timestamp;

use super::tables::{Tables, app_rows::Manages};
use crate::domain::{
    Error,
    app::{App, State},
    error::Missing,
    evidence::Evidence,
    labels::MANAGER,
    name::{self, Scope},
    observed::{ReplicaSet, Revision},
    revision::{Cause, End},
    rollout::{self, Moment, Rollout, Successor, Tracker},
    similar::closest,
};

/// The number of letters by which a name may differ from the one that is meant.
const SLIP: usize = 2;

/// The views of all apps, by name, and the verdicts that are not stored in the cluster yet.
#[derive(Default)]
pub(super) struct Views {
    apps: BTreeMap<name::App, View>,
    /// Verdicts reached here, by app and number. A verdict stays once it is reached, whatever the replicas do
    /// later and whatever rollout comes next. It is dropped when the revision comes back with its end, or is
    /// deleted.
    verdicts: BTreeMap<name::App, BTreeMap<u64, Verdict>>,
    /// Apps with verdicts or external changes to be written to the cluster. These are few, while apps that
    /// Gantry does not manage have verdicts too.
    unwritten: BTreeSet<name::App>,
}

#[derive(Default)]
struct View {
    /// `None` while there are only revisions.
    app: Option<Arc<App>>,
    /// The newest rollout.
    rollout: Option<Arc<Rollout>>,
    /// Whether it is still unknown that Gantry manages the app.
    unconfirmed: bool,
    /// The progress of the newest rollout until it ends.
    tracked: Option<Box<TrackedRollout>>,
}

/// The progress of a rollout.
struct TrackedRollout {
    number: u64,
    identity: RolloutIdentity,
    tracker: Tracker,
}

struct Verdict {
    identity: RolloutIdentity,
    end: End,
    /// The evidence of a failure. Gathered when the failure is found, because the pods that it is about may
    /// be gone a moment later.
    evidence: Option<Arc<Evidence>>,
}

/// A verdict that is not stored in the cluster yet.
#[derive(Clone, Debug, PartialEq)]
pub struct UnrecordedVerdict {
    /// The app.
    pub app: name::App,
    /// Number of the rollout.
    pub number: u64,
    /// The verdict.
    pub end: End,
    /// The evidence, for a failure.
    pub evidence: Option<Arc<Evidence>>,
}

/// Identifies the rollout of a verdict. The number is not enough, because numbers begin again when an app is
/// deleted and created again, and a watch that was down may miss the deletion.
#[derive(PartialEq, Eq)]
enum RolloutIdentity {
    Revision {
        created: Timestamp,
        digest: String,
    },
    /// A change made outside Gantry.
    Set {
        name: Arc<str>,
        number: u64,
    },
}

// === impl Views ===

impl Views {
    /// Rebuilds the view of one app. Returns whether readers see a difference.
    pub(super) fn rebuild(&mut self, name: &name::App, tables: &Tables, at: Moment) -> bool {
        let now = at.now;
        let mut old = self.apps.remove(name).unwrap_or_default();
        let mut tracked = old.tracked.take();
        let revisions = tables.history(name);
        let newest = revisions.and_then(|all| all.values().next_back());
        let not_external = |r: &&Revision| r.cause != Cause::External;
        let asked = revisions.and_then(|all| all.values().rev().find(not_external));
        let (app, mut rollout, recorded) = tables.with_rows(name, |facts| {
            let newest = newest.filter(|revision| !rollout::is_gone(revision, facts, now));
            let latest = Rollout::latest(newest, facts);
            self.forget(name, tables, latest.as_ref());
            let end = newest.filter(|r| latest.as_ref().is_some_and(|l| l.number == r.number));
            let end = end.and_then(|revision| revision.end.as_ref());
            let mut rollout = latest.map(|latest| {
                let reached = self.verdict(&latest).map(|verdict| &verdict.end);
                let decided = end.filter(|end| !reached.is_some_and(|reached| completes(reached, end)));
                let tracker = TrackedRollout::tracker_of(&mut tracked, &latest);
                latest.judged(facts, decided.or(reached), tracker, at)
            });
            let mut is_stored = end.is_some();
            // What succeeded at zero replicas is known to be good once its replicas run.
            if let (Some(rollout), Some(d)) = (rollout.as_mut(), facts.deployment)
                && let (Some(ready), Some(end)) = (rollout.is_tried(d, facts, now), rollout.to_end())
            {
                rollout.message = end.tried(ready, now).message;
                rollout.untried = false;
                is_stored = false;
            }
            let mut app =
                facts.deployment.map(|d| App::new(d, asked.or(newest), rollout.as_ref(), facts, now));
            // While an app is deleted its revisions go one by one. Its content must not seem to change
            // meanwhile.
            if let (Some(app), Some(last)) = (app.as_mut().filter(|a| a.state == State::Deleting), &old.app) {
                app.keep_content_of(last);
            }
            (app, rollout, is_stored)
        });
        if let Some((rollout, end)) =
            rollout.as_mut().filter(|_| !recorded).and_then(|r| r.to_end().map(|end| (r, end)))
        {
            let known = self.verdict(rollout).map(|verdict| verdict.evidence.clone());
            let failed = rollout.state == rollout::State::Failed;
            let evidence = known.unwrap_or_else(|| failed.then(|| Arc::new(tables.evidence(rollout, now))));
            rollout.evidence.clone_from(&evidence);
            rollout.unkept = failed && tables.has_revision(name, rollout.number);
            let verdict = Verdict { identity: RolloutIdentity::of(rollout), end, evidence };
            self.verdicts.entry(name.clone()).or_default().insert(rollout.number, verdict);
        }
        self.track_unwritten(name, tables, app.as_ref(), rollout.as_ref());
        let changed = app.as_ref() != old.app.as_deref() || rollout.as_ref() != old.rollout.as_deref();
        if app.is_some() || rollout.is_some() {
            let tracked = tracked.filter(|_| rollout.as_ref().is_some_and(|r| !r.state.ended()));
            let unconfirmed = tables.manages(name) == Manages::Unconfirmed;
            let view = if changed {
                View { app: app.map(Arc::new), rollout: rollout.map(Arc::new), unconfirmed, tracked }
            } else {
                View { unconfirmed, tracked, ..old }
            };
            self.apps.insert(name.clone(), view);
        }
        changed
    }

    /// Returns the verdict on a rollout, if it was reached here and is not in its revision yet.
    fn verdict(&self, rollout: &Rollout) -> Option<&Verdict> {
        let verdict = self.verdicts.get(&rollout.app)?.get(&rollout.number)?;
        (verdict.identity == RolloutIdentity::of(rollout)).then_some(verdict)
    }

    /// Returns a rollout that is not the newest, with the verdict that was reached here if its revision has
    /// none.
    pub(super) fn past_rollout(
        &self,
        rollout: Rollout,
        recorded: Option<&End>,
        next: &Successor<'_>,
    ) -> Rollout {
        let decided = self.verdict(&rollout).filter(|_| recorded.is_none());
        let evidence =
            decided.and_then(|verdict| verdict.evidence.clone()).or_else(|| rollout.evidence.clone());
        let end = recorded.or_else(|| decided.map(|verdict| &verdict.end));
        Rollout { evidence, ..rollout }.before(end, next)
    }

    /// Drops verdicts that came back in their revisions, and verdicts on rollouts that no longer exist.
    fn forget(&mut self, name: &name::App, tables: &Tables, latest: Option<&Rollout>) {
        let Some(verdicts) = self.verdicts.get_mut(name) else { return };
        let revisions = tables.history(name);
        verdicts.retain(|number, verdict| {
            let newest =
                latest.is_some_and(|l| l.number == *number && RolloutIdentity::of(l) == verdict.identity);
            match (revisions, revisions.and_then(|all| all.get(number))) {
                (_, Some(r)) => {
                    r.end.as_ref().is_none_or(|end| completes(&verdict.end, end))
                        && RolloutIdentity::of(&Rollout::recorded(r)) == verdict.identity
                }
                (Some(_), None) => newest,
                (None, None) => {
                    newest || tables.sets(name).any(|rs| verdict.identity == RolloutIdentity::of_set(rs))
                }
            }
        });
        if verdicts.is_empty() {
            self.verdicts.remove(name);
        }
    }

    fn track_unwritten(
        &mut self,
        name: &name::App,
        tables: &Tables,
        app: Option<&App>,
        rollout: Option<&Rollout>,
    ) {
        let verdicts = self.verdicts.get(name).into_iter().flat_map(BTreeMap::keys);
        let unrecorded = verdicts.copied().any(|number| tables.has_revision(name, number));
        let ours = app.is_some_and(|app| app.managed_by == MANAGER);
        if unrecorded || ours && rollout.is_some_and(|r| is_unrecorded_external_change(r, tables)) {
            self.unwritten.insert(name.clone());
        } else {
            self.unwritten.remove(name);
        }
    }

    /// Returns the rollouts that were begun outside Gantry and have no revision yet.
    pub(super) fn unrecorded_external_changes(&self, tables: &Tables) -> impl Iterator<Item = &Rollout> {
        let views = self.unwritten.iter().filter_map(|name| self.apps.get(name));
        let ours = views.filter(|view| view.app.as_ref().is_some_and(|app| app.managed_by == MANAGER));
        ours.filter_map(|view| view.rollout.as_deref())
            .filter(|rollout| is_unrecorded_external_change(rollout, tables))
    }

    pub(super) fn app(&self, name: &name::App) -> Option<Arc<App>> {
        self.apps.get(name)?.app.clone()
    }

    pub(super) fn newest_rollout(&self, name: &name::App) -> Option<Arc<Rollout>> {
        self.apps.get(name)?.rollout.clone()
    }

    /// Returns the newest rollout of each app that has one.
    pub(super) fn newest_rollouts(&self) -> impl Iterator<Item = &Arc<Rollout>> {
        self.apps.values().filter_map(|view| view.rollout.as_ref())
    }

    /// Returns the apps of a scope after a name, ordered by name.
    pub(super) fn apps_after<'a>(
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

    /// Returns the apps whose verdict, recovery or owner of the replica count may change with time alone.
    pub(super) fn waiting_for_time(&self, now: Timestamp) -> Vec<name::App> {
        let waits = |view: &View| {
            view.unconfirmed
                || view.rollout.as_ref().is_some_and(|r| {
                    !r.state.ended() || r.untried && view.app.as_ref().is_some_and(|app| app.desired > 0)
                })
                || view.app.as_ref().is_some_and(|app| {
                    [app.owner_until, app.problems_until].into_iter().flatten().any(|until| until <= now)
                })
                || view.app.as_ref().is_some_and(|app| app.may_recover())
        };
        self.apps.iter().filter(|(_, view)| waits(view)).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn unrecorded_verdicts(&self, tables: &Tables) -> Vec<UnrecordedVerdict> {
        let of_app = |(name, verdicts): (&name::App, &BTreeMap<u64, Verdict>)| {
            let has_revision = |(number, _): &(&u64, &Verdict)| tables.has_revision(name, **number);
            let recordable = verdicts.iter().filter(has_revision);
            let unrecorded = |(number, v): (&u64, &Verdict)| UnrecordedVerdict {
                app: name.clone(),
                number: *number,
                end: v.end.clone(),
                evidence: v.evidence.clone(),
            };
            recordable.map(unrecorded).collect::<Vec<_>>()
        };
        let unwritten = self.unwritten.iter().filter_map(|name| self.verdicts.get_key_value(name));
        unwritten.flat_map(of_app).collect()
    }

    /// Whether a verdict on a rollout of an app was reached here and has not come back with its revision.
    pub(super) fn has_verdict(&self, name: &name::App) -> bool {
        self.verdicts.contains_key(name)
    }

    /// Whether a verdict on a rollout of an app is not stored with its revision yet.
    pub(super) fn has_unrecorded_verdict(&self, name: &name::App, tables: &Tables) -> bool {
        let mut numbers = self.verdicts.get(name).into_iter().flat_map(BTreeMap::keys);
        numbers.any(|number| tables.has_revision(name, *number))
    }

    /// Returns the error for an app that does not exist, with a similar name if there is one.
    pub(super) fn missing(&self, name: &name::App) -> Error {
        let scope = Scope::Namespace(name.namespace.clone());
        let close = closest(&name.app, self.apps_after(&scope, None).map(|app| app.name.app.as_str()), SLIP);
        Error::NotFound {
            kind: Missing::App,
            name: name.to_string(),
            did_you_mean: close.map(|app| name::App::new(&name.namespace, app).to_string()),
        }
    }

    /// Returns the error for a namespace that does not exist, with a similar name of one that has apps.
    pub(super) fn missing_namespace(&self, namespace: &str) -> Error {
        let close = closest(namespace, self.namespaces(), SLIP);
        Error::NotFound {
            kind: Missing::Namespace,
            name: format!("namespaces/{namespace}"),
            did_you_mean: close.map(|close| format!("namespaces/{close}")),
        }
    }

    /// Returns every namespace with an app or a revision, once.
    pub(super) fn namespaces(&self) -> impl Iterator<Item = &str> {
        let mut from = Bound::Unbounded;
        std::iter::from_fn(move || {
            let (name, _) = self.apps.range((from.clone(), Bound::Unbounded)).next()?;
            // Names are ASCII.
            from = Bound::Excluded(name::App::new(&name.namespace, char::MAX));
            Some(name.namespace.as_str())
        })
    }
}

/// Returns whether a verdict reached here says more than the stored one: that replicas of a rollout have run,
/// which succeeded at zero replicas.
fn completes(reached: &End, stored: &End) -> bool {
    stored.is_untried() && !reached.is_untried()
}

fn is_unrecorded_external_change(rollout: &Rollout, tables: &Tables) -> bool {
    rollout.cause == Cause::External && !tables.has_revision(&rollout.app, rollout.number)
}

impl TrackedRollout {
    /// Returns the tracker of a rollout. It is a new one if the stored one is of another rollout.
    fn tracker_of<'a>(slot: &'a mut Option<Box<Self>>, rollout: &Rollout) -> &'a mut Tracker {
        let identity = RolloutIdentity::of(rollout);
        if slot.as_ref().is_some_and(|known| known.number != rollout.number || known.identity != identity) {
            *slot = None;
        }
        let new = || Box::new(Self { number: rollout.number, identity, tracker: Tracker::default() });
        &mut slot.get_or_insert_with(new).tracker
    }
}

impl RolloutIdentity {
    fn of(rollout: &Rollout) -> Self {
        match &rollout.set {
            Some((name, number)) => Self::Set { name: name.clone(), number: *number },
            None => Self::Revision { created: rollout.start, digest: rollout.digest.clone() },
        }
    }

    fn of_set(rs: &ReplicaSet) -> Self {
        Self::Set { name: rs.name.clone(), number: rs.template_revision }
    }
}
