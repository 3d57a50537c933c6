//! Reads nodes and pods as they are now, and foresees where the replicas would go.

use std::collections::BTreeSet;

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::PersistentVolumeClaim};
use kube::{Api, api::ListParams};

use super::{CheckContext, in_time, list, skipped};
use crate::{
    cluster::{
        decode::{PlacingNode, PlacingPod, PlacingVolume},
        error::Doing,
    },
    domain::{
        check::{Check, Kind as CheckKind},
        scheduling::{self, Forecast, Node, Pod, TEMPLATE_HASH},
        selector::Selector,
    },
};

/// The annotation by which Kubernetes says which template of a Deployment is the present one.
const TEMPLATE_REVISION: &str = "deployment.kubernetes.io/revision";

/// Templates of the app: the names of their ReplicaSets, and the hash of the present one.
#[derive(Default)]
struct Templates {
    owners: BTreeSet<String>,
    current: Option<String>,
}

/// What was seen.
pub(super) struct Fit {
    pub(super) check: Check,
    pub(super) forecast: Option<Forecast>,
    /// The nodes, or why they were not read.
    pub(super) nodes: Result<Vec<Node>, String>,
}

pub(super) async fn check_fit(look: &CheckContext<'_>) -> Fit {
    let all = Api::<PlacingNode>::all(look.actor.cluster.client.clone());
    let (nodes, around) = tokio::join!(
        list(look.actor, &all, ListParams::default(), "nodes", PlacingNode::into_node),
        around(look),
    );
    let foreseen = match (&nodes, around) {
        (Ok(nodes), Ok(around)) => Ok(foresee(look, nodes, around)),
        (Err(why), _) => Err(why.clone()),
        (_, Err(why)) => Err(why),
    };
    let (check, forecast) = match foreseen {
        Ok(forecast) => (forecast.check(), Some(forecast)),
        Err(why) => (skipped(CheckKind::Fit, &why), None),
    };
    Fit { check, forecast, nodes }
}

type Around = (Vec<(Option<String>, Pod)>, Templates, Vec<scheduling::Volume>);

async fn around(look: &CheckContext<'_>) -> Result<Around, String> {
    let all = Api::<PlacingPod>::all(look.actor.cluster.client.clone());
    // What has ended takes no room, and what is on no node takes none yet.
    let bound = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!=");
    let make = |pod: PlacingPod| (pod.replica_set().map(ToOwned::to_owned), pod.to_pod(""));
    tokio::try_join!(list(look.actor, &all, bound, "pods", make), templates(look), volumes(look))
}

fn foresee(look: &CheckContext<'_>, nodes: &[Node], (pods, templates, volumes): Around) -> Forecast {
    let namespace = look.namespace();
    let own = |(owner, pod): (Option<String>, Pod)| {
        let own = pod.namespace == namespace && owner.is_some_and(|name| templates.owners.contains(&name));
        Pod { own, ..pod }
    };
    let pods: Vec<_> = pods.into_iter().map(own).collect();
    let selector = Selector::from_structured(&look.subject.deployment["spec"]["selector"]);
    let hash = super::hash_of(templates.current.clone(), look.subject.replaces);
    let mut shape = look.placing.to_shape(namespace, &hash, &selector);
    shape.volumes = volumes;
    scheduling::forecast_placement(nodes, &pods, &shape, &look.growth.change)
}

/// The templates of the app that have ReplicaSets.
async fn templates(look: &CheckContext<'_>) -> Result<Templates, String> {
    let Some(before) = look.subject.before else { return Ok(Templates::default()) };
    let api = look.api::<ReplicaSet>();
    let doing = Doing { verb: "list", object: "replicasets" };
    let params = ListParams::default();
    let answer = look.actor.cluster.call(doing, api.list_metadata(&params));
    let all = in_time(answer, || "list replicasets".to_owned()).await?;
    let present = before.metadata.annotations.as_ref().and_then(|a| a.get(TEMPLATE_REVISION));
    let mut templates = Templates::default();
    for set in all {
        let owners = set.metadata.owner_references.unwrap_or_default();
        if !owners.iter().any(|owner| Some(&owner.uid) == before.metadata.uid.as_ref()) {
            continue;
        }
        let revision = set.metadata.annotations.as_ref().and_then(|a| a.get(TEMPLATE_REVISION));
        if present.is_some() && revision == present {
            templates.current = set.metadata.labels.as_ref().and_then(|l| l.get(TEMPLATE_HASH)).cloned();
        }
        templates.owners.extend(set.metadata.name);
    }
    Ok(templates)
}

/// The volumes that the replicas' claims are bound to. What may not be read binds to nowhere in particular.
async fn volumes(look: &CheckContext<'_>) -> Result<Vec<scheduling::Volume>, String> {
    let claims: BTreeSet<_> = look.placing.claims().map(ToOwned::to_owned).collect();
    let one = async |claim: String| {
        let cluster = &look.actor.cluster;
        let doing = Doing { verb: "get", object: "persistentvolumeclaims" };
        let found = cluster.call(doing, look.api::<PersistentVolumeClaim>().get(&claim)).await.ok()?;
        let volume = found.spec?.volume_name?;
        let volumes = Api::<PlacingVolume>::all(cluster.client.clone());
        let doing = Doing { verb: "get", object: "persistentvolumes" };
        let found = cluster.call(doing, volumes.get(&volume)).await.ok()?;
        Some(found.to_volume(&claim))
    };
    let all = futures::future::join_all(claims.into_iter().map(one));
    in_time(async { Ok(all.await) }, || "get persistentvolumes".to_owned())
        .await
        .map(|found| found.into_iter().flatten().collect())
}
