//! Converts flags and files to requests. Pure: must not read files nor make calls.

pub(crate) mod autoscale;

use std::{collections::BTreeMap, time::Duration};

use gantry_client::{name, v1};
use prost_types::{FieldMask, Struct, Value, value::Kind};

use crate::args::{
    self,
    deploy::{Concurrency, OnFailure, Security, Spec, Strategy, Verdict},
    value::Pair,
};

/// Makes the request of `deploy NAME` with its flags. Without an update mask the daemon changes only the
/// fields that are set.
pub(crate) fn deploy(name: &name::App, flags: &args::Deploy) -> v1::DeployAppRequest {
    let app = v1::App {
        name: name.to_string(),
        labels: map(&flags.spec.labels),
        annotations: map(&flags.spec.annotations),
        spec: Some(spec(&flags.spec)),
        ..Default::default()
    };
    with_circumstances(app, flags)
}

/// Makes the request of `deploy -f`. The file is everything, so what it leaves out is cleared. Fields that
/// only the daemon sets (status, uid, times) are dropped.
pub(crate) fn deploy_file(app: v1::App, flags: &args::Deploy) -> v1::DeployAppRequest {
    let app = v1::App { status: None, uid: String::new(), create_time: None, update_time: None, ..app };
    let update_mask = Some(FieldMask { paths: vec!["*".to_owned()] });
    v1::DeployAppRequest { update_mask, ..with_circumstances(app, flags) }
}

/// Makes the request of `scale`.
pub(crate) fn scale(name: &name::App, flags: &args::Scale) -> v1::ScaleAppRequest {
    v1::ScaleAppRequest {
        name: name.to_string(),
        replicas: Some(flags.replicas),
        hold_for: flags.hold_for.and_then(time),
        etag: flags.guard.etag.clone(),
        validate_only: flags.guard.dry_run,
        request_id: flags.call.request_id.clone(),
        reason: flags.call.reason.clone(),
    }
}

/// Makes the request of `restart`.
pub(crate) fn restart(name: &name::App, flags: &args::Restart) -> v1::RestartAppRequest {
    v1::RestartAppRequest {
        name: name.to_string(),
        etag: flags.guard.etag.clone(),
        validate_only: flags.guard.dry_run,
        request_id: flags.call.request_id.clone(),
        reason: flags.call.reason.clone(),
    }
}

/// Makes the request of `rollback`.
pub(crate) fn rollback(
    name: &name::App,
    flags: &args::Rollback,
) -> Result<v1::RollbackAppRequest, name::Error> {
    let to = flags.to.as_deref().map(|number| name.rollout(number)).transpose()?;
    Ok(v1::RollbackAppRequest {
        name: name.to_string(),
        rollout: to.map(|rollout| rollout.to_string()).unwrap_or_default(),
        keep_autoscaler: flags.keep_autoscaler,
        force: flags.force,
        etag: flags.guard.etag.clone(),
        validate_only: flags.guard.dry_run,
        request_id: flags.call.request_id.clone(),
        reason: flags.call.reason.clone(),
    })
}

/// Makes the request of `pause`.
pub(crate) fn pause(rollout: &name::Rollout, flags: &args::Hold) -> v1::PauseRolloutRequest {
    let name = rollout.to_string();
    v1::PauseRolloutRequest {
        name,
        request_id: flags.call.request_id.clone(),
        reason: flags.call.reason.clone(),
    }
}

/// Makes the request of `resume`.
pub(crate) fn resume(rollout: &name::Rollout, flags: &args::Hold) -> v1::ResumeRolloutRequest {
    let name = rollout.to_string();
    v1::ResumeRolloutRequest {
        name,
        request_id: flags.call.request_id.clone(),
        reason: flags.call.reason.clone(),
    }
}

/// Makes the request of `delete`.
pub(crate) fn delete(name: &name::App, flags: &args::Delete) -> v1::DeleteAppRequest {
    v1::DeleteAppRequest {
        name: name.to_string(),
        allow_missing: flags.allow_missing,
        etag: flags.guard.etag.clone(),
        validate_only: flags.guard.dry_run,
        request_id: flags.call.request_id.clone(),
        reason: flags.call.reason.clone(),
    }
}

