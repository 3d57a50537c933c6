//! The router of all services: Gantry's own, health and reflection, inside the layers that apply to every
//! call.

use axum::{
    body::Body,
    http::{Request, Uri},
    middleware::{from_fn, from_fn_with_state},
};
use tonic::{codec::CompressionEncoding, service::Routes};
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::pb::v1::server_reflection_server::ServerReflectionServer;
use tonic_web::GrpcWebLayer;
use tower::{ServiceBuilder, ServiceExt as _};

use super::{
    Context,
    app::Apps,
    autoscaler::{Autoscalers, LeaderProxy},
    discovery::Discovery,
    health::Health,
    info::Server,
    json,
    layers::{
        audit, drain, errors, limits, metrics,
        origin::{self, Origin, Origins},
        span,
    },
    reflection::{self, Reflection},
    rollout::Rollouts,
    schema::{self, LARGEST_AUTOSCALER, LARGEST_REQUEST},
    timeline::Timeline,
};
use crate::pb::{
    app_service_server::AppServiceServer, autoscaler_service_server::AutoscalerServiceServer,
    discovery_service_server::DiscoveryServiceServer, rollout_service_server::RolloutServiceServer,
    server_service_server::ServerServiceServer, timeline_service_server::TimelineServiceServer,
};

/// Largest request to health and reflection, in bytes: a name.
const LARGEST_QUESTION: usize = 16 * 1024;

/// Sets what every service has: the largest request, and gzip both ways. The limit counts before and after a
/// request is unpacked. An answer is packed only if the caller says that it takes gzip.
macro_rules! configured {
    ($service:expr, $largest:expr) => {
        $service
            .max_decoding_message_size($largest)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip)
    };
}

/// Why the router cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The contract cannot be used.
    #[error("{0}")]
    Contract(&'static schema::Unfit),
}

/// Returns the whole API, for programs on this machine and for the web pages of these origins.
pub fn router(context: &Context, health: &Health, origins: &[Origin]) -> Result<axum::Router, RouterError> {
    schema::schema().map_err(RouterError::Contract)?;
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
    let reflection = || configured!(ServerReflectionServer::new(Reflection), LARGEST_QUESTION);
    let health = configured!(HealthServer::new(health.to_service()), LARGEST_QUESTION);
    let health_and_reflection = axum::Router::new()
        .route_service("/grpc.health.v1.Health/{method}", health)
        .route_service(reflection::V1, reflection())
        // The messages of both versions are the same, so one service answers both.
        .route_service(
            reflection::V1ALPHA,
            reflection().map_request(|mut request: Request<Body>| {
                *request.uri_mut() = Uri::from_static(reflection::V1);
                request
            }),
        )
        .route_layer(from_fn_with_state(context.drain.clone(), drain::end_on_drain));
    let context = || context.clone();
    let autoscalers = Autoscalers { context: context(), elsewhere: LeaderProxy::default() };
    let routes = Routes::new(configured!(AppServiceServer::new(Apps(context())), LARGEST_REQUEST))
        .add_service(configured!(RolloutServiceServer::new(Rollouts(context())), LARGEST_REQUEST))
        .add_service(configured!(ServerServiceServer::new(Server(context())), LARGEST_REQUEST))
        .add_service(configured!(AutoscalerServiceServer::new(autoscalers), LARGEST_AUTOSCALER))
        .add_service(configured!(DiscoveryServiceServer::new(Discovery(context())), LARGEST_REQUEST))
        .add_service(configured!(TimelineServiceServer::new(Timeline(context())), LARGEST_REQUEST))
        .prepare();
    Ok(routes.into_axum_router().merge(health_and_reflection).layer(layers))
}
