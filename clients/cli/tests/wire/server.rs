//! A stand-in for the daemon: what an app does is in its name. Must not know what the program prints.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use futures::{StreamExt, stream};
use gantry_client::v1::{
    self, app_service_server, rollout_service_server, server_service_server,
    watch_apps_response::Event as AppEvent, watch_rollout_response::Event as RolloutEvent,
};
use tonic::{
    Code, Request, Response, Status,
    codegen::BoxStream,
    transport::{Error, server::TcpIncoming},
};
use tonic_types::{ErrorDetails, StatusExt};

/// A server on a port of its own.
pub(crate) struct Server(TcpIncoming);

#[derive(Default)]
struct Apps {
    listed: AtomicU32,
    deleted: AtomicU32,
}

struct Rollouts;
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

fn missing(name: &str) -> Status {
    let details = ErrorDetails::with_error_info("APP_NOT_FOUND", "gantry.dev", []);
    Status::with_error_details(Code::NotFound, format!("{name} does not exist"), details)
}

#[allow(clippy::unnecessary_wraps)] // an item of a stream
fn step(resume_token: &str, event: RolloutEvent) -> Result<v1::WatchRolloutResponse, Status> {
    Ok(v1::WatchRolloutResponse { resume_token: resume_token.into(), event: Some(event), event_time: None })
}

#[allow(clippy::unnecessary_wraps)] // an item of a stream
fn change(event: AppEvent) -> Result<v1::WatchAppsResponse, Status> {
    Ok(v1::WatchAppsResponse { resume_token: String::new(), event: Some(event) })
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
            .add_service(app_service_server::AppServiceServer::new(Apps::default()))
            .add_service(rollout_service_server::RolloutServiceServer::new(Rollouts))
            .add_service(server_service_server::ServerServiceServer::new(Info))
            .serve_with_incoming(self.0)
            .await
    }
}

// === impl Apps ===

#[tonic::async_trait]
impl app_service_server::AppService for Apps {
    async fn deploy_app(
        &self,
        request: Request<v1::DeployAppRequest>,
    ) -> Result<Response<v1::DeployAppResponse>, Status> {
        let request = request.into_inner();
        let mut app = request.app.unwrap_or_default();
        let mask = request.update_mask.unwrap_or_default().paths.concat();
        app.annotations.insert("seen".into(), format!("mask: {mask}"));
        let rollout = mk_rollout(&format!("{}/rollouts/7", app.name), v1::RolloutState::Pending, 0);
        match app_of(&app.name) {
            "refused" => {
                let mut details = ErrorDetails::with_error_info("NOT_IMPLEMENTED", "gantry.dev", []);
                details.add_bad_request_violation("app.spec.volumes", "not there yet");
                Err(Status::with_error_details(Code::Unimplemented, "volumes come later", details))
            }
            "same" => {
                let result = v1::CheckResult::Warn.into();
                let check = v1::Check {
                    kind: "REPLICAS".into(),
                    result,
                    message: "the count stays".into(),
                    ..Default::default()
                };
                let plan = Some(v1::Plan { checks: vec![check], ..Default::default() });
                Ok(Response::new(v1::DeployAppResponse { app: Some(app), plan, ..Default::default() }))
            }
            _ => Ok(Response::new(v1::DeployAppResponse {
                app: Some(app),
                rollout: Some(rollout),
                ..Default::default()
            })),
        }
    }

    async fn get_app(
        &self,
        request: Request<v1::GetAppRequest>,
    ) -> Result<Response<v1::GetAppResponse>, Status> {
        let name = request.into_inner().name;
        let state = match self.deleted.load(Relaxed) {
            0 => v1::AppState::Active,
            n => {
                self.deleted.store(n + 1, Relaxed);
                v1::AppState::Deleting
            }
        };
        if app_of(&name) == "missing" || self.deleted.load(Relaxed) > 3 {
            return Err(missing(&name));
        }
        Ok(Response::new(v1::GetAppResponse { app: Some(mk_app(&name, state, 3)) }))
    }

    async fn list_apps(
        &self,
        request: Request<v1::ListAppsRequest>,
    ) -> Result<Response<v1::ListAppsResponse>, Status> {
        // Too busy at first, then one app a page.
        if self.listed.fetch_add(1, Relaxed) == 0 {
            return Err(Status::unavailable("warming up"));
        }
        let request = request.into_inner();
        let (app, next) = if request.page_token.is_empty() { ("bad", "more") } else { ("good", "") };
        let apps = vec![mk_app(&format!("{}/apps/{app}", request.parent), v1::AppState::Active, 3)];
        Ok(Response::new(v1::ListAppsResponse { apps, next_page_token: next.into() }))
    }

