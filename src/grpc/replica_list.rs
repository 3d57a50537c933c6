//! ListReplicas: lists the pods of an app, including pods that are stopping.

use tonic::Status;

use super::{
    context::{Context, Deadline},
    convert, pagination, parse,
};
use crate::{domain::name::Scope, pb};

pub(super) async fn list_replicas(
    context: &Context,
    request: &pb::ListReplicasRequest,
    deadline: Deadline,
) -> Result<pb::ListReplicasResponse, Status> {
    let app = parse::parse_app_name("parent", &request.parent)?;
    let size = pagination::parse_page_size(pagination::MANY, request.page_size)?;
    let query = format!("replicas\n{app}");
    let after = pagination::parse_token(&query, &request.page_token)?;
    context.wait_until_seen(&request.read_after, &Scope::App(app.clone()), deadline).await?;
    let (found, more) = context.index.list_replicas(&app, after, size)?;
    let (replicas, last) = pagination::fill_page(found, more, |replica| convert::to_replica(&app, replica));
    let next_page_token = last.map_or_else(String::new, |last| pagination::make_token(&query, &last.pod));
    Ok(pb::ListReplicasResponse { replicas, next_page_token })
}
