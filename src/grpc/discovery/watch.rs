//! WatchEndpoints: sends all endpoints of an app after each change of them, or that the app does not exist.

use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

use super::super::{
    context::{Context, Deadline},
    convert, parse,
    stream::{self, Answers, News, Source, Wakeup},
};
use crate::{
    domain::{Error, endpoint::Set},
    index::Endpoints,
    pb::{self, watch_endpoints_response::Event},
};

/// Least time between two snapshots of a stream, so that a change of many replicas at once gives one
/// snapshot. The first change after a quiet time is sent at once.
const SPACING: Duration = Duration::from_millis(50);

pub(super) fn watch_endpoints(
    context: &Context,
    request: pb::WatchEndpointsRequest,
    deadline: Deadline,
) -> Result<Answers<pb::WatchEndpointsResponse>, Status> {
    let app = parse::parse_app_name("parent", &request.parent)?;
    let subject = format!("endpoints of {app}");
    let mut news = News::on(context.index.watch_endpoints(&app), context, deadline, subject);
    if let Some(set) = news.latest() {
        set.check(&request.port)?;
    }
    Ok(stream::to_stream(Watch {
        context: context.clone(),
        news,
        port: request.port,
        meant: None,
        unready: request.include_unready,
        told: None,
        next_at: Instant::now(),
    }))
}

struct Watch {
    context: Context,
    news: News<Endpoints>,
    /// The port that the request names. May be empty.
    port: String,
    /// The default port of the app, if the request names none. It stays the port of the stream when the app
    /// gets more ports.
    meant: Option<String>,
    unready: bool,
    /// What was sent last.
    told: Option<LastSent>,
    /// When the next snapshot may be sent.
    next_at: Instant,
}

/// What was sent last. A fingerprint instead of a copy, because it is stored for every reader.
#[derive(PartialEq)]
enum LastSent {
    Missing,
    /// Fingerprint of the endpoints that were sent.
    Snapshot(u64),
}

impl Source for Watch {
    type Message = pb::WatchEndpointsResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Status> {
        loop {
            tokio::time::sleep_until(self.next_at).await;
            if let Some(event) = self.look()? {
                self.next_at = Instant::now() + SPACING;
                return Ok(Some(pb::WatchEndpointsResponse { event: Some(event) }));
            }
            if let Wakeup::Silence = self.news.wait().await? {
                let event = Event::Heartbeat(stream::make_heartbeat(&self.context));
                return Ok(Some(pb::WatchEndpointsResponse { event: Some(event) }));
            }
        }
    }
}

impl Watch {
    /// Returns the event to send, or `None` if the reader has it already.
    fn look(&mut self) -> Result<Option<Event>, Status> {
        let Some(set) = self.news.latest() else {
            let news = self.told.replace(LastSent::Missing) != Some(LastSent::Missing);
            return Ok(news.then_some(Event::Missing(pb::AppMissing {})));
        };
        let port = self.port_of(&set)?;
        let now = LastSent::Snapshot(set.fingerprint(&port, self.unready));
        if self.told.as_ref() == Some(&now) {
            return Ok(None);
        }
        self.told = Some(now);
        let endpoints = set.at(&port, self.unready);
        let endpoints =
            endpoints.map(|(endpoint, port)| convert::to_endpoint(&set.app, endpoint, port)).collect();
        Ok(Some(Event::Snapshot(pb::EndpointSet { endpoints })))
    }

    /// Returns the port of the stream. The app may have been created or changed after the stream began. A
    /// port that the app does not have ends the stream with an error, because an empty snapshot would hide
    /// the cause.
    fn port_of(&mut self, set: &Set) -> Result<String, Error> {
        match set.check(&self.port) {
            Ok(()) => {
                if let Some(meant) = set.default_port().filter(|_| self.port.is_empty()) {
                    self.meant = Some(meant.to_owned());
                }
                Ok(self.port.clone())
            }
            Err(error) => match self.meant.as_ref().filter(|meant| set.check(meant).is_ok()) {
                Some(meant) => Ok(meant.clone()),
                None => Err(error),
            },
        }
    }
}
