//! An app as callers see it: what is wanted, how it is, in one view. Pure; made anew from rows whenever one
//! changes.

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
    /// Tells it from an earlier one of the same name.
    pub uid: String,
    /// What callers asked for; for an app that Gantry does not manage, what its pod template says.
    pub content: Arc<Content>,
    /// Guards updates.
    pub etag: String,
    /// Labels of the Deployment, for selectors.
    pub labels: BTreeMap<String, String>,
    /// When it was first deployed.
    pub created: Timestamp,
    /// When the desired state last changed.
    pub updated: Timestamp,
    /// Who manages it: `gantry` if this server does, else what its label says, else empty.
    pub managed_by: String,
    /// One-word summary.
    pub state: State,
    /// Something is under way.
    pub reconciling: bool,
    /// One sentence that says why.
    pub message: String,
    /// Replicas asked for.
    pub desired: i32,
    /// Replicas that are ready.
    pub ready: i32,
    /// Replicas that run the current content.
    pub current_content: i32,
    /// Replicas that exist.
    pub existing: i32,
    /// Everything that is wrong right now, most urgent first.
    pub problems: Vec<Problem>,
    /// The newest rollout's number.
    pub rollout: Option<u64>,
    /// Fields of the Deployment that the content cannot express, of an app that Gantry does not manage.
    pub unmodelled: Vec<String>,
    /// Who decides the replica count.
    pub owner: Owner,
    /// When another one does, with nothing written: the end of a hold or of a freeze.
    pub owner_until: Option<Timestamp>,
}

/// Who decides the replica count of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Callers set it: the field manager that did so last, empty if that is not known.
    Caller(String),
    /// The autoscaler of this server; the words say what keeps it from acting, if anything does.
    Autoscaler(String),
    /// A caller over the autoscaler, for a time.
    Hold(Arc<Hold>),
    /// An autoscaler that is not ours, for example `horizontalpodautoscaler.autoscaling/shop`.
    Foreign(String),
}

/// Summary of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// All desired replicas are ready and current.
    Active,
    /// A change is on its way.
    Updating,
    /// Serving with too few replicas, or the last rollout failed.
    Degraded,
    /// Not serving, and not getting better by itself.
    Failed,
    /// Scaled to zero.
    Stopped,
    /// Being deleted.
    Deleting,
}

// === impl App ===

impl App {
    /// The view of a Deployment at this time. `rollout` is the newest one; `asked` is what callers asked for
    /// last, if Gantry made the app.
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
        let problems = problems(d, rollout, facts, &policy);
        let (state, mut message) = summary(d, rollout, &problems);
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
            rollout: rollout.map(|r| r.number),
            unmodelled: d.unmodelled.clone(),
            owner: Owner::of(d, facts.autoscaler.as_deref(), now),
            owner_until: d.scaling.changes_at(now),
        }
    }
}

impl Owner {
    /// Who decides the count of a Deployment at this time, given the Kubernetes autoscaler that scales it.
    fn of(d: &Deployment, foreign: Option<&str>, now: Timestamp) -> Self {
        if let Some(autoscaler) = foreign {
            return Self::Foreign(autoscaler.to_owned());
        }
        if let Some(hold) = d.scaling.active_hold(now) {
            return Self::Hold(hold.clone());
        }
        match d.scaling.policy.as_ref().map(|policy| (policy.mode_at(now), policy.freeze_end)) {
            Some((Mode::Active, _)) => Self::Autoscaler(String::new()),
            Some((Mode::Frozen, None)) => Self::Autoscaler("frozen until somebody ends it".to_owned()),
            Some((Mode::Frozen, Some(end))) => Self::Autoscaler(format!("frozen until {end}")),
            Some((Mode::Off | Mode::Shadow, _)) | None => {
                Self::Caller(d.count_by.as_ref().map_or_else(String::new, |by| by.manager.to_string()))
            }
        }
    }
}

/// That what runs is not what callers asked for, as one more sentence.
fn overruled(external: &Rollout) -> String {
    let by = if external.actor.is_empty() { String::new() } else { format!(" by {}", external.actor) };
    format!(
        " Rollout {} changed it past this server{by}; a deploy with `force` takes it back.",
        external.number
    )
}

impl App {
    /// Takes over from an earlier view what revisions say.
    pub fn keep_content_of(&mut self, earlier: &Self) {
        self.content = earlier.content.clone();
        self.etag.clone_from(&earlier.etag);
        self.updated = earlier.updated;
        self.rollout = earlier.rollout;
    }
}

/// Replicas that run the current pod template. Until its ReplicaSet is there the Deployment's own count is
/// about the one before.
fn current_content(d: &Deployment, facts: &AppRows<'_>) -> i32 {
    let is_there =
        facts.replica_sets.is_empty() || facts.replica_sets.iter().any(|rs| rs.template == d.template);
    if is_there { d.updated } else { 0 }
}

fn problems(d: &Deployment, rollout: Option<&Rollout>, facts: &AppRows<'_>, policy: &Policy) -> Vec<Problem> {
    let mut problems =
        diagnosis::diagnose_replicas(d, facts.current(d), facts.pods.iter().copied(), facts.around, policy);
    problems.extend(refusal(d, rollout, facts));
    diagnosis::sort_by_urgency(&mut problems);
    // What decided the failure stays visible when the replicas that showed it are gone.
    if let Some(error) = rollout.and_then(|r| r.error.as_ref())
        && problems.iter().all(|p| p.reason != error.reason)
    {
        problems.insert(0, error.clone());
    }
    problems
}

/// What keeps the Deployment controller from taking up what is wanted. While a rollout is to be taken up it
/// knows whether that is about it.
fn refusal(d: &Deployment, rollout: Option<&Rollout>, facts: &AppRows<'_>) -> Option<Problem> {
    let refusal = diagnosis::find_refusal(d, &facts.replica_sets, facts.around)?;
    let under_way = rollout.filter(|r| !r.state.ended() && r.set.is_none());
    let is_known = |r: &Rollout| r.problems.iter().any(|problem| problem.object == refusal.problem.object);
    under_way.is_none_or(is_known).then_some(refusal.problem)
}

fn summary(d: &Deployment, rollout: Option<&Rollout>, problems: &[Problem]) -> (State, String) {
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
        Some((r, RolloutState::Failed)) => {
            let state = if d.ready > 0 { State::Degraded } else { State::Failed };
            let cause = r.error.as_ref().or(worst);
            (state, format!("Rollout {} failed; {}{}", r.number, ready(), because(cause)))
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
