//! Asks the server that runs the autoscaling loop for what only that one knows, over the API that this one
//! serves itself. Must not decide which server that is.

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

/// Says in a request that it comes from another server, which does not pass it on once more.
const FORWARDED: &str = "gantry-forwarded";

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(1);

/// The connection to the server that runs the loop; cheap to clone.
#[derive(Clone, Default)]
pub(in crate::grpc) struct LeaderProxy(Arc<Mutex<Option<Connection>>>);

/// A client, and the address that it calls.
type Connection = (String, Client<Channel>);

/// The server that runs the loop, and is not this one.
pub(super) struct LeaderClient {
    pub(super) client: Client<Channel>,
    holder: String,
    why: String,
}

// === impl LeaderProxy ===

impl LeaderProxy {
    /// The server that runs the loop, if it is another one. A request that was passed on already is not
    /// passed on once more.
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
                why: format!("it was not to be found at {address:?}"),
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
    /// The answer; `None` if the server did not give one, whose errors all have a reason.
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

    /// That it does not answer.
    pub(super) fn unreachable(&self) -> Error {
        Error::AutoscalerElsewhere { holder: self.holder.clone(), why: self.why.clone() }
    }
}

/// The same request once more, with the time that is left.
pub(super) fn forward_request<T: Clone>(message: &T, deadline: Deadline) -> Request<T> {
    let mut request = Request::new(message.clone());
    request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
    if let Some(at) = deadline.0 {
        request.set_timeout(at.saturating_duration_since(Instant::now()));
    }
    request
}

/// A stream of the other server as one of this one, which ends when this one goes.
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
