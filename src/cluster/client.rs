//! The connection to the API server. Every call through `Cluster::call` has a deadline and one kind of error.

use std::{path::PathBuf, time::Duration};

use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::error::{self, Doing};
use crate::domain::Error;

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

/// A cluster that answered once.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
    /// The Kubernetes user that this server is.
    pub user: String,
    /// Version of Kubernetes, for example `v1.36.3`.
    pub version: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No usable configuration.
    #[error("no usable Kubernetes configuration: {0}; give --kubeconfig, set KUBECONFIG, or run in a pod")]
    Config(#[from] kube::config::InferConfigError),
    /// The kubeconfig given is not usable.
    #[error("the kubeconfig is not usable: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
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
        let mut config = match args {
            Args { kubeconfig: None, context: None } => Config::infer().await?,
            Args { kubeconfig, context } => {
                let file = match kubeconfig {
                    Some(path) => Kubeconfig::read_from(path)?,
                    None => Kubeconfig::read()?,
                };
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                Config::from_custom_kubeconfig(file, &options).await?
            }
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // kube would repeat any request up to 15 times, for as long as the server likes, beyond every deadline of ours.
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|e| ConnectError::Client(Box::new(e)))?;
        let mut cluster = Self { client, user: String::new(), version: String::new() };
        let doing = Doing { verb: "get", object: "the version of Kubernetes" };
        cluster.version = cluster.call(doing, cluster.client.apiserver_version()).await?.git_version;
        let reviews = Api::<SelfSubjectReview>::all(cluster.client.clone());
        let (params, review) = (PostParams::default(), SelfSubjectReview::default());
        let doing = Doing { verb: "create", object: "selfsubjectreviews" };
        let user = match cluster.call(doing, reviews.create(&params, &review)).await {
            Ok(review) => review.status.and_then(|s| s.user_info).and_then(|u| u.username),
            // Kubernetes before 1.28 does not know the question, and an account may be denied it.
            Err(Error::NotFound { .. } | Error::DaemonForbidden { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        cluster.user = user.unwrap_or_else(|| "unknown".to_owned());
        Ok(cluster)
    }

    /// Waits for one answer of the API server, but not for ever.
    pub(super) async fn call<T>(
        &self,
        doing: Doing<'_>,
        answer: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(CALL_TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(error::translate(doing, error)),
            Err(_) => Err(Error::Deadline {
                waiting_for: format!("the Kubernetes API server to {} {}", doing.verb, doing.object),
                may_have_happened: doing.verb != "get" && doing.verb != "list",
            }),
        }
    }
}
