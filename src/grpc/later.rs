//! Services that are small or still to come. Methods that are not written here answer UNIMPLEMENTED by the generated default,
//! to which [`super::limits`] adds the reason.

use jiff::Timestamp;
use tonic::{Request, Response, Status};

use super::Context;
use crate::index::Kind;
use crate::pb::{
    self, autoscaler_service_server::AutoscalerService, server_service_server::ServerService,
    timeline_service_server::TimelineService,
};

/// ServerService: what this server is.
#[derive(Clone)]
pub(super) struct Server(pub(super) Context);

/// AutoscalerService, to come.
#[derive(Clone, Copy)]
pub(super) struct Autoscaler;

/// TimelineService, to come.
#[derive(Clone, Copy)]
pub(super) struct Timeline;

impl AutoscalerService for Autoscaler {}
impl TimelineService for Timeline {}

/// Age of the cache from which a warning is due: two probes and their timeouts have failed.
const STALE_SECONDS: u64 = 30;

#[tonic::async_trait]
impl ServerService for Server {
    async fn get_server_info(
        &self,
        _: Request<pb::GetServerInfoRequest>,
    ) -> Result<Response<pb::GetServerInfoResponse>, Status> {
        let index = &self.0.index;
        let ages = index.ages(Timestamp::now());
        let mut warnings = Vec::new();
        if !index.is_filled() {
            warnings.push(
                "The cluster has not been read whole yet; reads and writes answer WARMING_UP.".to_owned(),
            );
        }
        for (kind, age) in ages.iter().filter(|(_, age)| age.as_secs() >= STALE_SECONDS) {
            warnings.push(format!(
                "Nothing heard about {} for {} s: the API server does not answer, or this server may not list them.",
                kind.as_str(),
                age.as_secs()
            ));
        }
        warnings.extend(index.refused().into_iter().map(|kind| {
            let so = if kind == Kind::Nodes {
                "zones are known only of replicas that a Service selects"
            } else {
                "endpoints are told from the pods alone, and ports by the container's names only"
            };
            format!(
                "This server may not list {}: {so}. Allow its account to list and watch them.",
                kind.as_str()
            )
        }));
        let identity = self.0.identity();
        let size = index.size();
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        Ok(Response::new(pb::GetServerInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kubernetes_version: identity.kubernetes_version,
            caller: identity.user,
            cache_ages: ages
                .into_iter()
                .filter_map(|(kind, age)| {
                    Some((kind.as_str().to_owned(), prost_types::Duration::try_from(age).ok()?))
                })
                .collect(),
            apps: count(size.apps),
            pods: count(size.pods),
            leader: false,
            load_sources: Vec::new(),
            warnings,
        }))
    }
}
