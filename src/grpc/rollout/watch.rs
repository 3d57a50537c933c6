//! WatchRollout: sends the rollout, then each change, each new problem and each event, until the outcome.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;
use tonic::Status;

use super::super::{
    context::{Context, Deadline},
    convert,
    stream::{self, Answers, News, Source, Wakeup},
};
use crate::{
    domain::{
        name::{self, Scope, Which},
        problem::Reason,
        rollout::Rollout,
    },
    pb::{self, watch_rollout_response::Event},
};

/// Longest wait, after a failure was sent, for the last log lines of the failing container.
const WORDS_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn watch_rollout(
    context: &Context,
    rollout: &Rollout,
    resume_token: &str,
    deadline: Deadline,
) -> Answers<pb::WatchRolloutResponse> {
    let name = name::Rollout { app: rollout.app.clone(), revision: Which::Number(rollout.number) };
    let scope = Scope::App(rollout.app.clone());
    let logged = parse_token(context, resume_token);
    stream::to_stream(Watch {
        news: News::new(context, &scope, deadline, format!("the end of {name}")),
        context: context.clone(),
        name,
        number: rollout.number,
        since: rollout.start,
        last: None,
        told: HashSet::new(),
        logged: logged.unwrap_or_default(),
        pending: VecDeque::new(),
        failed: None,
        over: false,
    })
}

struct Watch {
    context: Context,
    news: News,
    name: name::Rollout,
    number: u64,
    /// Events before this belong to earlier rollouts.
    since: Timestamp,
    last: Option<Arc<Rollout>>,
    /// Problems that were sent. Each is sent once, however long it lasts.
    told: HashSet<(Reason, bool)>,
    /// Sequence number of the last log entry that was sent.
    logged: u64,
    pending: VecDeque<pb::WatchRolloutResponse>,
    /// When the failure was sent, as long as the log lines of the container are still awaited.
    failed: Option<Instant>,
    over: bool,
}

impl Source for Watch {
    type Message = pb::WatchRolloutResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Status> {
        loop {
            if let Some(message) = self.pending.pop_front() {
                return Ok(Some(message));
            }
            if self.over {
                return Ok(None);
            }
            self.look()?;
            if !self.pending.is_empty() {
                continue;
            }
            let words = self.failed.map(|failed| failed + WORDS_WITHIN);
            let woken = tokio::select! {
                woken = self.news.wait() => woken?,
                () = stream::sleep_until_due(words) => Wakeup::News,
            };
            if let Wakeup::Silence = woken {
                self.push(Timestamp::now(), Event::Heartbeat(stream::make_heartbeat(&self.context)));
            }
        }
    }
}

impl Watch {
    fn look(&mut self) -> Result<(), Status> {
        let rollout = self.context.index.get_rollout(&self.name)?;
        let now = Timestamp::now();
        let changed = self.last.as_ref().is_none_or(|last| *last != rollout);
        // The first message is the state. After that, events come before the state that they led to.
        if self.last.is_none() {
            self.push(now, Event::Rollout(convert::to_rollout(&rollout)));
        }
        self.push_log();
        if changed {
            for problem in &rollout.problems {
                if self.told.insert((problem.reason, problem.fatal)) {
                    self.push(now, Event::Problem(convert::to_problem(problem)));
                }
            }
            if self.last.is_some() && !rollout.state.ended() {
                self.push(now, Event::Rollout(convert::to_rollout(&rollout)));
            }
        }
        if rollout.state.ended() {
            self.end(&rollout, now);
        }
        self.last = Some(rollout);
        Ok(())
    }

    /// Sends the end. A failure is sent at once. The last log lines of the failing container follow within a
    /// second.
    fn end(&mut self, rollout: &Rollout, now: Timestamp) {
        let end = rollout.end.unwrap_or(now);
        if rollout.unkept && self.failed.is_none() {
            self.failed = Some(Instant::now());
            // If this is the first message, it has shown the failure already.
            if self.last.is_some() {
                self.push(end, Event::Rollout(convert::to_rollout(rollout)));
            }
        }
        if rollout.unkept && self.failed.is_some_and(|failed| failed.elapsed() < WORDS_WITHIN) {
            return;
        }
        if let Some(error) = rollout.error.as_ref().filter(|error| !error.log_tail.is_empty()) {
            self.push(end, Event::Problem(convert::to_problem(error)));
        }
        self.push(end, Event::Completed(convert::to_rollout(rollout)));
        self.over = true;
    }

    fn push_log(&mut self) {
        for line in self.context.index.events_after(&self.name.app, self.number, self.logged) {
            self.logged = line.sequence;
            // Kubernetes' times are whole seconds, so events of the second in which the rollout began are
            // included.
            if line.event.time.as_second() < self.since.as_second() {
                continue;
            }
            let about = &line.event.about;
            let log = pb::RolloutLog {
                object: about.to_string(),
                message: format!("{}: {}", line.event.reason, line.event.note),
            };
            self.push(line.event.time, Event::Log(log));
        }
    }

    fn push(&mut self, time: Timestamp, event: Event) {
        let resume_token = format!("r1.{}.{}", self.context.index.epoch(), self.logged);
        let event_time = Some(convert::to_timestamp(time));
        self.pending.push_back(pb::WatchRolloutResponse { resume_token, event_time, event: Some(event) });
    }
}

/// Parses a resume token: the last log entry that the reader has. Returns `None` for a token of another
/// process, because its sequence numbers mean nothing here.
fn parse_token(context: &Context, token: &str) -> Option<u64> {
    let (epoch, sequence) = token.strip_prefix("r1.")?.split_once('.')?;
    (epoch.parse() == Ok(context.index.epoch())).then(|| sequence.parse().ok())?
}
