//! ListReplicas: the pods of an app, those that stop included.

use tonic::Status;

use super::{Context, Deadline, convert, page, parse};
use crate::{domain::name::Scope, pb};

pub(super) async fn list(
    context: &Context,
    request: &pb::ListReplicasRequest,
    deadline: Deadline,
) -> Result<pb::ListReplicasResponse, Status> {
    let app = parse::app_name("parent", &request.parent)?;
    let size = page::size(page::MANY, request.page_size)?;
    let query = format!("replicas\n{app}");
    let after = page::parse(&query, &request.page_token)?;
    context.wait_until_seen(&request.read_after, &Scope::App(app.clone()), deadline).await?;
    let (found, more) = context.index.replicas(&app, after, size)?;
    let (replicas, last) = page::fill(found, more, |replica| convert::replica(&app, replica));
    let next_page_token = last.map_or_else(String::new, |last| page::token(&query, &last.pod));
    Ok(pb::ListReplicasResponse { replicas, next_page_token })
}
