//! RolloutService: gets, lists, watches and waits for rollouts. Pauses, resumes and rolls back.

mod list;
mod watch;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{
    context::{Call, Context, Deadline},
    convert,
    execute::Changed,
    parse,
    stream::Answers,
};
use crate::{
    domain::{
        Error,
        commands::{Commands, RequestMeta, SetPaused},
        name::{self, Scope, Which},
        rollout::Rollout,
    },
    pb::{self, rollout_service_server::RolloutService},
};

/// Timeout of WaitRollout when the request has none.
const DEFAULT_WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a rollout that was just created to appear in the index.
const NEW_ROLLOUT_TIMEOUT: Duration = Duration::from_secs(3);
/// Poll interval during that wait.
const NEW_ROLLOUT_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest timeout of WaitRollout.
const MAX_WAIT_TIMEOUT: Duration = Duration::from_mins(10);

/// The implementation of RolloutService.
#[derive(Clone)]
pub(super) struct Rollouts(pub(super) Context);

#[tonic::async_trait]
impl RolloutService for Rollouts {
    async fn get_rollout(
        &self,
        request: Request<pb::GetRolloutRequest>,
    ) -> Result<Response<pb::GetRolloutResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let name = parse::parse_rollout_name("name", &request.name)?;
        self.0.wait_until_seen(&request.read_after, &Scope::App(name.app.clone()), call.deadline).await?;
        let rollout = self.get_or_wait_for_new(&name, call.deadline).await?;
        Ok(Response::new(pb::GetRolloutResponse { rollout: Some(convert::to_rollout(&rollout)) }))
    }

    async fn list_rollouts(
        &self,
        request: Request<pb::ListRolloutsRequest>,
    ) -> Result<Response<pb::ListRolloutsResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        list::list_rollouts(&self.0, request, call.deadline).await.map(Response::new)
    }

    async fn watch_rollout(
        &self,
        request: Request<pb::WatchRolloutRequest>,
    ) -> Result<Response<Answers<pb::WatchRolloutResponse>>, Status> {
        let (request, call) = self.0.begin(request)?;
        let name = parse::parse_rollout_name("name", &request.name)?;
        let rollout = self.get_or_wait_for_new(&name, call.deadline).await?;
        Ok(Response::new(watch::watch_rollout(&self.0, &rollout, &request.resume_token, call.deadline)))
    }

    async fn wait_rollout(
        &self,
        request: Request<pb::WaitRolloutRequest>,
    ) -> Result<Response<pb::WaitRolloutResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let name = parse::parse_rollout_name("name", &request.name)?;
        let longest = parse::parse_duration("timeout", request.timeout.as_ref())?
            .unwrap_or(DEFAULT_WAIT_TIMEOUT)
            .min(MAX_WAIT_TIMEOUT);
        self.get_or_wait_for_new(&name, call.deadline).await?;
        let rollout = self.wait(&name, call.deadline.within(longest)).await?;
        Ok(Response::new(pb::WaitRolloutResponse { rollout: Some(convert::to_rollout(&rollout)) }))
    }

    async fn pause_rollout(
        &self,
        request: Request<pb::PauseRolloutRequest>,
    ) -> Result<Response<pb::PauseRolloutResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let pb::PauseRolloutRequest { name, request_id, reason } = request;
        let meta = parse::parse_pause_meta("PauseRollout", &name, &request_id, reason, &call.caller);
        let Changed { rollout, position, .. } = self.set_paused(&call, &name, true, meta).await?;
        Ok(Response::new(pb::PauseRolloutResponse { rollout, position }))
    }

    async fn resume_rollout(
        &self,
        request: Request<pb::ResumeRolloutRequest>,
    ) -> Result<Response<pb::ResumeRolloutResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let pb::ResumeRolloutRequest { name, request_id, reason } = request;
        let meta = parse::parse_pause_meta("ResumeRollout", &name, &request_id, reason, &call.caller);
        let Changed { rollout, position, .. } = self.set_paused(&call, &name, false, meta).await?;
        Ok(Response::new(pb::ResumeRolloutResponse { rollout, position }))
    }

    async fn rollback_app(
        &self,
        request: Request<pb::RollbackAppRequest>,
    ) -> Result<Response<pb::RollbackAppResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let rollback = parse::parse_rollback(request, &call.caller)?;
        let (name, meta) = (rollback.name.clone(), rollback.meta.clone());
        let command = |commands: Arc<dyn Commands>| async move { commands.rollback(rollback).await };
        let Changed { rollout, plan, position, .. } = self.0.execute(&call, &name, &meta, command).await?;
        Ok(Response::new(pb::RollbackAppResponse { rollout, plan: Some(plan), position }))
    }
}

