//! What the cluster holds about an app at this moment, asked of the API server itself: writes are never decided on the index.

use kube::{
    Api,
    api::{DynamicObject, ListParams},
};
use serde_json::Value;

use super::{Actor, revisions_of};
use crate::{
    cluster::{
        decode::{self, Decode},
        error::Doing,
    },
    domain::{
        Error,
        app::MANAGED_BY,
        manifest::Kind,
        name,
        plan::{Deployment, Live, Newest},
        selector::Selector,
    },
};

/// Reads everything that a plan looks at.
pub(super) async fn read(actor: &Actor, name: &name::App) -> Result<Live, Error> {
    let (deployment, service, (budget, other_budgets), newest) = tokio::try_join!(
        find(actor, Kind::Deployment, name),
        find(actor, Kind::Service, name),
        budgets(actor, name),
        newest(actor, name),
    )?;
    Ok(Live {
        deployment: deployment.as_ref().map(to_deployment),
        service: service.as_ref().map(manager),
        budget,
        other_budgets,
        newest,
    })
}

/// One object, or nothing.
pub(super) async fn find(
    actor: &Actor,
    kind: Kind,
    name: &name::App,
) -> Result<Option<DynamicObject>, Error> {
    let api = actor.objects(&name.namespace, kind);
    let doing = Doing { verb: "get", object: &kind.object_of(name) };
    actor.cluster.call(doing, api.get_opt(&name.app)).await
}

/// Who made the budget of the app's name, and the selectors of all others in the namespace.
async fn budgets(actor: &Actor, name: &name::App) -> Result<(Option<String>, Vec<Selector>), Error> {
    let api = actor.objects(&name.namespace, Kind::Budget);
    let doing = Doing { verb: "list", object: "poddisruptionbudgets" };
    let all = actor.cluster.call(doing, api.list(&ListParams::default())).await?;
    let mut own = None;
    let mut others = Vec::new();
    for budget in &all.items {
        if budget.metadata.name.as_deref() == Some(&name.app) {
            own = Some(manager(budget));
        } else if let Some(selector) = budget.data["spec"].get("selector").filter(|s| s.is_object()) {
            others.push(Selector::from_structured(selector));
        }
    }
    Ok((own, others))
}

/// The newest revision, applied or not.
pub(super) async fn newest(actor: &Actor, name: &name::App) -> Result<Option<Newest>, Error> {
    let api = Api::<decode::Revision>::namespaced(actor.cluster.client.clone(), &name.namespace);
    let params = revisions_of(name);
    let doing = Doing { verb: "list", object: "controllerrevisions" };
    let all = actor.cluster.call(doing, api.list(&params)).await?;
    let numbered = all.items.into_iter().filter_map(|object| Some((object.key()?.1, object)));
    let Some((number, object)) = numbered.max_by_key(|(number, _)| *number) else { return Ok(None) };
    // Deploying over what cannot be read would lose it.
    let unreadable = || Error::NotImplemented {
        what: format!("reading {}, which a newer server wrote,", name.rollout(number)),
    };
    let revision = object.row().ok_or_else(unreadable)?;
    Ok(Some(Newest {
        number,
        content: (*revision.content).clone(),
        outcome: revision.end.map(|end| end.outcome),
    }))
}

/// Who made an object, as its label says.
pub(super) fn manager(object: &DynamicObject) -> String {
    object.metadata.labels.as_ref().and_then(|l| l.get(MANAGED_BY)).cloned().unwrap_or_default()
}

fn to_deployment(object: &DynamicObject) -> Deployment {
    Deployment {
        managed_by: manager(object),
        deleting: object.metadata.deletion_timestamp.is_some(),
        replicas: object.data["spec"]["replicas"].as_i64().and_then(|n| n.try_into().ok()).unwrap_or(1),
        replica_owners: replica_owners(object),
    }
}

/// Field managers that own `spec.replicas`, as the managed fields say.
fn replica_owners(object: &DynamicObject) -> Vec<String> {
    let entries = object.metadata.managed_fields.as_deref().unwrap_or_default();
    let owns = |fields: &Value| fields.pointer("/f:spec/f:replicas").is_some();
    entries
        .iter()
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|f| owns(&f.0)))
        .map(|entry| entry.manager.clone().unwrap_or_default())
        .collect()
}
