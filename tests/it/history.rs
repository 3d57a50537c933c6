//! The history of an app on the wire: rollouts in pages, in the view that is asked for.

use gantry::{
    domain::observed::{Deployment, ExternalAutoscaler, HorizontalPodAutoscaler, ReplicaSet},
    pb,
};

use crate::support::{Server, mk_deployment, mk_managed, mk_replica_set, mk_revision, now, reason};

fn ask(app: &str) -> pb::ListRolloutsRequest {
    pb::ListRolloutsRequest { parent: format!("namespaces/shop/apps/{app}"), ..Default::default() }
}

async fn list(server: &Server, request: pb::ListRolloutsRequest) -> pb::ListRolloutsResponse {
    server.rollouts().list_rollouts(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn pages_hold_every_rollout_once_the_newest_first() {
    let server = Server::start().await;
    server.apply(Deployment { revision: Some(7), ..mk_managed("web", 1, 1) });
    server.apply(mk_deployment("other", 1, 1));
    server.index.update_rows((1..=7).map(|n| mk_revision("web", n)).collect(), vec![], now());
    let mut names = Vec::new();
    let mut request = pb::ListRolloutsRequest { page_size: 3, ..ask("web") };
    loop {
        let page = list(&server, request.clone()).await;
        assert!(page.rollouts.len() <= 3);
        assert!(page.rollouts.iter().all(|r| r.spec.is_none() && r.start_time.is_some()), "{page:?}");
        names.extend(page.rollouts.into_iter().map(|r| r.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        for foreign in [
            pb::ListRolloutsRequest { parent: ask("other").parent, ..request.clone() },
            pb::ListRolloutsRequest { view: pb::RolloutView::Full.into(), ..request.clone() },
        ] {
            let status = server.rollouts().list_rollouts(foreign).await.unwrap_err();
            assert_eq!(reason(&status), "PAGE_TOKEN_INVALID");
        }
    }
    let expected: Vec<_> = (1..=7).rev().map(|n| format!("namespaces/shop/apps/web/rollouts/{n}")).collect();
    assert_eq!(names, expected);

    let full =
        list(&server, pb::ListRolloutsRequest { view: pb::RolloutView::Full.into(), ..ask("web") }).await;
    let images: Vec<_> = full.rollouts[..2].iter().map(|r| r.spec.clone().unwrap().image).collect();
    assert_eq!(images, ["web:7", "web:6"]);
    assert_eq!(full.rollouts[1].state(), pb::RolloutState::Superseded);
}

#[tokio::test]
async fn a_history_that_cannot_be_read_says_why() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    assert_eq!(list(&server, ask("web")).await, pb::ListRolloutsResponse::default(), "nothing ran yet");
    for (request, expected) in [
        (ask("wep"), "APP_NOT_FOUND"),
        (pb::ListRolloutsRequest { parent: "namespaces/shop".into(), ..ask("web") }, "INVALID_FIELD"),
        (pb::ListRolloutsRequest { page_size: -1, ..ask("web") }, "INVALID_FIELD"),
        (pb::ListRolloutsRequest { view: 9, ..ask("web") }, "INVALID_FIELD"),
        (pb::ListRolloutsRequest { page_token: "nonsense".into(), ..ask("web") }, "PAGE_TOKEN_INVALID"),
        (pb::ListRolloutsRequest { read_after: "yesterday".into(), ..ask("web") }, "INVALID_FIELD"),
    ] {
        let status = server.rollouts().list_rollouts(request.clone()).await.unwrap_err();
        assert_eq!(reason(&status), expected, "{request:?}");
    }
}

#[tokio::test]
async fn an_unmanaged_app_has_rollouts_and_an_owner_of_its_count() {
    let server = Server::start().await;
    server.apply(Deployment { template_revision: 4, ..mk_deployment("web", 2, 1) });
    let set = |name: &str, template_revision| ReplicaSet {
        name: name.into(),
        revision: None,
        template_revision,
        ..mk_replica_set("web")
    };
    server.index.update_rows(vec![set("web-1", 3), set("web-2", 4)], vec![], now());
    let scaler =
        ExternalAutoscaler { namespace: "shop".into(), name: "by-hand".into(), target: "web".into() };
    server.index.update_rows(vec![HorizontalPodAutoscaler(scaler)], vec![], now());
    let name = ask("web").parent;
    let app = server.apps().get_app(pb::GetAppRequest { name: name.clone(), ..Default::default() }).await;
    let status = app.unwrap().into_inner().app.unwrap().status.unwrap();
    assert_eq!(status.rollout, format!("{name}/rollouts/4"));
    let owner = status.replica_owner.unwrap();
    assert_eq!(owner.kind(), pb::ReplicaOwnerKind::Foreign);
    assert_eq!(owner.owner, "horizontalpodautoscaler.autoscaling/by-hand");
    let rollouts = list(&server, ask("web")).await.rollouts;
    let told: Vec<_> = rollouts.iter().map(|r| (r.state(), r.cause())).collect();
    let external = pb::RolloutCause::External;
    assert_eq!(told, [(pb::RolloutState::Running, external), (pb::RolloutState::Superseded, external)]);
}
