//! Logs of containers, read from the kubelet through the API server.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, LogParams, ResourceExt},
};

use crate::{
    case::{sample, serving},
    support::{run, until},
};

#[tokio::test]
async fn a_replica_says_what_it_does_and_what_it_said_before_it_crashed() {
    run(|env| async move {
        let pods = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
        let only = async |app: &str| {
            let list = ListParams::default().labels(&format!("gantry.dev/app={app}"));
            pods.list(&list).await.unwrap().items.pop().map(|pod| pod.name_any())
        };
        env.deploy_and_follow(env.deploy_request("web", serving(&[]))).await;
        let said = pods.logs(&only("web").await.unwrap(), &LogParams::default()).await.unwrap();
        assert!(said.contains("sample 1 starts") && said.contains("listening on port 8080"), "{said}");

        let ill = env.deploy_request("ill", sample(&["end", "-code=3", "-say=no database"]));
        env.daemon.apps().await.deploy_app(ill).await.unwrap();
        let last = LogParams { previous: true, ..LogParams::default() };
        until("its log tail is stored", async || {
            let Some(name) = only("ill").await else { return false };
            pods.logs(&name, &last).await.is_ok_and(|said| said.trim() == "no database")
        })
        .await;
    })
    .await;
}
