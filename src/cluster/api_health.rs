//! Monitors whether the API server answers, with a separate probe, so that a caller gets an error at once
//! instead of waiting for an answer that does not come. The decision is pure and takes the time as an
//! argument. The task around it sends the probes and sleeps.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::metrics::METRICS;

/// Interval of the probes while the API server answers.
const PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for an answer. Kubernetes' own objective is 1 s for 99 of 100 calls that do more than this
/// one.
const LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for the second probe, which is sent at once. With both, an outage is known within 4 s.
const CONFIRM_LIMIT: Duration = Duration::from_secs(1);

/// What is known about the connection to the API server; cheap to clone.
#[derive(Clone)]
pub struct ApiHealth {
    state: watch::Sender<ApiState>,
    /// When any call was last answered, in microseconds since 1970.
    answered: Arc<AtomicI64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum ApiState {
    #[default]
    Up,
    Down(Outage),
}

/// An outage of the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When the first probe without an answer was sent.
    pub since: Timestamp,
    /// What the last probe got.
    pub why: String,
}

/// A change that a probe found.
#[derive(Debug, PartialEq, Eq)]
enum HealthChange {
    Down(Outage),
    Up { since: Timestamp },
}

/// Detects an outage from the outcomes of probes.
#[derive(Default)]
struct OutageDetector {
    /// The time of the first failure in a row.
    failing: Option<Timestamp>,
    lost: bool,
}

// === impl ApiHealth ===

impl Default for ApiHealth {
    fn default() -> Self {
        Self { state: watch::Sender::new(ApiState::Up), answered: Arc::default() }
    }
}

impl ApiHealth {
    /// Returns the outage, while there is one.
    pub fn outage(&self) -> Option<Outage> {
        outage(&self.state.borrow())
    }

    /// Notes that the API server answered a call, with whatever result.
    pub(super) fn note_answer(&self, now: Timestamp) {
        self.answered.fetch_max(now.as_microsecond(), Ordering::Relaxed);
    }

    /// Waits for an outage of the API server.
    pub(super) async fn wait_for_outage(&self) -> Outage {
        let mut state = self.state.subscribe();
        loop {
            let now = outage(&state.borrow_and_update());
            if let Some(outage) = now {
                return outage;
            }
            if state.changed().await.is_err() {
                // Cannot happen while `self` lives. Wait anyway, so that no false outage is reported.
                std::future::pending::<()>().await;
            }
        }
    }

    fn report(&self, change: HealthChange, now: Timestamp) {
        match change {
            HealthChange::Down(outage) => {
                METRICS.kube_link_up.set(0);
                METRICS.kube_link_lost.inc();
                warn!(why = %outage.why, "the API server does not answer; reads are answered from the index, writes fail at once");
                self.state.send_replace(ApiState::Down(outage));
            }
            HealthChange::Up { since } => {
                METRICS.kube_link_up.set(1);
                info!(lost_for_s = now.duration_since(since).as_secs(), "the API server answers again");
                self.state.send_replace(ApiState::Up);
            }
        }
    }
}

fn outage(state: &ApiState) -> Option<Outage> {
    match state {
        ApiState::Up => None,
        ApiState::Down(outage) => Some(outage.clone()),
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lost since {:.0}: {}", self.since, self.why)
    }
}

// === impl OutageDetector ===

impl OutageDetector {
    /// Takes the outcome of a probe that was sent at `asked`. `answered_since` means that another call was
    /// answered since. Then the API server or this machine is slow, but there is no outage.
    fn observe(
        &mut self,
        outcome: Result<(), String>,
        asked: Timestamp,
        answered_since: bool,
    ) -> Option<HealthChange> {
        match (outcome, self.failing) {
            (Ok(()), None) => None,
            (Ok(()), Some(since)) => {
                self.failing = None;
                std::mem::take(&mut self.lost).then_some(HealthChange::Up { since })
            }
            (Err(_), None) => {
                self.failing = Some(asked);
                None
            }
            (Err(_), Some(_)) if self.lost => None,
            (Err(_), Some(_)) if answered_since => {
                self.failing = None;
                None
            }
            // One failure may be a cut connection. Two in a row, on different connections, are an outage.
            (Err(why), Some(since)) => {
                self.lost = true;
                Some(HealthChange::Down(Outage { since, why }))
            }
        }
    }

