//! Whether the API server answers: a probe of its own finds out, and whoever calls learns it at once instead of waiting for an
//! answer that does not come. The decision is pure, with the time as an argument; the task around it asks and sleeps.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{info, warn};

use super::client::Cluster;
use crate::metrics::METRICS;

/// How often an API server that answers is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for the answer. Kubernetes' own objective is 1 s for 99 of 100 calls that are more than this one.
const LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for the second opinion, which is asked for at once. Together a loss is known within 4 s.
const CONFIRM_LIMIT: Duration = Duration::from_secs(1);

/// What is known of the way to the API server; cheap to clone.
#[derive(Clone)]
pub struct Link(watch::Sender<State>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Up,
    Lost(Loss),
}

/// An API server that does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// When it was first asked in vain.
    pub since: Timestamp,
    /// What was seen.
    pub why: String,
}

/// What a probe changed.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Lost(Loss),
    Back { since: Timestamp },
}

/// Decides by the outcomes of probes.
#[derive(Default)]
struct Judge {
    /// The time of the first failure in a row.
    failing: Option<Timestamp>,
    lost: bool,
}

// === impl Link ===

impl Default for Link {
    fn default() -> Self {
        Self(watch::Sender::new(State::Up))
    }
}

impl Link {
    /// The loss, while there is one.
    pub fn loss(&self) -> Option<Loss> {
        loss(&self.0.borrow())
    }

    /// Waits until the API server is lost.
    pub(super) async fn until_lost(&self) -> Loss {
        let mut state = self.0.subscribe();
        loop {
            let now = loss(&state.borrow_and_update());
            if let Some(loss) = now {
                return loss;
            }
            if state.changed().await.is_err() {
                // Cannot be while `self` lives; and nobody must be told of a loss that is none.
                std::future::pending::<()>().await;
            }
        }
    }

    fn tell(&self, news: News, now: Timestamp) {
        match news {
            News::Lost(loss) => {
                METRICS.kube_link_up.set(0);
                METRICS.kube_link_lost.inc();
                warn!(why = %loss.why, "the API server does not answer; reads go on from what is known, writes fail at once");
                self.0.send_replace(State::Lost(loss));
            }
            News::Back { since } => {
                METRICS.kube_link_up.set(1);
                info!(lost_for_s = now.duration_since(since).as_secs(), "the API server answers again");
                self.0.send_replace(State::Up);
            }
        }
    }
}

fn loss(state: &State) -> Option<Loss> {
    match state {
        State::Up => None,
        State::Lost(loss) => Some(loss.clone()),
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lost since {:.0}: {}", self.since, self.why)
    }
}

// === impl Judge ===

impl Judge {
    /// Takes in the outcome of a probe that was sent at `asked`.
    fn take(&mut self, outcome: Result<(), String>, asked: Timestamp) -> Option<News> {
        match (outcome, self.failing) {
            (Ok(()), None) => None,
            (Ok(()), Some(since)) => {
                self.failing = None;
                std::mem::take(&mut self.lost).then_some(News::Back { since })
            }
            (Err(_), None) => {
                self.failing = Some(asked);
                None
            }
            (Err(_), Some(_)) if self.lost => None,
            // One failure may be a connection that was cut; two in a row, on different ones, are the server.
            (Err(why), Some(since)) => {
                self.lost = true;
                Some(News::Lost(Loss { since, why }))
            }
        }
    }

    /// How long to wait before the next probe, and for its answer.
    fn next(&self) -> (Duration, Duration) {
        match (self.failing, self.lost) {
            (Some(_), false) => (Duration::ZERO, CONFIRM_LIMIT),
            (None, _) | (Some(_), true) => (PERIOD, LIMIT),
        }
    }
}

/// Asks whether the API server answers, and tells the link. Runs until dropped.
pub async fn run(cluster: Cluster) {
    METRICS.kube_link_up.set(1);
    let mut judge = Judge::default();
    loop {
        let (pause, limit) = judge.next();
        tokio::time::sleep(pause).await;
        let asked = Timestamp::now();
        let outcome = ask(&cluster, limit).await;
        if let Some(news) = judge.take(outcome, asked) {
            cluster.link.tell(news, Timestamp::now());
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // the client's enum; whatever is not named is no answer
async fn ask(cluster: &Cluster, limit: Duration) -> Result<(), String> {
    match tokio::time::timeout(limit, cluster.client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(()),
        // It refuses, so it is there. From 500 on it may be a balancer in front of a dead one.
        Ok(Err(kube::Error::Api(status))) if status.code < 500 => Ok(()),
        Ok(Err(error)) => Err(super::error::root(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn silent() -> Result<(), String> {
        Err("no answer".to_owned())
    }

    #[test]
    fn one_failure_is_asked_again_at_once_and_two_are_a_loss() {
        let mut judge = Judge::default();
        assert_eq!(judge.take(Ok(()), at(1)), None);
        assert_eq!(judge.next(), (PERIOD, LIMIT));
        assert_eq!(judge.take(silent(), at(2)), None);
        assert_eq!(judge.next(), (Duration::ZERO, CONFIRM_LIMIT));
        let loss = Loss { since: at(2), why: "no answer".to_owned() };
        assert_eq!(judge.take(silent(), at(4)), Some(News::Lost(loss)));
        assert_eq!(judge.next(), (PERIOD, LIMIT));
        assert_eq!(judge.take(silent(), at(6)), None, "told once");
        assert_eq!(judge.take(Ok(()), at(8)), Some(News::Back { since: at(2) }));
        assert_eq!(judge.take(silent(), at(9)), None, "it begins anew");
    }

    #[test]
    fn a_failure_between_answers_is_no_loss() {
        let mut judge = Judge::default();
        for second in 0..10 {
            assert_eq!(judge.take(silent(), at(2 * second)), None);
            assert_eq!(judge.take(Ok(()), at(2 * second + 1)), None);
        }
    }

    #[tokio::test]
    async fn whoever_waits_is_told() {
        let link = Link::default();
        assert_eq!(link.loss(), None);
        let loss = Loss { since: at(5), why: "refused".to_owned() };
        let tell = async { link.tell(News::Lost(loss.clone()), at(8)) };
        let (told, ()) = tokio::join!(link.until_lost(), tell);
        assert_eq!((&told, link.loss().as_ref()), (&loss, Some(&loss)));
        assert_eq!(loss.to_string(), "lost since 1970-01-01T00:00:05Z: refused");
        link.tell(News::Back { since: at(5) }, at(9));
        assert_eq!(link.loss(), None);
    }
}
