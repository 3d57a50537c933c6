//! An app as callers see it: its desired content and its status in one view. Pure; derived from rows again
//! whenever one of them changes.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    diagnosis,
    labels::{MANAGED_BY_LABEL, MANAGER},
    name,
    observed::{Deployment, Revision},
    problem::Problem,
    revision::Cause,
    rollout::{AppRows, Rollout, State as RolloutState},
    spec::{Content, Policy},
};
use crate::autoscale::{Hold, Mode};

/// An app with its status.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Its name.
    pub name: name::App,
    /// The uid of its Deployment, which distinguishes it from an earlier app of the same name.
    pub uid: String,
    /// The content that callers asked for. For an app that Gantry does not manage, the content of its pod
    /// template.
    pub content: Arc<Content>,
    /// The etag of the content, for conditional updates.
    pub etag: String,
    /// Labels of the Deployment, for selectors.
    pub labels: BTreeMap<String, String>,
    /// When it was first deployed.
    pub created: Timestamp,
    /// When the desired state last changed.
    pub updated: Timestamp,
    /// The tool that manages it: `gantry`, or the value of its label, or empty.
    pub managed_by: String,
    /// Its state.
    pub state: State,
    /// Whether a change or deletion is in progress.
    pub reconciling: bool,
    /// One sentence that gives the reason.
    pub message: String,
    /// The desired replica count.
    pub desired: i32,
    /// Replicas that are ready.
    pub ready: i32,
    /// Replicas that run the current content.
    pub current_content: i32,
    /// Replicas that exist.
    pub existing: i32,
    /// All current problems, most urgent first.
    pub problems: Vec<Problem>,
    /// When one of them goes without any change: replicas that ended are no problem for ever.
    pub problems_until: Option<Timestamp>,
    /// The number of the newest rollout.
    pub rollout: Option<u64>,
    /// Fields of the Deployment that the content cannot express, for an app that Gantry does not manage.
    pub unmodelled: Vec<String>,
    /// Who controls the replica count.
    pub owner: Owner,
    /// When the owner changes without a write: at the end of a hold or of a freeze.
    pub owner_until: Option<Timestamp>,
}

/// Who controls the replica count of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Callers. Names the field manager that set it last; empty if unknown.
    Caller(String),
    /// Gantry's autoscaler. The text says why it does not act; empty if it acts.
    Autoscaler(String),
    /// A caller's hold over the autoscaler, for a time.
    Hold(Arc<Hold>),
    /// An external autoscaler, for example `horizontalpodautoscaler.autoscaling/shop`.
    Foreign(String),
}

/// The state of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// All desired replicas are ready and current.
    Active,
    /// A change is in progress.
    Updating,
    /// Serving, but with too few replicas, or the last rollout failed.
    Degraded,
    /// Not serving, and not recovering without a change.
    Failed,
    /// Scaled to zero.
    Stopped,
    /// Being deleted.
    Deleting,
}

// === impl App ===

