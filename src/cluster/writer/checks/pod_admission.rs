//! Asks the API server whether it would take a pod of the template: what a Deployment's dry run does not say, since quota, pod
//! security and webhooks of pods never see a Deployment.

use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, api::PostParams};
use serde_json::{Value, json};

use super::ProposedChange;
use crate::{
    cluster::{
        error::Doing,
        writer::{
            Writer,
            dry_run::{self, Ask},
        },
    },
    domain::{
        check::{Check, Finding, Kind as CheckKind},
        checks::Growth,
        plan::FIELD_MANAGER,
    },
};

/// What the API server said.
pub(super) struct PodDryRun {
    /// The pod as it would be.
    pub(super) pod: Option<Value>,
    pub(super) check: Check,
    pub(super) warnings: Vec<String>,
}

/// Creates a pod of the template, as a dry run. Nothing is kept, so its labels may be those that Services select.
pub(super) async fn dry_run_pod(actor: &Writer, subject: &ProposedChange<'_>, growth: &Growth) -> PodDryRun {
    let template = &subject.deployment["spec"]["template"];
    let mut warnings = Vec::new();
    let object = "pod".to_owned();
    let says = |result, message: String| Check::new(CheckKind::Admission, result, message).of(&object);
    let (labels, annotations) = (&template["metadata"]["labels"], &template["metadata"]["annotations"]);
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": format!("{}-", subject.name.app), "namespace": subject.name.namespace,
            "labels": labels, "annotations": annotations},
        "spec": template["spec"],
    });
    let answer = async {
        let url = Pod::url_path(&(), Some(&subject.name.namespace));
        let params = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
        match dry_run::send_dry_run(actor, &url, Ask::Create(&params, &manifest), &mut warnings).await {
            Ok(pod) => Ok(Ok(pod)),
            // Told apart here: what the caller may not ask is no refusal of the pod.
            Err(kube::Error::Api(status)) => Ok(Err(status)),
            Err(error) => Err(error),
        }
    };
    let answer = actor.cluster.call(Doing { verb: "create", object: "pods" }, answer).await;
    let (pod, check) = match answer {
        Ok(Ok(pod)) => {
            let message = "The API server would take a replica.".to_owned();
            (serde_json::to_value(pod).ok(), says(Finding::Pass, message))
        }
        Ok(Err(status)) => {
            let said = &status.message;
            let may_not = status.code == 403 && said.contains("User \"") && said.contains("cannot create");
            let check = if may_not {
                says(Finding::Skipped, "A replica was not tried: the caller may not create pods.".to_owned())
            } else if said.contains("does not support dry run") {
                says(Finding::Skipped, format!("A replica cannot be tried without side effects: {said}"))
            } else if said.contains("exceeded quota") && waits(growth) {
                let message =
                    format!("No replica more is taken now, only in the place of an old one: {said}");
                says(Finding::Warn, message)
            } else if (400..500).contains(&status.code) && status.code != 429 {
                says(Finding::Fail, format!("The API server would refuse a replica: {said}"))
            } else {
                says(Finding::Skipped, format!("A replica was not tried: {said}"))
            };
            (None, check)
        }
        Err(error) => (None, says(Finding::Skipped, format!("A replica was not tried: {error}"))),
    };
    PodDryRun { pod, check, warnings }
}

/// Whether old replicas go before new ones come.
fn waits(growth: &Growth) -> bool {
    let change = growth.change;
    growth.before > 0 && change.replaces && (change.recreate || change.unavailable > 0)
}
