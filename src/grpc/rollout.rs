//! RolloutService: follows rollouts.

mod list;
mod watch;

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status};

use super::{Context, Deadline, convert, parse, stream::Answers};
use crate::{
    domain::{
        name::{self, Scope, Which},
        rollout::Rollout,
    },
    pb::{self, rollout_service_server::RolloutService},
};

/// Wait of WaitRollout if none is asked for.
const WAIT: Duration = Duration::from_secs(30);
/// Longest wait of WaitRollout.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// The service.
#[derive(Clone)]
pub(super) struct Rollouts(pub(super) Context);

#[tonic::async_trait]
impl RolloutService for Rollouts {
    async fn get_rollout(
        &self,
        request: Request<pb::GetRolloutRequest>,
    ) -> Result<Response<pb::GetRolloutResponse>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let name = parse::rollout_name("name", &request.name)?;
        self.0.wait_until_seen(&request.read_after, deadline).await?;
        let rollout = self.0.index.rollout(&name)?;
        Ok(Response::new(pb::GetRolloutResponse { rollout: Some(convert::rollout(&rollout)) }))
    }

    async fn list_rollouts(
        &self,
        request: Request<pb::ListRolloutsRequest>,
    ) -> Result<Response<pb::ListRolloutsResponse>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        list::list(&self.0, request.into_inner(), deadline).await.map(Response::new)
    }

    async fn watch_rollout(
        &self,
        request: Request<pb::WatchRolloutRequest>,
    ) -> Result<Response<Answers<pb::WatchRolloutResponse>>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let name = parse::rollout_name("name", &request.name)?;
        let rollout = self.0.index.rollout(&name)?;
        Ok(Response::new(watch::start(&self.0, &rollout, &request.resume_token, deadline)))
    }

    async fn wait_rollout(
        &self,
        request: Request<pb::WaitRolloutRequest>,
    ) -> Result<Response<pb::WaitRolloutResponse>, Status> {
        self.0.index.check_filled()?;
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let name = parse::rollout_name("name", &request.name)?;
        let longest = parse::duration("timeout", request.timeout.as_ref())?.unwrap_or(WAIT).min(LONGEST_WAIT);
        let rollout = self.wait(&name, deadline.within(longest)).await?;
        Ok(Response::new(pb::WaitRolloutResponse { rollout: Some(convert::rollout(&rollout)) }))
    }
}

impl Rollouts {
    /// The rollout when it has ended, or as it is when the time is up.
    async fn wait(&self, name: &name::Rollout, longest: Duration) -> Result<Arc<Rollout>, Status> {
        // Looked up before it is listened to: names of nothing must leave nothing behind.
        self.0.index.rollout(name)?;
        let mut news = self.0.index.subscribe(&Scope::App(name.app.clone()));
        let mut rollout = self.0.index.rollout(name)?;
        // `latest` means the newest now, not one that comes while waiting.
        let name = name::Rollout { app: name.app.clone(), revision: Which::Number(rollout.number) };
        let ended = async {
            while !rollout.state.ended() && news.changed().await.is_ok() {
                rollout = self.0.index.rollout(&name)?;
            }
            Ok::<_, Status>(())
        };
        tokio::select! {
            outcome = tokio::time::timeout(longest, ended) => if let Ok(Err(status)) = outcome { return Err(status) },
            () = self.0.drain.cancelled() => return Err(crate::domain::Error::ShuttingDown.into()),
        }
        Ok(rollout)
    }
}