impl App {
    /// Derives the view of a Deployment at this time. `rollout` is the newest rollout. `asked` is the newest
    /// revision that callers asked for, if Gantry manages the app.
    pub fn new(
        d: &Deployment,
        asked: Option<&Revision>,
        rollout: Option<&Rollout>,
        facts: &AppRows<'_>,
        now: Timestamp,
    ) -> Self {
        let shown = || Arc::new(Content::of_unmanaged(&d.labels, &d.spec));
        let content = match (asked, rollout) {
            (Some(revision), _) => revision.content.clone(),
            (None, rollout) => rollout.map_or_else(shown, |rollout| rollout.content.clone()),
        };
        let policy = content.spec.policy();
        let recovered = rollout.and_then(|r| r.recovered(d, facts, now));
        let ended = facts.current_ended(d);
        let ends = diagnosis::diagnose_ended(&ended, facts.around, &policy, now);
        let problems = problems(d, rollout.filter(|_| recovered.is_none()), facts, &policy, ends, now);
        let (state, mut message) = summary(d, rollout, &problems, recovered);
        if let Some(external) =
            rollout.filter(|r| asked.is_some() && r.cause == Cause::External && !d.deleting)
        {
            if !message.ends_with('.') {
                message.push('.');
            }
            message.push_str(&overruled(external));
        }
        Self {
            name: d.name.clone(),
            uid: d.uid.clone(),
            etag: content.etag(),
            content,
            labels: d.labels.clone(),
            created: d.created,
            updated: asked.map_or(d.created, |revision| revision.created),
            managed_by: d
                .labels
                .get(MANAGED_BY_LABEL)
                .filter(|by| facts.managed || *by != MANAGER)
                .cloned()
                .unwrap_or_default(),
            state,
            reconciling: matches!(state, State::Updating | State::Deleting),
            message,
            desired: d.desired,
            ready: d.ready,
            current_content: current_content(d, facts),
            existing: d.current,
            problems,
            problems_until: diagnosis::ended_until(&ended, now),
            rollout: rollout.map(|r| r.number),
            unmodelled: d.unmodelled.clone(),
            owner: Owner::of(d, facts.autoscaler.as_deref(), now),
            owner_until: d.scaling.changes_at(now),
        }
    }
}

impl Owner {
    /// Decides who controls the replica count of a Deployment at this time. `foreign` is the external
    /// autoscaler that scales it.
    fn of(d: &Deployment, foreign: Option<&str>, now: Timestamp) -> Self {
        if let Some(autoscaler) = foreign {
            return Self::Foreign(autoscaler.to_owned());
        }
        if let Some(hold) = d.scaling.active_hold(now) {
            return Self::Hold(hold.clone());
        }
        match d.scaling.policy.as_ref().map(|policy| (policy.mode_at(now), policy.freeze_end)) {
            Some((Mode::Active, _)) => Self::Autoscaler(String::new()),
            Some((Mode::Frozen, None)) => Self::Autoscaler("frozen until a caller ends it".to_owned()),
            Some((Mode::Frozen, Some(end))) => Self::Autoscaler(format!("frozen until {end}")),
            Some((Mode::Off | Mode::Shadow, _)) | None => {
                Self::Caller(d.count_by.as_ref().map_or_else(String::new, |by| by.manager.to_string()))
            }
        }
    }
}

/// Returns a sentence that says that the app runs something else than callers asked for.
fn overruled(external: &Rollout) -> String {
    let by = if external.actor.is_empty() { String::new() } else { format!(" by {}", external.actor) };
    format!(" Rollout {} changed it outside Gantry{by}; a deploy with `force` reverts that.", external.number)
}

impl App {
    /// Returns whether its replicas may only have to run for a moment until the failure of its rollout counts
    /// as passed.
    pub fn may_recover(&self) -> bool {
        let are_ready = self.ready >= self.desired && self.current_content >= self.desired;
        self.state == State::Degraded && are_ready
    }

    /// Copies the fields that come from revisions from an earlier view.
    pub fn keep_content_of(&mut self, earlier: &Self) {
        self.content = earlier.content.clone();
        self.etag.clone_from(&earlier.etag);
        self.updated = earlier.updated;
        self.rollout = earlier.rollout;
    }
}

/// Returns the number of replicas that run the current pod template. Until the ReplicaSet of that template
/// exists, the Deployment's own count is about the previous template.
fn current_content(d: &Deployment, facts: &AppRows<'_>) -> i32 {
    let is_there =
        facts.replica_sets.is_empty() || facts.replica_sets.iter().any(|rs| rs.template == d.template);
    if is_there { d.updated } else { 0 }
}

