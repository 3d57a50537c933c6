//! Reads the last lines of one container's log in one request. Streams are in `logs.rs`.

use futures::future::join;
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;

use super::client::Cluster;
use crate::domain::{Error, evidence};

/// Bytes requested at most: enough for the stored number of lines at their longest.
const MOST_BYTES: i64 = 32 * 1024;

/// Returns the last lines of the container's current run, or of its previous run if the current one has
/// logged nothing yet. For a container that waits for its next start, Kubernetes returns the run that ended.
pub(super) async fn last_log_lines(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<Vec<String>, Error> {
    let pods = cluster.namespaced::<Pod>(namespace);
    let ask = async |previous: bool| {
        let params = LogParams {
            container: (!container.is_empty()).then(|| container.to_owned()),
            limit_bytes: Some(MOST_BYTES),
            previous,
            tail_lines: i64::try_from(evidence::MOST_LINES).ok(),
            ..LogParams::default()
        };
        let text = pods.read_log(pod, &params).await?;
        Ok::<_, Error>(text.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    // Ask for both concurrently, because the verdict waits for the answer.
    let (present, previous) = join(ask(false), ask(true)).await;
    match present {
        Ok(lines) if !lines.is_empty() => Ok(lines),
        present => previous.or(present),
    }
}
