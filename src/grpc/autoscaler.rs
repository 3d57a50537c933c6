//! `AutoscalerService`: sets up the autoscaler of an app, takes load figures, and shows what was decided and
//! why. `SimulateAutoscaler` is not implemented yet.
//!
//! One of several daemons runs the autoscaling loop. The other daemons forward to it the calls that only it
//! can answer.

mod leader_proxy;
mod watch;

use std::sync::Arc;

use jiff::Timestamp;
use tonic::{Code, Request, Response, Status};

pub(super) use self::leader_proxy::LeaderProxy;
use super::{
    context::Context, convert::autoscaler as convert, execute::Changed, pagination,
    parse::autoscaler as parse_autoscaler, stream::Answers,
};
use crate::{
    autoscale::Outcome,
    domain::{
        Error,
        commands::Commands,
        error::Violation,
        name::{self, Scope},
    },
    index::Leader,
    pb::{self, autoscaler_service_server::AutoscalerService},
};

/// The implementation of AutoscalerService.
#[derive(Clone)]
pub(super) struct Autoscalers {
    pub(super) context: Context,
    pub(super) elsewhere: LeaderProxy,
}

impl Autoscalers {
    fn show(&self, app: &name::App) -> Result<pb::Autoscaler, Error> {
        let now = Timestamp::now();
        let (index, scaling) = (&self.context.index, &self.context.scaling);
        let scaled = index.autoscaler_input(app, now)?;
        Ok(convert::autoscaler(
            &scaled,
            scaling.latest_decision(app).as_deref(),
            &scaling.leader(),
            scaling.next_evaluation(),
            now,
        ))
    }
}

