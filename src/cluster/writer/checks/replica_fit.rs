//! Reads the current nodes and pods, and predicts where the replicas would be scheduled.

use std::collections::BTreeSet;

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::PersistentVolumeClaim};
use kube::api::ListParams;

use super::context::{CheckContext, in_time, list_in_time, skipped_check, template_hash_after};
use crate::{
    cluster::decode::{PlacingNode, PlacingPod, PlacingVolume},
    domain::{
        check::{Check, Kind as CheckKind},
        scheduling::{self, Forecast, Node, Pod, TEMPLATE_HASH},
        selector::Selector,
    },
};

/// The annotation by which the Deployment controller numbers the templates of a Deployment.
const TEMPLATE_REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";

/// The templates of the app: the names of their ReplicaSets, and the pod-template-hash of the current one.
#[derive(Default)]
struct Templates {
    owners: BTreeSet<String>,
    current: Option<String>,
}

/// The result of the check.
pub(super) struct Fit {
    pub(super) check: Check,
    pub(super) forecast: Option<Forecast>,
    /// The nodes, or why they could not be read.
    pub(super) nodes: Result<Vec<Node>, String>,
}

pub(super) async fn check_fit(context: &CheckContext<'_>) -> Fit {
    let all = context.writer.cluster.all::<PlacingNode>();
    let (nodes, around) = tokio::join!(
        list_in_time(&all, ListParams::default(), "nodes", PlacingNode::into_node),
        around(context),
    );
    let foreseen = match (&nodes, around) {
        (Ok(nodes), Ok(around)) => Ok(foresee(context, nodes, around)),
        (Err(why), _) => Err(why.clone()),
        (_, Err(why)) => Err(why),
    };
    let (check, forecast) = match foreseen {
        Ok(forecast) => (forecast.check(), Some(forecast)),
        Err(why) => (skipped_check(CheckKind::Fit, &why), None),
    };
    Fit { check, forecast, nodes }
}

type Around = (Vec<(Option<String>, Pod)>, Templates, Vec<scheduling::Volume>);

async fn around(context: &CheckContext<'_>) -> Result<Around, String> {
    let all = context.writer.cluster.all::<PlacingPod>();
    // Pods that have ended use no resources, and pods without a node use none yet.
    let bound = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!=");
    let make = |pod: PlacingPod| (pod.replica_set().map(ToOwned::to_owned), pod.to_pod(""));
    tokio::try_join!(list_in_time(&all, bound, "pods", make), templates(context), volumes(context))
}

fn foresee(context: &CheckContext<'_>, nodes: &[Node], (pods, templates, volumes): Around) -> Forecast {
    let namespace = context.namespace();
    let own = |(owner, pod): (Option<String>, Pod)| {
        let own = pod.namespace == namespace && owner.is_some_and(|name| templates.owners.contains(&name));
        Pod { own, ..pod }
    };
    let pods: Vec<_> = pods.into_iter().map(own).collect();
    let selector = Selector::from_structured(&context.change.deployment["spec"]["selector"]);
    let hash = template_hash_after(templates.current.clone(), context.change.replaces);
    let mut shape = context.placing.to_shape(namespace, &hash, &selector);
    shape.volumes = volumes;
    scheduling::forecast_placement(nodes, &pods, &shape, &context.growth.change)
}

/// Returns the templates of the app that have ReplicaSets.
async fn templates(context: &CheckContext<'_>) -> Result<Templates, String> {
    let Some(before) = context.change.before else { return Ok(Templates::default()) };
    let replica_sets = context.objects::<ReplicaSet>();
    let params = ListParams::default();
    let all = in_time(replica_sets.list_metadata(&params), || "list replicasets".to_owned()).await?;
    let present = before.metadata.annotations.as_ref().and_then(|a| a.get(TEMPLATE_REVISION_ANNOTATION));
    let mut templates = Templates::default();
    for set in all {
        let owners = set.metadata.owner_references.unwrap_or_default();
        if !owners.iter().any(|owner| Some(&owner.uid) == before.metadata.uid.as_ref()) {
            continue;
        }
        let revision = set.metadata.annotations.as_ref().and_then(|a| a.get(TEMPLATE_REVISION_ANNOTATION));
        if present.is_some() && revision == present {
            templates.current = set.metadata.labels.as_ref().and_then(|l| l.get(TEMPLATE_HASH)).cloned();
        }
        templates.owners.extend(set.metadata.name);
    }
    Ok(templates)
}

/// Returns the volumes that the replicas' claims are bound to. A claim or volume that may not be read does
/// not restrict the nodes.
async fn volumes(context: &CheckContext<'_>) -> Result<Vec<scheduling::Volume>, String> {
    let claims: BTreeSet<_> = context.placing.claims().map(ToOwned::to_owned).collect();
    let one = async |claim: String| {
        let found = context.objects::<PersistentVolumeClaim>().get(&claim).await.ok()?;
        let volumes = context.writer.cluster.all::<PlacingVolume>();
        Some(volumes.get(&found.spec?.volume_name?).await.ok()?.to_volume(&claim))
    };
    let all = futures::future::join_all(claims.into_iter().map(one));
    in_time(async { Ok(all.await) }, || "get persistentvolumes".to_owned())
        .await
        .map(|found| found.into_iter().flatten().collect())
}
