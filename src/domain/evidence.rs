//! The evidence of a failed rollout, as it is stored with its revision: problems, replicas, events and the
//! last lines of logs. Pure; must not know who gathers the evidence nor where it is stored.
//!
//! Its JSON form stays in the cluster for years, so fields may be added but never renamed.

mod redact;
mod secrets;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{redact::redact_text, secrets::Secrets};
use super::{
    problem::{Problem, shorten_text},
    replica_state,
    revision::End,
};

/// The maximum size of the JSON form in bytes. A Kubernetes object holds 256 KiB of annotations, and other
/// tools need some of them too.
pub const MOST_BYTES: usize = 64 * 1024;

/// The maximum number of replicas. Fewer are stored if the evidence would become larger than [`MOST_BYTES`].
pub const MOST_REPLICAS: usize = 50;
/// The maximum number of events. Fewer are stored if the evidence would become too large.
pub const MOST_EVENTS: usize = 100;
/// The maximum number of lines per log. Fewer are stored if the evidence would become too large.
pub const MOST_LINES: usize = 20;

/// The evidence of a failed rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// All problems, most urgent first.
    pub problems: Vec<Problem>,
    /// The new replicas at that time.
    #[serde(default)]
    pub replicas: Vec<Replica>,
    /// Kubernetes events about the app and these replicas, oldest first.
    #[serde(default)]
    pub events: Vec<String>,
    /// When it was gathered.
    pub time: Timestamp,
}

/// A replica at the time of the failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// Name of its pod.
    pub pod: String,
    /// Its state.
    pub state: replica_state::State,
    /// One sentence that gives the reason.
    pub message: String,
    /// Its node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The zone of the node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Restarts of the app's container.
    pub restarts: i32,
    /// When it was created.
    pub created: Timestamp,
}

// === impl Evidence ===

impl Evidence {
    /// Returns a verdict without the values of these Secrets, and with the log lines of the problem that
    /// caused it.
    #[must_use]
    pub fn complete(&self, mut end: End, secrets: &Secrets) -> End {
        let clean = |text: &mut String| *text = shorten_text(&redact_text(&secrets.out_of(text)));
        clean(&mut end.message);
        end.problem.iter_mut().flat_map(Problem::texts).for_each(clean);
        if let Some(problem) = &mut end.problem
            && let Some(known) =
                self.problems.iter().find(|p| p.reason == problem.reason && p.object == problem.object)
        {
            problem.log_tail.clone_from(&known.log_tail);
        }
        end
    }

    /// Returns the evidence without the values of these Secrets. Call it before [`Self::bounded`], because a
    /// shortened value is no longer recognized.
    #[must_use]
    pub fn without_secrets(mut self, secrets: &Secrets) -> Self {
        let clean = |text: &mut String| *text = secrets.out_of(text);
        self.events.iter_mut().for_each(clean);
        self.replicas.iter_mut().map(|replica| &mut replica.message).for_each(clean);
        for problem in &mut self.problems {
            problem.texts().for_each(clean);
        }
        self
    }

    /// Returns the evidence within its bounds, and without text that looks like a credential. The least
    /// informative parts are cut off first: the oldest events, then replicas beyond the first, then the
    /// oldest log lines.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let oldest = self.events.len().saturating_sub(MOST_EVENTS);
        self.events.drain(..oldest);
        self.replicas.truncate(MOST_REPLICAS);
        for event in &mut self.events {
            *event = shorten_text(&redact_text(event));
        }
        for replica in &mut self.replicas {
            replica.message = shorten_text(&redact_text(&replica.message));
        }
        for problem in &mut self.problems {
            problem.message = shorten_text(&redact_text(&problem.message));
            problem.events.iter_mut().for_each(|event| *event = shorten_text(&redact_text(event)));
            problem.log_tail = tail(&problem.log_tail);
        }
        while self.size() > MOST_BYTES {
            let longest = self.problems.iter_mut().max_by_key(|problem| problem.log_tail.len());
            if self.events.len() > 2 {
                self.events.drain(..self.events.len() / 2);
            } else if self.replicas.len() > 1 {
                self.replicas.truncate(self.replicas.len() / 2);
            } else if let Some(problem) = longest.filter(|problem| !problem.log_tail.is_empty()) {
                problem.log_tail.drain(..problem.log_tail.len().div_ceil(2));
            } else if self.problems.len() > 1 {
                self.problems.pop();
            } else {
                break;
            }
        }
        self
    }

    fn size(&self) -> usize {
        serde_json::to_string(self).map_or(usize::MAX, |json| json.len())
    }
}

/// Returns the last lines of a log in their stored form: bounded, without control characters and without text
/// that looks like a credential.
fn tail(lines: &[String]) -> Vec<String> {
    let first = lines.len().saturating_sub(MOST_LINES);
    let plain = |line: &String| line.chars().filter(|c| *c == '\t' || !c.is_control()).collect::<String>();
    lines[first..].iter().map(|line| shorten_text(&redact_text(&plain(line)))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::problem::Reason;

    fn mk_problem(lines: Vec<String>) -> Problem {
        Problem {
            reason: Reason::CrashLoop,
            message: "Container \"app\" ended once.".into(),
            remedy: "Read the log.".into(),
            object: "pod/shop-1".into(),
            container: "app".into(),
            affected: 1,
            events: vec![],
            log_tail: lines,
            start: None,
            fatal: true,
        }
    }

    proptest! {
        // Searching so much text for credentials is slow without optimisation.
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn it_never_outgrows_its_bound_and_keeps_the_last_words(
            lines in prop::collection::vec(".{0,600}", 0..40),
            events in prop::collection::vec(".{0,600}", 0..150),
            problems in 1_usize..8,
        ) {
            let problems: Vec<_> = (0..problems).map(|_| mk_problem(lines.clone())).collect();
            let evidence =
                Evidence { problems, replicas: vec![], events: events.clone(), time: Timestamp::UNIX_EPOCH }.bounded();
            let json = serde_json::to_string(&evidence).unwrap();
            prop_assert!(json.len() <= MOST_BYTES, "{} bytes", json.len());
            prop_assert_eq!(&serde_json::from_str::<Evidence>(&json).unwrap(), &evidence);
            prop_assert_eq!(evidence.events.is_empty(), events.is_empty());
            if let (Some(last), Some(kept)) = (tail(&lines).last(), evidence.problems[0].log_tail.last()) {
                prop_assert_eq!(last, kept, "what is cut off is the oldest");
            }
            prop_assert_eq!(evidence.clone().bounded(), evidence, "once is enough");
        }
    }

    #[test]
    fn the_problem_that_decided_shows_its_log() {
        let mut decided = mk_problem(vec![]);
        decided.affected = 3;
        let end = End {
            outcome: crate::domain::revision::Outcome::Failed,
            message: String::new(),
            time: Timestamp::UNIX_EPOCH,
            problem: Some(decided),
            untried: false,
        };
        let problems = vec![mk_problem(vec!["panic: no\u{1b}[31m config".into()])];
        let evidence =
            Evidence { problems, replicas: vec![], events: vec![], time: Timestamp::UNIX_EPOCH }.bounded();
        let problem = evidence.complete(end, &Secrets::default()).problem.unwrap();
        assert_eq!((problem.affected, &*problem.log_tail[0]), (3, "panic: no[31m config"));
    }
}