impl Rollouts {
    /// Returns one rollout. For the number after the newest it waits briefly, because a write that another
    /// daemon answered may not have reached this index yet.
    async fn get_or_wait_for_new(
        &self,
        name: &name::Rollout,
        deadline: Deadline,
    ) -> Result<Arc<Rollout>, Status> {
        let latest = name::Rollout { app: name.app.clone(), revision: Which::Latest };
        let end = Instant::now() + deadline.within(NEW_ROLLOUT_TIMEOUT);
        loop {
            let missing = match self.0.index.get_rollout(name) {
                Ok(rollout) => return Ok(rollout),
                Err(error) => error,
            };
            let newest = self.0.index.get_rollout(&latest).map_or(0, |rollout| rollout.number);
            if name.revision != Which::Number(newest + 1) || Instant::now() >= end {
                return Err(missing.into());
            }
            // Poll instead of subscribing, because a subscription allocates a channel and unknown names must
            // not allocate.
            tokio::time::sleep(NEW_ROLLOUT_POLL_INTERVAL).await;
        }
    }

    /// Pauses or resumes the newest rollout.
    async fn set_paused(
        &self,
        call: &Call<'_>,
        name: &str,
        pause: bool,
        meta: RequestMeta,
    ) -> Result<Changed, Status> {
        let name = parse::parse_rollout_name("name", name)?;
        let rollout = self.0.index.get_rollout(&name)?;
        let app = rollout.app.clone();
        // With a request id the writer decides, because it replays a stored answer even if the rollout has
        // ended since. A rollout that ended while it was paused can be resumed.
        if rollout.state.ended() && pause && meta.request.is_none() {
            return Err(Error::RolloutEnded { rollout: app.rollout(rollout.number) }.into());
        }
        let request = SetPaused {
            name: app.clone(),
            number: rollout.number,
            pause,
            ended: rollout.state.ended(),
            meta: meta.clone(),
        };
        let command = |commands: Arc<dyn Commands>| async move { commands.set_paused(request).await };
        self.0.execute(call, &app, &meta, command).await
    }

    /// Returns the rollout when it has ended, or its current state when the time is up.
    async fn wait(&self, name: &name::Rollout, longest: Duration) -> Result<Arc<Rollout>, Status> {
        // Look the rollout up before subscribing, because a subscription allocates a channel and unknown
        // names must not allocate.
        self.0.index.get_rollout(name)?;
        let mut news = self.0.index.watch_changes(&Scope::App(name.app.clone()));
        let mut rollout = self.0.index.get_rollout(name)?;
        // `latest` means the newest now, not one that comes while waiting.
        let name = name::Rollout { app: name.app.clone(), revision: Which::Number(rollout.number) };
        let ended = async {
            while !rollout.state.ended() && news.changed().await.is_ok() {
                rollout = self.0.index.get_rollout(&name)?;
            }
            Ok::<_, Status>(())
        };
        tokio::select! {
            outcome = tokio::time::timeout(longest, ended) => if let Ok(Err(status)) = outcome { return Err(status) },
            () = self.0.drain.cancelled() => return Err(Error::ShuttingDown.into()),
        }
        Ok(rollout)
    }
}
