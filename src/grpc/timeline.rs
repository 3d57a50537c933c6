//! TimelineService: what happened to an app, and what its replicas print.

mod logs;
mod watch;

use tonic::{Request, Response, Status};

use super::{context::Context, stream::Answers};
use crate::pb::{self, timeline_service_server::TimelineService};

/// The implementation of TimelineService.
#[derive(Clone)]
pub(super) struct Timeline(pub(super) Context);

#[tonic::async_trait]
impl TimelineService for Timeline {
    async fn watch_timeline(
        &self,
        request: Request<pb::WatchTimelineRequest>,
    ) -> Result<Response<Answers<pb::WatchTimelineResponse>>, Status> {
        let (request, call) = self.0.begin(request)?;
        watch::watch_timeline(&self.0, &request, call.deadline).map(Response::new)
    }

    async fn stream_logs(
        &self,
        request: Request<pb::StreamLogsRequest>,
    ) -> Result<Response<Answers<pb::StreamLogsResponse>>, Status> {
        let (request, call) = self.0.begin(request)?;
        logs::stream_logs(&self.0, &request, &call).map(Response::new)
    }
}
