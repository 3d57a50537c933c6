//! The connection to the API server. Every call through `Cluster::call` has a deadline and one kind of error.

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

/// Longest wait for one answer. Kubernetes' own objective is 1 s for a single object; ten times that is an outage.
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

/// A cluster that answered once.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// Whether it answers now.
    pub api_health: ApiHealth,
    /// How its watches fare.
    pub(super) watch_status: WatchStatus,
    /// The Kubernetes user that this server is.
    pub user: String,
    /// Version of Kubernetes, for example `v1.36.3`.
    pub version: String,
    /// The namespace of the pod that this server runs in, or of the kubeconfig's context; else `default`.
    pub namespace: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// None of the places where a configuration may be has a usable one.
    #[error(
        "no Kubernetes configuration: {0}, and this is no pod; give --kubeconfig FILE, or set KUBECONFIG"
    )]
    Config(String),
    /// The kubeconfig is not usable.
    #[error("the kubeconfig is not usable: {0}; name another with --kubeconfig FILE")]
    Kubeconfig(String),
    /// The kubeconfig has no such context.
    #[error("the kubeconfig has no context {name:?}; --context takes one of: {known}")]
    Context {
        /// The one that was named.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The client cannot be made.
    #[error("no Kubernetes client: {0}")]
    Client(#[source] Box<kube::Error>),
    /// The API server does not answer as it should.
    #[error(transparent)]
    Answer(#[from] Error),
}

// === impl Cluster ===

impl Cluster {
    /// Connects, and asks who we are and what the cluster is.
    pub async fn connect(args: &Args) -> Result<Self, ConnectError> {
        let mut config = configuration(args).await?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // kube would repeat any request up to 15 times, for as long as the server likes, beyond every deadline of ours.
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
            // Kubernetes before 1.28 does not know the question, and an account may be denied it.
            Err(Error::ObjectMissing { .. } | Error::DaemonForbidden { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        cluster.user = user.unwrap_or_else(|| "unknown".to_owned());
        Ok(cluster)
    }

    /// Finds out whether the API server answers. Runs until dropped.
    pub async fn monitor_api_health(self) {
        api_health::monitor_api(self.api_health, self.client).await;
    }

    /// What is wrong between this server and the cluster, in one sentence each.
    pub(super) fn health_warnings(&self, now: Timestamp) -> Vec<String> {
        let lost = self.api_health.outage().map(|outage| {
            format!("The Kubernetes API server does not answer ({outage}): reads are as old as cache_ages says, writes fail.")
        });
        lost.into_iter().chain(self.watch_status.refusals(now)).collect()
    }

    /// Waits for one answer of the API server, but not for ever, and not at all while it is lost.
    pub(super) fn call<T>(
        &self,
        call: ApiCall<'_>,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> impl Future<Output = Result<T, Error>> {
        // On the heap: it is large, and would be part of every future on the way up.
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
                message: format!("{outage}; it was not asked to {verb} {}", call.object()),
            });
        }
        tokio::select! {
            // An answer that is there counts.
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
    // Their own texts hold their causes already; as a source, each would be told twice.
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

/// The error of a call that was under way when the API server was lost.
fn cut_off(call: ApiCall<'_>, outage: &Outage) -> Error {
    let (verb, object) = (call.verb.as_str(), call.object());
    let open =
        if call.verb.writes() { "; it may have been done, and repeating the call is safe" } else { "" };
    Error::Unreachable {
        message: format!("{outage}; it was asked to {verb} {object} and did not answer{open}"),
    }
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
