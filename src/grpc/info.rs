//! ServerService: the version of the daemon, how fresh its index is, and warnings about it.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::context::Context;
use crate::{
    index::{Kind, Leader},
    pb::{self, server_service_server::ServerService},
};

/// The implementation of ServerService.
#[derive(Clone)]
pub(super) struct Server(pub(super) Context);

/// Cache age from which a warning is given. By then two probes and their timeouts have failed.
const STALE: Duration = Duration::from_secs(30);

/// Returns the warnings about kinds that are unread, forbidden or stale. `ages` has no entry for a kind that
/// was never read.
fn freshness(ages: &BTreeMap<Kind, Duration>, refused: &[Kind]) -> Vec<String> {
    let mut warnings = Vec::new();
    let unread: Vec<_> = Kind::ALL
        .iter()
        .filter(|kind| !ages.contains_key(kind) && !refused.contains(kind))
        .map(|k| k.as_str())
        .collect();
    if !unread.is_empty() {
        warnings.push(format!(
            "The cluster has not been read completely yet: {} are missing. Until then reads and writes answer WARMING_UP.",
            unread.join(", ")
        ));
    }
    warnings.extend(refused.iter().map(|kind| {
        let so = match kind {
            Kind::Nodes => "zones are known only for replicas that a Service selects",
            Kind::HorizontalPodAutoscalers | Kind::ScaledObjects => {
                "external autoscalers that set a replica count are not shown"
            }
            Kind::EndpointSlices => {
                "endpoints come from the pods alone, and ports are known only by the names in the container"
            }
            // These kinds are never refused, because the daemon answers nothing without them.
            Kind::Deployments | Kind::ReplicaSets | Kind::Pods | Kind::Events | Kind::Revisions => {
                "nothing is answered"
            }
        };
        format!("gantryd may not list {}: {so}. Allow its account to list and watch them.", kind.as_str())
    }));
    for (kind, age) in ages.iter().filter(|(_, age)| **age >= STALE) {
        warnings.push(format!("Nothing heard about {} for {} s.", kind.as_str(), age.as_secs()));
    }
    warnings
}

#[tonic::async_trait]
impl ServerService for Server {
    async fn get_server_info(
        &self,
        _: Request<pb::GetServerInfoRequest>,
    ) -> Result<Response<pb::GetServerInfoResponse>, Status> {
        let index = &self.0.index;
        let now = Timestamp::now();
        let ages = index.kind_ages(now);
        let connection = self.0.connection.get();
        let mut warnings = connection.map_or_else(
            || vec!["No Kubernetes API server has answered yet; the log says why.".to_owned()],
            |connection| connection.commands.health_warnings(now),
        );
        warnings.extend(freshness(&ages, &index.refused_kinds()));
        if let Leader::Unknown(why) = self.0.scaling.leader()
            && !why.is_empty()
        {
            warnings.push(format!(
                "The autoscaler does not run here, because it is not known whether another gantryd runs it: {why}."
            ));
        }
        let size = index.size();
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        Ok(Response::new(pb::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes_version: connection.map(|c| c.kubernetes_version.clone()).unwrap_or_default(),
            caller: connection.map(|c| c.user.clone()).unwrap_or_default(),
            cache_ages: ages
                .into_iter()
                .filter_map(|(kind, age)| {
                    Some((kind.as_str().to_owned(), prost_types::Duration::try_from(age).ok()?))
                })
                .collect(),
            apps: count(size.apps),
            pods: count(size.pods),
            leader: self.0.scaling.leader() == Leader::Local,
            load_sources: self.0.scaling.list_sources(),
            warnings,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_that_are_missing_or_old_are_named() {
        let mut ages: BTreeMap<_, _> = Kind::ALL.into_iter().map(|kind| (kind, Duration::ZERO)).collect();
        assert!(freshness(&ages, &[]).is_empty());
        ages.insert(Kind::Pods, Duration::from_secs(31));
        ages.remove(&Kind::Events);
        let warnings = freshness(&ages, &[]);
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("events are missing"), "{}", warnings[0]);
        assert_eq!(warnings[1], "Nothing heard about pods for 31 s.");
    }
}
