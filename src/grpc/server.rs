//! All services behind one router: Gantry's own, health and reflection, inside the layers that hold for every
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
pub enum RouterError {
    /// The descriptor cannot be served by reflection.
    #[error(transparent)]
    Reflection(#[from] ReflectionError),
    /// The contract says something that this server does not do.
    #[error("{0}")]
    Contract(&'static schema::Unfit),
}

/// The whole API, for programs on this machine and for the pages of these origins.
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
        // Tells browsers which pages are allowed; without any, there is nothing to tell.
        .option_layer((!origins.is_empty()).then(|| origin::cors_layer(&origins)))
        // Translates Connect and plain JSON.
        .layer(from_fn(json::translate_to_grpc))
        // Translates gRPC-Web. From here on, all calls are gRPC.
        .layer(GrpcWebLayer::new())
        .map_request(|request: Request<tonic::body::Body>| request.map(Body::new))
        // Counts and times calls.
        .layer(from_fn(metrics::measure_call))
        // Gives the call its id, its span and its log line; the answer ends with the id and the age of the cache.
        .layer(from_fn_with_state(context.index.clone(), span::enter_span))
        // Keeps changes and refusals in the timelines of their apps.
        .layer(from_fn_with_state((context.index.clone(), context.connection.clone()), audit::audit_call))
        // Refuses headers that are too large, and ends the call at its deadline.
        .layer(from_fn(limits::enforce_limits))
        // Answers panics, and gives details to errors that have none.
        .layer(from_fn(errors::complete_errors));
    // Gantry's own streams end themselves when the server goes, each with a resume token.
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