fn problems(
    d: &Deployment,
    rollout: Option<&Rollout>,
    facts: &AppRows<'_>,
    policy: &Policy,
    ends: Option<Problem>,
    now: Timestamp,
) -> Vec<Problem> {
    let pods = facts.pods.iter().copied();
    let mut problems = diagnosis::diagnose_replicas(d, facts.current(d), pods, facts.around, policy, None);
    problems.extend(refusal(d, rollout, facts));
    problems.extend(rollout.and_then(|r| r.stopping_problem(d, facts, now)));
    diagnosis::sort_by_urgency(&mut problems);
    diagnosis::add_ended(&mut problems, ends);
    // Not every problem shows at each moment, so that of the failure stays until it has passed.
    if let Some(error) = rollout.and_then(|r| r.standing_error(d, facts, now))
        && problems.iter().all(|p| p.reason != error.reason)
    {
        problems.insert(0, error.clone());
    }
    problems
}

/// Returns why the Deployment controller cannot take up the newest template. While a rollout runs, the
/// refusal is returned only if the rollout has judged it to be its own.
fn refusal(d: &Deployment, rollout: Option<&Rollout>, facts: &AppRows<'_>) -> Option<Problem> {
    let refusal = diagnosis::find_refusal(d, &facts.replica_sets, facts.around)?;
    let under_way = rollout.filter(|r| !r.state.ended() && r.set.is_none());
    let is_known = |r: &Rollout| r.problems.iter().any(|problem| problem.object == refusal.problem.object);
    under_way.is_none_or(is_known).then_some(refusal.problem)
}

fn summary(
    d: &Deployment,
    rollout: Option<&Rollout>,
    problems: &[Problem],
    recovered: Option<Timestamp>,
) -> (State, String) {
    let ready = || {
        let noun = if d.desired == 1 { "replica is" } else { "replicas are" };
        format!("{} of {} {noun} ready", d.ready, d.desired)
    };
    let worst = problems.first();
    let because =
        |problem: Option<&Problem>| problem.map_or_else(|| ".".to_owned(), |p| format!(": {}", p.message));
    let settled = d.is_observed() && d.updated >= d.desired && d.current <= d.desired;
    if d.deleting {
        return (State::Deleting, "Being deleted.".to_owned());
    }
    let stopped = d.desired == 0 && d.current == 0;
    match rollout.map(|r| (r, r.state)) {
        Some((r, RolloutState::Running)) if stopped && settled => (State::Stopped, r.message.clone()),
        Some((r, RolloutState::Failed)) if let Some(since) = recovered => {
            let cause = r.error.as_ref().map_or(&r.message, |error| &error.message);
            if stopped {
                return (State::Stopped, format!("Scaled to zero. Rollout {} failed: {cause}", r.number));
            }
            let said =
                format!("{}. Rollout {} failed, which has passed since {since}: {cause}", ready(), r.number);
            (State::Active, said)
        }
        Some((r, RolloutState::Failed)) => {
            let state = if d.ready > 0 { State::Degraded } else { State::Failed };
            let is_same = |p: &&Problem| r.error.as_ref().is_some_and(|error| error.reason == p.reason);
            match problems.iter().find(is_same).or(worst) {
                None if r.error.is_some() => {
                    (state, format!("Rollout {} failed for a reason that has passed; {}.", r.number, ready()))
                }
                cause => (state, format!("Rollout {} failed; {}{}", r.number, ready(), because(cause))),
            }
        }
        Some((r, RolloutState::Pending | RolloutState::Running | RolloutState::Paused)) => {
            (State::Updating, format!("Rollout {}: {}", r.number, r.message))
        }
        _ if stopped => (State::Stopped, "Scaled to zero.".to_owned()),
        _ if settled && d.ready >= d.desired => (State::Active, ready() + "."),
        _ => match worst {
            Some(problem) if d.ready > 0 => {
                (State::Degraded, format!("{}{}", ready(), because(Some(problem))))
            }
            Some(problem) if problem.fatal => {
                (State::Failed, format!("{}{}", ready(), because(Some(problem))))
            }
            problem => (State::Updating, format!("{}{}", ready(), because(problem))),
        },
    }
}
