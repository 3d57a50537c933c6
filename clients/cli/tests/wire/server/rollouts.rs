//! Rollouts of the stand-in. Must not know apps.

use futures::{StreamExt, stream};
use gantry_client::v1::{self, rollout_service_server, watch_rollout_response::Event};
use tonic::{Code, Request, Response, Status, codegen::BoxStream};
use tonic_types::{ErrorDetails, StatusExt};

use super::{app_of, mk_failed, mk_plan, mk_rollout};

pub(super) struct Rollouts;

#[allow(clippy::unnecessary_wraps)] // an item of a stream
fn step(resume_token: &str, event: Event) -> Result<v1::WatchRolloutResponse, Status> {
    Ok(v1::WatchRolloutResponse { resume_token: resume_token.into(), event: Some(event), event_time: None })
}

// === impl Rollouts ===

#[tonic::async_trait]
impl rollout_service_server::RolloutService for Rollouts {
    async fn watch_rollout(
        &self,
        request: Request<v1::WatchRolloutRequest>,
    ) -> Result<Response<BoxStream<v1::WatchRolloutResponse>>, Status> {
        let v1::WatchRolloutRequest { name, resume_token } = request.into_inner();
        let begins = step("1", Event::Rollout(mk_rollout(&name, v1::RolloutState::Running, 1)));
        let events = match (app_of(&name), resume_token.as_str()) {
            ("bad", _) => stream::iter(vec![begins, step("2", Event::Completed(mk_failed(&name)))]).boxed(),
            ("slow", _) => stream::iter(vec![begins]).chain(stream::pending()).boxed(),
            (_, "") => stream::iter(vec![begins, Err(Status::unavailable("shutting down"))]).boxed(),
            (_, "1") => {
                let log = v1::RolloutLog { object: "pod/good-x".into(), message: "pulled".into() };
                let ends = mk_rollout(&name, v1::RolloutState::Succeeded, 3);
                stream::iter(vec![step("2", Event::Log(log)), step("3", Event::Completed(ends))]).boxed()
            }
            (_, token) => return Err(Status::invalid_argument(format!("unknown token {token}"))),
        };
        Ok(Response::new(events))
    }

    async fn get_rollout(
        &self,
        request: Request<v1::GetRolloutRequest>,
    ) -> Result<Response<v1::GetRolloutResponse>, Status> {
        let name = request.into_inner().name;
        let rollout = if app_of(&name) == "bad" {
            mk_failed(&name)
        } else {
            mk_rollout(&name, v1::RolloutState::Succeeded, 3)
        };
        Ok(Response::new(v1::GetRolloutResponse { rollout: Some(rollout) }))
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

    async fn list_rollouts(
        &self,
        request: Request<v1::ListRolloutsRequest>,
    ) -> Result<Response<v1::ListRolloutsResponse>, Status> {
        let request = request.into_inner();
        let (number, next) = if request.page_token.is_empty() { (7, "more") } else { (6, "") };
        let mut rollout =
            mk_rollout(&format!("{}/rollouts/{number}", request.parent), v1::RolloutState::Succeeded, 3);
        rollout.cause = v1::RolloutCause::Deploy.into();
        if request.view() == v1::RolloutView::Full {
            rollout.spec = Some(v1::AppSpec { image: format!("shop:{number}"), ..Default::default() });
        }
        Ok(Response::new(v1::ListRolloutsResponse { rollouts: vec![rollout], next_page_token: next.into() }))
    }

    async fn pause_rollout(
        &self,
        request: Request<v1::PauseRolloutRequest>,
    ) -> Result<Response<v1::PauseRolloutResponse>, Status> {
        let rollout = mk_rollout(&request.into_inner().name, v1::RolloutState::Paused, 1);
        Ok(Response::new(v1::PauseRolloutResponse { rollout: Some(rollout), position: "p1".into() }))
    }

    async fn resume_rollout(
        &self,
        request: Request<v1::ResumeRolloutRequest>,
    ) -> Result<Response<v1::ResumeRolloutResponse>, Status> {
        let name = request.into_inner().name;
        if app_of(&name) == "ended" {
            let details = ErrorDetails::with_error_info("ROLLOUT_ENDED", "gantry.dev", []);
            return Err(Status::with_error_details(Code::FailedPrecondition, "it has ended", details));
        }
        let rollout = mk_rollout(&name, v1::RolloutState::Running, 1);
        Ok(Response::new(v1::ResumeRolloutResponse { rollout: Some(rollout), position: "p1".into() }))
    }

    async fn rollback_app(
        &self,
        request: Request<v1::RollbackAppRequest>,
    ) -> Result<Response<v1::RollbackAppResponse>, Status> {
        let request = request.into_inner();
        if request.validate_only {
            let plan = Some(mk_plan(false));
            return Ok(Response::new(v1::RollbackAppResponse { plan, ..Default::default() }));
        }
        let mut rollout = mk_rollout(&format!("{}/rollouts/7", request.name), v1::RolloutState::Pending, 0);
        rollout.source_rollout = request.rollout;
        let rollout = (app_of(&request.name) != "same").then_some(rollout);
        Ok(Response::new(v1::RollbackAppResponse { rollout, position: "p1".into(), plan: None }))
    }
}
