//! Apps of the stand-in. Must not know rollouts.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{StreamExt, stream};
use gantry_client::v1::{self, app_service_server, watch_apps_response::Event};
use tonic::{Code, Request, Response, Status, codegen::BoxStream};
use tonic_types::{ErrorDetails, StatusExt};

use super::{app_of, missing, mk_app, mk_plan, mk_rollout};

#[derive(Default)]
pub(super) struct Apps {
    listed: AtomicU32,
    deleted: AtomicU32,
    /// The ids of the deploys of `flaky`.
    ids: Mutex<Vec<String>>,
}

#[allow(clippy::unnecessary_wraps)] // an item of a stream
fn change(event: Event) -> Result<v1::WatchAppsResponse, Status> {
    Ok(v1::WatchAppsResponse { resume_token: String::new(), event: Some(event) })
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
        let has_status = app.status.is_some();
        app.annotations.insert("seen".into(), format!("mask: {mask}, status: {has_status}"));
        if request.validate_only {
            let plan = Some(mk_plan(app_of(&app.name) == "bad"));
            return Ok(Response::new(v1::DeployAppResponse { app: Some(app), plan, ..Default::default() }));
        }
        let rollout = mk_rollout(&format!("{}/rollouts/7", app.name), v1::RolloutState::Pending, 0);
        match app_of(&app.name) {
            "refused" => {
                let mut details = ErrorDetails::with_error_info("NOT_IMPLEMENTED", "gantry.dev", []);
                details.add_bad_request_violation("app.spec.volumes", "not there yet");
                Err(Status::with_error_details(Code::Unimplemented, "volumes come later", details))
            }
            // Unavailable twice, and counts the ids that arrive.
            "flaky" => {
                let mut ids = self.ids.lock().expect("no holder of the lock panics");
                ids.push(request.request_id);
                if ids.len() < 3 {
                    let mut details = ErrorDetails::with_error_info("THROTTLED", "gantry.dev", []);
                    details.set_retry_info(Some(Duration::from_millis(50)));
                    return Err(Status::with_error_details(Code::Unavailable, "too much to do", details));
                }
                let tries = ids.len();
                ids.dedup();
                let said = format!("{tries} with {} ids of {} letters", ids.len(), ids[0].len());
                app.annotations.insert("tries".into(), said);
                Ok(Response::new(v1::DeployAppResponse { app: Some(app), ..Default::default() }))
            }
            "old" if !request.request_id.is_empty() => {
                Err(Status::unimplemented("DeployAppRequest.request_id is not there yet"))
            }
            "old" | "same" => {
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
        // Unavailable at first, then one app a page.
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
            change(Event::Updated(mk_app(good, v1::AppState::Updating, 1))),
            change(Event::Synced(v1::Synced::default())),
            change(Event::Updated(mk_app(good, v1::AppState::Active, 3))),
            change(Event::Heartbeat(v1::Heartbeat::default())),
            change(Event::Updated(mk_app(good, v1::AppState::Active, 3))),
            change(Event::Deleted(good.into())),
        ]);
        Ok(Response::new(events.chain(stream::pending()).boxed()))
    }

    async fn delete_app(
        &self,
        request: Request<v1::DeleteAppRequest>,
    ) -> Result<Response<v1::DeleteAppResponse>, Status> {
        let request = request.into_inner();
        if request.validate_only {
            let app = Some(mk_app(&request.name, v1::AppState::Active, 3));
            let plan = Some(mk_plan(false));
            return Ok(Response::new(v1::DeleteAppResponse { app, plan, ..Default::default() }));
        }
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

    async fn wait_app(
        &self,
        request: Request<v1::WaitAppRequest>,
    ) -> Result<Response<v1::WaitAppResponse>, Status> {
        let v1::WaitAppRequest { name, read_after, timeout } = request.into_inner();
        let (state, ready) = match app_of(&name) {
            "missing" => return Err(missing(&name)),
            "gone" => return Ok(Response::new(v1::WaitAppResponse { app: None, settled: true })),
            "slow" => {
                tokio::time::sleep(timeout.unwrap_or_default().try_into().unwrap_or_default()).await;
                let app = Some(mk_app(&name, v1::AppState::Updating, 1));
                return Ok(Response::new(v1::WaitAppResponse { app, settled: false }));
            }
            "bad" => (v1::AppState::Degraded, 1),
            "weak" => (v1::AppState::Degraded, 3),
            _ => (v1::AppState::Active, 3),
        };
        let mut app = mk_app(&name, state, ready);
        app.annotations.insert("after".into(), read_after);
        Ok(Response::new(v1::WaitAppResponse { app: Some(app), settled: true }))
    }

    async fn list_replicas(
        &self,
        request: Request<v1::ListReplicasRequest>,
    ) -> Result<Response<v1::ListReplicasResponse>, Status> {
        let request = request.into_inner();
        let (pod, next) = if request.page_token.is_empty() { ("good-x", "more") } else { ("good-y", "") };
        let replica = v1::Replica {
            pod: pod.into(),
            state: v1::ReplicaState::Ready.into(),
            rollout: format!("{}/rollouts/7", request.parent),
            ..Default::default()
        };
        let replicas = if app_of(&request.parent) == "stopped" { Vec::new() } else { vec![replica] };
        Ok(Response::new(v1::ListReplicasResponse { replicas, next_page_token: next.into() }))
    }

    async fn scale_app(
        &self,
        request: Request<v1::ScaleAppRequest>,
    ) -> Result<Response<v1::ScaleAppResponse>, Status> {
        let request = request.into_inner();
        if app_of(&request.name) == "scaled" && request.hold_for.is_none() {
            let details = ErrorDetails::with_error_info("AUTOSCALER_ACTIVE", "gantry.dev", []);
            return Err(Status::with_error_details(Code::FailedPrecondition, "it scales itself", details));
        }
        let mut app = mk_app(&request.name, v1::AppState::Updating, 1);
        if let (Some(_), Some(status)) = (request.hold_for, &mut app.status) {
            status.replica_owner = Some(v1::ReplicaOwner {
                kind: v1::ReplicaOwnerKind::Hold.into(),
                owner: "eve".into(),
                hold_end_time: Some(prost_types::Timestamp { seconds: 60, nanos: 0 }),
                reason: "sale".into(),
            });
        }
        let plan = request.validate_only.then(|| mk_plan(false));
        Ok(Response::new(v1::ScaleAppResponse { app: Some(app), plan, position: "p1".into() }))
    }

    async fn restart_app(
        &self,
        request: Request<v1::RestartAppRequest>,
    ) -> Result<Response<v1::RestartAppResponse>, Status> {
        let request = request.into_inner();
        let rollout = mk_rollout(&format!("{}/rollouts/7", request.name), v1::RolloutState::Pending, 0);
        let (plan, rollout) =
            if request.validate_only { (Some(mk_plan(false)), None) } else { (None, Some(rollout)) };
        Ok(Response::new(v1::RestartAppResponse { rollout, plan, position: "p1".into() }))
    }
}
