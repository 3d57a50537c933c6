//! Endpoints of the stand-in. Must not know apps.

use futures::{StreamExt, stream};
use gantry_client::v1::{self, discovery_service_server, watch_endpoints_response::Event};
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{app_of, missing};

pub(super) struct Endpoints;

fn mk_endpoint(address: &str, state: v1::EndpointState) -> v1::Endpoint {
    v1::Endpoint {
        address: address.into(),
        port: 80,
        state: state.into(),
        zone: "a".into(),
        node: "n1".into(),
        pod: "good-x".into(),
        ..Default::default()
    }
}

#[allow(clippy::unnecessary_wraps)] // an item of a stream
fn change(event: Event) -> Result<v1::WatchEndpointsResponse, Status> {
    Ok(v1::WatchEndpointsResponse { event: Some(event) })
}

// === impl Endpoints ===

#[tonic::async_trait]
impl discovery_service_server::DiscoveryService for Endpoints {
    async fn list_endpoints(
        &self,
        request: Request<v1::ListEndpointsRequest>,
    ) -> Result<Response<v1::ListEndpointsResponse>, Status> {
        let request = request.into_inner();
        if app_of(&request.parent) == "missing" {
            return Err(missing(&request.parent));
        }
        let mut endpoints = vec![mk_endpoint("10.0.0.1", v1::EndpointState::Ready)];
        if request.include_unready {
            endpoints.push(mk_endpoint("10.0.0.2", v1::EndpointState::Draining));
        }
        if app_of(&request.parent) == "stopped" {
            endpoints.clear();
        }
        Ok(Response::new(v1::ListEndpointsResponse { endpoints, next_page_token: String::new() }))
    }

    async fn watch_endpoints(
        &self,
        _: Request<v1::WatchEndpointsRequest>,
    ) -> Result<Response<BoxStream<v1::WatchEndpointsResponse>>, Status> {
        let one = vec![mk_endpoint("10.0.0.1", v1::EndpointState::Ready)];
        let two = vec![one[0].clone(), mk_endpoint("10.0.0.2", v1::EndpointState::Ready)];
        let events = stream::iter([
            change(Event::Snapshot(v1::EndpointSet { endpoints: one })),
            change(Event::Heartbeat(v1::Heartbeat::default())),
            change(Event::Snapshot(v1::EndpointSet { endpoints: two })),
            change(Event::Missing(v1::AppMissing {})),
        ]);
        Ok(Response::new(events.chain(stream::pending()).boxed()))
    }
}
