//! Forwards calls to the daemon that runs the autoscaling loop, over Gantry's own API. Must not decide which
//! daemon that is.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataValue, transport::Channel};
use tonic_types::StatusExt;

use super::super::{
    context::{Context, Deadline},
    stream::Answers,
};
use crate::{
    domain::Error,
    index::{AutoscalerState, Leader},
    pb::autoscaler_service_client::AutoscalerServiceClient as Client,
};

/// Metadata key that marks a request as forwarded by another daemon, so that it is not forwarded again.
const FORWARDED: &str = "gantry-forwarded";

/// Timeout for connecting to the other daemon.
const CONNECT: Duration = Duration::from_secs(1);

/// The connection to the daemon that runs the loop. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::grpc) struct LeaderProxy(Arc<Mutex<Option<Connection>>>);

/// The address of the daemon, and a client that calls it.
type Connection = (String, Client<Channel>);

/// A client of the daemon that runs the loop, if that is another one.
pub(super) struct LeaderClient {
    pub(super) client: Client<Channel>,
    holder: String,
    why: String,
}

// === impl LeaderProxy ===

impl LeaderProxy {
    /// Returns a client of the daemon that runs the loop, or `None` if no other daemon runs it. Fails for a
    /// request that was forwarded already, because it must not be forwarded again.
    pub(super) fn client<T>(
        &self,
        scaling: &AutoscalerState,
        request: &Request<T>,
    ) -> Result<Option<LeaderClient>, Error> {
        let Leader::Remote { holder, address } = scaling.leader() else { return Ok(None) };
        let passed_on = request.metadata().contains_key(FORWARDED);
        let connection = if passed_on { None } else { self.connection(&address) };
        match connection {
            Some(client) => Ok(Some(LeaderClient { client, holder, why: String::new() })),
            None => Err(Error::AutoscalerElsewhere {
                holder,
                why: format!("it cannot be reached at {address:?}"),
            }),
        }
    }

    fn connection(&self, address: &str) -> Option<Client<Channel>> {
        let mut known = self.0.lock();
        if let Some((_, client)) = known.as_ref().filter(|(to, _)| to == address) {
            return Some(client.clone());
        }
        let endpoint = Channel::from_shared(format!("http://{address}")).ok()?.connect_timeout(CONNECT);
        let client = Client::new(endpoint.connect_lazy());
        *known = Some((address.to_owned(), client.clone()));
        Some(client)
    }
}

// === impl LeaderClient ===

impl LeaderClient {
    /// Returns the answer, or `None` if the error does not come from the other daemon. All errors of a daemon
    /// have a reason, so an error without one means that the connection failed.
    pub(super) fn answered<T>(
        &mut self,
        answer: Result<Response<T>, Status>,
    ) -> Option<Result<Response<T>, Status>> {
        match answer {
            Ok(answer) => Some(Ok(Response::new(answer.into_inner()))),
            Err(status) if status.get_error_details().error_info().is_some() => Some(Err(
                Status::with_details(status.code(), status.message(), status.details().to_vec().into()),
            )),
            Err(status) => {
                status.message().clone_into(&mut self.why);
                None
            }
        }
    }

    /// Returns the error that says that the other daemon does not answer.
    pub(super) fn unreachable(&self) -> Error {
        Error::AutoscalerElsewhere { holder: self.holder.clone(), why: self.why.clone() }
    }
}

/// Builds the forwarded request, with the time that is left until the deadline.
pub(super) fn forward_request<T: Clone>(message: &T, deadline: Deadline) -> Request<T> {
    let mut request = Request::new(message.clone());
    request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
    if let Some(at) = deadline.0 {
        request.set_timeout(at.saturating_duration_since(Instant::now()));
    }
    request
}

/// Relays a stream of the other daemon. The relayed stream ends when this daemon shuts down.
pub(super) fn relay_stream<T: Send + 'static>(context: &Context, stream: Streaming<T>) -> Answers<T> {
    let drain = context.drain.clone();
    Box::pin(futures::stream::unfold(Some(stream), move |stream| {
        let drain = drain.clone();
        async move {
            let mut stream = stream?;
            tokio::select! {
                () = drain.cancelled() => Some((Err(Error::ShuttingDown.into()), None)),
                next = stream.next() => match next? {
                    Ok(message) => Some((Ok(message), Some(stream))),
                    Err(status) => Some((Err(status), None)),
                },
            }
        }
    }))
}
