//! Where replicas are, on a real control plane: zones and nodes, two Services over the same pods, no Service,
//! replicas that stop.

use std::time::Duration;

use gantry::pb::{
    self, EndpointState, server_service_client::ServerServiceClient, watch_endpoints_response::Event,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    authentication::v1::TokenRequest,
    core::v1::{Namespace, Pod, Service, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams, ResourceExt},
};
use serde_json::json;
use tonic::Streaming;

use crate::support::{Daemon, Env, annotate, kubeconfig_with_token, reason, run, simulated, until, web};

async fn endpoints(env: &Env, app: &str, port: &str, include_unready: bool) -> Vec<pb::Endpoint> {
    let request = pb::ListEndpointsRequest {
        parent: env.name(app),
        port: port.into(),
        include_unready,
        ..pb::ListEndpointsRequest::default()
    };
    env.daemon.list_endpoints(request).await.unwrap().endpoints
}

async fn scale(env: &Env, app: &str, replicas: i32) {
    let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch_scale(app, &PatchParams::default(), &patch).await.unwrap();
}

fn three() -> pb::AppSpec {
    pb::AppSpec { replicas: Some(3), ..web() }
}

/// The next event that is no heartbeat.
async fn next(stream: &mut Streaming<pb::WatchEndpointsResponse>) -> Event {
    let event = async {
        loop {
            match stream.message().await.unwrap().unwrap().event.unwrap() {
                Event::Heartbeat(_) => {}
                event => return event,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), event).await.expect("an event in time")
}

#[tokio::test]
async fn replicas_are_found_once_with_node_zone_and_rollout() {
    run(|env| async move {
        let rollout = env.deploy_and_follow(env.deploy_request("web", three())).await;
        let number = three().ports[0].number;
        // EndpointSlices are written a moment after the pods are ready.
        until("three take traffic", async || endpoints(&env, "web", "", false).await.len() == 3).await;
        for endpoint in endpoints(&env, "web", "http", false).await {
            assert_eq!((endpoint.state(), endpoint.port), (EndpointState::Ready, number), "{endpoint:?}");
            assert!(endpoint.pod.starts_with("web-") && !endpoint.node.is_empty(), "{endpoint:?}");
            assert!(!simulated() || endpoint.zone.starts_with("zone-"), "{endpoint:?}");
            assert_eq!(endpoint.rollout, rollout.name);
            assert!(endpoint.address.parse::<std::net::IpAddr>().is_ok(), "{endpoint:?}");
        }

        // A second Service over the same pods, under a different name.
        let services = Api::<Service>::namespaced(env.client.clone(), &env.namespace);
        let service = json!({"metadata": {"name": "other"}, "spec": {"selector": {"gantry.dev/app": "web"},
            "ports": [{"name": "public", "port": 9999, "targetPort": number}]}});
        services.create(&PostParams::default(), &serde_json::from_value(service).unwrap()).await.unwrap();
        let request = || pb::ListEndpointsRequest {
            parent: env.name("web"),
            port: "public".into(),
            ..Default::default()
        };
        let by_other_name = async || env.daemon.list_endpoints(request()).await;
        until("its port is known", async || by_other_name().await.is_ok_and(|r| r.endpoints.len() == 3))
            .await;
        for port in ["", "http"] {
            let found = endpoints(&env, "web", port, true).await;
            assert_eq!((found.len(), found[0].port), (3, number), "{port}");
        }

        let request = pb::ListReplicasRequest { parent: env.name("web"), ..Default::default() };
        let replicas = env.daemon.list_replicas(request).await.unwrap().replicas;
        assert_eq!(replicas.len(), 3);
        for replica in replicas {
            assert_eq!(replica.state(), pb::ReplicaState::Ready, "{replica:?}");
            assert!(replica.ready_time.is_some() && replica.rollout == rollout.name, "{replica:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_unmanaged_app_without_a_service_is_found_too() {
    run(|env| async move {
        let mut stream = {
            let request = pb::WatchEndpointsRequest { parent: env.name("plain"), ..Default::default() };
            env.daemon.watch_endpoints(request).await.unwrap()
        };
        assert_eq!(next(&mut stream).await, Event::Missing(pb::AppMissing {}));
        let number = web().ports[0].number;
        let plain = json!({"metadata": {"name": "plain"}, "spec": {
            "replicas": 2, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
                {"name": "main", "image": web().image, "ports": [{"containerPort": number}]}]}}}});
        let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
        deployments.create(&PostParams::default(), &serde_json::from_value(plain).unwrap()).await.unwrap();
        // The first snapshot has no endpoints and the last one has two, but the app exists in all of them.
        let mut counts = Vec::new();
        while counts.last() != Some(&2) {
            let Event::Snapshot(set) = next(&mut stream).await else { panic!("it exists") };
            assert!(set.endpoints.iter().all(|e| e.port == number && e.state() == EndpointState::Ready));
            counts.push(set.endpoints.len());
        }
        assert_eq!(counts[0], 0, "it exists before its replicas: {counts:?}");
        let typo =
            pb::ListEndpointsRequest { parent: env.name("plain"), port: "http".into(), ..Default::default() };
        let status = env.daemon.list_endpoints(typo).await.unwrap_err();
        assert_eq!(reason(&status), "INVALID_FIELD");
        assert!(status.message().contains(&number.to_string()), "{}", status.message());
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn a_replica_that_stops_is_draining_until_it_is_gone() {
    run(|env| async move {
        let slow = pb::AppSpec { pod_template_patch: Some(annotate("sim/stop-after", "3s")), ..three() };
        env.deploy_and_follow(env.deploy_request("web", slow)).await;
        until("three take traffic", async || endpoints(&env, "web", "", false).await.len() == 3).await;
        let request =
            pb::WatchEndpointsRequest { parent: env.name("web"), port: "http".into(), include_unready: true };
        let mut stream = env.daemon.watch_endpoints(request).await.unwrap();
        assert!(matches!(next(&mut stream).await, Event::Snapshot(set) if set.endpoints.len() == 3));
        scale(&env, "web", 1).await;
        // Two replicas drain, get no new traffic, and go. No snapshot in between shows them in another state.
        let mut most = 0;
        loop {
            let Event::Snapshot(set) = next(&mut stream).await else { panic!("it exists") };
            let of = |state| set.endpoints.iter().filter(|e| e.state() == state).count();
            assert_eq!(of(EndpointState::Unready), 0, "{set:?}");
            most = most.max(of(EndpointState::Draining));
            if most == 2 && endpoints(&env, "web", "", false).await.len() == 1 && set.endpoints.len() == 3 {
                let replicas = pb::ListReplicasRequest { parent: env.name("web"), ..Default::default() };
                let replicas = env.daemon.list_replicas(replicas).await.unwrap().replicas;
                let draining = replicas.iter().filter(|r| r.state() == pb::ReplicaState::Draining).count();
                assert_eq!(draining, 2, "{replicas:?}");
            }
            if set.endpoints.len() == 1 {
                break;
            }
        }
        assert_eq!(most, 2);
        scale(&env, "web", 0).await;
        until("none is left", async || endpoints(&env, "web", "http", true).await.is_empty()).await;
    })
    .await;
}

#[tokio::test]
async fn waiting_follows_a_deploy_and_a_deletion_to_their_end() {
    run(|env| async move {
        let mut apps = env.daemon.apps().await;
        let deployed = apps.deploy_app(env.deploy_request("web", three())).await.unwrap().into_inner();
        let wait = |position: &str| pb::WaitAppRequest {
            name: env.name("web"),
            read_after: position.into(),
            timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        };
        let waited = apps.wait_app(wait(&deployed.position)).await.unwrap().into_inner();
        let status = waited.app.unwrap().status.unwrap();
        assert!(waited.settled && status.state() == pb::AppState::Active, "{status:?}");
        assert_eq!(status.ready_replicas, 3);

        let delete = pb::DeleteAppRequest { name: env.name("web"), ..Default::default() };
        let deleted = apps.delete_app(delete).await.unwrap().into_inner();
        assert!(apps.wait_app(wait(&deleted.position)).await.unwrap().into_inner().settled);
        // A read after the earlier write says that the app is deleted, because the write was seen and then
        // undone.
        let read = pb::GetAppRequest { name: env.name("web"), read_after: deployed.position.clone() };
        assert_eq!(reason(&apps.get_app(read).await.unwrap_err()), "APP_NOT_FOUND");
        assert!(apps.wait_app(wait(&deployed.position)).await.unwrap().into_inner().settled);
        // The same from a daemon that started after the deletion.
        let later = Daemon::start().await;
        let read = pb::GetAppRequest { name: env.name("web"), read_after: deployed.position };
        assert_eq!(reason(&later.get_app(read).await.unwrap_err()), "APP_NOT_FOUND");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs simulated pods; tests/run-cluster includes it where they are"]
async fn a_replica_that_fails_its_probe_again_is_unready() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let states = async || {
            let request = pb::ListReplicasRequest { parent: env.name("web"), ..Default::default() };
            let replicas = env.daemon.list_replicas(request).await.unwrap().replicas;
            replicas.iter().map(pb::Replica::state).collect::<Vec<_>>()
        };
        let ready = pb::ReplicaState::Ready;
        until("both are ready", async || states().await == [ready, ready]).await;
        // Kubernetes stores times in whole seconds, so the order of two changes within one second is not
        // known.
        let started = jiff::Timestamp::now().as_second();
        until("the next second", async || jiff::Timestamp::now().as_second() > started).await;
        let pods = Api::<Pod>::namespaced(env.client.clone(), &env.namespace);
        let mut names: Vec<_> =
            pods.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect();
        names.sort();
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"sim/unready": "true"}}}));
        pods.patch(&names[0], &PatchParams::default(), &patch).await.unwrap();
        until("the first is not", async || states().await == [pb::ReplicaState::Unready, ready]).await;
        until("it takes no traffic", async || {
            let found = endpoints(&env, "web", "", false).await;
            found.iter().map(|e| &e.pod).collect::<Vec<_>>() == [&names[1]]
        })
        .await;
    })
    .await;
}

