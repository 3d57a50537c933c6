//! Errors on the wire: each has a code, a reason and the details that the contract promises, wherever it
//! comes from.

use std::time::Duration;

use gantry::{
    domain::Error,
    pb::{self, app_service_client::AppServiceClient},
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use prost::Message;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::{
    support::{Server, mk_deployment, reason, until},
    wire::rules::{call, valid_request},
};

const SHOP: &str = "namespaces/shop/apps/web";

fn deploy(name: &str, spec: pb::AppSpec) -> pb::DeployAppRequest {
    let app = pb::App { name: name.into(), spec: Some(spec), ..pb::App::default() };
    pb::DeployAppRequest { app: Some(app), ..pb::DeployAppRequest::default() }
}

fn image() -> pb::AppSpec {
    pb::AppSpec { image: "web:1".into(), ..pb::AppSpec::default() }
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let server = Server::start().await;
    let spec = pb::AppSpec {
        image: "a b".into(),
        replicas: Some(10_001),
        ports: vec![pb::Port { name: "http".into(), number: 0, protocol: 0 }],
        ..pb::AppSpec::default()
    };
    let status = server.apps().deploy_app(deploy("namespaces/shop/apps/3web", spec)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let details = status.get_error_details();
    let fields: Vec<_> =
        details.bad_request().unwrap().field_violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["app.name", "app.spec.image", "app.spec.replicas", "app.spec.ports[0].number"]);
    assert!(server.act.deploys.lock().unwrap().is_empty(), "nothing is written");
}

#[tokio::test]
async fn what_is_not_there_yet_is_told_from_what_there_is_not() {
    let server = Server::start().await;
    for (path, expected) in [
        ("gantry.v1.AutoscalerService/SimulateAutoscaler", "NOT_IMPLEMENTED"),
        ("gantry.v1.AppService/Nonsense", "METHOD_NOT_FOUND"),
    ] {
        let status = call(&server, &format!("/{path}"), valid_request(path)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, expected), "{path}");
        assert!(status.message().contains(path), "{}", status.message());
    }
}

/// Covers methods that are added to the contract and forgotten in the other tests.
#[tokio::test]
async fn every_method_of_the_contract_answers_with_a_reason() {
    let server = Server::start().await;
    let set = prost_types::FileDescriptorSet::decode(pb::DESCRIPTOR).unwrap();
    let ours = set.file.iter().filter(|file| file.package() == "gantry.v1");
    let mut there = Vec::new();
    let mut count = 0;
    for service in ours.flat_map(|file| &file.service) {
        for method in &service.method {
            count += 1;
            let path = format!("gantry.v1.{}/{}", service.name(), method.name());
            match call(&server, &format!("/{path}"), valid_request(&path)).await {
                Err(status) if status.code() == Code::Unimplemented => {
                    assert_eq!(reason(&status), "NOT_IMPLEMENTED", "{path}");
                }
                Err(status) => {
                    assert_eq!(reason(&status), "INVALID_FIELD", "{path}");
                    there.push(method.name().to_owned());
                }
                Ok(_) => there.push(method.name().to_owned()),
            }
        }
    }
    there.sort();
    let expected = [
        "DeleteApp",
        "DeployApp",
        "GetApp",
        "GetAutoscaler",
        "GetRollout",
        "GetServerInfo",
        "ListApps",
        "ListEndpoints",
        "ListReplicas",
        "ListRollouts",
        "ListScalingDecisions",
        "PauseRollout",
        "ReportLoad",
        "RestartApp",
        "ResumeRollout",
        "RollbackApp",
        "ScaleApp",
        "StreamLogs",
        "UpdateAutoscaler",
        "WaitApp",
        "WaitRollout",
        "WatchApps",
        "WatchEndpoints",
        "WatchRollout",
        "WatchScalingDecisions",
        "WatchTimeline",
    ];
    assert_eq!(there, expected);
    assert!(count > 25, "{count}");
}

#[tokio::test]
async fn an_absent_app_comes_with_a_guess() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 1, 1));
    let name = "namespaces/shop/apps/wed".to_owned();
    let status = server.apps().get_app(pb::GetAppRequest { name, ..Default::default() }).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "APP_NOT_FOUND"));
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().metadata["didYouMean"], SHOP);
    assert_eq!(details.resource_info().unwrap().resource_name, "namespaces/shop/apps/wed");
}

#[tokio::test]
async fn before_the_cluster_is_read_nothing_is_said_to_be_absent() {
    let server = Server::start_unfilled().await;
    let request = || pb::GetAppRequest { name: SHOP.into(), ..Default::default() };
    let status = server.apps().get_app(request()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "WARMING_UP"));
    assert!(status.get_error_details().retry_info().is_some());
    let info = server.server().get_server_info(pb::GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.warnings.len(), 1);

    server.fill();
    let status = server.apps().get_app(request()).await.unwrap_err();
    assert_eq!(reason(&status), "APP_NOT_FOUND");
}

#[tokio::test]
async fn a_passed_deadline_says_so_and_whether_something_may_have_happened() {
    let server = Server::start().await;
    *server.act.delay.lock().unwrap() = Duration::from_millis(500);
    let mut request = Request::new(deploy(SHOP, image()));
    request.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    // A bare HTTP client, because tonic's client would give up first and never see the answer.
    let http = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let mut client = AppServiceClient::with_origin(http, server.address.parse().unwrap());
    let status = client.deploy_app(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE"));
    let details = status.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!(metadata["mayHaveHappened"], "true");
    assert!(metadata["waitingFor"].contains("DeployApp"));

    // The write was not interrupted: it ends after the call.
    until(|| !server.act.deploys.lock().unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_server_goes_on() {
    let server = Server::start().await;
    let request = pb::DeployAppRequest { reason: "panic".into(), ..deploy(SHOP, image()) };
    let status = server.apps().deploy_app(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Internal, "BUG"));
    assert!(status.get_error_details().request_info().is_some());
    server.apps().deploy_app(deploy(SHOP, image())).await.unwrap();
}

#[tokio::test]
async fn an_oversized_request_is_refused_with_a_reason() {
    let server = Server::start().await;
    let env = [("BIG".to_owned(), "x".repeat(2 << 20))].into();
    let status = server.apps().deploy_app(deploy(SHOP, pb::AppSpec { env, ..image() })).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
}

#[tokio::test]
async fn an_error_of_the_cluster_reaches_the_caller_with_its_details() {
    let server = Server::start().await;
    *server.act.answer.lock().unwrap() = Some(Error::Unreachable { message: "Connection refused".into() });
    let status = server.apps().deploy_app(deploy(SHOP, image())).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "CLUSTER_UNREACHABLE"));
    assert!(status.get_error_details().retry_info().is_some());
}

#[tokio::test]
async fn a_deploy_reaches_the_cluster_as_it_was_asked_for() {
    let server = Server::start().await;
    let spec = pb::AppSpec { replicas: Some(0), ..image() };
    let request = pb::DeployAppRequest { reason: "because".into(), ..deploy(SHOP, spec) };
    let response = server.apps().deploy_app(request).await.unwrap().into_inner();
    assert_eq!(response.rollout.unwrap().name, "namespaces/shop/apps/web/rollouts/1");
    let deploys = server.act.deploys.lock().unwrap();
    assert_eq!(deploys[0].content.spec.replicas, Some(0), "0 is a count, not an unset field");
    assert_eq!((deploys[0].meta.caller.user.as_str(), deploys[0].meta.reason.as_str()), ("ann", "because"));
}
