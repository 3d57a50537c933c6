//! Converts domain values to messages, with one free function per message. Must not decide anything.

pub(super) mod autoscaler;
mod spec;
mod time;
pub(super) mod timeline;

use std::sync::Arc;

use self::spec::to_spec;
pub(super) use self::time::to_timestamp;
use crate::{
    autoscale::Policy,
    domain::{
        app::{self, App, Owner},
        change::{Action, Change},
        check::{Check, Finding},
        commands::CommandResult,
        endpoint::{self, Endpoint},
        evidence::{self, Evidence},
        name,
        problem::Problem,
        replica::{self, Replica},
        revision::Cause,
        rollout::{Rollout, State},
        scheduling::{Forecast, ScoredNode},
        spec::Content,
    },
    pb,
};

pub(super) fn to_app(app: &App) -> pb::App {
    let status = pb::AppStatus {
        state: to_state(app.state).into(),
        reconciling: app.reconciling,
        message: app.message.clone(),
        desired_replicas: app.desired,
        ready_replicas: app.ready,
        updated_replicas: app.current_content,
        current_replicas: app.existing,
        problems: app.problems.iter().map(to_problem).collect(),
        rollout: app.rollout.map(|number| app.name.rollout(number)).unwrap_or_default(),
        replica_owner: Some(replica_owner(&app.owner)),
        managed_by: app.managed_by.clone(),
        kind: pb::WorkloadKind::Deployment.into(),
        unmodelled_fields: app.unmodelled.clone(),
    };
    pb::App {
        etag: app.etag.clone(),
        uid: app.uid.clone(),
        create_time: Some(to_timestamp(app.created)),
        update_time: Some(to_timestamp(app.updated)),
        status: Some(status),
        ..to_app_from_content(&app.name, &app.content, &app.managed_by)
    }
}

fn replica_owner(owner: &Owner) -> pb::ReplicaOwner {
    let of = |kind: pb::ReplicaOwnerKind, owner: &str| pb::ReplicaOwner {
        kind: kind.into(),
        owner: owner.to_owned(),
        ..pb::ReplicaOwner::default()
    };
    match owner {
        Owner::Caller(manager) => of(pb::ReplicaOwnerKind::Caller, manager),
        Owner::Foreign(autoscaler) => of(pb::ReplicaOwnerKind::Foreign, autoscaler),
        Owner::Autoscaler(reason) => {
            pb::ReplicaOwner { reason: reason.clone(), ..of(pb::ReplicaOwnerKind::Autoscaler, "gantry") }
        }
        Owner::Hold(hold) => pb::ReplicaOwner {
            hold_end_time: Some(to_timestamp(hold.until)),
            reason: hold.reason.clone(),
            ..of(pb::ReplicaOwnerKind::Hold, &hold.actor)
        },
    }
}

/// Converts an app of which only the content and the manager are known.
pub(super) fn to_app_from_content(name: &name::App, content: &Content, managed_by: &str) -> pb::App {
    pb::App {
        name: name.to_string(),
        spec: Some(to_spec(&content.spec)),
        etag: content.etag(),
        labels: content.labels.clone().into_iter().collect(),
        annotations: content.annotations.clone().into_iter().collect(),
        status: Some(pb::AppStatus { managed_by: managed_by.to_owned(), ..pb::AppStatus::default() }),
        ..pb::App::default()
    }
}

pub(super) const fn to_state(state: app::State) -> pb::AppState {
    match state {
        app::State::Active => pb::AppState::Active,
        app::State::Updating => pb::AppState::Updating,
        app::State::Degraded => pb::AppState::Degraded,
        app::State::Failed => pb::AppState::Failed,
        app::State::Stopped => pb::AppState::Stopped,
        app::State::Deleting => pb::AppState::Deleting,
    }
}

pub(super) fn to_rollout(rollout: &Rollout) -> pb::Rollout {
    let p = rollout.progress;
    let state = match rollout.state {
        State::Pending => pb::RolloutState::Pending,
        State::Running => pb::RolloutState::Running,
        State::Paused => pb::RolloutState::Paused,
        State::Succeeded => pb::RolloutState::Succeeded,
        State::Failed => pb::RolloutState::Failed,
        State::Superseded => pb::RolloutState::Superseded,
    };
    let cause = match rollout.cause {
        Cause::Deploy => pb::RolloutCause::Deploy,
        Cause::Rollback => pb::RolloutCause::Rollback,
        Cause::AutoRollback => pb::RolloutCause::AutoRollback,
        Cause::Restart => pb::RolloutCause::Restart,
        Cause::External => pb::RolloutCause::External,
    };
    pb::Rollout {
        name: rollout.app.rollout(rollout.number),
        state: state.into(),
        spec: Some(to_spec(&rollout.content.spec)),
        progress: Some(pb::RolloutProgress {
            desired: p.desired,
            updated: p.updated,
            ready: p.ready,
            old: p.old,
            draining: p.draining,
        }),
        message: rollout.message.clone(),
        error: rollout.error.as_ref().map(|error| pb::RolloutError {
            reason: error.reason.as_str().to_owned(),
            message: error.message.clone(),
            problem: Some(to_problem(error)),
        }),
        cause: cause.into(),
        actor: rollout.actor.clone(),
        reason: rollout.reason.clone(),
        digest: rollout.digest.clone(),
        source_rollout: rollout.source.map(|number| rollout.app.rollout(number)).unwrap_or_default(),
        changes: changes(&rollout.changes),
        start_time: Some(to_timestamp(rollout.start)),
        end_time: rollout.end.map(to_timestamp),
        // A default policy is left out, because it means the same as none.
        autoscaler: rollout
            .autoscaler
            .as_ref()
            .filter(|policy| ***policy != Policy::default())
            .map(|policy| autoscaler::policy(&rollout.app, policy, rollout.end.unwrap_or(rollout.start))),
        failure: rollout.evidence.as_ref().map(|evidence| failure(&rollout.app, rollout.number, evidence)),
    }
}

