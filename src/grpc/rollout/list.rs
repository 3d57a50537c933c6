//! ListRollouts: the history of an app, page by page.

use tonic::Status;

use super::super::{
    context::{Context, Deadline},
    convert, pagination, parse,
};
use crate::{
    domain::{Error, name::Scope},
    pb,
};

pub(super) async fn list_rollouts(
    context: &Context,
    request: pb::ListRolloutsRequest,
    deadline: Deadline,
) -> Result<pb::ListRolloutsResponse, Status> {
    let app = parse::parse_app_name("parent", &request.parent)?;
    let full = match pb::RolloutView::try_from(request.view) {
        Ok(pb::RolloutView::Full) => true,
        Ok(pb::RolloutView::Unspecified | pb::RolloutView::Basic) => false,
        Err(_) => {
            return Err(
                Error::invalid("view", format!("{} is not a value of RolloutView", request.view)).into()
            );
        }
    };
    let size = pagination::parse_page_size(pagination::MANY, request.page_size)?;
    let query = format!("rollouts\n{app}\n{full}");
    let before = pagination::parse_token(&query, &request.page_token)?;
    let before = before.map(|last| last.parse().map_err(|_| Error::PageToken)).transpose()?;
    context.wait_until_seen(&request.read_after, &Scope::App(app.clone()), deadline).await?;
    let (found, more) = context.index.list_rollouts(&app, before, size)?;
    let (rollouts, last) = pagination::fill_page(found, more, |rollout| {
        let mut converted = convert::to_rollout(rollout);
        if !full {
            (converted.spec, converted.autoscaler, converted.failure) = (None, None, None);
        }
        converted
    });
    let next_page_token = last.map_or_else(String::new, |last| pagination::make_token(&query, last.number));
    Ok(pb::ListRolloutsResponse { rollouts, next_page_token })
}
