//! From the domain to messages. Free functions, one per message; nothing is decided here.

use jiff::Timestamp;

use crate::{
    domain::{
        act::{Action, Change},
        app::{self, App, Owner},
        name,
        problem::Problem,
        revision::Cause,
        rollout::{Rollout, State},
        spec::{Content, Port, Protocol, Resources, RolloutPolicy, Spec, Strategy, Verdict},
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
        replica_owner: Some(replica_owner(&app.owner)),
        managed_by: app.managed_by.clone(),
        kind: pb::WorkloadKind::Deployment.into(),
        unmodelled_fields: Vec::new(),
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

fn replica_owner(owner: &Owner) -> pb::ReplicaOwner {
    let (kind, owner) = match owner {
        Owner::Caller(manager) => (pb::ReplicaOwnerKind::Caller, manager),
        Owner::Foreign(autoscaler) => (pb::ReplicaOwnerKind::Foreign, autoscaler),
    };
    pb::ReplicaOwner { kind: kind.into(), owner: owner.clone(), ..pb::ReplicaOwner::default() }
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

fn spec(spec: &Spec) -> pb::AppSpec {
    pb::AppSpec {
        image: spec.image.clone(),
        replicas: spec.replicas,
        ports: spec.ports.iter().map(port).collect(),
        command: spec.command.clone(),
        args: spec.args.clone(),
        env: spec.env.clone().into_iter().collect(),
        resources: spec.resources.as_ref().map(resources),
        rollout_policy: spec.rollout_policy.as_ref().map(rollout_policy),
        termination_grace: spec.termination_grace.and_then(|d| d.try_into().ok()),
        pod_template_patch: spec.pod_template_patch.as_ref().and_then(to_struct),
        container: spec.container.clone(),
        ..pb::AppSpec::default()
    }
}

fn port(port: &Port) -> pb::Port {
    let protocol = match port.protocol {
        Protocol::Tcp => pb::Protocol::Tcp,
        Protocol::Http => pb::Protocol::Http,
        Protocol::Grpc => pb::Protocol::Grpc,
    };
    pb::Port { name: port.name.clone(), number: port.number.into(), protocol: protocol.into() }
}

fn resources(resources: &Resources) -> pb::Resources {
    pb::Resources {
        requests: resources.requests.clone().into_iter().collect(),
        limits: resources.limits.clone().into_iter().collect(),
    }
}

fn rollout_policy(policy: &RolloutPolicy) -> pb::RolloutPolicy {
    let strategy = match policy.strategy {
        Strategy::Rolling => pb::Strategy::Unspecified,
        Strategy::Recreate => pb::Strategy::Recreate,
    };
    let verdict = match policy.verdict {
        Verdict::FailFast => pb::Verdict::Unspecified,
        Verdict::Wait => pb::Verdict::Wait,
    };
    pb::RolloutPolicy {
        max_surge: policy.max_surge.clone(),
        max_unavailable: policy.max_unavailable.clone(),
        strategy: strategy.into(),
        progress_timeout: policy.progress_timeout.and_then(|d| d.try_into().ok()),
        verdict: verdict.into(),
        tolerated_restarts: policy.tolerated_restarts,
        transient_grace: policy.transient_grace.and_then(|d| d.try_into().ok()),
        ..pb::RolloutPolicy::default()
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
        Cause::Rollback => pb::RolloutCause::Rollback,
        Cause::AutoRollback => pb::RolloutCause::AutoRollback,
        Cause::Restart => pb::RolloutCause::Restart,
        Cause::External => pb::RolloutCause::External,
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
        source_rollout: rollout.source.map(|number| rollout.app.rollout(number)).unwrap_or_default(),
        changes: changes(&rollout.changes),
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

pub(super) fn changes(changes: &[Change]) -> Vec<pb::Change> {
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
        }
    };
    changes.iter().map(change).collect()
}

pub(super) fn time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// JSON as the message that stands for it; `None` for what is no object.
fn to_struct(value: &serde_json::Value) -> Option<prost_types::Struct> {
    let fields = value.as_object()?.iter().map(|(key, value)| (key.clone(), to_value(value))).collect();
    Some(prost_types::Struct { fields })
}

fn to_value(value: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    use serde_json::Value;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(b) => Kind::BoolValue(*b),
        Value::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or_default()),
        Value::String(s) => Kind::StringValue(s.clone()),
        Value::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.iter().map(to_value).collect() })
        }
        Value::Object(_) => Kind::StructValue(to_struct(value).unwrap_or_default()),
    };
    prost_types::Value { kind: Some(kind) }
}
