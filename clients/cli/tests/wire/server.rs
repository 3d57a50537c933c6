//! A stand-in for the daemon: the name of an app decides how it behaves. Must not know what the program
//! prints.

mod apps;
mod autoscaler;
mod endpoints;
mod rollouts;
mod timeline;

use std::net::SocketAddr;

use gantry_client::v1::{
    self, app_service_server, autoscaler_service_server, discovery_service_server, rollout_service_server,
    server_service_server, timeline_service_server,
};
use tonic::{
    Code, Request, Response, Status,
    transport::{Error, server::TcpIncoming},
};
use tonic_types::{ErrorDetails, StatusExt};

/// A server on a free port.
pub(crate) struct Server(TcpIncoming);

struct Info;

fn app_of(name: &str) -> &str {
    name.split('/').nth(3).unwrap_or_default()
}

fn mk_app(name: &str, state: v1::AppState, ready: i32) -> v1::App {
    let status = v1::AppStatus {
        state: state.into(),
        desired_replicas: 3,
        ready_replicas: ready,
        rollout: format!("{name}/rollouts/7"),
        ..Default::default()
    };
    let spec = v1::AppSpec { image: "shop:1".into(), ..Default::default() };
    v1::App {
        name: name.into(),
        uid: "u".into(),
        spec: Some(spec),
        status: Some(status),
        ..Default::default()
    }
}

fn mk_rollout(name: &str, state: v1::RolloutState, ready: i32) -> v1::Rollout {
    let name = name.replace("latest", "7");
    let progress = Some(v1::RolloutProgress { desired: 3, updated: ready, ready, ..Default::default() });
    v1::Rollout { name, state: state.into(), progress, ..Default::default() }
}

fn mk_failed(name: &str) -> v1::Rollout {
    let problem = v1::Problem {
        reason: "IMAGE_PULL_FAILED".into(),
        message: "no such tag".into(),
        remedy: "push it".into(),
        object: "pod/bad-x".into(),
        affected_replicas: 1,
        events: vec!["Failed: manifest unknown".into()],
        ..Default::default()
    };
    let error = v1::RolloutError {
        reason: problem.reason.clone(),
        message: "no such tag".into(),
        problem: Some(problem),
    };
    v1::Rollout { error: Some(error), ..mk_rollout(name, v1::RolloutState::Failed, 0) }
}

/// A plan with every kind of difference; `fails` adds a check that fails.
fn mk_plan(fails: bool) -> v1::Plan {
    let change = v1::Change {
        object: "deployment.apps/shop".into(),
        action: v1::ChangeAction::Update.into(),
        path: "spec.image".into(),
        old_value: "\"shop:1\"".into(),
        new_value: "\"shop:2\"".into(),
        restarts_replicas: true,
        after_success: false,
    };
    let result = if fails { v1::CheckResult::Fail } else { v1::CheckResult::Pass };
    let message = "1 of 3 replicas fits".into();
    let check = v1::Check { kind: "FIT".into(), result: result.into(), message, ..Default::default() };
    v1::Plan {
        changes: vec![change],
        checks: vec![check],
        warnings: vec!["old field".into()],
        ..Default::default()
    }
}

fn missing(name: &str) -> Status {
    let details = ErrorDetails::with_error_info("APP_NOT_FOUND", "gantry.dev", []);
    Status::with_error_details(Code::NotFound, format!("{name} does not exist"), details)
}

// === impl Server ===

impl Server {
    pub(crate) fn bind() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self(TcpIncoming::bind(any).expect("a port is free"))
    }

    pub(crate) fn address(&self) -> String {
        self.0.local_addr().expect("it is bound").to_string()
    }

    pub(crate) async fn serve(self) -> Result<(), Error> {
        tonic::transport::Server::builder()
            .add_service(app_service_server::AppServiceServer::new(apps::Apps::default()))
            .add_service(autoscaler_service_server::AutoscalerServiceServer::new(
                autoscaler::Autoscalers::default(),
            ))
            .add_service(rollout_service_server::RolloutServiceServer::new(rollouts::Rollouts))
            .add_service(discovery_service_server::DiscoveryServiceServer::new(endpoints::Endpoints))
            .add_service(timeline_service_server::TimelineServiceServer::new(timeline::Timelines::default()))
            .add_service(server_service_server::ServerServiceServer::new(Info))
            .serve_with_incoming(self.0)
            .await
    }
}

// === impl Info ===

#[tonic::async_trait]
impl server_service_server::ServerService for Info {
    async fn get_server_info(
        &self,
        request: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        // The caller's name is the token it sent.
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        Ok(Response::new(v1::GetServerInfoResponse {
            version: "stand-in".into(),
            caller: token.unwrap_or("nobody").to_owned(),
            warnings: vec!["may not list nodes".into()],
            ..Default::default()
        }))
    }
}
