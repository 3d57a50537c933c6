//! What every check of a plan needs: the change, the pod as the API server would create it, and reads with a
//! time limit. Must not know any check.

use std::{fmt::Debug, time::Duration};

use kube::{
    Resource,
    api::{DynamicObject, ListParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    cluster::{
        client::Objects,
        decode::PlacingPod,
        writer::{objects::Writer, snapshot::Snapshot},
    },
    domain::{
        Error,
        change::Change,
        check::{Check, Finding, Kind as CheckKind},
        checks::{
            Growth,
            disruption::Budget,
            quota::{self, Needs},
        },
        name,
        object::Kind,
        plan::{Intent, Rendered},
        scaling::Scaling,
        scheduling::{self, Amounts},
    },
};

/// Time limit of one read. The caller waits for the slowest.
const PATIENCE: Duration = Duration::from_secs(8);

/// Objects in one page of a list.
const PAGE: u32 = 500;

/// What the change does to the PodDisruptionBudget of the app's name.
pub(in crate::cluster::writer) enum BudgetAfter {
    /// The change leaves it alone, whether it exists or not.
    Stays,
    /// The change creates or updates it to this one.
    Becomes(Budget),
    /// It does not exist after the change.
    Goes,
}

/// A change that is checked before it is made.
pub(in crate::cluster::writer) struct ProposedChange<'a> {
    pub(in crate::cluster::writer) name: &'a name::App,
    /// The Deployment after the change.
    pub(in crate::cluster::writer) deployment: Value,
    /// The Deployment before the change.
    pub(in crate::cluster::writer) before: Option<&'a DynamicObject>,
    /// Whether the change replaces the replicas.
    pub(in crate::cluster::writer) replaces: bool,
    /// The objects that Gantry itself creates for the change, by the resource names that a quota uses. The
    /// ReplicaSet is not among them, because the Deployment controller creates it.
    pub(in crate::cluster::writer) makes: Vec<String>,
    /// The PodDisruptionBudget of the app's name after the change.
    pub(in crate::cluster::writer) budget: BudgetAfter,
    /// When the caller asked for the change.
    pub(in crate::cluster::writer) time: jiff::Timestamp,
}

impl<'a> ProposedChange<'a> {
    /// The change that an apply would make. `after` is the Deployment in the dry run, `changes` are all
    /// differences.
    pub(in crate::cluster::writer) fn of_apply(
        intent: &'a Intent,
        rendered: &Rendered,
        snapshot: &'a Snapshot,
        after: Option<DynamicObject>,
        changes: &[Change],
        time: jiff::Timestamp,
    ) -> Self {
        let objects = &rendered.objects;
        let manifest = || objects.first().map(|object| object.manifest.clone()).unwrap_or_default();
        let budget = objects.iter().find(|object| object.kind == Kind::Budget);
        let new = objects.iter().map(|object| object.kind).filter(|kind| snapshot.object(*kind).is_none());
        let mut makes: Vec<_> =
            new.map(Kind::resource).map(|(group, resource)| quota::quota_resource(group, resource)).collect();
        let replaces = snapshot.deployment.is_none() || changes.iter().any(|change| change.restarts);
        if intent.is_new || replaces {
            makes.push(quota::quota_resource("apps", "controllerrevisions"));
        }
        Self {
            name: &intent.name,
            deployment: after.and_then(|object| serde_json::to_value(object).ok()).unwrap_or_else(manifest),
            before: snapshot.deployment.as_ref(),
            replaces,
            makes,
            budget: budget.map_or(BudgetAfter::Goes, |object| {
                BudgetAfter::Becomes(Budget {
                    name: intent.name.app.clone(),
                    min_available: object.manifest["spec"]["minAvailable"].clone(),
                    max_unavailable: object.manifest["spec"]["maxUnavailable"].clone(),
                })
            }),
            time,
        }
    }

    /// A change that leaves the content of the Deployment unchanged.
    pub(in crate::cluster::writer) fn of_live(
        name: &'a name::App,
        object: &'a DynamicObject,
        time: jiff::Timestamp,
    ) -> Self {
        let deployment = serde_json::to_value(object).unwrap_or_default();
        let (before, makes, budget) = (Some(object), Vec::new(), BudgetAfter::Stays);
        Self { name, deployment, before, replaces: false, makes, budget, time }
    }
}

/// A change together with the result of the dry run of its pod.
pub(super) struct CheckContext<'a> {
    pub(super) writer: &'a Writer,
    pub(super) change: &'a ProposedChange<'a>,
    pub(super) growth: Growth,
    /// The pod as the API server would create it from the template, or the template if that is not known.
    pub(super) pod: Value,
    pub(super) placing: PlacingPod,
}

// === impl CheckContext ===

impl CheckContext<'_> {
    pub(super) fn namespace(&self) -> &str {
        &self.change.name.namespace
    }

    pub(super) fn objects<K>(&self) -> Objects<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        self.writer.cluster.namespaced(self.namespace())
    }

    /// Returns the requests and limits of a pod, in total and for each container.
    pub(super) fn needs(pod: &Value) -> Needs {
        let Ok(placing) = serde_json::from_value::<PlacingPod>(pod.clone()) else { return Needs::default() };
        let amounts = |container: &Value, part: &str| {
            let map = serde_json::from_value(container["resources"][part].clone()).unwrap_or_default();
            Amounts::read::<'_>(&map as &std::collections::BTreeMap<String, String>)
        };
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        let of = |c: &Value| {
            (c["name"].as_str().unwrap_or_default().to_owned(), amounts(c, "requests"), amounts(c, "limits"))
        };
        Needs {
            requests: placing.to_pod("").requests.exact,
            limits: placing.limits(),
            containers: containers.map(of).collect(),
        }
    }

    /// Returns what the template requests, as autoscalers see it.
    pub(super) fn wanted(&self) -> Scaling {
        Scaling::read(None, &json!({"spec": self.pod["spec"]}))
    }
}

/// Lists all objects and reduces each one with `make` as soon as it is read, so that memory stays small.
pub(super) async fn list_in_time<K, T>(
    objects: &Objects<K>,
    params: ListParams,
    plural: &str,
    make: impl Fn(K) -> T,
) -> Result<Vec<T>, String>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    in_time(objects.list_pages(params.limit(PAGE), make), || format!("list {plural}")).await
}

/// Returns the answer, or why there is none within the time limit.
pub(super) async fn in_time<T>(
    answer: impl Future<Output = Result<T, Error>>,
    what: impl Fn() -> String,
) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, Box::pin(answer)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Error::DaemonForbidden { .. } | Error::NotAllowed { .. })) => {
            Err(format!("the caller may not {}", what()))
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("it took too long to {}", what())),
    }
}

/// A check that could not be run.
pub(super) fn skipped_check(kind: CheckKind, why: &str) -> Check {
    Check::new(kind, Finding::Skipped, format!("Not checked: {why}."))
}

/// The pod-template-hash of the pods after the change: the current one if the change keeps the template,
/// otherwise a placeholder.
pub(super) fn template_hash_after(current: Option<String>, replaces: bool) -> String {
    current.filter(|_| !replaces).unwrap_or_else(|| scheduling::NEW_TEMPLATE.to_owned())
}
