//! Autoscalers of the stand-in. Must not know apps.

use std::{sync::Mutex, time::Duration};

use futures::{StreamExt, stream};
use gantry_client::v1::{self, autoscaler_service_server, watch_scaling_decisions_response::Event};
use tonic::{Code, Request, Response, Status, codegen::BoxStream};
use tonic_types::{ErrorDetails, StatusExt};

use super::{app_of, missing};

#[derive(Default)]
pub(super) struct Autoscalers {
    /// The ids of the changes of `flaky`.
    ids: Mutex<Vec<String>>,
}

fn mk_decision(scaler: &str, id: i64, outcome: v1::ScalingOutcome) -> v1::ScalingDecision {
    let step = v1::LimitStep { limit: "RATE_UP".into(), before: 7, after: 5 };
    v1::ScalingDecision {
        name: format!("{scaler}/decisions/{id}"),
        decide_time: Some(prost_types::Timestamp { seconds: id, nanos: 0 }),
        outcome: outcome.into(),
        from_replicas: 3,
        to_replicas: 5,
        required_replicas: 7,
        message: format!("decision {id}"),
        limits: vec![step],
        ..Default::default()
    }
}

#[allow(clippy::unnecessary_wraps)] // an item of a stream
fn step(resume_token: &str, event: Event) -> Result<v1::WatchScalingDecisionsResponse, Status> {
    Ok(v1::WatchScalingDecisionsResponse { resume_token: resume_token.into(), event: Some(event) })
}

// === impl Autoscalers ===

#[tonic::async_trait]
impl autoscaler_service_server::AutoscalerService for Autoscalers {
    async fn get_autoscaler(
        &self,
        request: Request<v1::GetAutoscalerRequest>,
    ) -> Result<Response<v1::GetAutoscalerResponse>, Status> {
        let name = request.into_inner().name;
        if app_of(&name) == "missing" {
            return Err(missing(&name));
        }
        let is_idle = app_of(&name) == "idle";
        let status = v1::AutoscalerStatus {
            message: "It follows the demand.".into(),
            last_decision: Some(mk_decision(&name, 17, v1::ScalingOutcome::Scaled)),
            acts_for: "eve".into(),
            ..Default::default()
        };
        let autoscaler = v1::Autoscaler {
            name,
            mode: if is_idle { v1::AutoscalerMode::Off } else { v1::AutoscalerMode::Active }.into(),
            max_replicas: 20,
            status: Some(status),
            ..Default::default()
        };
        Ok(Response::new(v1::GetAutoscalerResponse { autoscaler: Some(autoscaler) }))
    }

    /// Repeats the request in its message.
    async fn update_autoscaler(
        &self,
        request: Request<v1::UpdateAutoscalerRequest>,
    ) -> Result<Response<v1::UpdateAutoscalerResponse>, Status> {
        let request = request.into_inner();
        let mut autoscaler = request.autoscaler.unwrap_or_default();
        if app_of(&autoscaler.name) == "foreign" {
            let details = ErrorDetails::with_error_info("FOREIGN_AUTOSCALER", "gantry.dev", []);
            let message = "horizontalpodautoscaler.autoscaling/foreign decides the count";
            return Err(Status::with_error_details(Code::FailedPrecondition, message, details));
        }
        let mut ids = self.ids.lock().expect("no holder of the lock panics");
        ids.push(request.request_id);
        if app_of(&autoscaler.name) == "flaky" && ids.len() < 2 {
            let mut details = ErrorDetails::with_error_info("THROTTLED", "gantry.dev", []);
            details.set_retry_info(Some(Duration::from_millis(50)));
            return Err(Status::with_error_details(Code::Unavailable, "too much to do", details));
        }
        let tries = ids.len();
        ids.dedup();
        let mask = request.update_mask.unwrap_or_default().paths.join(",");
        let message = format!(
            "{mask} for {}; {tries} with {} ids of {} letters",
            request.reason,
            ids.len(),
            ids[0].len()
        );
        autoscaler.status = Some(v1::AutoscalerStatus { message, ..Default::default() });
        let position = if request.validate_only { String::new() } else { "p1".into() };
        Ok(Response::new(v1::UpdateAutoscalerResponse { autoscaler: Some(autoscaler), position }))
    }

    async fn list_scaling_decisions(
        &self,
        request: Request<v1::ListScalingDecisionsRequest>,
    ) -> Result<Response<v1::ListScalingDecisionsResponse>, Status> {
        let request = request.into_inner();
        let (decision, next) = if request.page_token.is_empty() {
            (mk_decision(&request.parent, 17, v1::ScalingOutcome::Scaled), "more")
        } else {
            (mk_decision(&request.parent, 16, v1::ScalingOutcome::Held), "")
        };
        let is_wanted = request.outcomes.is_empty() || request.outcomes.contains(&decision.outcome);
        let is_there = app_of(&request.parent) != "idle" && is_wanted;
        let decisions = if is_there { vec![decision] } else { Vec::new() };
        Ok(Response::new(v1::ListScalingDecisionsResponse { decisions, next_page_token: next.into() }))
    }

    /// Breaks off after the first decision, continues at its token, and ends because the app is gone.
    async fn watch_scaling_decisions(
        &self,
        request: Request<v1::WatchScalingDecisionsRequest>,
    ) -> Result<Response<BoxStream<v1::WatchScalingDecisionsResponse>>, Status> {
        let request = request.into_inner();
        let scaler = match request.parent.as_str() {
            "namespaces/-/apps/-/autoscaler" => "namespaces/stage/apps/other/autoscaler",
            one => one,
        };
        let decision = |id, outcome| Event::Decision(mk_decision(scaler, id, outcome));
        let events = match request.resume_token.as_str() {
            "" => vec![
                step("1", decision(61, v1::ScalingOutcome::Scaled)),
                step("", Event::Heartbeat(v1::Heartbeat::default())),
                Err(Status::unavailable("shutting down")),
            ],
            "1" => vec![step("2", decision(62, v1::ScalingOutcome::Held)), Err(missing(scaler))],
            token => return Err(Status::invalid_argument(format!("unknown token {token}"))),
        };
        Ok(Response::new(stream::iter(events).boxed()))
    }

    /// Accepts every figure except `strange`.
    async fn report_load(
        &self,
        request: Request<v1::ReportLoadRequest>,
    ) -> Result<Response<v1::ReportLoadResponse>, Status> {
        let figures = request.into_inner().figures;
        if figures.iter().any(|figure| app_of(&figure.app) == "missing") {
            return Err(missing("namespaces/prod/apps/missing"));
        }
        let taken = figures.iter().filter(|figure| figure.metric != "strange").count();
        Ok(Response::new(v1::ReportLoadResponse { accepted: i32::try_from(taken).expect("it is small") }))
    }
}