    /// How long to wait before the next probe, and for its answer.
    fn next_probe(&self) -> (Duration, Duration) {
        match (self.failing, self.lost) {
            (Some(_), false) => (Duration::ZERO, CONFIRM_LIMIT),
            (None, _) | (Some(_), true) => (PERIOD, LIMIT),
        }
    }
}

/// Sends the probes and reports the results to `health`. Runs until dropped.
pub(super) async fn monitor_api(health: ApiHealth, client: Client) {
    METRICS.kube_link_up.set(1);
    let mut detector = OutageDetector::default();
    loop {
        let (pause, limit) = detector.next_probe();
        tokio::time::sleep(pause).await;
        let asked = Timestamp::now();
        let outcome = ask(&client, limit).await;
        let answered_since = health.answered.load(Ordering::Relaxed) >= asked.as_microsecond();
        if let Some(change) = detector.observe(outcome, asked, answered_since) {
            health.report(change, Timestamp::now());
        }
    }
}

#[allow(clippy::wildcard_enum_match_arm)] // the client's enum; the other variants mean that there was no answer
async fn ask(client: &Client, limit: Duration) -> Result<(), String> {
    match tokio::time::timeout(limit, client.apiserver_version()).await {
        Ok(Ok(_)) => Ok(()),
        // A refusal is an answer. From 500 on it may come from a load balancer in front of a dead API server.
        Ok(Err(kube::Error::Api(status))) if status.code < 500 => Ok(()),
        Ok(Err(error)) => Err(super::error::root_cause(&error)),
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
        let mut detector = OutageDetector::default();
        assert_eq!(detector.observe(Ok(()), at(1), false), None);
        assert_eq!(detector.next_probe(), (PERIOD, LIMIT));
        assert_eq!(detector.observe(silent(), at(2), false), None);
        assert_eq!(detector.next_probe(), (Duration::ZERO, CONFIRM_LIMIT));
        let outage = Outage { since: at(2), why: "no answer".to_owned() };
        assert_eq!(detector.observe(silent(), at(4), false), Some(HealthChange::Down(outage)));
        assert_eq!(detector.next_probe(), (PERIOD, LIMIT));
        assert_eq!(detector.observe(silent(), at(6), false), None, "reported once");
        assert_eq!(detector.observe(Ok(()), at(8), false), Some(HealthChange::Up { since: at(2) }));
        assert_eq!(detector.observe(silent(), at(9), false), None, "the detection starts again");
    }

    #[test]
    fn a_server_that_answers_others_is_slow_and_not_lost() {
        let mut detector = OutageDetector::default();
        for second in [2, 6, 10] {
            assert_eq!(detector.observe(silent(), at(second), false), None);
            assert_eq!(detector.observe(silent(), at(second + 2), true), None);
        }
    }

    #[test]
    fn a_failure_between_answers_is_no_loss() {
        let mut detector = OutageDetector::default();
        for second in 0..10 {
            assert_eq!(detector.observe(silent(), at(2 * second), false), None);
            assert_eq!(detector.observe(Ok(()), at(2 * second + 1), false), None);
        }
    }

    #[tokio::test]
    async fn whoever_waits_is_told() {
        let health = ApiHealth::default();
        assert_eq!(health.outage(), None);
        let outage = Outage { since: at(5), why: "refused".to_owned() };
        let tell = async { health.report(HealthChange::Down(outage.clone()), at(8)) };
        let (told, ()) = tokio::join!(health.wait_for_outage(), tell);
        assert_eq!((&told, health.outage().as_ref()), (&outage, Some(&outage)));
        assert_eq!(outage.to_string(), "lost since 1970-01-01T00:00:05Z: refused");
        health.report(HealthChange::Up { since: at(5) }, at(9));
        assert_eq!(health.outage(), None);
    }
}
