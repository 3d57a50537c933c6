//! What a change would meet in the cluster, looked at before its first write and only when somebody asks: room on the nodes,
//! quotas, references, budgets, autoscalers, and whether the API server would take a pod of the template.
//!
//! Reads here, judgements in [`crate::domain::checks`] and [`crate::domain::scheduling`]. What may not be read, or does not
//! answer in time, is a check that says so, never an error.

mod namespace;
mod pod_admission;
mod references;
mod replica_fit;

use std::{fmt::Debug, time::Duration};

use kube::{
    Api, Resource,
    api::{DynamicObject, ListParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Writer;
use crate::{
    cluster::{decode::PlacingPod, error::Doing},
    domain::{
        Error,
        check::{Check, Finding, Kind as CheckKind},
        checks::{Growth, disruption::Budget, image, quota::Needs},
        commands::CommandResult,
        name,
        scaling::Scaling,
        scheduling::{self, Amounts},
    },
};

/// Longest look at one thing. The caller waits for the slowest.
const PATIENCE: Duration = Duration::from_secs(8);

/// Objects in one page of a list.
const PAGE: u32 = 500;

/// What becomes of the budget of the app's name.
pub(super) enum BudgetAfter {
    /// It stays as it is, if there is one.
    Stays,
    /// It becomes this one.
    Becomes(Budget),
    /// There is none.
    Goes,
}

/// A change that is looked at.
pub(super) struct ProposedChange<'a> {
    pub(super) name: &'a name::App,
    /// The Deployment as it would be.
    pub(super) deployment: Value,
    /// The Deployment as it is.
    pub(super) before: Option<&'a DynamicObject>,
    /// The replicas are replaced.
    pub(super) replaces: bool,
    /// Objects that the change itself creates, as a quota counts them; the ReplicaSet is Kubernetes' own.
    pub(super) makes: Vec<String>,
    /// The budget of the app's name as it would be.
    pub(super) budget: BudgetAfter,
    /// When it was asked for.
    pub(super) time: jiff::Timestamp,
}

impl<'a> ProposedChange<'a> {
    /// A change that leaves the Deployment's content as it is.
    pub(super) fn of_live(name: &'a name::App, object: &'a DynamicObject, time: jiff::Timestamp) -> Self {
        let deployment = serde_json::to_value(object).unwrap_or_default();
        let (before, makes, budget) = (Some(object), Vec::new(), BudgetAfter::Stays);
        Self { name, deployment, before, replaces: false, makes, budget, time }
    }
}

/// A change with what the API server said of its pod.
struct CheckContext<'a> {
    actor: &'a Writer,
    subject: &'a ProposedChange<'a>,
    growth: Growth,
    /// The pod as the API server would make it of the template; else the template.
    pod: Value,
    placing: PlacingPod,
}

/// Looks at everything, and adds what was found to the answer.
pub(super) async fn run_checks(actor: &Writer, subject: &ProposedChange<'_>, done: &mut CommandResult) {
    let before = subject.before.and_then(|object| object.data["status"]["replicas"].as_u64());
    let before = before.and_then(|n| n.try_into().ok()).unwrap_or_default();
    let growth = Growth::read(&subject.deployment, before, subject.replaces);
    let template = &subject.deployment["spec"]["template"];
    let pod_dry_run = pod_admission::dry_run_pod(actor, subject, &growth).await;
    let pod = pod_dry_run.pod.unwrap_or_else(|| template.clone());
    let Ok(placing) = serde_json::from_value::<PlacingPod>(pod.clone()) else {
        let message = "What the replicas are made of cannot be read here; see ADMISSION.";
        done.checks.push(pod_dry_run.check);
        done.checks.push(Check::new(CheckKind::Fit, Finding::Skipped, message));
        done.checks.sort_by_key(|check| check.result);
        return;
    };
    let look = CheckContext { actor, subject, growth, pod, placing };
    let (fit, references, quotas, disruption, autoscalers) = tokio::join!(
        replica_fit::check_fit(&look),
        references::check_references(&look),
        namespace::check_quotas(&look),
        namespace::check_disruption(&look),
        namespace::check_autoscalers(&look),
    );
    let running =
        subject.before.map(|object| json!({"spec": object.data["spec"], "status": object.data["status"]}));
    let nodes = fit.nodes.as_deref().map_err(String::as_str);
    let images = image::check_images(
        &image::images_of(&look.pod),
        &image::running_images(&running.unwrap_or_default()),
        nodes,
    );
    done.fit = fit.forecast;
    done.checks.extend([pod_dry_run.check, fit.check, images, disruption]);
    done.checks.extend(references);
    done.checks.extend(quotas);
    done.checks.extend(autoscalers);
    done.checks.sort_by_key(|check| check.result);
    for warning in pod_dry_run.warnings {
        if !done.warnings.contains(&warning) {
            done.warnings.push(warning);
        }
    }
}

impl CheckContext<'_> {
    fn namespace(&self) -> &str {
        &self.subject.name.namespace
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.actor.cluster.client.clone(), self.namespace())
    }

    /// What a pod asks for, its containers one by one.
    fn needs(pod: &Value) -> Needs {
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
            requests: placing.pod("").requests.exact,
            limits: placing.limits(),
            containers: containers.map(of).collect(),
        }
    }

    /// What the template asks for, as autoscalers see it.
    fn wanted(&self) -> Scaling {
        Scaling::read(None, &json!({"spec": self.pod["spec"]}))
    }
}

/// A list to its end, page by page, each object made small at once.
async fn list<K, T>(
    actor: &Writer,
    api: &Api<K>,
    params: ListParams,
    plural: &str,
    make: impl Fn(K) -> T,
) -> Result<Vec<T>, String>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut params = params.limit(PAGE);
    let mut all = Vec::new();
    let pages = async {
        loop {
            let page = actor.cluster.call(Doing { verb: "list", object: plural }, api.list(&params)).await?;
            let next = page.metadata.continue_.filter(|token| !token.is_empty());
            all.extend(page.items.into_iter().map(&make));
            if next.is_none() {
                return Ok(all);
            }
            params.continue_token = next;
        }
    };
    in_time(pages, || format!("list {plural}")).await
}

/// What came in time, or why nothing did.
async fn in_time<T>(
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

/// A check that could not be made.
fn skipped(kind: CheckKind, why: &str) -> Check {
    Check::new(kind, Finding::Skipped, format!("Not looked at: {why}."))
}

/// What tells the pods of the present template, if the change leaves it.
fn hash_of(current: Option<String>, replaces: bool) -> String {
    current.filter(|_| !replaces).unwrap_or_else(|| scheduling::NEW_TEMPLATE.to_owned())
}