fn with_circumstances(mut app: v1::App, flags: &args::Deploy) -> v1::DeployAppRequest {
    if !flags.guard.etag.is_empty() {
        app.etag.clone_from(&flags.guard.etag);
    }
    let concurrency = match flags.concurrency {
        None => v1::Concurrency::Unspecified,
        Some(Concurrency::Supersede) => v1::Concurrency::Supersede,
        Some(Concurrency::Reject) => v1::Concurrency::Reject,
    };
    v1::DeployAppRequest {
        app: Some(app),
        update_mask: None,
        validate_only: flags.guard.dry_run,
        request_id: flags.call.request_id.clone(),
        force: flags.force,
        adopt: flags.adopt,
        concurrency: concurrency.into(),
        reason: flags.call.reason.clone(),
    }
}

fn spec(flags: &Spec) -> v1::AppSpec {
    let security_profile = match flags.security {
        None => v1::SecurityProfile::Unspecified,
        Some(Security::Baseline) => v1::SecurityProfile::Baseline,
        Some(Security::Restricted) => v1::SecurityProfile::Restricted,
    };
    let probes = v1::Probes {
        readiness: flags.readiness.clone(),
        liveness: flags.liveness.clone(),
        startup: flags.startup.clone(),
    };
    let placement = v1::Placement {
        node_selector: map(&flags.node_selector),
        tolerations: flags.tolerations.clone(),
        priority_class: text(flags.priority_class.as_ref()),
        spread: Vec::new(),
    };
    let traffic = v1::Traffic {
        timeout: flags.call_timeout.and_then(time),
        max_attempts: flags.call_attempts.unwrap_or_default(),
    };
    let resources = v1::Resources { requests: map(&flags.requests), limits: map(&flags.limits) };
    v1::AppSpec {
        image: text(flags.image.as_ref()),
        replicas: flags.replicas,
        ports: flags.ports.clone(),
        command: flags.command.clone(),
        args: flags.args.clone(),
        env: map(&flags.env),
        secret_env: flags.env_secret.iter().cloned().collect(),
        config_map_env: flags.env_config.iter().cloned().collect(),
        resources: set(resources),
        probes: set(probes),
        rollout_policy: set(rollout_policy(flags)),
        volumes: flags.volumes.clone(),
        placement: set(placement),
        service_account: text(flags.service_account.as_ref()),
        security_profile: security_profile.into(),
        termination_grace: flags.termination_grace.and_then(time),
        image_pull_secrets: flags.pull_secrets.clone(),
        pod_template_patch: pod_annotations(&flags.pod_annotations),
        container: text(flags.container.as_ref()),
        drain_delay: flags.drain_delay.and_then(time),
        traffic: set(traffic),
    }
}

fn rollout_policy(flags: &Spec) -> v1::RolloutPolicy {
    let strategy = match flags.strategy {
        None => v1::Strategy::Unspecified,
        Some(Strategy::Rolling) => v1::Strategy::Rolling,
        Some(Strategy::Recreate) => v1::Strategy::Recreate,
    };
    let verdict = match flags.verdict {
        None => v1::Verdict::Unspecified,
        Some(Verdict::FailFast) => v1::Verdict::FailFast,
        Some(Verdict::Wait) => v1::Verdict::Wait,
    };
    let on_failure = match flags.on_failure {
        None => v1::OnFailure::Unspecified,
        Some(OnFailure::Keep) => v1::OnFailure::Keep,
        Some(OnFailure::RollBack) => v1::OnFailure::RollBack,
    };
    v1::RolloutPolicy {
        max_surge: text(flags.max_surge.as_ref()),
        max_unavailable: text(flags.max_unavailable.as_ref()),
        strategy: strategy.into(),
        progress_timeout: flags.progress_timeout.and_then(time),
        verdict: verdict.into(),
        tolerated_restarts: flags.tolerated_restarts,
        on_failure: on_failure.into(),
        transient_grace: flags.transient_grace.and_then(time),
    }
}

/// Returns the message, or `None` if no flag has set a field of it.
fn set<M: Default + PartialEq>(message: M) -> Option<M> {
    (message != M::default()).then_some(message)
}

fn text(flag: Option<&String>) -> String {
    flag.cloned().unwrap_or_default()
}

fn time(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

fn map(pairs: &[Pair]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

/// Makes the patch `{"metadata": {"annotations": {...}}}`.
fn pod_annotations(pairs: &[Pair]) -> Option<Struct> {
    let object = |fields| Value { kind: Some(Kind::StructValue(Struct { fields })) };
    let text = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
    let annotations: BTreeMap<_, _> = pairs.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    let metadata = BTreeMap::from([("annotations".to_owned(), object(annotations))]);
    (!pairs.is_empty())
        .then(|| Struct { fields: BTreeMap::from([("metadata".to_owned(), object(metadata))]) })
}

#[cfg(test)]
mod tests;
