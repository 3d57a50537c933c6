//! The audit of the watches, because a watch alone may miss changes. The index is compared with a list of the
//! cluster from time to time. An object that differs, and differs in the same way a moment later, was missed.
//! Then the watch of its kind starts again.

use std::{collections::HashMap, fmt::Debug, time::Duration};

use jiff::Timestamp;
use kube::api::ListParams;
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

use super::{
    client::Cluster,
    decode::Decode,
    watch::{each_kind, label_selector, spread_requests},
};
use crate::{
    domain::Error,
    index::{Index, Kind, Row, RowDifference},
    metrics::METRICS,
};

/// Time for the watch to catch up with the list. Watches are usually behind by milliseconds.
const SETTLE: Duration = Duration::from_secs(5);

/// Page size of the list.
const PAGE: u32 = 500;

/// Compares each kind with the cluster about once per `period`. Runs until dropped.
pub async fn audit_watches(cluster: Cluster, index: Index, period: Duration) {
    loop {
        tokio::time::sleep(spread_requests(period, Timestamp::now())).await;
        if !index.is_filled() || cluster.api_health.outage().is_some() {
            continue;
        }
        let without = index.refused_kinds();
        for kind in Kind::ALL.into_iter().filter(|kind| !without.contains(kind)) {
            match kind {
                // The index holds only the latest few events of each object, so a missing event is no error.
                Kind::Events => continue,
                Kind::Deployments
                | Kind::ReplicaSets
                | Kind::Pods
                | Kind::Revisions
                | Kind::EndpointSlices
                | Kind::Nodes
                | Kind::HorizontalPodAutoscalers
                | Kind::ScaledObjects => {}
            }
            let found = each_kind!(kind, K => audit::<K>(&cluster, &index).await);
            let name = kind.as_str();
            match found {
                Ok(0) => {
                    METRICS.audited(name, "ok", 0);
                    debug!(kind = name, "audit: the index matches the cluster");
                }
                Ok(differences) => {
                    METRICS.audited(name, "differs", differences);
                    warn!(kind = name, differences, "audit: the watch missed changes; it starts again");
                    cluster.watch_status.begin_again(kind);
                }
                Err(error) => {
                    METRICS.audited(name, "failed", 0);
                    debug!(kind = name, %error, "audit: cannot list");
                }
            }
        }
    }
}

/// Returns the number of objects that differ and stay different.
async fn audit<K>(cluster: &Cluster, index: &Index) -> Result<usize, Error>
where
    K: Decode + DeserializeOwned + Clone + Debug,
{
    let first = index.diff_rows(list::<K>(cluster).await?);
    if first.is_empty() {
        return Ok(0);
    }
    tokio::time::sleep(SETTLE).await;
    let second = index.diff_rows(list::<K>(cluster).await?);
    Ok(lasting(&first, &second))
}

/// Counts the objects that differ both times in the same way. An object whose difference changed in between
/// was only delayed.
fn lasting<R: Row>(
    first: &HashMap<R::Key, RowDifference<R>>,
    second: &HashMap<R::Key, RowDifference<R>>,
) -> usize {
    second.iter().filter(|(key, difference)| first.get(*key) == Some(*difference)).count()
}

/// Returns all rows of a kind from etcd. The cache of one API server may be as late as the watch.
async fn list<K>(cluster: &Cluster) -> Result<Vec<K::Row>, Error>
where
    K: Decode + DeserializeOwned + Clone + Debug,
{
    let mut params = ListParams::default().limit(PAGE);
    params.label_selector = label_selector(K::KIND).map(str::to_owned);
    let rows = cluster.all::<K>().list_pages(params, Decode::into_row).await?;
    Ok(rows.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::observed::ReplicaSet;

    fn mk_set(name: &str, revision: u64) -> ReplicaSet {
        ReplicaSet {
            namespace: "shop".into(),
            name: name.into(),
            deployment: "web".into(),
            template_revision: 1,
            template: 0,
            revision: Some(revision),
            create_failure: None,
            ports: Vec::new(),
            created: Timestamp::UNIX_EPOCH,
        }
    }

    fn mk_index(rows: Vec<ReplicaSet>) -> Index {
        let index = Index::new(1);
        index.reset_rows(Kind::ReplicaSets, rows, Timestamp::UNIX_EPOCH);
        index
    }

    #[test]
    fn missing_outdated_and_left_over_rows_are_found() {
        let index = mk_index(vec![mk_set("same", 1), mk_set("outdated", 1), mk_set("left-over", 1)]);
        let found = index.diff_rows(vec![mk_set("same", 1), mk_set("outdated", 2), mk_set("missing", 1)]);
        let mut names: Vec<Arc<str>> = found.keys().map(|(_, name)| name.clone()).collect();
        names.sort();
        assert_eq!(names, ["left-over".into(), "missing".into(), "outdated".into()]);
        assert_eq!(lasting(&found, &found), 3);
    }

    #[test]
    fn what_is_on_its_way_is_no_fault() {
        let index = mk_index(vec![mk_set("web", 1)]);
        let first = index.diff_rows(vec![mk_set("web", 2)]);
        assert_eq!(first.len(), 1);
        // The watch caught up, and the object changed again. It is as different as before, but in another
        // way.
        index.update_rows(vec![mk_set("web", 2)], vec![], Timestamp::UNIX_EPOCH);
        let second = index.diff_rows(vec![mk_set("web", 3)]);
        assert_eq!((second.len(), lasting(&first, &second)), (1, 0));
    }
}
