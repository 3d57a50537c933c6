//! The stored state of an app, in a form in which two apps with the same history are equal. Must not know
//! what was done to them.

use gantry::pb;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, Deployment, ReplicaSet},
    core::v1::{Pod, Service},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Resource,
    api::{ListParams, ObjectMeta},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{Env, until};

/// The stored state of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What the call changes.
    pub core: Value,
    /// What only a repeat must bring about if nothing but the core was written: the owner of the count, the
    /// end of a hold, and the stored request id.
    pub rest: Value,
}

fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether a Deployment of this uid is the only owner.
fn is_owned(meta: &ObjectMeta, uid: Option<&str>) -> bool {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    owners.iter().map(|owner| Some(owner.uid.as_str())).eq([uid])
}

fn api<K>(env: &Env) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(env.client.clone(), &env.namespace)
}

/// How many objects with this label there are.
async fn count<K>(env: &Env, label: &str) -> usize
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    api::<K>(env).list_metadata(&ListParams::default().labels(label)).await.unwrap().items.len()
}

async fn revisions(env: &Env, app: &str) -> Vec<ControllerRevision> {
    let params = ListParams::default().labels(&format!("gantry.dev/revisions-of={app}"));
    let mut all = api::<ControllerRevision>(env).list(&params).await.unwrap().items;
    all.sort_by_key(|revision| revision.revision);
    all
}

/// Reads the state of an app; `id` is the id of the request whose record is looked for.
pub async fn of(env: &Env, app: &str, id: &str) -> State {
    let deployment = api::<Deployment>(env).get_opt(app).await.unwrap();
    let service = api::<Service>(env).get_opt(app).await.unwrap();
    let budget = api::<PodDisruptionBudget>(env).get_opt(app).await.unwrap();
    let revisions = revisions(env, app).await;
    let uid = deployment.as_ref().and_then(|d| d.metadata.uid.as_deref());
    let mut core = json!({
        "service": service.map(|service| json!({
            "owned": is_owned(&service.metadata, uid),
            "ports": service.spec.unwrap().ports.unwrap().iter().map(|p| json!([p.name, p.port])).collect::<Vec<_>>(),
        })),
        "budget": budget.map(|budget| json!({"owned": is_owned(&budget.metadata, uid)})),
        "revisions": revisions.iter().map(|revision| {
            let (meta, record) = (&revision.metadata, revision.data.as_ref().unwrap().0["record"].as_str().unwrap());
            let data: Value = serde_json::from_str(record).unwrap();
            let end = annotation(meta, "gantry.dev/end").map(|end| serde_json::from_str::<Value>(end).unwrap());
            json!({"number": revision.revision, "cause": data["cause"], "image": data["content"]["spec"]["image"],
                "owned": is_owned(meta, uid), "marked": annotation(meta, "gantry.dev/version").is_some(),
                "applied": annotation(meta, "gantry.dev/applied-to") == uid,
                "end": end.map(|end| end["outcome"].clone())})
        }).collect::<Vec<_>>(),
    });
    let mut rest = Value::Null;
    if let Some(Deployment { metadata, spec: Some(spec), .. }) = &deployment {
        let template = spec.template.metadata.clone().unwrap_or_default();
        let containers = &spec.template.spec.as_ref().unwrap().containers;
        let policy = annotation(metadata, "gantry.dev/autoscaler");
        let policy = policy.map(|policy| serde_json::from_str::<Value>(policy).unwrap());
        core["deployment"] = json!({
            "images": containers.iter().map(|c| &c.image).collect::<Vec<_>>(),
            "replicas": spec.replicas,
            "paused": spec.paused.unwrap_or(false),
            "revision": annotation(metadata, "gantry.dev/revision"),
            "restarted": annotation(&template, "gantry.dev/restarted-at").is_some(),
            "policy": policy.map(|policy| json!([policy["mode"], policy["max"]])),
            "deleting": metadata.deletion_timestamp.is_some(),
        });
        let mut owners: Vec<_> = metadata.managed_fields.iter().flatten().collect();
        owners.retain(|e| e.fields_v1.as_ref().is_some_and(|f| f.0.pointer("/f:spec/f:replicas").is_some()));
        rest = json!({
            "owners": owners.iter().map(|entry| &entry.manager).collect::<Vec<_>>(),
            "hold": annotation(metadata, "gantry.dev/hold").is_some(),
            "remembered": annotation(metadata, "gantry.dev/requests").is_some_and(|text| text.contains(id)),
        });
    } else {
        // Pods and ReplicaSets are counted only after the app is deleted, because old ones of an existing app
        // may go at any time.
        let label = format!("gantry.dev/app={app}");
        core["left"] = json!(count::<ReplicaSet>(env, &label).await + count::<Pod>(env, &label).await);
    }
    State { core, rest }
}

/// Reads the state of an app once nothing is under way.
pub async fn settled(env: &Env, app: &str, id: &str, ends: bool) -> State {
    until(&format!("{app} is settled"), async || {
        let state = of(env, app, id).await;
        let last = state.core["revisions"].as_array().unwrap().last().cloned().unwrap_or_default();
        let gone = state.core["deployment"].is_null();
        let all_gone = || state.core["left"] == 0 && last.is_null() && state.core["service"].is_null();
        let deleting = state.core["deployment"]["deleting"] == true;
        !deleting
            && !env.has_ports_to_remove(Some(app), false).await
            && (if gone { all_gone() } else { !ends || last["marked"] == true && !last["end"].is_null() })
    })
    .await;
    // Read again, because the parts are read one after the other, and some may be older than the mark that
    // ended the wait.
    of(env, app, id).await
}

/// Waits until the verdict on a rollout is stored, which is a write by a separate task of the daemon.
pub async fn recorded(env: &Env, app: &str, number: usize) {
    let name = format!("gantry-{app}-{number}");
    until("the verdict is stored", async || {
        let revision = api::<ControllerRevision>(env).get(&name).await.unwrap();
        annotation(&revision.metadata, "gantry.dev/end").is_some()
    })
    .await;
}

/// The methods of the contract that may write to the cluster: those that answer once and have side effects.
pub fn writing_methods() -> Vec<String> {
    use prost_types::method_options::IdempotencyLevel;
    let set: prost_types::FileDescriptorSet = prost::Message::decode(pb::DESCRIPTOR).unwrap();
    let ours = set.file.iter().filter(|file| file.package() == "gantry.v1");
    let methods = ours.flat_map(|file| &file.service).flat_map(|service| &service.method);
    let reads = |method: &&prost_types::MethodDescriptorProto| {
        let options = method.options.as_ref();
        method.server_streaming()
            || options.is_some_and(|o| o.idempotency_level() == IdempotencyLevel::NoSideEffects)
    };
    methods.filter(|method| !reads(method)).map(|method| method.name().to_owned()).collect()
}
