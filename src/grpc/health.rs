//! The health service, as the gRPC health checking protocol has it: every service of the API has the state of
//! the daemon, and a watch of an unknown service stays open, because the service may come with another
//! version.

use futures::{StreamExt as _, stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server,
};

use super::{schema, status, stream::Answers};

/// Service names that are not services: the whole daemon (the empty name) and Kubernetes' probes.
const PROBES: [&str; 3] = ["", "readiness", LIVENESS];

/// Always serving. Health would not answer otherwise.
const LIVENESS: &str = "liveness";

/// Whether calls are answered. At startup the daemon is alive, but not ready.
#[derive(Clone, Default)]
pub struct Health(watch::Sender<bool>);

// === impl Health ===

impl Health {
    /// Sets whether calls are answered.
    pub fn set_ready(&self, ready: bool) {
        self.0.send_if_modified(|now| std::mem::replace(now, ready) != ready);
    }

    pub(super) fn to_service(&self) -> HealthService {
        HealthService(self.0.subscribe())
    }
}

/// The implementation of `grpc.health.v1.Health`.
#[derive(Clone)]
pub(super) struct HealthService(watch::Receiver<bool>);

// === impl HealthService ===

impl HealthService {
    fn state(service: &str, ready: bool) -> ServingStatus {
        let is_known =
            PROBES.contains(&service) || schema::schema().is_ok_and(|schema| schema.has_service(service));
        if !is_known {
            ServingStatus::ServiceUnknown
        } else if service == LIVENESS || ready {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

fn to_response(state: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: state.into() }
}

#[tonic::async_trait]
impl health_server::Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        let state = Self::state(&service, *self.0.borrow());
        if state == ServingStatus::ServiceUnknown {
            return Err(status::unknown_service(&service));
        }
        Ok(Response::new(to_response(state)))
    }

    type WatchStream = Answers<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let first = to_response(Self::state(&service, *self.0.borrow()));
        // Only changes are sent, and the state of an unknown service and of the liveness never changes.
        let changes = stream::unfold((self.0.clone(), service, first.status), |mut watch| async {
            loop {
                if watch.0.changed().await.is_err() {
                    // The sender lives as long as the daemon, whose end ends the stream.
                    std::future::pending::<()>().await;
                }
                let state = to_response(Self::state(&watch.1, *watch.0.borrow_and_update()));
                if std::mem::replace(&mut watch.2, state.status) != state.status {
                    return Some((Ok(state), watch));
                }
            }
        });
        Ok(Response::new(stream::iter([Ok(first)]).chain(changes).boxed()))
    }
}
