//! Whether an autoscaler that is not ours decides the replica count of an app: a HorizontalPodAutoscaler, or a KEDA
//! ScaledObject, which has none while it has scaled to zero.

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};

use super::Actor;
use crate::{
    cluster::error::{self, Doing},
    domain::{Error, name},
};

/// Kinds of autoscalers: group, version, kind, plural.
const KINDS: [(&str, &str, &str, &str); 2] = [
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects"),
];

/// Refuses, naming it, if an autoscaler targets the app.
pub(super) async fn check_none(actor: &Actor, name: &name::App) -> Result<(), Error> {
    for (group, version, kind, plural) in KINDS {
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api: Api<DynamicObject> =
            Api::namespaced_with(actor.cluster.client.clone(), &name.namespace, &resource);
        let answer = async { error::unless_missing(api.list(&ListParams::default()).await) };
        let all = match actor.cluster.call(Doing { verb: "list", object: plural }, answer).await {
            Ok(all) => all,
            // Who may not see autoscalers may still scale; the autoscaler would then take the count back.
            Err(Error::DaemonForbidden { .. }) => None,
            Err(error) => return Err(error),
        };
        let targets = |object: &DynamicObject| {
            let target = &object.data["spec"]["scaleTargetRef"];
            let kind = target["kind"].as_str().unwrap_or("Deployment");
            kind == "Deployment" && target["name"] == name.app.as_str()
        };
        if let Some(found) = all.into_iter().flatten().find(targets) {
            let object = found.metadata.name.unwrap_or_default();
            return Err(Error::ForeignAutoscaler {
                app: name.to_string(),
                object: format!("{}.{group}/{object}", kind.to_lowercase()),
            });
        }
    }
    Ok(())
}
