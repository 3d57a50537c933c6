//! The scale subresource of a Deployment, through which callers and the autoscaler set the replica count. It
//! uses a separate field manager, so that a later deploy knows that it does not own the count.

use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::objects::Writer;
use crate::domain::{Error, name, object::Kind};

/// The field manager of replica counts that callers and the autoscaler set.
const SCALE_MANAGER: &str = "gantry-scale";

/// Sets the replica count, over `version` if there is one. It uses apply, because a merge patch to the same
/// number would own no field, and the next deploy would not know of it.
pub(super) async fn set_replica_count(
    writer: &Writer,
    name: &name::App,
    replicas: i32,
    version: Option<String>,
    dry_run: bool,
) -> Result<k8s_openapi::api::autoscaling::v1::Scale, Error> {
    let mut manifest = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": replicas},
        "metadata": {"name": name.app, "namespace": name.namespace}});
    if let Some(version) = version {
        manifest["metadata"]["resourceVersion"] = json!(version);
    }
    let params = PatchParams { dry_run, force: true, ..PatchParams::apply(SCALE_MANAGER) };
    let deployments = writer.objects(&name.namespace, Kind::Deployment);
    deployments.patch_scale(&name.app, &params, &Patch::Apply(manifest)).await
}
