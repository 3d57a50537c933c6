//! The connection, and how calls over it are repeated. Must not know what single calls mean nor how answers
//! are shown.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use tokio::time::{self, Instant};
use tonic::{
    Response, Status,
    service::interceptor::InterceptedService,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    Error,
    auth::{self, Bearer, Token},
    backoff,
    error::root_cause,
    v1::{
        app_service_client::AppServiceClient, autoscaler_service_client::AutoscalerServiceClient,
        discovery_service_client::DiscoveryServiceClient, rollout_service_client::RolloutServiceClient,
        server_service_client::ServerServiceClient, timeline_service_client::TimelineServiceClient,
    },
    write::{self, Write},
};

/// The address on which a daemon listens by default.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:7420";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pings are sent only while calls run, because a server may take pings on an idle connection for an attack
/// and close it.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const TRIES: u32 = 5;

/// The transport of the generated clients.
pub type Transport = InterceptedService<Channel, Bearer>;

/// Called before a call is repeated, with the error and the delay.
type Observer = Arc<dyn Fn(&Error, Duration) + Send + Sync>;

/// How to connect.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Says who the caller is. Sent over TLS, or to a loopback address.
    pub token: Option<Token>,
    /// Certificates of the authorities that may sign the daemon's certificate, as PEM. `None` means those of
    /// the operating system.
    pub authorities: Option<Vec<u8>>,
}

/// A connection to one daemon; cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    call_timeout: Duration,
    observer: Option<Observer>,
}

// === impl Client ===

impl Client {
    /// Connects to `http://host:port` or `https://host:port`; without a scheme it is `http`.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        Self::connect_with(address, Options::default()).await
    }

    /// Connects with a token, or with certificate authorities other than the operating system's.
    pub async fn connect_with(address: &str, options: Options) -> Result<Self, Error> {
        let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let endpoint = endpoint(&address, &options)?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|error| Error::Unreachable { address: address.clone(), cause: root_cause(&error) })?;
        let transport = InterceptedService::new(channel, Bearer::new(options.token));
        Ok(Self { transport, call_timeout: Duration::from_secs(30), observer: None })
    }

    /// Sets the time limit of one answer, repetitions included. Streams have no limit. The default is 30 s.
    #[must_use]
    pub fn with_call_timeout(self, call_timeout: Duration) -> Self {
        Self { call_timeout, ..self }
    }

    /// Sets a function that is called before a call is repeated, with the error and the delay.
    #[must_use]
    pub fn with_observer(self, observer: impl Fn(&Error, Duration) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Arc::new(observer)), ..self }
    }

    /// Returns the generated client of `AppService`.
    pub fn apps(&self) -> AppServiceClient<Transport> {
        AppServiceClient::new(self.transport.clone())
    }

    /// Returns the generated client of `RolloutService`.
    pub fn rollouts(&self) -> RolloutServiceClient<Transport> {
        RolloutServiceClient::new(self.transport.clone())
    }

    /// Returns the generated client of `AutoscalerService`.
    pub fn autoscalers(&self) -> AutoscalerServiceClient<Transport> {
        AutoscalerServiceClient::new(self.transport.clone())
    }

    /// Returns the generated client of `TimelineService`.
    pub fn timelines(&self) -> TimelineServiceClient<Transport> {
        TimelineServiceClient::new(self.transport.clone())
    }

    /// Returns the generated client of `DiscoveryService`.
    pub fn discovery(&self) -> DiscoveryServiceClient<Transport> {
        DiscoveryServiceClient::new(self.transport.clone())
    }

    /// Returns the generated client of `ServerService`.
    pub fn server(&self) -> ServerServiceClient<Transport> {
        ServerServiceClient::new(self.transport.clone())
    }

    /// Makes a call that changes nothing, and repeats it while the daemon is not available.
    pub async fn read<M, R, F, A>(&self, message: M, mut call: F) -> Result<R, Error>
    where
        M: Clone,
        F: FnMut(Self, tonic::Request<M>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let end = Instant::now() + self.call_timeout;
        let mut failures = 0;
        loop {
            let request = limited(message.clone(), end.saturating_duration_since(Instant::now()));
            // The futures of generated code are large. Boxing keeps the future of this method small.
            let error = match Box::pin(call(self.clone(), request)).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => Error::from(status),
            };
            failures += 1;
            let wait = backoff::delay(failures, error.retry_after());
            if !error.is_passing() || failures >= TRIES || Instant::now() + wait >= end {
                return Err(error);
            }
            if let Some(observer) = &self.observer {
                observer(&error, wait);
            }
            time::sleep(wait).await;
        }
    }

    /// Makes a call that changes something. The request gets a `request_id` unless it has one. It is repeated
    /// with the same id while the daemon is not available, so that the change happens once.
    pub async fn write<M, R, F, A>(&self, mut message: M, mut call: F) -> Result<R, Error>
    where
        M: Write + Clone,
        F: FnMut(Self, tonic::Request<M>) -> A,
        A: Future<Output = Result<Response<R>, Status>>,
    {
        let is_mine = message.request_id().is_empty();
        write::identify(&mut message);
        match self.read(message.clone(), &mut call).await {
            // An id that the caller chose must be honoured. One made here only protects repetitions, so it
            // can be dropped.
            Err(error) if is_mine && write::knows_no_ids(&error) => {
                message.request_id().clear();
                let request = limited(message, self.call_timeout);
                Ok(Box::pin(call(self.clone(), request)).await?.into_inner())
            }
            answer => answer,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("call_timeout", &self.call_timeout).finish_non_exhaustive()
    }
}