#[tonic::async_trait]
impl AutoscalerService for Autoscalers {
    async fn get_autoscaler(
        &self,
        request: Request<pb::GetAutoscalerRequest>,
    ) -> Result<Response<pb::GetAutoscalerResponse>, Status> {
        let call = self.context.begin_with(&request)?;
        if let Ok(Some(mut there)) = self.elsewhere.client(&self.context.scaling, &request) {
            // If the other daemon does not answer, this one does. It knows everything except the last
            // decision.
            let answer = there
                .client
                .get_autoscaler(leader_proxy::forward_request(request.get_ref(), call.deadline))
                .await;
            match there.answered(answer) {
                Some(Err(status)) if status.code() != Code::Unavailable => return Err(status),
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(_)) | None => {}
            }
        }
        let request = request.into_inner();
        let app = parse_autoscaler::name("name", &request.name)?;
        self.context.wait_until_seen(&request.read_after, &Scope::App(app.clone()), call.deadline).await?;
        Ok(Response::new(pb::GetAutoscalerResponse { autoscaler: Some(self.show(&app)?) }))
    }

    async fn update_autoscaler(
        &self,
        request: Request<pb::UpdateAutoscalerRequest>,
    ) -> Result<Response<pb::UpdateAutoscalerResponse>, Status> {
        let (request, call) = self.context.begin(request)?;
        let tune = parse_autoscaler::tune(request, &call.caller)?;
        let (name, meta) = (tune.name.clone(), tune.meta.clone());
        let command = |commands: Arc<dyn Commands>| async move { commands.update_autoscaler(tune).await };
        let Changed { policy, position, .. } = self.context.execute(&call, &name, &meta, command).await?;
        let shown = self.show(&name);
        let shown = match policy {
            // Answer with the policy itself. The index may not have seen the policy or the app yet, and never
            // sees a dry run.
            Some(policy) => {
                let now = Timestamp::now();
                let seen = shown.ok().filter(|shown| shown.etag == policy.digest());
                let status = seen.and_then(|shown| shown.status);
                let status = status.or_else(|| Some(convert::status_of(&policy, now)));
                pb::Autoscaler { status, ..convert::policy(&name, &policy, now) }
            }
            None => shown?,
        };
        Ok(Response::new(pb::UpdateAutoscalerResponse { autoscaler: Some(shown), position }))
    }

    async fn list_scaling_decisions(
        &self,
        request: Request<pb::ListScalingDecisionsRequest>,
    ) -> Result<Response<pb::ListScalingDecisionsResponse>, Status> {
        let call = self.context.begin_with(&request)?;
        let app = parse_autoscaler::name("parent", &request.get_ref().parent)?;
        if let Some(mut there) = self.elsewhere.client(&self.context.scaling, &request)? {
            let answer = there
                .client
                .list_scaling_decisions(leader_proxy::forward_request(request.get_ref(), call.deadline))
                .await;
            return there.answered(answer).unwrap_or_else(|| Err(there.unreachable().into()));
        }
        let request = request.into_inner();
        let wanted = parse_autoscaler::outcomes(&request.outcomes)?;
        let size = pagination::parse_page_size(pagination::MANY, request.page_size)?;
        let query = format!("decisions\n{app}\n{:?}", request.outcomes);
        let before = pagination::parse_token(&query, &request.page_token)?
            .map(|id| id.parse().map_err(|_| Error::PageToken))
            .transpose()?;
        self.context.index.get_app(&app)?;
        let is_wanted = |outcome: &Outcome| wanted.is_empty() || wanted.contains(&convert::outcome(outcome));
        let (found, more) = self.context.scaling.list_decisions(&app, before, size, is_wanted);
        let (decisions, last) = pagination::fill_page(found, more, |decision| convert::decision(decision));
        let next_page_token =
            last.map_or_else(String::new, |decision| pagination::make_token(&query, decision.id));
        Ok(Response::new(pb::ListScalingDecisionsResponse { decisions, next_page_token }))
    }

    async fn watch_scaling_decisions(
        &self,
        request: Request<pb::WatchScalingDecisionsRequest>,
    ) -> Result<Response<Answers<pb::WatchScalingDecisionsResponse>>, Status> {
        let call = self.context.begin_with(&request)?;
        let scope = parse_autoscaler::scope("parent", &request.get_ref().parent)?;
        if let Some(mut there) = self.elsewhere.client(&self.context.scaling, &request)? {
            let answer = there
                .client
                .watch_scaling_decisions(leader_proxy::forward_request(request.get_ref(), call.deadline))
                .await;
            return match there.answered(answer) {
                Some(answer) => answer.map(|stream| {
                    Response::new(leader_proxy::relay_stream(&self.context, stream.into_inner()))
                }),
                None => Err(there.unreachable().into()),
            };
        }
        watch::watch_decisions(&self.context, scope, &request.into_inner(), call.deadline).map(Response::new)
    }

    async fn report_load(
        &self,
        request: Request<pb::ReportLoadRequest>,
    ) -> Result<Response<pb::ReportLoadResponse>, Status> {
        let call = self.context.begin_with(&request)?;
        if let Some(mut there) = self.elsewhere.client(&self.context.scaling, &request)? {
            let answer = there
                .client
                .report_load(leader_proxy::forward_request(request.get_ref(), call.deadline))
                .await;
            // Do not store the figures here, because only the daemon that runs the loop uses them. The error
            // makes the caller report again.
            return there.answered(answer).unwrap_or_else(|| Err(there.unreachable().into()));
        }
        match self.context.scaling.leader() {
            Leader::Off => return Err(Error::NoAutoscaler.into()),
            // If another daemon turns out to run the loop, it would never see figures that are stored here.
            Leader::Unknown(why) => return Err(Error::AutoscalerUnknown { why }.into()),
            Leader::Local | Leader::Remote { .. } => {}
        }
        let figures = parse_autoscaler::figures(request.into_inner(), &call.caller.user)?;
        let missing = |(i, figure): (usize, &crate::autoscale::LoadFigure)| {
            let app = name::App::parse(&figure.app).ok()?;
            let error = self.context.index.get_app(&app).err()?;
            Some(Violation { field: format!("figures[{i}].app"), description: error.to_string() })
        };
        let missing: Vec<_> = figures.iter().enumerate().filter_map(missing).collect();
        let refused = |refused: Vec<crate::autoscale::RejectedFigure>| {
            refused
                .into_iter()
                .map(|r| Violation { field: format!("figures[{}].{}", r.index, r.field), description: r.why })
        };
        if !missing.is_empty() {
            return Err(Error::NoSuchApps(missing).into());
        }
        let accepted = self.context.scaling.report_load(&figures, Timestamp::now());
        let accepted = accepted.map_err(|all| Error::Invalid(refused(all).collect()))?;
        Ok(Response::new(pb::ReportLoadResponse { accepted: i32::try_from(accepted).unwrap_or(i32::MAX) }))
    }
}
