//! The connection, and the calls that need more than the generated code: repeated reads, pages, watches. Must not know how
//! answers are shown.

use std::{future::Future, time::Duration};

use futures::Stream;
use tokio::time::{self, Instant};
use tonic::{
    Response, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    Error, backoff,
    error::root_cause,
    name,
    v1::{
        self, app_service_client::AppServiceClient, rollout_service_client::RolloutServiceClient,
        server_service_client::ServerServiceClient,
    },
    watch::{self, Update},
};

/// Where a daemon listens unless it is told otherwise.
pub const DEFAULT_ADDRESS: &str = "http://127.0.0.1:7420";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// While calls run only: a server may take pings of an idle connection for an attack and close it.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TRIES: u32 = 5;
const PAGE_SIZE: i32 = 500;
/// The server's own limit.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// A connection to one server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    call_timeout: Duration,
}

// === impl Client ===

impl Client {
    /// Connects to `http://host:port`; the scheme may be left out.
    pub async fn connect(address: &str) -> Result<Self, Error> {
        let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let wrong = |cause: &str| Error::Address { address: address.clone(), cause: cause.to_owned() };
        let endpoint = Endpoint::from_shared(address.clone()).map_err(|error| wrong(&root_cause(&error)))?;
        match endpoint.uri().scheme_str() {
            Some("http") if endpoint.uri().port().is_some() => {}
            Some("http") => return Err(wrong("the port is missing, for example http://127.0.0.1:7420")),
            Some("https") => return Err(wrong("this client does not speak TLS yet")),
            _ => return Err(wrong("it must begin with http://")),
        }
        let connecting = endpoint
            .user_agent(concat!("gantry-client-rust/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| wrong(&root_cause(&error)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        let channel = connecting
            .connect()
            .await
            .map_err(|error| Error::Unreachable { address: address.clone(), cause: root_cause(&error) })?;
        Ok(Self { channel, call_timeout: Duration::from_secs(30) })
    }

    /// Sets how long one answer may take, the repetitions of a read included; streams have no limit. Default 30 s.
    #[must_use]
    pub fn with_call_timeout(self, call_timeout: Duration) -> Self {
        Self { call_timeout, ..self }
    }

    /// The calls on apps, as they are.
    pub fn apps(&self) -> AppServiceClient<Channel> {
        AppServiceClient::new(self.channel.clone())
    }

    /// The calls on rollouts, as they are.
    pub fn rollouts(&self) -> RolloutServiceClient<Channel> {
        RolloutServiceClient::new(self.channel.clone())
    }

    /// The calls about the server, as they are.
    pub fn server(&self) -> ServerServiceClient<Channel> {
        ServerServiceClient::new(self.channel.clone())
    }

    /// Makes a call that changes nothing, and repeats it while the server is not available.
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
            let error = match call(self.clone(), request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => Error::from(status),
            };
            failures += 1;
            let wait = backoff::delay(failures, error.retry_after());
            if !error.is_passing() || failures >= READ_TRIES || Instant::now() + wait >= end {
                return Err(error);
            }
            time::sleep(wait).await;
        }
    }

    /// Creates or changes an app. Not repeated: after an error it may have happened.
    pub async fn deploy_app(&self, request: v1::DeployAppRequest) -> Result<v1::DeployAppResponse, Error> {
        Ok(self.apps().deploy_app(limited(request, self.call_timeout)).await?.into_inner())
    }

    /// Deletes an app. Not repeated: after an error it may have happened.
    pub async fn delete_app(&self, request: v1::DeleteAppRequest) -> Result<v1::DeleteAppResponse, Error> {
        Ok(self.apps().delete_app(limited(request, self.call_timeout)).await?.into_inner())
    }

    /// One app with its status.
    pub async fn get_app(&self, name: &name::App) -> Result<v1::App, Error> {
        let request = v1::GetAppRequest { name: name.to_string(), ..Default::default() };
        let call = |client: Self, request| async move { client.apps().get_app(request).await };
        self.read(request, call).await?.app.ok_or(Error::Incomplete("app"))
    }

    /// Every app of one namespace, or of all with `-`, that matches the label selector.
    pub async fn list_apps(&self, namespace: &str, label_selector: &str) -> Result<Vec<v1::App>, Error> {
        let parent = name::namespace(namespace);
        let label_selector = label_selector.to_owned();
        let mut request =
            v1::ListAppsRequest { parent, label_selector, page_size: PAGE_SIZE, ..Default::default() };
        let mut apps = Vec::new();
        loop {
            let call = |client: Self, request| async move { client.apps().list_apps(request).await };
            let page = self.read(request.clone(), call).await?;
            apps.extend(page.apps);
            if page.next_page_token.is_empty() {
                return Ok(apps);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// One rollout.
    pub async fn get_rollout(&self, name: &name::Rollout) -> Result<v1::Rollout, Error> {
        let request = v1::GetRolloutRequest { name: name.to_string(), ..Default::default() };
        let call = |client: Self, request| async move { client.rollouts().get_rollout(request).await };
        self.read(request, call).await?.rollout.ok_or(Error::Incomplete("rollout"))
    }

    /// A rollout when it has ended, or as it is after `timeout`.
    pub async fn wait_rollout(&self, name: &name::Rollout, timeout: Duration) -> Result<v1::Rollout, Error> {
        let timeout = timeout.min(LONGEST_WAIT);
        let request = v1::WaitRolloutRequest {
            name: name.to_string(),
            timeout: prost_types::Duration::try_from(timeout).ok(),
        };
        // The answer comes at the end of `timeout`, not before.
        let request = limited(request, timeout + Duration::from_secs(5));
        self.rollouts().wait_rollout(request).await?.into_inner().rollout.ok_or(Error::Incomplete("rollout"))
    }

    /// The server itself.
    pub async fn server_info(&self) -> Result<v1::GetServerInfoResponse, Error> {
        let call = |client: Self, request| async move { client.server().get_server_info(request).await };
        self.read(v1::GetServerInfoRequest {}, call).await
    }

    /// The apps below `parent` (`namespaces/{namespace}`, all with `-`, or one app), now and after each change. After an interruption
    /// it begins with a snapshot again: `Synced` does not tell whether one came before it, so after a resumption nobody could tell
    /// apps that are gone from apps that did not change.
    pub fn watch_apps(
        &self,
        parent: String,
        label_selector: String,
    ) -> impl Stream<Item = Result<Update<v1::WatchAppsResponse>, Error>> {
        let client = self.clone();
        watch::watch(move |_resume_token| {
            let (client, parent, label_selector) = (client.clone(), parent.clone(), label_selector.clone());
            async move {
                let request = v1::WatchAppsRequest { parent, label_selector, resume_token: String::new() };
                Ok(client.apps().watch_apps(request).await?.into_inner())
            }
        })
    }

    /// A rollout, until it has ended.
    pub fn watch_rollout(
        &self,
        name: &name::Rollout,
    ) -> impl Stream<Item = Result<Update<v1::WatchRolloutResponse>, Error>> + use<> {
        let (client, name) = (self.clone(), name.to_string());
        watch::watch(move |resume_token| {
            let (client, name) = (client.clone(), name.clone());
            async move {
                let request = v1::WatchRolloutRequest { name, resume_token };
                Ok(client.rollouts().watch_rollout(request).await?.into_inner())
            }
        })
    }
}

/// The server learns the limit too, and stops working for nobody.
fn limited<M>(message: M, limit: Duration) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(limit);
    request
}
