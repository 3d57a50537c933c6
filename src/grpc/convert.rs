//! From the domain to messages. Free functions, one per message; nothing is decided here.

mod spec;

use jiff::Timestamp;

use self::spec::spec;

use crate::{
    domain::{
        act::{Action, ObjectChange},
        app::{self, App},
        name,
        problem::Problem,
        revision::Cause,
        rollout::{Rollout, State},
        spec::Content,
    },
    pb,
};

pub(super) fn app(app: &App) -> pb::App {
    let status = pb::AppStatus {
        state: state(app.state).into(),
        reconciling: app.reconciling,
        message: app.message.clone(),
        desired_replicas: app.desired,
        ready_replicas: app.ready,
        updated_replicas: app.current_content,
        current_replicas: app.existing,
        problems: app.problems.iter().map(problem).collect(),
        rollout: app.rollout.map(|number| app.name.rollout(number)).unwrap_or_default(),
        // Autoscalers are not watched yet, so nothing is claimed.
        replica_owner: None,
        managed_by: app.managed_by.clone(),
        kind: pb::WorkloadKind::Deployment.into(),
        unmodelled_fields: app.unmodelled.clone(),
    };
    pb::App {
        etag: app.etag.clone(),
        uid: app.uid.clone(),
        create_time: Some(time(app.created)),
        update_time: Some(time(app.updated)),
        status: Some(status),
        ..content(&app.name, &app.content)
    }
}

/// An app of which only the content is known.
pub(super) fn content(name: &name::App, content: &Content) -> pb::App {
    pb::App {
        name: name.to_string(),
        spec: Some(spec(&content.spec)),
        etag: content.etag(),
        labels: content.labels.clone().into_iter().collect(),
        annotations: content.annotations.clone().into_iter().collect(),
        ..pb::App::default()
    }
}

pub(super) const fn state(state: app::State) -> pb::AppState {
    match state {
        app::State::Active => pb::AppState::Active,
        app::State::Updating => pb::AppState::Updating,
        app::State::Degraded => pb::AppState::Degraded,
        app::State::Failed => pb::AppState::Failed,
        app::State::Stopped => pb::AppState::Stopped,
        app::State::Deleting => pb::AppState::Deleting,
    }
}

pub(super) fn rollout(rollout: &Rollout) -> pb::Rollout {
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
    };
    pb::Rollout {
        name: rollout.app.rollout(rollout.number),
        state: state.into(),
        spec: Some(spec(&rollout.content.spec)),
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
            problem: Some(problem(error)),
        }),
        cause: cause.into(),
        actor: rollout.actor.clone(),
        reason: rollout.reason.clone(),
        digest: rollout.digest.clone(),
        start_time: Some(time(rollout.start)),
        end_time: rollout.end.map(time),
        ..pb::Rollout::default()
    }
}

pub(super) fn problem(problem: &Problem) -> pb::Problem {
    pb::Problem {
        reason: problem.reason.as_str().to_owned(),
        message: problem.message.clone(),
        remedy: problem.remedy.clone(),
        object: problem.object.clone(),
        affected_replicas: problem.affected,
        log_tail: Vec::new(),
        events: problem.events.clone(),
        start_time: problem.start.map(time),
        fatal: problem.fatal,
    }
}

pub(super) fn changes(changes: &[ObjectChange]) -> Vec<pb::Change> {
    let change = |c: &ObjectChange| {
        let action = match c.action {
            Action::Create => pb::ChangeAction::Create,
            Action::Update => pb::ChangeAction::Update,
            Action::Delete => pb::ChangeAction::Delete,
        };
        pb::Change { object: c.object.clone(), action: action.into(), ..pb::Change::default() }
    };
    changes.iter().map(change).collect()
}

pub(super) fn time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}