    async fn watch_apps(
        &self,
        _: Request<v1::WatchAppsRequest>,
    ) -> Result<Response<BoxStream<v1::WatchAppsResponse>>, Status> {
        let good = "namespaces/prod/apps/good";
        let events = stream::iter([
            change(AppEvent::Updated(mk_app(good, v1::AppState::Updating, 1))),
            change(AppEvent::Synced(v1::Synced::default())),
            change(AppEvent::Updated(mk_app(good, v1::AppState::Active, 3))),
            change(AppEvent::Heartbeat(v1::Heartbeat::default())),
            change(AppEvent::Updated(mk_app(good, v1::AppState::Active, 3))),
            change(AppEvent::Deleted(good.into())),
        ]);
        Ok(Response::new(events.chain(stream::pending()).boxed()))
    }

    async fn delete_app(
        &self,
        request: Request<v1::DeleteAppRequest>,
    ) -> Result<Response<v1::DeleteAppResponse>, Status> {
        let request = request.into_inner();
        if app_of(&request.name) == "missing" {
            return if request.allow_missing {
                Ok(Response::new(v1::DeleteAppResponse::default()))
            } else {
                Err(missing(&request.name))
            };
        }
        self.deleted.store(1, Relaxed);
        let app = Some(mk_app(&request.name, v1::AppState::Active, 3));
        Ok(Response::new(v1::DeleteAppResponse { app, ..Default::default() }))
    }
}

// === impl Rollouts ===

#[tonic::async_trait]
impl rollout_service_server::RolloutService for Rollouts {
    async fn watch_rollout(
        &self,
        request: Request<v1::WatchRolloutRequest>,
    ) -> Result<Response<BoxStream<v1::WatchRolloutResponse>>, Status> {
        let v1::WatchRolloutRequest { name, resume_token } = request.into_inner();
        let begins = step("1", RolloutEvent::Rollout(mk_rollout(&name, v1::RolloutState::Running, 1)));
        let events = match (app_of(&name), resume_token.as_str()) {
            ("bad", _) => {
                stream::iter(vec![begins, step("2", RolloutEvent::Completed(mk_failed(&name)))]).boxed()
            }
            ("slow", _) => stream::iter(vec![begins]).chain(stream::pending()).boxed(),
            (_, "") => stream::iter(vec![begins, Err(Status::unavailable("shutting down"))]).boxed(),
            (_, "1") => {
                let log = v1::RolloutLog { object: "pod/good-x".into(), message: "pulled".into() };
                let ends = mk_rollout(&name, v1::RolloutState::Succeeded, 3);
                stream::iter(vec![
                    step("2", RolloutEvent::Log(log)),
                    step("3", RolloutEvent::Completed(ends)),
                ])
                .boxed()
            }
            (_, token) => return Err(Status::invalid_argument(format!("nobody sent the token {token}"))),
        };
        Ok(Response::new(events))
    }

    async fn get_rollout(
        &self,
        request: Request<v1::GetRolloutRequest>,
    ) -> Result<Response<v1::GetRolloutResponse>, Status> {
        let rollout = Some(mk_rollout(&request.into_inner().name, v1::RolloutState::Succeeded, 3));
        Ok(Response::new(v1::GetRolloutResponse { rollout }))
    }

    async fn wait_rollout(
        &self,
        request: Request<v1::WaitRolloutRequest>,
    ) -> Result<Response<v1::WaitRolloutResponse>, Status> {
        let request = request.into_inner();
        let state = if app_of(&request.name) == "slow" {
            let timeout = request.timeout.unwrap_or_default();
            tokio::time::sleep(timeout.try_into().unwrap_or_default()).await;
            v1::RolloutState::Running
        } else {
            v1::RolloutState::Succeeded
        };
        Ok(Response::new(v1::WaitRolloutResponse { rollout: Some(mk_rollout(&request.name, state, 3)) }))
    }
}

// === impl Info ===

#[tonic::async_trait]
impl server_service_server::ServerService for Info {
    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        Ok(Response::new(v1::GetServerInfoResponse { version: "stand-in".into(), ..Default::default() }))
    }
}
