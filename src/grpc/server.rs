//! All services behind one router: ours, health and reflection, inside the layer that holds for every call.

use axum::middleware::{from_fn, from_fn_with_state};
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::Error as ReflectionError;

use super::{
    Context,
    app::Apps,
    autoscaler::{Autoscalers, LeaderProxy},
    discovery::Discovery,
    guard::{self, Origin, Origins},
    info::Server,
    json,
    limits::{self, Limits},
    observe,
    rollout::Rollouts,
    schema,
    timeline::Timeline,
};
use crate::pb::{
    self, app_service_server::AppServiceServer, autoscaler_service_server::AutoscalerServiceServer,
    discovery_service_server::DiscoveryServiceServer, rollout_service_server::RolloutServiceServer,
    server_service_server::ServerServiceServer, timeline_service_server::TimelineServiceServer,
};

/// Names under which health is asked for: the server as a whole, and what Kubernetes' probes ask.
const SERVICES: [&str; 8] = [
    "",
    "readiness",
    "gantry.v1.AppService",
    "gantry.v1.AutoscalerService",
    "gantry.v1.DiscoveryService",
    "gantry.v1.RolloutService",
    "gantry.v1.ServerService",
    "gantry.v1.TimelineService",
];

/// What the health service answers.
#[derive(Clone)]
pub struct Health(HealthReporter);

// === impl Health ===

impl Health {
    /// Nothing serves yet; the process lives.
    pub async fn new() -> Self {
        let health = Self(HealthReporter::new());
        health.set_ready(false).await;
        health.0.set_service_status("liveness", ServingStatus::Serving).await;
        health
    }

    /// Whether calls are answered.
    pub async fn set_ready(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
        }
    }
}

/// Why there is no API to serve.
#[derive(Debug, thiserror::Error)]
pub enum Unbuilt {
    /// The descriptor cannot be served by reflection.
    #[error(transparent)]
    Reflection(#[from] ReflectionError),
    /// The contract says something that this server does not do.
    #[error("{0}")]
    Contract(&'static schema::Unfit),
}

/// The whole API, for programs on this machine and for the pages of these origins.
pub fn router(context: &Context, health: &Health, origins: &[Origin]) -> Result<axum::Router, Unbuilt> {
    schema::schema().map_err(Unbuilt::Contract)?;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTOR)
            // Without these two, grpcurl shows error details as base64 and does not list health.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health = HealthService::from_health_reporter(health.0.clone());
    let (drain, index) = (context.drain.clone(), context.index.clone());
    let limits = Limits { drain, index, connection: context.connection.clone() };
    let context = || context.clone();
    let routes = Routes::new(
        AppServiceServer::new(Apps(context())).max_decoding_message_size(schema::LARGEST_REQUEST),
    )
    .add_service(
        RolloutServiceServer::new(Rollouts(context())).max_decoding_message_size(schema::LARGEST_REQUEST),
    )
    .add_service(
        ServerServiceServer::new(Server(context())).max_decoding_message_size(schema::LARGEST_REQUEST),
    )
    .add_service(
        AutoscalerServiceServer::new(Autoscalers { context: context(), elsewhere: LeaderProxy::default() })
            .max_decoding_message_size(schema::LARGEST_AUTOSCALER),
    )
    .add_service(
        DiscoveryServiceServer::new(Discovery(context())).max_decoding_message_size(schema::LARGEST_REQUEST),
    )
    .add_service(
        TimelineServiceServer::new(Timeline(context())).max_decoding_message_size(schema::LARGEST_REQUEST),
    )
    .add_service(
        tonic_health::pb::health_server::HealthServer::new(health)
            .max_decoding_message_size(schema::LARGEST_REQUEST),
    )
    .add_service(reflection().build_v1()?)
    .add_service(reflection().build_v1alpha()?)
    .prepare();
    let origins: Origins = origins.into();
    // The last one added sees a request first: who may call, then in which form, then the call itself.
    let router = routes
        .into_axum_router()
        .layer(from_fn_with_state(limits, limits::layer))
        .layer(from_fn(observe::layer))
        .layer(tonic_web::GrpcWebLayer::new())
        .layer(from_fn(json::layer));
    let router = if origins.is_empty() { router } else { router.layer(guard::cors(&origins)) };
    Ok(router.layer(from_fn_with_state(origins, guard::layer)))
}