fn failure(app: &name::App, number: u64, evidence: &Evidence) -> pb::Failure {
    let replica = |kept: &evidence::Replica| pb::Replica {
        pod: kept.pod.clone(),
        state: replica_state(kept.state).into(),
        message: kept.message.clone(),
        rollout: app.rollout(number),
        node: kept.node.clone(),
        zone: kept.zone.clone(),
        restarts: kept.restarts,
        create_time: Some(to_timestamp(kept.created)),
        ..pb::Replica::default()
    };
    pb::Failure {
        problems: evidence.problems.iter().map(to_problem).collect(),
        replicas: evidence.replicas.iter().map(replica).collect(),
        events: evidence.events.clone(),
        record_time: Some(to_timestamp(evidence.time)),
    }
}

pub(super) fn to_problem(problem: &Problem) -> pb::Problem {
    pb::Problem {
        reason: problem.reason.as_str().to_owned(),
        message: problem.message.clone(),
        remedy: problem.remedy.clone(),
        object: problem.object.clone(),
        affected_replicas: problem.affected,
        log_tail: problem.log_tail.clone(),
        events: problem.events.clone(),
        start_time: problem.start.map(to_timestamp),
        fatal: problem.fatal,
    }
}

/// Converts an endpoint at one of its ports.
pub(super) fn to_endpoint(app: &name::App, endpoint: &Endpoint, port: u16) -> pb::Endpoint {
    let state = match endpoint.state {
        endpoint::State::Ready => pb::EndpointState::Ready,
        endpoint::State::Draining => pb::EndpointState::Draining,
        endpoint::State::Unready => pb::EndpointState::Unready,
    };
    pb::Endpoint {
        address: endpoint.address.to_string(),
        port: port.into(),
        state: state.into(),
        zone: text(endpoint.zone.as_ref()),
        node: text(endpoint.node.as_ref()),
        weight: 0,
        pod: endpoint.pod.to_string(),
        rollout: endpoint.rollout.map(|number| app.rollout(number)).unwrap_or_default(),
    }
}

pub(super) fn to_replica(app: &name::App, replica: &Replica) -> pb::Replica {
    pb::Replica {
        pod: replica.pod.to_string(),
        state: replica_state(replica.state).into(),
        message: replica.message.clone(),
        rollout: replica.rollout.map(|number| app.rollout(number)).unwrap_or_default(),
        node: text(replica.node.as_ref()),
        zone: text(replica.zone.as_ref()),
        address: replica.address.map(|address| address.to_string()).unwrap_or_default(),
        restarts: replica.restarts,
        create_time: Some(to_timestamp(replica.created)),
        ready_time: replica.ready.map(to_timestamp),
        // Metrics are not read yet.
        cpu_cores: None,
        memory_bytes: None,
    }
}

const fn replica_state(state: replica::State) -> pb::ReplicaState {
    match state {
        replica::State::Pending => pb::ReplicaState::Pending,
        replica::State::Starting => pb::ReplicaState::Starting,
        replica::State::Ready => pb::ReplicaState::Ready,
        replica::State::Unready => pb::ReplicaState::Unready,
        replica::State::Failing => pb::ReplicaState::Failing,
        replica::State::Draining => pb::ReplicaState::Draining,
    }
}

fn text(shared: Option<&Arc<str>>) -> String {
    shared.map(ToString::to_string).unwrap_or_default()
}

pub(super) fn to_plan(done: &CommandResult) -> pb::Plan {
    pb::Plan {
        changes: changes(&done.changes),
        checks: done.checks.iter().map(check).collect(),
        fit: done.fit.as_ref().map(fit),
        warnings: done.warnings.clone(),
    }
}

fn fit(forecast: &Forecast) -> pb::Fit {
    let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    #[allow(clippy::cast_precision_loss)] // at most 100
    let part = |(name, score): &(&str, i64)| ((*name).to_owned(), *score as f64);
    let node = |node: &ScoredNode| pb::NodeScore {
        node: node.node.clone(),
        zone: node.zone.clone(),
        score: node.score,
        parts: node.parts.iter().map(part).collect(),
        placed: count(node.placed),
        excluded: node.excluded.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    pb::Fit {
        wanted: count(forecast.wanted),
        fits: count(forecast.fits),
        headroom: count(forecast.headroom),
        short_of: forecast.short_of.clone(),
        nodes: forecast.nodes.iter().map(node).collect(),
    }
}

fn check(check: &Check) -> pb::Check {
    let result = match check.result {
        Finding::Pass => pb::CheckResult::Pass,
        Finding::Warn => pb::CheckResult::Warn,
        Finding::Fail => pb::CheckResult::Fail,
        Finding::Skipped => pb::CheckResult::Skipped,
    };
    pb::Check {
        kind: check.kind.as_str().to_owned(),
        result: result.into(),
        message: check.message.clone(),
        object: check.object.clone(),
    }
}

fn changes(changes: &[Change]) -> Vec<pb::Change> {
    let change = |c: &Change| {
        let action = match c.action {
            Action::Create => pb::ChangeAction::Create,
            Action::Update => pb::ChangeAction::Update,
            Action::Delete => pb::ChangeAction::Delete,
        };
        pb::Change {
            object: c.object.clone(),
            action: action.into(),
            path: c.path.clone(),
            old_value: c.old.clone(),
            new_value: c.new.clone(),
            restarts_replicas: c.restarts,
            after_success: c.after_success,
        }
    };
    changes.iter().map(change).collect()
}
