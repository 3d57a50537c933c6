//! The router of all services: Gantry's own, health and reflection, inside the layers that apply to every
//! call.

use axum::{
    body::Body,
    http::Request,
    middleware::{from_fn, from_fn_with_state},
};
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, HealthService},
};
use tonic_reflection::server::Error as ReflectionError;
use tonic_web::GrpcWebLayer;
use tower::ServiceBuilder;

use super::{
    Context,
    app::Apps,
    autoscaler::{Autoscalers, LeaderProxy},
    discovery::Discovery,
    info::Server,
    json,
    layers::{
        audit, drain, errors, limits, metrics,
        origin::{self, Origin, Origins},
        span,
    },
    rollout::Rollouts,
    schema,
    timeline::Timeline,
};
use crate::pb::{
    self, app_service_server::AppServiceServer, autoscaler_service_server::AutoscalerServiceServer,
    discovery_service_server::DiscoveryServiceServer, rollout_service_server::RolloutServiceServer,
    server_service_server::ServerServiceServer, timeline_service_server::TimelineServiceServer,
};

/// Service names of the health check: the whole daemon (the empty name), Kubernetes' readiness probe, and
/// each service.
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

/// The state that the health service answers with.
#[derive(Clone)]
pub struct Health(HealthReporter);

// === impl Health ===

impl Health {
    /// Returns the state at startup: alive, but not ready.
    pub async fn new() -> Self {
        let health = Self(HealthReporter::new());
        health.set_ready(false).await;
        health.0.set_service_status("liveness", ServingStatus::Serving).await;
        health
    }

    /// Sets whether calls are answered.
    pub async fn set_ready(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            self.0.set_service_status(service, status).await;
        }
    }
}

/// Why the router cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The descriptor cannot be served by reflection.
    #[error(transparent)]
    Reflection(#[from] ReflectionError),
    /// The contract cannot be used.
    #[error("{0}")]
    Contract(&'static schema::Unfit),
}

/// Returns the whole API, for programs on this machine and for the web pages of these origins.
pub fn router(context: &Context, health: &Health, origins: &[Origin]) -> Result<axum::Router, RouterError> {
    schema::schema().map_err(RouterError::Contract)?;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::DESCRIPTOR)
            // Without these two, grpcurl shows error details as base64 and does not list health.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health = HealthService::from_health_reporter(health.0.clone());
    let origins: Origins = origins.into();
    let layers = ServiceBuilder::new()
        // Refuses web pages that are not allowed.
        .layer(from_fn_with_state(origins.clone(), origin::check_origin))
        // Tells browsers which pages are allowed. Left out if there are none.
        .option_layer((!origins.is_empty()).then(|| origin::cors_layer(&origins)))
        // Translates Connect and plain JSON.
        .layer(from_fn(json::translate_to_grpc))
        // Translates gRPC-Web. From here on, all calls are gRPC.
        .layer(GrpcWebLayer::new())
        .map_request(|request: Request<tonic::body::Body>| request.map(Body::new))
        // Counts and times calls.
        .layer(from_fn(metrics::measure_call))
        // Gives the call its id, its span and its log line. Adds the id and the age of the cache to the end
        // of the answer.
        .layer(from_fn_with_state(context.index.clone(), span::enter_span))
        // Records changes and denied calls in the timelines of their apps.
        .layer(from_fn_with_state((context.index.clone(), context.connection.clone()), audit::audit_call))
        // Refuses headers that are too large, and ends the call at its deadline.
        .layer(from_fn(limits::enforce_limits))
        // Answers panics, and gives details to errors that have none.
        .layer(from_fn(errors::complete_errors));
    // Gantry's own streams end themselves when the daemon shuts down, each with a resume token.
    let health_and_reflection = Routes::new(
        tonic_health::pb::health_server::HealthServer::new(health)
            .max_decoding_message_size(schema::LARGEST_REQUEST),
    )
    .add_service(reflection().build_v1()?)
    .add_service(reflection().build_v1alpha()?)
    .into_axum_router()
    .reset_fallback()
    .route_layer(from_fn_with_state(context.drain.clone(), drain::end_on_drain));
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
    .prepare();
    Ok(routes.into_axum_router().merge(health_and_reflection).layer(layers))
}
