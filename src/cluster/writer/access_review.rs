//! Asks the API server whether the caller may make the writes of a change: one SelfSubjectAccessReview for
//! each write.

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::PostParams;

use super::{objects::Writer, snapshot::Snapshot};
use crate::domain::{
    Error,
    check::{Check, Finding, Kind as CheckKind},
    name,
    object::Kind,
    plan::{Rendered, ServiceWrite},
};

/// A write that RBAC may deny.
pub(super) struct Write {
    pub(super) kind: Kind,
    pub(super) verb: &'static str,
    pub(super) subresource: &'static str,
}

/// Checks every write of an apply.
pub(super) async fn review_apply(
    writer: &Writer,
    name: &name::App,
    rendered: &Rendered,
    snapshot: &Snapshot,
) -> Result<Vec<Check>, Error> {
    let mut writes = Vec::new();
    for kind in rendered.objects.iter().map(|object| object.kind) {
        // A server-side apply that creates an object needs both `patch` and `create`.
        writes.push(Write { kind, verb: "patch", subresource: "" });
        if snapshot.object(kind).is_none() {
            writes.push(Write { kind, verb: "create", subresource: "" });
        }
    }
    let deleted = rendered.after_success == Some(ServiceWrite::Delete);
    let deleted = rendered.prune.iter().copied().chain(deleted.then_some(Kind::Service));
    writes.extend(deleted.map(|kind| Write { kind, verb: "delete", subresource: "" }));
    review_access(writer, name, &writes).await
}

/// Checks the given writes.
pub(super) async fn review_access(
    writer: &Writer,
    name: &name::App,
    writes: &[Write],
) -> Result<Vec<Check>, Error> {
    try_join_all(writes.iter().map(|write| ask(writer, name, write))).await
}

async fn ask(writer: &Writer, name: &name::App, write: &Write) -> Result<Check, Error> {
    let (group, resource) = write.kind.resource();
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: (!write.subresource.is_empty()).then(|| write.subresource.to_owned()),
                namespace: Some(name.namespace.clone()),
                name: Some(name.app.clone()),
                verb: Some(write.verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews = writer.cluster.all::<SelfSubjectAccessReview>();
    let answer = reviews.create(&PostParams::default(), &review).await.map(Option::unwrap_or_default);
    let what = if write.subresource.is_empty() {
        format!("{} {resource}", write.verb)
    } else {
        format!("{} {resource}/{}", write.verb, write.subresource)
    };
    let says = |result, message: String| {
        Check::new(CheckKind::Permission, result, message).of(write.kind.object_of(name))
    };
    Ok(match answer {
        Ok(review) if review.status.as_ref().is_some_and(|s| s.allowed) => {
            says(Finding::Pass, format!("The caller may {what} in namespace {}.", name.namespace))
        }
        Ok(_) => says(
            Finding::Fail,
            format!(
                "The caller may not {what} in namespace {}. Ask for a role that allows it.",
                name.namespace
            ),
        ),
        Err(error @ Error::DaemonForbidden { .. }) => {
            says(Finding::Skipped, format!("Permission not checked: {error}"))
        }
        Err(error) => return Err(error),
    })
}