fn endpoint(address: &str, options: &Options) -> Result<Endpoint, Error> {
    let wrong = |cause: &str| Error::Address { address: address.to_owned(), cause: cause.to_owned() };
    let mut endpoint =
        Endpoint::from_shared(address.to_owned()).map_err(|error| wrong(&root_cause(&error)))?;
    match endpoint.uri().scheme_str() {
        Some("http") if endpoint.uri().port().is_none() => {
            return Err(wrong("the port is missing, for example http://127.0.0.1:7420"));
        }
        Some("http") if options.token.is_some() && !auth::is_loopback(endpoint.uri()) => {
            return Err(Error::Exposed(address.to_owned()));
        }
        Some("http") => {}
        Some("https") => {
            let tls = match &options.authorities {
                Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
                None => ClientTlsConfig::new().with_native_roots(),
            };
            endpoint = endpoint.tls_config(tls).map_err(|error| wrong(&root_cause(&error)))?;
        }
        _ => return Err(wrong("it must begin with http:// or https://")),
    }
    Ok(endpoint
        .user_agent(concat!("gantry-client-rust/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| wrong(&root_cause(&error)))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT))
}

/// Sends the time limit with the request, so that the daemon stops working when the client has given up.
pub(crate) fn limited<M>(message: M, limit: Duration) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_scheme_and_a_port() {
        let check = |address: &str| endpoint(address, &Options::default()).map(drop);
        for address in ["http://127.0.0.1:7420", "http://gantry.example.org:80", "https://gantry.example.org"]
        {
            assert!(check(address).is_ok(), "{address}");
        }
        for address in ["http://127.0.0.1", "ftp://127.0.0.1:1", "http://", "http://a b:1"] {
            assert!(matches!(check(address), Err(Error::Address { .. })), "{address}");
        }
    }

    #[test]
    fn a_token_does_not_leave_in_the_clear() {
        let options = Options { token: Token::new("secret").ok(), authorities: None };
        for address in ["http://127.0.0.1:1", "http://[::1]:1", "https://gantry.example.org"] {
            assert!(endpoint(address, &options).is_ok(), "{address}");
        }
        for address in ["http://10.0.0.1:1", "http://gantry.example.org:1"] {
            assert!(matches!(endpoint(address, &options), Err(Error::Exposed(_))), "{address}");
        }
    }
}
