//! Asks the API server whether it would admit a pod of the template. The dry run of the Deployment cannot
//! show that, because quotas, pod security and webhooks for pods never see a Deployment.

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use serde_json::{Value, json};

use super::context::ProposedChange;
use crate::{
    cluster::writer::objects::Writer,
    domain::{
        api_texts::{is_dry_run_unsupported, is_quota_refusal, parse_forbidden},
        check::{Check, Finding, Kind as CheckKind},
        checks::Growth,
        plan::FIELD_MANAGER,
    },
};

/// The result of the dry run of one pod.
pub(super) struct PodDryRun {
    /// The pod as it would be created.
    pub(super) pod: Option<Value>,
    pub(super) check: Check,
    pub(super) warnings: Vec<String>,
}

/// Creates a pod of the template as a dry run. Nothing is stored, so the pod may have labels that Services
/// select.
pub(super) async fn dry_run_pod(writer: &Writer, change: &ProposedChange<'_>, growth: &Growth) -> PodDryRun {
    let template = &change.deployment["spec"]["template"];
    let mut warnings = Vec::new();
    let object = "pod".to_owned();
    let says = |result, message: String| Check::new(CheckKind::Admission, result, message).of(&object);
    let (labels, annotations) = (&template["metadata"]["labels"], &template["metadata"]["annotations"]);
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": format!("{}-", change.name.app), "namespace": change.name.namespace,
            "labels": labels, "annotations": annotations},
        "spec": template["spec"],
    });
    let params = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
    let pods = writer.cluster.namespaced::<Pod>(&change.name.namespace);
    let (pod, check) = match pods.dry_run_create(&params, &manifest, &mut warnings).await {
        Ok(Ok(pod)) => {
            let message = "The API server would accept a replica.".to_owned();
            (serde_json::to_value(pod).ok(), says(Finding::Pass, message))
        }
        Ok(Err(status)) => {
            let said = &status.message;
            let may_not =
                status.code == 403 && parse_forbidden(said).is_some_and(|denied| denied.verb == "create");
            let check = if may_not {
                says(
                    Finding::Skipped,
                    "Admission of a replica was not checked: the caller may not create pods.".to_owned(),
                )
            } else if is_dry_run_unsupported(said) {
                says(
                    Finding::Skipped,
                    format!("Admission of a replica cannot be checked without side effects: {said}"),
                )
            } else if is_quota_refusal(said) && waits(growth) {
                let message = format!(
                    "No additional replica is admitted now; a replica can only replace an old one: {said}"
                );
                says(Finding::Warn, message)
            } else if (400..500).contains(&status.code) && status.code != 429 {
                says(Finding::Fail, format!("The API server would refuse a replica: {said}"))
            } else {
                says(Finding::Skipped, format!("Admission of a replica was not checked: {said}"))
            };
            (None, check)
        }
        Err(error) => {
            (None, says(Finding::Skipped, format!("Admission of a replica was not checked: {error}")))
        }
    };
    PodDryRun { pod, check, warnings }
}

/// Whether old replicas stop before new ones start.
fn waits(growth: &Growth) -> bool {
    let change = growth.change;
    growth.before > 0 && change.replaces && (change.recreate || change.unavailable > 0)
}
