//! References that a container needs and that do not exist: ConfigMaps, Secrets, volumes, a node.

use std::collections::BTreeMap;

use gantry::pb::{self, volume::Source};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret};
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::{
    case::{Case, patience, play, sample},
    support::{Env, run},
};

async fn make(env: &Env) {
    let create = PostParams::default();
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "settings"}, "data": {"one": "1"}})).unwrap();
    let secret: Secret =
        serde_json::from_value(json!({"metadata": {"name": "passwords"}, "stringData": {"one": "1"}}))
            .unwrap();
    Api::<ConfigMap>::namespaced(env.client.clone(), &env.namespace).create(&create, &map).await.unwrap();
    Api::<Secret>::namespaced(env.client.clone(), &env.namespace).create(&create, &secret).await.unwrap();
}

fn key(name: &str, key: &str) -> BTreeMap<String, pb::KeyRef> {
    let reference = pb::KeyRef { name: name.into(), key: key.into(), optional: false };
    BTreeMap::from([("SETTING".to_owned(), reference)])
}

#[tokio::test]
async fn a_missing_config_map_secret_or_key_is_named() {
    run(|env| async move {
        make(&env).await;
        let map = |name, at| pb::AppSpec { config_map_env: key(name, at), ..sample(&["pause"]) };
        let secret = |name, at| pb::AppSpec { secret_env: key(name, at), ..sample(&["pause"]) };
        let missing = "CONFIG_MISSING";
        let cases = vec![
            Case::fails(
                "config_map_missing",
                map("absent", "one"),
                missing,
                &["configmap", "absent", "not found"],
            ),
            Case::fails("config_map_key_missing", map("settings", "two"), missing, &["key two", "settings"]),
            Case::fails(
                "secret_missing",
                secret("absent", "one"),
                missing,
                &["secret", "absent", "not found"],
            ),
            Case::fails("secret_key_missing", secret("passwords", "two"), missing, &["key two", "passwords"]),
            Case::succeeds("config_found", map("settings", "one")),
        ];
        play(&env, cases).await;
    })
    .await;
}

fn mounted(source: Source) -> pb::AppSpec {
    let volume = pb::Volume { mount_path: "/data".into(), source: Some(source), read_only: false };
    pb::AppSpec { volumes: vec![volume], rollout_policy: patience(8), ..sample(&["pause"]) }
}

#[tokio::test]
async fn volumes_that_are_not_there_keep_a_replica_from_starting() {
    run(|env| async move {
        let claims = Api::<PersistentVolumeClaim>::namespaced(env.client.clone(), &env.namespace);
        let claim = json!({"metadata": {"name": "unbound"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}});
        claims.create(&PostParams::default(), &serde_json::from_value(claim).unwrap()).await.unwrap();
        let files = |name: &str| pb::Files { name: name.into(), ..pb::Files::default() };
        let cases = vec![
            Case::fails(
                "volume_config_map_missing",
                mounted(Source::ConfigMap(files("absent"))),
                "CONFIG_MISSING",
                &["absent", "not found"],
            ),
            Case::fails(
                "volume_secret_missing",
                mounted(Source::Secret(files("absent"))),
                "CONFIG_MISSING",
                &["absent", "not found"],
            ),
            Case::fails(
                "volume_claim_missing",
                mounted(Source::Claim("absent".into())),
                "VOLUME_FAILED",
                &["absent", "not found"],
            )
            .passing(),
            Case::fails(
                "volume_claim_unbound",
                mounted(Source::Claim("unbound".into())),
                "VOLUME_FAILED",
                &["unbound"],
            )
            .passing(),
        ];
        play(&env, cases).await;
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_the_node_has_no_room_for_is_not_placed() {
    run(|env| async move {
        let mut large = pb::AppSpec { rollout_policy: patience(30), ..sample(&["pause"]) };
        large.resources.as_mut().unwrap().requests.insert("cpu".into(), "500".into());
        let words: &[&str] = &["Insufficient cpu"];
        play(&env, vec![Case::fails("unschedulable", large, "UNSCHEDULABLE", words).passing()]).await;
    })
    .await;
}
