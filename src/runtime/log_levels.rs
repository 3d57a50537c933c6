//! The filter of the log while the process runs: read, changed, and restored after a time limit.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tracing::info;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// The filter of the log; cheap to clone.
#[derive(Clone)]
pub(super) struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
    passing: Arc<watch::Sender<Option<Passing>>>,
}

/// A filter with a time limit.
#[derive(Clone)]
struct Passing {
    until: Instant,
    before: String,
}

// === impl Levels ===

impl Levels {
    pub(super) fn new(handle: reload::Handle<EnvFilter, Registry>) -> Self {
        Self { handle, passing: Arc::new(watch::Sender::new(None)) }
    }

    /// Returns the current filter.
    pub(super) fn get(&self) -> String {
        self.handle.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Changes the filter, permanently or for a limited time. On error nothing changes.
    pub(super) fn set(&self, filter: &str, time: Option<Duration>) -> Result<(), String> {
        let filter = filter.trim();
        if filter.is_empty() {
            return Err(
                "the body is empty; send a filter, for example debug or info,gantry::cluster=trace".into()
            );
        }
        let parsed =
            EnvFilter::try_new(filter).map_err(|error| format!("{filter:?} is not a log filter: {error}"))?;
        let until = match time.map(|time| Instant::now().checked_add(time)) {
            None => None,
            Some(Some(until)) => Some(until),
            Some(None) => return Err("the time is too long".into()),
        };
        self.passing.send_modify(|passing| {
            // A second temporary change returns to the filter from before the first.
            let before = passing.take().map_or_else(|| self.get(), |earlier| earlier.before);
            *passing = until.map(|until| Passing { until, before });
        });
        // Logged under the old filter. A temporary change is thus logged at its start or at its end, if one
        // of the two filters allows it.
        info!(filter, for_s = time.map(|time| time.as_secs()), "the log filter changes");
        self.handle.reload(parsed).map_err(|error| error.to_string())
    }

    /// Restores filters whose time limit is over. Runs until dropped.
    pub(super) async fn run(self) {
        let mut changes = self.passing.subscribe();
        loop {
            let passing = changes.borrow_and_update().clone();
            let over = async {
                match &passing {
                    Some(passing) => tokio::time::sleep_until(passing.until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = changes.changed() => {}
                () = over => {
                    if let Some(Passing { before, .. }) = passing {
                        // Cannot fail, because it was parsed when it was set.
                        let _ = self.set(&before, None);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_levels() -> (Levels, reload::Layer<EnvFilter, Registry>) {
        let (layer, handle) = reload::Layer::new(EnvFilter::new("info"));
        (Levels::new(handle), layer)
    }

    #[test]
    fn a_bad_filter_changes_nothing() {
        let (levels, _layer) = mk_levels();
        for bad in ["", "  \n", "gantry=loudly", "a=b=c"] {
            assert!(levels.set(bad, None).is_err(), "{bad:?}");
            assert_eq!(levels.get(), "info");
        }
        levels.set("debug\n", None).unwrap();
        assert_eq!(levels.get(), "debug");
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_for_a_time_is_put_back() {
        let (levels, _layer) = mk_levels();
        let test = async {
            levels.set("debug", Some(Duration::from_secs(600))).unwrap();
            tokio::time::sleep(Duration::from_secs(300)).await;
            levels.set("trace", Some(Duration::from_secs(600))).unwrap();
            tokio::time::sleep(Duration::from_secs(599)).await;
            assert_eq!(levels.get(), "trace");
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(levels.get(), "info", "what held before the first");
            levels.set("debug", Some(Duration::from_secs(600))).unwrap();
            levels.set("warn", None).unwrap();
            tokio::time::sleep(Duration::from_secs(700)).await;
            assert_eq!(levels.get(), "warn", "set for good");
        };
        tokio::select! {
            () = test => {}
            () = levels.clone().run() => unreachable!("runs until dropped"),
        }
    }
}
