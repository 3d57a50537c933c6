//! Many at once: fifty apps, a reader that does not read, several daemons on one cluster.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use gantry::pb::{self, app_service_client::AppServiceClient, watch_apps_response::Event};
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, ReplicaSet};
use kube::{Api, api::ListParams};
use tonic::{Code, transport::Channel};

use crate::support::{Daemon, Env, follow, reason, run, until, web};

/// The image of each revision of an app, by its number.
async fn revisions(env: &Env, app: &str) -> BTreeMap<i64, String> {
    let all = Api::<ControllerRevision>::namespaced(env.client.clone(), &env.namespace);
    let all = all.list(&ListParams::default()).await.unwrap();
    let ours = all.items.into_iter().filter(|r| {
        r.metadata.name.as_deref().is_some_and(|name| name.starts_with(&format!("gantry-{app}-")))
    });
    let image = |r: &ControllerRevision| {
        let data = &r.data.as_ref().unwrap().0;
        let data: serde_json::Value = serde_json::from_str(data["record"].as_str().unwrap()).unwrap();
        data["content"]["spec"]["image"].as_str().unwrap_or_else(|| panic!("{data}")).to_owned()
    };
    ours.map(|r| (r.revision, image(&r))).collect()
}

async fn running_image(env: &Env, app: &str) -> String {
    let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
    let template = deployments.get(app).await.unwrap().spec.unwrap().template;
    template.spec.unwrap().containers[0].image.clone().unwrap()
}

