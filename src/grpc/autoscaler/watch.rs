//! `WatchScalingDecisions`: each decision as it is made, or all that were made since a token.

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

/// Decisions taken at a time: what a slow reader may hold.
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
    // A token of another process is a time as well as an id, so it is good here too; one that is no token
    // begins now.
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
    /// Everything up to this one was told, or is not wanted.
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
            // Before looking, so that what comes while looking wakes again.
            let seen = self.news.latest();
            self.pending = self.context.scaling.decisions_after(&self.scope, self.after, BATCH).into();
            if !self.pending.is_empty() {
                continue;
            }
            // Nothing up to there was about these apps.
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
