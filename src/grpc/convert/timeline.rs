//! Converts entries of a timeline for callers, and writes the sentence of each. The index marks the beginning
//! of a rollout with its pending state (`index::timeline::begin_of`). The actor of that entry is the actor of
//! the rollout. The actor of all later entries is Gantry.

use tonic::Code;

use super::{autoscaler, time::to_timestamp, to_problem, to_rollout};
use crate::{
    domain::{
        revision::Cause,
        rollout::{Rollout, State},
    },
    index::{AuditedCall, TimelineEntry, TimelineEvent},
    pb::{self, timeline_entry::Detail},
};

pub(in crate::grpc) fn to_entry(app: &str, entry: &TimelineEntry) -> pb::TimelineEntry {
    let deployment = || format!("deployment.apps/{app}");
    let (actor, object, message, detail) = match &entry.what {
        TimelineEvent::Rollout(rollout) => {
            let actor = if rollout.state == State::Pending { rollout.actor.clone() } else { "gantry".into() };
            (actor, deployment(), rollout_message(rollout), Detail::Rollout(to_rollout(rollout)))
        }
        TimelineEvent::Problem(found) => {
            let message = format!("{}: {}", found.reason.as_str(), found.message);
            ("kubernetes".into(), found.object.clone(), message, Detail::Problem(to_problem(found)))
        }
        TimelineEvent::Scaling(decision) => {
            let decision = autoscaler::decision(decision);
            ("autoscaler".into(), deployment(), decision.message.clone(), Detail::Scaling(decision))
        }
        TimelineEvent::Event(event) => {
            let detail = pb::KubernetesEvent {
                r#type: if event.warning { "Warning" } else { "Normal" }.to_owned(),
                reason: event.reason.to_string(),
                note: event.note.to_string(),
                count: event.count,
            };
            let message = format!("{}: {}", event.reason, event.note);
            ("kubernetes".into(), event.about.to_string(), message, Detail::KubernetesEvent(detail))
        }
        TimelineEvent::Call(call) => {
            let detail = pb::AuditedCall {
                method: call.method.clone(),
                code: call.code,
                reason: call.reason.clone(),
                call_id: call.id.clone(),
            };
            (call.actor.clone(), deployment(), call_message(call), Detail::Call(detail))
        }
        TimelineEvent::Endpoints { ready, draining } => {
            let takes = if *ready == 1 { "endpoint takes" } else { "endpoints take" };
            let message = match draining {
                0 => format!("{ready} {takes} traffic."),
                n => format!("{ready} {takes} traffic, {n} draining."),
            };
            let detail = pb::EndpointChange { ready: *ready, draining: *draining };
            ("kubernetes".into(), deployment(), message, Detail::Endpoints(detail))
        }
    };
    pb::TimelineEntry {
        time: Some(to_timestamp(entry.mark.time)),
        actor,
        object,
        message,
        detail: Some(detail),
    }
}

/// Returns the sentence about a rollout. The pending state stands for its beginning.
fn rollout_message(rollout: &Rollout) -> String {
    let number = rollout.number;
    let verb = match rollout.state {
        State::Pending => {
            let cause = match rollout.cause {
                Cause::Deploy => "a deploy",
                Cause::Rollback => "a rollback",
                Cause::AutoRollback => "a rollback after a failure",
                Cause::Restart => "a restart",
                Cause::External => "a change made outside Gantry",
            };
            let why = if rollout.reason.is_empty() { String::new() } else { format!(": {}", rollout.reason) };
            return format!("Rollout {number} began, caused by {cause}{why}.");
        }
        State::Running => "is running",
        State::Paused => "is paused",
        State::Succeeded => "succeeded",
        State::Failed => "failed",
        State::Superseded => "was superseded",
    };
    format!("Rollout {number} {verb}: {}", rollout.message)
}

fn call_message(call: &AuditedCall) -> String {
    let method = call.method.rsplit('/').next().unwrap_or_default();
    let why = if call.reason.is_empty() { String::new() } else { format!(" ({})", call.reason) };
    let code = Code::from(call.code);
    if code == Code::Ok {
        format!("{method}{why} was carried out.")
    } else {
        format!("{method}{why} ended with {code:?}: {}", call.error)
    }
}
