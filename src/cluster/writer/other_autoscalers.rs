//! Finds out whether an external autoscaler decides the replica count of an app. That is a
//! HorizontalPodAutoscaler, or a KEDA ScaledObject, which has no HorizontalPodAutoscaler while it has scaled
//! to zero.

use futures::future::try_join_all;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};

use super::objects::Writer;
use crate::{
    cluster::client::Objects,
    domain::{Error, name},
};

/// A kind of autoscaler: group, version, kind, plural.
pub(super) type Kind = (&'static str, &'static str, &'static str, &'static str);

/// KEDA's autoscaler. The API server does not know the kind if KEDA is not installed.
pub(super) const SCALED_OBJECT: Kind = ("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects");

/// Kubernetes' autoscaler.
pub(super) const HORIZONTAL: Kind =
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers");

/// Returns the autoscaler that targets the app, for example `horizontalpodautoscaler.autoscaling/shop`. A
/// ScaledObject comes first, because KEDA creates a HorizontalPodAutoscaler for it.
pub(super) async fn find_autoscaler(writer: &Writer, name: &name::App) -> Result<Option<String>, Error> {
    let found = try_join_all([SCALED_OBJECT, HORIZONTAL].map(|kind| of_kind(writer, name, kind))).await?;
    Ok(found.into_iter().flatten().next())
}

/// The objects of a kind in a namespace.
pub(super) fn autoscalers_of(
    writer: &Writer,
    namespace: &str,
    (group, version, kind, plural): Kind,
) -> Objects<DynamicObject> {
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    writer.cluster.dynamic(namespace, &resource)
}

async fn of_kind(writer: &Writer, name: &name::App, of: Kind) -> Result<Option<String>, Error> {
    let (group, _, kind, _) = of;
    let all = match autoscalers_of(writer, &name.namespace, of).list_if_known().await {
        Ok(all) => all,
        // gantryd may not list autoscalers. Scaling must still work, although an autoscaler may change the
        // replica count back.
        Err(Error::DaemonForbidden { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let found = all.into_iter().find(|object| is_target(object, name));
    let found = found.and_then(|object| object.metadata.name);
    Ok(found.map(|object| format!("{}.{group}/{object}", kind.to_lowercase())))
}

/// Whether an autoscaler targets the app. A ScaledObject may omit the kind.
pub(super) fn is_target(autoscaler: &DynamicObject, name: &name::App) -> bool {
    let target = &autoscaler.data["spec"]["scaleTargetRef"];
    let kind = target["kind"].as_str().unwrap_or_default();
    ["", "Deployment"].contains(&kind) && target["name"] == name.app.as_str()
}