/// Repeats the deploy until it is answered.
async fn deploy_with_retries(
    mut apps: AppServiceClient<Channel>,
    request: pb::DeployAppRequest,
) -> pb::DeployAppResponse {
    loop {
        match apps.deploy_app(request.clone()).await {
            Ok(answer) => return answer.into_inner(),
            // A slow machine may make a deploy time out, which is fine as long as a repeat completes it.
            Err(status) if status.code() == Code::Unavailable => {
                assert!(!reason(&status).is_empty());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(status) => panic!("{:?}: {status}", request.app),
        }
    }
}

/// The names of all apps, read in pages of at most 20.
async fn list_in_pages(mut apps: AppServiceClient<Channel>, parent: String) -> Vec<String> {
    let mut listed = Vec::new();
    let mut request = pb::ListAppsRequest { parent, page_size: 20, ..Default::default() };
    loop {
        let page = apps.list_apps(request.clone()).await.unwrap().into_inner();
        assert!(page.apps.len() <= 20);
        listed.extend(page.apps.into_iter().map(|app| app.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return listed;
        }
    }
}

#[tokio::test]
async fn fifty_apps_at_once_all_succeed_and_a_reader_that_slept_sees_how_it_ended() {
    run(|env| async move {
        let parent = format!("namespaces/{}", env.namespace);
        let watch = pb::WatchAppsRequest { parent: parent.clone(), ..Default::default() };
        // A stream on its own connection that is not read until all rollouts have ended.
        let mut sleeper = env.daemon.watch_apps(watch).await.unwrap();

        let names: Vec<_> = (0..50).map(|i| format!("app-{i:02}")).collect();
        let mut apps = env.daemon.apps().await;
        let deploys = names.iter().enumerate().map(|(i, name)| {
            let request = pb::DeployAppRequest {
                request_id: format!("6f1a2c1e-0000-4000-8000-0000000001{i:02}"),
                ..env.deploy_request(name, pb::AppSpec { replicas: Some(1), ..web() })
            };
            deploy_with_retries(apps.clone(), request)
        });
        let answers = join_all(deploys).await;
        let rollouts = answers.iter().map(|answer| answer.rollout.as_ref().unwrap().name.as_str());
        for end in join_all(rollouts.map(|name| follow(&env.daemon, name))).await {
            assert_eq!(end.state(), pb::RolloutState::Succeeded, "{end:?}");
        }
        // A daemon may know the end of a rollout from the record of another daemon before it has read the
        // Deployment itself.
        for (name, answer) in names.iter().zip(&answers) {
            let request = pb::GetAppRequest { name: env.name(name), read_after: answer.position.clone() };
            apps.get_app(request).await.unwrap();
        }
        let expected: Vec<_> = names.iter().map(|name| env.name(name)).collect();
        assert_eq!(list_in_pages(apps, parent).await, expected);

        let mut last = BTreeMap::new();
        let settled = async {
            while last.values().filter(|ready| **ready == 1).count() < 50 {
                if let Some(Event::Updated(app)) = sleeper.message().await.unwrap().unwrap().event {
                    last.insert(app.name, app.status.unwrap().ready_replicas);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), settled).await.expect("the latest state of each comes");
    })
    .await;
}

#[tokio::test]
async fn one_request_sent_a_hundred_times_to_three_daemons_is_done_once() {
    run(|env| async move {
        let others = [Daemon::start().await, Daemon::start().await];
        let all = [env.daemon.apps().await, others[0].apps().await, others[1].apps().await];
        let id = |step: u8| format!("6f1a2c1e-0000-4000-8000-0000000000{step:02x}");
        for step in 1..=3_u8 {
            let spec = pb::AppSpec { image: format!("web:{step}"), ..web() };
            let deploy = pb::DeployAppRequest { request_id: id(step), ..env.deploy_request("web", spec) };
            let restart =
                pb::RestartAppRequest { name: env.name("web"), request_id: id(step), ..Default::default() };
            let calls = (0..100).map(|i| {
                let (mut apps, deploy, restart) = (all[i % 3].clone(), deploy.clone(), restart.clone());
                async move {
                    match step {
                        3 => apps.restart_app(restart).await.unwrap().into_inner().rollout,
                        _ => apps.deploy_app(deploy).await.unwrap().into_inner().rollout,
                    }
                }
            });
            let rollouts = join_all(calls).await;
            let expected = format!("{}/rollouts/{step}", env.name("web"));
            for rollout in &rollouts {
                assert_eq!(rollout.as_ref().map(|r| r.name.as_str()), Some(expected.as_str()));
            }
            assert_eq!(revisions(&env, "web").await.len(), usize::from(step));
            assert_eq!(follow(&others[0], &expected).await.state(), pb::RolloutState::Succeeded);
            // Kubernetes has one ReplicaSet for each pod template, so it saw one rollout for each step too.
            let sets = Api::<ReplicaSet>::namespaced(env.client.clone(), &env.namespace);
            let sets = sets.list_metadata(&ListParams::default()).await.unwrap().items.len();
            assert_eq!(sets, usize::from(step));
        }
    })
    .await;
}

#[tokio::test]
async fn of_different_deploys_at_two_daemons_the_later_one_runs_in_the_end() {
    run(|env| async move {
        let other = Daemon::start().await;
        let both = [env.daemon.apps().await, other.apps().await];
        // First as the first deploys of a new app, then as changes of an existing one.
        for round in 0..2 {
            let calls = (0..8).map(|i| {
                let spec = pb::AppSpec { image: format!("web:{round}{i}"), ..web() };
                let (mut apps, request) = (both[i % 2].clone(), env.deploy_request("web", spec));
                async move { apps.deploy_app(request).await.unwrap() }
            });
            join_all(calls).await;
            let all = revisions(&env, "web").await;
            let numbers: Vec<_> = all.keys().copied().collect();
            assert_eq!(
                numbers,
                (1..=8 * (round + 1)).collect::<Vec<_>>(),
                "each revision has a different number"
            );
            let (last, image) = all.last_key_value().unwrap();
            assert_eq!(&running_image(&env, "web").await, image, "the later one runs");
            let end = follow(&env.daemon, &format!("{}/rollouts/{last}", env.name("web"))).await;
            assert_eq!(end.state(), pb::RolloutState::Succeeded, "{end:?}");
            assert_eq!(&running_image(&env, "web").await, image);
            for daemon in [&env.daemon, &other] {
                let seen = async || {
                    let request = pb::GetAppRequest { name: env.name("web"), ..Default::default() };
                    daemon.get_app(request).await.unwrap().app.unwrap()
                };
                until("both see it", async || &seen().await.spec.unwrap().image == image).await;
            }
        }
    })
    .await;
}
