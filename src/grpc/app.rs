//! AppService: deploys, changes and reads apps.

mod wait;
mod watch;

use tonic::{Request, Response, Status};

use super::{Context, Deadline, convert, page, parse, replica, stream::Answers};
use crate::{
    domain::{
        Error,
        act::{Delete, Deployed, Position},
        name::{self, Scope},
    },
    index::Filter,
    pb::{self, app_service_server::AppService},
};

/// Longest wait of a write for its own echo; after it the answer says what was written instead of what was seen.
const OWN_WRITE: std::time::Duration = std::time::Duration::from_secs(2);

/// The service.
#[derive(Clone)]
pub(super) struct Apps(pub(super) Context);

#[tonic::async_trait]
impl AppService for Apps {
    async fn deploy_app(
        &self,
        request: Request<pb::DeployAppRequest>,
    ) -> Result<Response<pb::DeployAppResponse>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        let deploy = parse::deploy(request.into_inner(), &self.0.identity().user)?;
        let name = deploy.name.clone();
        let act = self.0.act.clone();
        let done = self.0.finish(async move { act.deploy(deploy).await }).await?;
        let _ = self.0.wait_for(&done.position, deadline, OWN_WRITE).await;
        Ok(Response::new(self.deployed(&name, &done)))
    }

    async fn get_app(
        &self,
        request: Request<pb::GetAppRequest>,
    ) -> Result<Response<pb::GetAppResponse>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let name = parse::app_name("name", &request.name)?;
        self.0.wait_until_seen(&request.read_after, &Scope::App(name.clone()), deadline).await?;
        let app = self.0.index.get(&name)?;
        Ok(Response::new(pb::GetAppResponse { app: Some(convert::app(&app)) }))
    }

    async fn list_apps(
        &self,
        request: Request<pb::ListAppsRequest>,
    ) -> Result<Response<pb::ListAppsResponse>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let scope = parse::parent("parent", &request.parent)?;
        let selector = parse::selector(&request.label_selector)?;
        let states = parse::states(&request.states)?;
        let size = page::size(page::MANY, request.page_size)?;
        let query = format!("{}\n{}\n{:?}", request.parent, request.label_selector, request.states);
        let after = page::parse(&query, &request.page_token)?
            .map(|last| name::App::parse(last).map_err(|_| Error::PageToken))
            .transpose()?;
        self.0.wait_until_seen(&request.read_after, &scope, deadline).await?;

        let (found, more) = self.0.index.list(&scope, &Filter { selector, states }, after.as_ref(), size);
        let (apps, last) = page::fill(found, more, |app| convert::app(app));
        let next_page_token = last.map_or_else(String::new, |app| page::token(&query, &app.name));
        Ok(Response::new(pb::ListAppsResponse { apps, next_page_token }))
    }

    async fn watch_apps(
        &self,
        request: Request<pb::WatchAppsRequest>,
    ) -> Result<Response<Answers<pb::WatchAppsResponse>>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        watch::start(&self.0, &request.into_inner(), deadline).map(Response::new)
    }

    async fn wait_app(
        &self,
        request: Request<pb::WaitAppRequest>,
    ) -> Result<Response<pb::WaitAppResponse>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        wait::wait(&self.0, &request.into_inner(), deadline).await.map(Response::new)
    }

    async fn list_replicas(
        &self,
        request: Request<pb::ListReplicasRequest>,
    ) -> Result<Response<pb::ListReplicasResponse>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        replica::list(&self.0, &request.into_inner(), deadline).await.map(Response::new)
    }

    async fn delete_app(
        &self,
        request: Request<pb::DeleteAppRequest>,
    ) -> Result<Response<pb::DeleteAppResponse>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        let delete: Delete = parse::delete(request.into_inner(), &self.0.identity().user)?;
        let name = delete.name.clone();
        let before = self.0.index.get(&name).ok();
        let act = self.0.act.clone();
        let done = self.0.finish(async move { act.delete(delete).await }).await?;
        let plan = pb::Plan { changes: convert::changes(&done.changes), ..pb::Plan::default() };
        let Some(position) = done.position else {
            return Ok(Response::new(pb::DeleteAppResponse {
                plan: Some(plan),
                ..pb::DeleteAppResponse::default()
            }));
        };
        let _ = self.0.wait_for(&position, deadline, OWN_WRITE).await;
        let app = self.0.index.get(&name).ok().or(before);
        Ok(Response::new(pb::DeleteAppResponse {
            app: app.as_deref().map(convert::app),
            plan: Some(plan),
            position: position.to_string(),
        }))
    }
}

impl Apps {
    fn deployed(&self, name: &name::App, done: &Deployed) -> pb::DeployAppResponse {
        let position: &Position = &done.position;
        let seen = self.0.index.has_seen(position);
        let app = self.0.index.get(name).ok().filter(|_| seen).map(|app| convert::app(&app));
        let rollout = done.rollout.map(|number| {
            let which = name::Rollout { app: name.clone(), revision: name::Which::Number(number) };
            let known = self.0.index.rollout(&which).ok();
            known.map_or_else(
                // Not seen yet: the name is what the caller needs to follow it.
                || pb::Rollout {
                    name: which.to_string(),
                    state: pb::RolloutState::Pending.into(),
                    ..pb::Rollout::default()
                },
                |rollout| convert::rollout(&rollout),
            )
        });
        pb::DeployAppResponse {
            app: Some(app.unwrap_or_else(|| convert::content(name, &done.content))),
            rollout,
            plan: Some(pb::Plan {
                changes: convert::changes(&done.changes),
                warnings: done.warnings.clone(),
                ..pb::Plan::default()
            }),
            position: position.to_string(),
        }
    }
}
