//! ListRollouts: the history of an app, page by page.

use prost::Message;
use tonic::Status;

use super::super::{Context, Deadline, convert, page, parse};
use crate::{domain::Error, pb};

/// Bytes of a page beyond which no more rollouts are added to it.
const PAGE_BYTES: usize = 900 * 1024;

pub(super) async fn list(
    context: &Context,
    request: pb::ListRolloutsRequest,
    deadline: Deadline,
) -> Result<pb::ListRolloutsResponse, Status> {
    let app = parse::app_name("parent", &request.parent)?;
    let full = match pb::RolloutView::try_from(request.view) {
        Ok(pb::RolloutView::Full) => true,
        Ok(pb::RolloutView::Unspecified | pb::RolloutView::Basic) => false,
        Err(_) => {
            return Err(Error::invalid("view", format!("{} is no value of RolloutView", request.view)).into());
        }
    };
    let size = page::size(request.page_size)?;
    let query = format!("rollouts\n{}\n{full}", request.parent);
    let before = page::parse_number(&query, &request.page_token)?;
    context.wait_until_seen(&request.read_after, deadline).await?;

    let (found, mut more) = context.index.rollouts(&app, before, size)?;
    let mut rollouts = Vec::with_capacity(found.len());
    let (mut bytes, mut last) = (0, None);
    for rollout in found {
        let mut converted = convert::rollout(&rollout);
        if !full {
            (converted.spec, converted.autoscaler, converted.failure) = (None, None, None);
        }
        bytes += converted.encoded_len();
        if bytes > PAGE_BYTES && last.is_some() {
            more = true;
            break;
        }
        rollouts.push(converted);
        last = Some(rollout.number);
    }
    let next_page_token =
        last.filter(|_| more).map_or_else(String::new, |number| page::number_token(&query, number));
    Ok(pb::ListRolloutsResponse { rollouts, next_page_token })
}
