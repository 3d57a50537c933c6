//! Checks what a change would meet in the cluster: capacity of the nodes, quotas, references,
//! PodDisruptionBudgets, autoscalers, and whether the API server would admit a pod of the template. Runs only
//! for a dry run, before the first write.
//!
//! This module reads. The rules are in [`crate::domain::checks`] and [`crate::domain::scheduling`]. If
//! something may not be read, or does not answer in time, the result is a skipped check and never an error.

mod context;
mod namespace;
mod pod_admission;
mod references;
mod replica_fit;

use serde_json::json;

pub(super) use self::context::ProposedChange;
use self::{
    context::CheckContext,
    namespace::{check_autoscalers, check_disruption, check_quotas},
    pod_admission::dry_run_pod,
    references::check_references,
    replica_fit::check_fit,
};
use super::objects::Writer;
use crate::{
    cluster::decode::PlacingPod,
    domain::{
        check::{Check, Finding, Kind as CheckKind},
        checks::{Growth, image},
        commands::CommandResult,
    },
};

/// Runs all checks and adds their results to `result`.
pub(super) async fn run_checks(writer: &Writer, change: &ProposedChange<'_>, result: &mut CommandResult) {
    let before = change.before.and_then(|object| object.data["status"]["replicas"].as_u64());
    let before = before.and_then(|n| n.try_into().ok()).unwrap_or_default();
    let growth = Growth::read(&change.deployment, before, change.replaces);
    let template = &change.deployment["spec"]["template"];
    let pod_dry_run = dry_run_pod(writer, change, &growth).await;
    let pod = pod_dry_run.pod.unwrap_or_else(|| template.clone());
    let Ok(placing) = serde_json::from_value::<PlacingPod>(pod.clone()) else {
        let message = "The pod template cannot be read; see ADMISSION.";
        result.checks.push(pod_dry_run.check);
        result.checks.push(Check::new(CheckKind::Fit, Finding::Skipped, message));
        result.checks.sort_by_key(|check| check.result);
        return;
    };
    let context = CheckContext { writer, change, growth, pod, placing };
    let (fit, references, quotas, disruption, autoscalers) = tokio::join!(
        check_fit(&context),
        check_references(&context),
        check_quotas(&context),
        check_disruption(&context),
        check_autoscalers(&context),
    );
    let running =
        change.before.map(|object| json!({"spec": object.data["spec"], "status": object.data["status"]}));
    let nodes = fit.nodes.as_deref().map_err(String::as_str);
    let images = image::check_images(
        &image::images_of(&context.pod),
        &image::running_images(&running.unwrap_or_default()),
        nodes,
    );
    result.fit = fit.forecast;
    result.checks.extend([pod_dry_run.check, fit.check, images, disruption]);
    result.checks.extend(references);
    result.checks.extend(quotas);
    result.checks.extend(autoscalers);
    result.checks.sort_by_key(|check| check.result);
    for warning in pod_dry_run.warnings {
        if !result.warnings.contains(&warning) {
            result.warnings.push(warning);
        }
    }
}