/// The rights of a daemon that may read neither nodes nor EndpointSlices.
fn rules(more: &[&str]) -> serde_json::Value {
    let resources = [
        "deployments",
        "replicasets",
        "pods",
        "events",
        "controllerrevisions",
        "horizontalpodautoscalers",
        "scaledobjects",
    ];
    let resources: Vec<_> = resources.iter().chain(more).collect();
    let groups = ["", "apps", "autoscaling", "discovery.k8s.io", "keda.sh"];
    json!([{"apiGroups": groups, "resources": resources, "verbs": ["get", "list", "watch"]}])
}

#[tokio::test]
async fn without_the_right_to_read_nodes_and_slices_it_discovers_from_the_pods() {
    run(|env| async move {
        env.deploy_and_follow(env.deploy_request("web", web())).await;
        let name = &env.namespace;
        let (accounts, roles, bindings) = (
            Api::<ServiceAccount>::namespaced(env.client.clone(), name),
            Api::<ClusterRole>::all(env.client.clone()),
            Api::<ClusterRoleBinding>::all(env.client.clone()),
        );
        // The role and its binding are owned by the namespace, so they are deleted with it even if the test
        // fails.
        let owner = Api::<Namespace>::all(env.client.clone()).get(name).await.unwrap().uid().unwrap();
        let owners = json!([{"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": owner}]);
        let object = |more: serde_json::Value| {
            let mut object = json!({"metadata": {"name": name, "ownerReferences": owners}});
            object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            object
        };
        let create = PostParams::default();
        accounts.create(&create, &serde_json::from_value(object(json!({}))).unwrap()).await.unwrap();
        let role = object(json!({"rules": rules(&[])}));
        roles.create(&create, &serde_json::from_value(role).unwrap()).await.unwrap();
        let binding = object(json!({
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": name}]}));
        bindings.create(&create, &serde_json::from_value(binding).unwrap()).await.unwrap();
        let token = accounts.create_token_request(name, &create, &TokenRequest::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_with_token(&token.status.unwrap().token)).unwrap();

        // Rights may take a moment to become effective. Without the right to read the other kinds the daemon
        // would wait for ever.
        let daemon = Daemon::start_with(&["--kubeconfig", kubeconfig.to_str().unwrap()], "ready apps=").await;
        let list = async || {
            let request = pb::ListEndpointsRequest { parent: env.name("web"), ..Default::default() };
            daemon.list_endpoints(request).await.unwrap().endpoints
        };
        let found = list().await;
        assert_eq!((found.len(), found[0].zone.as_str()), (2, ""), "{found:?}");
        let warnings = async || {
            let mut client = ServerServiceClient::new(daemon.channel().await);
            client.get_server_info(pb::GetServerInfoRequest {}).await.unwrap().into_inner().warnings
        };
        let told = warnings().await;
        assert!(told.iter().any(|w| w.contains("may not list nodes")), "{told:?}");
        assert!(told.iter().any(|w| w.contains("may not list endpointslices")), "{told:?}");

        let patch = Patch::Merge(json!({"rules": rules(&["nodes", "endpointslices"])}));
        roles.patch(name, &PatchParams::default(), &patch).await.unwrap();
        until("the right that was given is used", async || warnings().await.is_empty()).await;
        assert!(!simulated() || list().await[0].zone.starts_with("zone-"));
    })
    .await;
}
