//! Logs and timelines of the stand-in. Must not know apps.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::{StreamExt, stream};
use gantry_client::v1::{
    self, stream_logs_response::Event as LogEvent, timeline_entry::Detail, timeline_service_server,
    watch_timeline_response::Event,
};
use prost_types::Timestamp;
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{app_of, missing};

#[derive(Default)]
pub(super) struct Timelines {
    logs: AtomicU32,
}

#[allow(clippy::unnecessary_wraps)] // fields of messages are optional
fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn line(seconds: i64, pod: &str, text: &str) -> v1::StreamLogsResponse {
    let line =
        v1::LogLine { time: time(seconds), pod: pod.into(), container: "app".into(), text: text.into() };
    v1::StreamLogsResponse { event: Some(LogEvent::Line(line)) }
}

fn entry(token: &str, seconds: i64, message: &str, detail: Detail) -> v1::WatchTimelineResponse {
    let entry = v1::TimelineEntry {
        time: time(seconds),
        actor: "ann".into(),
        object: "deployment.apps/good".into(),
        message: message.into(),
        detail: Some(detail),
    };
    v1::WatchTimelineResponse { resume_token: token.into(), event: Some(Event::Entry(entry)) }
}

// === impl Timelines ===

#[tonic::async_trait]
impl timeline_service_server::TimelineService for Timelines {
    async fn stream_logs(
        &self,
        request: Request<v1::StreamLogsRequest>,
    ) -> Result<Response<BoxStream<v1::StreamLogsResponse>>, Status> {
        let request = request.into_inner();
        if app_of(&request.parent) == "missing" {
            return Err(missing(&request.parent));
        }
        let said = format!(
            "{} {} {} {:?} {}",
            request.pod, request.rollout, request.container, request.tail_lines, request.previous
        );
        let notice = v1::LogNotice { pod: "good-a".into(), message: "2 lines were dropped here".into() };
        let notice = v1::StreamLogsResponse { event: Some(LogEvent::Notice(notice)) };
        let mut events =
            vec![Ok(line(1, "good-a", &said)), Ok(notice), Ok(line(2, "good-b", "\u{1b}[31mtwo"))];
        // A follower is cut off once, and must come back for what is later than that.
        if request.follow {
            let first = self.logs.fetch_add(1, Ordering::Relaxed) == 0;
            if first {
                events.push(Err(Status::unavailable("shutting down")));
            } else {
                let after = request.after.map_or(0, |after| after.seconds);
                events =
                    vec![Ok(line(3, "good-a", &format!("after {after}"))), Err(missing(&request.parent))];
            }
        }
        Ok(Response::new(stream::iter(events).boxed()))
    }

    async fn watch_timeline(
        &self,
        request: Request<v1::WatchTimelineRequest>,
    ) -> Result<Response<BoxStream<v1::WatchTimelineResponse>>, Status> {
        let request = request.into_inner();
        if app_of(&request.parent) == "missing" {
            return Err(missing(&request.parent));
        }
        let gap = v1::Gap { start_time: time(1), end_time: time(2), message: "not known".into() };
        let gap = v1::WatchTimelineResponse { resume_token: "0".into(), event: Some(Event::Gap(gap)) };
        let call = v1::AuditedCall { method: "m".into(), code: 5, ..Default::default() };
        let rollout = v1::Rollout { name: "r".into(), ..Default::default() };
        let mut events = match request.resume_token.as_str() {
            "" => vec![Ok(gap), Ok(entry("1", 3, "Rollout 3 begins.", Detail::Rollout(rollout)))],
            token => {
                let message = format!("after {token}");
                vec![Ok(entry("2", 4, &message, Detail::Call(call))), Err(missing(&request.parent))]
            }
        };
        if request.follow && request.resume_token.is_empty() {
            events.push(Err(Status::unavailable("shutting down")));
        }
        Ok(Response::new(stream::iter(events).boxed()))
    }
}
