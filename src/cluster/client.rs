//! The connection to the API server. Every call through `Cluster::call` has a deadline and one error type.

mod objects;

use std::{path::PathBuf, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client, Config,
    api::{ApiResource, PostParams},
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio::time::Instant;

use super::{
    api_health::{self, ApiHealth, Outage},
    error::{self, ApiCall, Resource, Verb},
    watch_status::WatchStatus,
};
use crate::{domain::Error, metrics::METRICS};

/// Longest wait for one answer. Kubernetes' own objective is 1 s for a single object. Ten times that counts
/// as an outage.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for a TCP and TLS connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which cluster to talk to, and as whom.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Kubeconfig file [default: KUBECONFIG, else the account of the pod, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

pub(super) use self::objects::Objects;

/// A cluster that has answered at least once.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// Whether the API server answers now.
    pub api_health: ApiHealth,
    /// The status of the watches.
    pub(super) watch_status: WatchStatus,
    /// The Kubernetes user that gantryd runs as.
    pub user: String,
    /// Version of Kubernetes, for example `v1.36.3`.
    pub version: String,
    /// The namespace of gantryd's pod, or of the kubeconfig's context, otherwise `default`.
    pub namespace: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No place that may hold a configuration has a usable one.
    #[error(
        "no Kubernetes configuration: {0}, and gantryd does not run in a pod; give --kubeconfig FILE, or set KUBECONFIG"
    )]
    Config(String),
    /// The kubeconfig is not usable.
    #[error("the kubeconfig is not usable: {0}; name another with --kubeconfig FILE")]
    Kubeconfig(String),
    /// The kubeconfig has no such context.
    #[error("the kubeconfig has no context {name:?}; --context takes one of: {known}")]
    Context {
        /// The context that was requested.
        name: String,
        /// The contexts that exist.
        known: String,
    },
    /// The client cannot be created.
    #[error("no Kubernetes client: {0}")]
    Client(#[source] Box<kube::Error>),
    /// The API server does not answer, or answers with an error.
    #[error(transparent)]
    Answer(#[from] Error),
}

// === impl Cluster ===

impl Cluster {
    /// Connects, and asks for the Kubernetes version and for gantryd's own user.
    pub async fn connect(args: &Args) -> Result<Self, ConnectError> {
        let mut config = configuration(args).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // By default kube retries a request up to 15 times, for as long as the API server asks for, beyond
        // all our deadlines.
        config.default_retry = false;
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).map_err(|e| ConnectError::Client(Box::new(e)))?;
        let mut cluster = Self {
            client,
            api_health: ApiHealth::default(),
            watch_status: WatchStatus::default(),
            namespace,
            user: String::new(),
            version: String::new(),
        };
        let resource = Resource::named("the version of Kubernetes");
        let call = ApiCall { verb: Verb::Get, resource: &resource, name: "", on_behalf_of: None };
        cluster.version = cluster.call(call, cluster.client.apiserver_version()).await?.git_version;
        let reviews = Api::<SelfSubjectReview>::all(cluster.client.clone());
        let (params, review) = (PostParams::default(), SelfSubjectReview::default());
        let resource = Resource::of_kind(&ApiResource::erase::<SelfSubjectReview>(&()));
        let call = ApiCall { verb: Verb::Create, resource: &resource, name: "", on_behalf_of: None };
        let user = match cluster.call(call, reviews.create(&params, &review)).await {
            Ok(review) => review.status.and_then(|s| s.user_info).and_then(|u| u.username),
            // Kubernetes before 1.28 does not know SelfSubjectReview, and the account may be denied it.
            Err(Error::ObjectMissing { .. } | Error::DaemonForbidden { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        cluster.user = user.unwrap_or_else(|| "unknown".to_owned());
        Ok(cluster)
    }

    /// Monitors whether the API server answers. Runs until dropped.
    pub async fn monitor_api_health(self) {
        api_health::monitor_api(self.api_health, self.client).await;
    }

    /// What is wrong between gantryd and the cluster, one sentence for each problem.
    pub(super) fn health_warnings(&self, now: Timestamp) -> Vec<String> {
        let lost = self.api_health.outage().map(|outage| {
            format!("The Kubernetes API server does not answer ({outage}): reads are as old as cache_ages says, writes fail.")
        });
        lost.into_iter().chain(self.watch_status.refusals(now)).collect()
    }

    /// Waits for one answer of the API server until the deadline. Fails at once while the API server is
    /// unreachable.
    pub(super) fn call<T>(
        &self,
        call: ApiCall<'_>,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> impl Future<Output = Result<T, Error>> {
        // Boxed because it is large, and would be part of every future up the call chain.
        let answer = Box::pin(answer);
        async move {
            let started = Instant::now();
            let answer = self.wait_for(call, answer).await;
            METRICS.kube_called(
                call.verb.as_str(),
                call.resource.label(),
                result(&answer),
                started.elapsed(),
            );
            answer
        }
    }

    async fn wait_for<T>(
        &self,
        call: ApiCall<'_>,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        let verb = call.verb.as_str();
        if let Some(outage) = self.api_health.outage() {
            return Err(Error::Unreachable {
                message: format!("{outage}; the request to {verb} {} was not sent", call.object()),
            });
        }
        tokio::select! {
            // Prefer an answer that has arrived over an outage.
            biased;
            answer = tokio::time::timeout(CALL_TIMEOUT, answer) => match answer {
                Ok(Ok(answer)) => {
                    self.api_health.note_answer(Timestamp::now());
                    Ok(answer)
                }
                Ok(Err(error)) => {
                    if matches!(error, kube::Error::Api(_)) {
                        self.api_health.note_answer(Timestamp::now());
                    }
                    Err(error::to_domain_error(call, error))
                }
                Err(_) => Err(Error::Deadline {
                    waiting_for: format!("the Kubernetes API server to {verb} {}", call.object()),
                    may_have_happened: call.verb.writes(),
                }),
            },
            outage = self.api_health.wait_for_outage() => Err(cut_off(call, &outage)),
        }
    }
}

async fn configuration(args: &Args) -> Result<Config, ConnectError> {
    // The texts of these errors contain their causes already. As a `source`, each cause would be printed
    // twice.
    let unusable = |error: KubeconfigError| ConnectError::Kubeconfig(error.to_string());
    let Args { kubeconfig, context } = args;
    if kubeconfig.is_none() && context.is_none() {
        return Config::infer().await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            ConnectError::Config(cause.unwrap_or_else(|| error.to_string()))
        });
    }
    let file = kubeconfig.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from).map_err(unusable)?;
    if let Some(name) = context.as_ref().filter(|name| !file.contexts.iter().any(|c| c.name == **name)) {
        let known: Vec<_> = file.contexts.iter().map(|c| c.name.as_str()).collect();
        return Err(ConnectError::Context { name: name.clone(), known: known.join(", ") });
    }
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(file, &options).await.map_err(unusable)
}

/// The error of a call that was in progress when the API server became unreachable.
fn cut_off(call: ApiCall<'_>, outage: &Outage) -> Error {
    let (verb, object) = (call.verb.as_str(), call.object());
    let open =
        if call.verb.writes() { "; it may have been done, and repeating the call is safe" } else { "" };
    Error::Unreachable { message: format!("{outage}; the request to {verb} {object} got no answer{open}") }
}

fn result<T>(answer: &Result<T, Error>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(Error::Unreachable { .. }) => "unreachable",
        Err(Error::Deadline { .. }) => "timeout",
        Err(_) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_was_cut_off_says_what_is_not_known() {
        let outage = Outage { since: Timestamp::UNIX_EPOCH, why: "refused".to_owned() };
        let resource = Resource::of_kind(&ApiResource::erase::<SelfSubjectReview>(&()));
        let call = ApiCall { verb: Verb::Patch, resource: &resource, name: "shop", on_behalf_of: None };
        assert!(cut_off(call, &outage).to_string().contains("may have been done"));
        assert!(!cut_off(ApiCall { verb: Verb::Get, ..call }, &outage).to_string().contains("done"));
    }
}
