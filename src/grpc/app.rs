//! AppService: deploys, changes and reads apps.

mod wait;
mod watch;

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{context::Context, convert, execute::Changed, pagination, parse, replica_list, stream::Answers};
use crate::{
    domain::{
        Error,
        commands::{Commands, ObservedVersion, Position},
        name::{self, Scope},
    },
    index::AppFilter,
    pb::{self, app_service_server::AppService},
};

/// The implementation of AppService.
#[derive(Clone)]
pub(super) struct Apps(pub(super) Context);

#[tonic::async_trait]
impl AppService for Apps {
    async fn deploy_app(
        &self,
        request: Request<pb::DeployAppRequest>,
    ) -> Result<Response<pb::DeployAppResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let deploy = parse::parse_deploy(request, &call.caller)?;
        let (name, meta) = (deploy.name.clone(), deploy.meta.clone());
        let command = |commands: Arc<dyn Commands>| async move { commands.deploy(deploy).await };
        let Changed { app, rollout, plan, position, .. } =
            self.0.execute(&call, &name, &meta, command).await?;
        Ok(Response::new(pb::DeployAppResponse { app, rollout, plan: Some(plan), position }))
    }

    async fn get_app(
        &self,
        request: Request<pb::GetAppRequest>,
    ) -> Result<Response<pb::GetAppResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let name = parse::parse_app_name("name", &request.name)?;
        self.0.wait_until_seen(&request.read_after, &Scope::App(name.clone()), call.deadline).await?;
        let app = self.0.index.get_app(&name)?;
        Ok(Response::new(pb::GetAppResponse { app: Some(convert::to_app(&app)) }))
    }

    async fn list_apps(
        &self,
        request: Request<pb::ListAppsRequest>,
    ) -> Result<Response<pb::ListAppsResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let scope = parse::parse_parent("parent", &request.parent)?;
        let selector = parse::parse_selector(&request.label_selector)?;
        let states = parse::parse_states(&request.states)?;
        let size = pagination::parse_page_size(pagination::MANY, request.page_size)?;
        let query = format!("{}\n{}\n{:?}", request.parent, request.label_selector, request.states);
        let after = pagination::parse_token(&query, &request.page_token)?
            .map(|last| name::App::parse(last).map_err(|_| Error::PageToken))
            .transpose()?;
        self.0.wait_until_seen(&request.read_after, &scope, call.deadline).await?;

        let (found, more) =
            self.0.index.list_apps(&scope, &AppFilter { selector, states }, after.as_ref(), size);
        if let (Scope::Namespace(namespace), true) = (&scope, found.is_empty()) {
            self.0.check_namespace(&call, namespace).await?;
        }
        let (apps, last) = pagination::fill_page(found, more, |app| convert::to_app(app));
        let next_page_token = last.map_or_else(String::new, |app| pagination::make_token(&query, &app.name));
        Ok(Response::new(pb::ListAppsResponse { apps, next_page_token }))
    }

    async fn watch_apps(
        &self,
        request: Request<pb::WatchAppsRequest>,
    ) -> Result<Response<Answers<pb::WatchAppsResponse>>, Status> {
        let (request, call) = self.0.begin(request)?;
        watch::watch_apps(&self.0, &request, call.deadline).map(Response::new)
    }

    async fn wait_app(
        &self,
        request: Request<pb::WaitAppRequest>,
    ) -> Result<Response<pb::WaitAppResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        wait::wait_for_state(&self.0, &request, call.deadline).await.map(Response::new)
    }

    async fn list_replicas(
        &self,
        request: Request<pb::ListReplicasRequest>,
    ) -> Result<Response<pb::ListReplicasResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        replica_list::list_replicas(&self.0, &request, call.deadline).await.map(Response::new)
    }

    async fn scale_app(
        &self,
        request: Request<pb::ScaleAppRequest>,
    ) -> Result<Response<pb::ScaleAppResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let scale = parse::parse_scale(request, &call.caller)?;
        let (name, meta) = (scale.name.clone(), scale.meta.clone());
        let command = |commands: Arc<dyn Commands>| async move { commands.scale(scale).await };
        let Changed { app, plan, position, .. } = self.0.execute(&call, &name, &meta, command).await?;
        Ok(Response::new(pb::ScaleAppResponse { app, plan: Some(plan), position }))
    }

    async fn restart_app(
        &self,
        request: Request<pb::RestartAppRequest>,
    ) -> Result<Response<pb::RestartAppResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let restart = parse::parse_restart(request, &call.caller)?;
        let (name, meta) = (restart.name.clone(), restart.meta.clone());
        let latest = name::Rollout { app: name.clone(), revision: name::Which::Latest };
        let before = self.0.index.get_rollout(&latest).ok().map(|rollout| rollout.number);
        let command = |commands: Arc<dyn Commands>| async move { commands.restart(restart).await };
        let Changed { mut rollout, plan, position, .. } =
            self.0.execute(&call, &name, &meta, command).await?;
        // Kubernetes has not begun the rollout yet, so only its name is known.
        if rollout.as_ref().is_some_and(|rollout| rollout.start_time.is_none()) {
            rollout = self.0.begun_since(&name, before).await.or(rollout);
        }
        Ok(Response::new(pb::RestartAppResponse { rollout, plan: Some(plan), position }))
    }

    async fn delete_app(
        &self,
        request: Request<pb::DeleteAppRequest>,
    ) -> Result<Response<pb::DeleteAppResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let delete = parse::parse_delete(request, &call.caller)?;
        let (name, meta) = (delete.name.clone(), delete.meta.clone());
        let before = self.0.index.get_app(&name).ok();
        let command = |commands: Arc<dyn Commands>| async move { commands.delete(delete).await };
        let Changed { app, plan, position, .. } = self.0.execute(&call, &name, &meta, command).await?;
        let existed = !plan.changes.is_empty();
        let before = before.map(|app| convert::to_app(&app));
        let app = if self.0.index.get_app(&name).is_ok() { app } else { before.or(app) };
        let uid = match Position::parse(&position).map(|position| position.seen) {
            Some(ObservedVersion::Deleting { uid }) => uid,
            Some(ObservedVersion::Version { .. }) | None => String::new(),
        };
        // When the request is repeated, another app may have taken the name since.
        let is_it = |app: &pb::App| uid.is_empty() || app.uid.is_empty() || app.uid == uid;
        let app = app.filter(|app| existed && is_it(app));
        Ok(Response::new(pb::DeleteAppResponse { app, plan: Some(plan), position }))
    }
}
