//! DiscoveryService: the endpoints of an app.

mod watch;

use tonic::{Request, Response, Status};

use super::{context::Context, convert, pagination, parse, stream::Answers};
use crate::{
    domain::name::Scope,
    pb::{self, discovery_service_server::DiscoveryService},
};

/// The implementation of DiscoveryService. GetXdsBootstrap is not implemented yet.
#[derive(Clone)]
pub(super) struct Discovery(pub(super) Context);

#[tonic::async_trait]
impl DiscoveryService for Discovery {
    async fn list_endpoints(
        &self,
        request: Request<pb::ListEndpointsRequest>,
    ) -> Result<Response<pb::ListEndpointsResponse>, Status> {
        let (request, call) = self.0.begin(request)?;
        let app = parse::parse_app_name("parent", &request.parent)?;
        let size = pagination::parse_page_size(pagination::SMALL, request.page_size)?;
        let query = format!("endpoints\n{app}\n{}\n{}", request.port, request.include_unready);
        let after = pagination::parse_token(&query, &request.page_token)?;
        self.0.wait_until_seen(&request.read_after, &Scope::App(app.clone()), call.deadline).await?;

        let set = self.0.index.get_endpoints(&app)?;
        set.check(&request.port)?;
        let mut found = set
            .at(&request.port, request.include_unready)
            .skip_while(|(endpoint, _)| after.is_some_and(|after| &*endpoint.pod <= after))
            .peekable();
        let page: Vec<_> = found.by_ref().take(size).collect();
        let more = found.peek().is_some();
        let (endpoints, last) =
            pagination::fill_page(page, more, |(endpoint, port)| convert::to_endpoint(&app, endpoint, *port));
        let next_page_token =
            last.map_or_else(String::new, |(endpoint, _)| pagination::make_token(&query, &endpoint.pod));
        Ok(Response::new(pb::ListEndpointsResponse { endpoints, next_page_token }))
    }

    async fn watch_endpoints(
        &self,
        request: Request<pb::WatchEndpointsRequest>,
    ) -> Result<Response<Answers<pb::WatchEndpointsResponse>>, Status> {
        let (request, call) = self.0.begin(request)?;
        watch::watch_endpoints(&self.0, request, call.deadline).map(Response::new)
    }
}
