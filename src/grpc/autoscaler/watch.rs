//! `WatchScalingDecisions`: sends each decision as it is made, beginning after the resume token if the
//! request has one.

use std::{collections::VecDeque, sync::Arc};

use tonic::Status;

use super::super::{
    context::{Context, Deadline},
    convert::autoscaler as convert,
    parse::autoscaler as parse,
    stream::{self, Answers, News, Source, Wakeup},
};
use crate::{
    domain::{Error, name::Scope},
    index::{Decision, Leader},
    pb::{self, watch_scaling_decisions_response::Event},
};

/// The number of decisions taken at a time. This bounds what a slow reader holds in memory.
const BATCH: usize = 64;

pub(super) fn watch_decisions(
    context: &Context,
    scope: Scope,
    request: &pb::WatchScalingDecisionsRequest,
    deadline: Deadline,
) -> Result<Answers<pb::WatchScalingDecisionsResponse>, Status> {
    let outcomes = parse::outcomes(&request.outcomes)?;
    if let Scope::App(app) = &scope {
        context.index.get_app(app)?;
    }
    let mut news = News::on(
        context.scaling.watch_decisions(),
        context,
        deadline,
        format!("decisions of {}", request.parent),
    );
    let latest = news.latest();
    // The id in a token is also a time, so a token of another process is valid here too. Without a valid
    // token the stream begins now.
    let after = request.resume_token.strip_prefix("d1.").and_then(|id| id.parse().ok()).unwrap_or(latest);
    Ok(stream::to_stream(Watch {
        context: context.clone(),
        news,
        scope,
        outcomes,
        after,
        pending: VecDeque::new(),
    }))
}

struct Watch {
    context: Context,
    news: News,
    scope: Scope,
    outcomes: Vec<pb::ScalingOutcome>,
    /// Id of the last decision that was sent or skipped.
    after: u64,
    pending: VecDeque<Arc<Decision>>,
}

impl Source for Watch {
    type Message = pb::WatchScalingDecisionsResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Status> {
        loop {
            while let Some(decision) = self.pending.pop_front() {
                self.after = decision.id;
                if self.outcomes.is_empty()
                    || self.outcomes.contains(&convert::outcome(&decision.verdict.outcome))
                {
                    return Ok(Some(self.message(Event::Decision(convert::decision(&decision)))));
                }
            }
            // Read this first, so that a decision made during the lookup wakes the stream again.
            let seen = self.news.latest();
            self.pending = self.context.scaling.decisions_after(&self.scope, self.after, BATCH).into();
            if !self.pending.is_empty() {
                continue;
            }
            // No decision up to `seen` was about these apps.
            self.after = self.after.max(seen);
            if let Leader::Remote { holder, .. } = self.context.scaling.leader() {
                let why = "it took the loop over from this one".to_owned();
                return Err(Error::AutoscalerElsewhere { holder, why }.into());
            }
            if let Wakeup::Silence = self.news.wait().await? {
                return Ok(Some(self.message(Event::Heartbeat(stream::make_heartbeat(&self.context)))));
            }
        }
    }
}

impl Watch {
    fn message(&self, event: Event) -> pb::WatchScalingDecisionsResponse {
        pb::WatchScalingDecisionsResponse { event: Some(event), resume_token: format!("d1.{}", self.after) }
    }
}
