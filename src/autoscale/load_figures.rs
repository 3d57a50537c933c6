//! The load figures that callers report: the latest of each source, added up over the sources of an app.
//!
//! Owns what counts as recent, and how a silent source is treated: it is left out of the sum and still
//! expected, and not counted as zero. Must not know who reports, nor whether an app exists. Time is an
//! argument.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::measurement::{Measurement, Missing, Source};

/// Age after which a figure no longer counts. Sources report every few seconds, so one that sends nothing for
/// this long is silent.
pub(super) const STALE_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// A source that is silent for longer than [`STALE_AFTER`], but not longer than this, still counts as
/// expected. The sum is then partial, and no app is shrunk because of it. After this the source is forgotten.
pub(super) const FORGET_AFTER: SignedDuration = SignedDuration::from_secs(180);

/// How far the clock of a source may be ahead.
const AHEAD: SignedDuration = SignedDuration::from_secs(5);

/// Limits against names that change with each call: metrics of one app, and sources of one metric. They are
/// checked before a batch is added, so one batch may exceed them.
const MAX_METRICS_PER_APP: usize = 64;
const MAX_SOURCES_PER_METRIC: usize = 1000;

/// One figure as reported.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadFigure {
    /// The app, by its resource name.
    pub app: String,
    /// Name of the metric.
    pub metric: String,
    /// Its value, for the part of the app's load that the source sees.
    pub value: f64,
    /// Identifies the client that reports; figures of different sources add up.
    pub source: String,
    /// When it was measured; `None` means now.
    pub time: Option<Timestamp>,
}

/// Why a figure was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedFigure {
    /// Its index in the batch.
    pub index: usize,
    /// The field that is wrong.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub why: String,
}

/// The latest figures of all sources.
#[derive(Clone, Debug, Default)]
pub struct LoadFigures(BTreeMap<String, FiguresByMetric>);

/// By metric, then by source.
type FiguresByMetric = BTreeMap<String, BTreeMap<String, Latest>>;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Latest {
    value: f64,
    time: Timestamp,
}

// === impl LoadFigures ===

impl LoadFigures {
    /// Stores a report, or nothing of it if a figure is wrong. Returns how many figures were new. A figure
    /// that is older than the stored one of its source changes nothing.
    pub fn report(&mut self, figures: &[LoadFigure], now: Timestamp) -> Result<usize, Vec<RejectedFigure>> {
        let refused: Vec<_> =
            figures.iter().enumerate().filter_map(|(i, f)| self.refuse(i, f, now)).collect();
        if !refused.is_empty() {
            return Err(refused);
        }
        let mut news = 0;
        for figure in figures {
            // A clock that is a little ahead must not make a figure outlive newer ones.
            let time = figure.time.map_or(now, |time| time.min(now));
            let numbers = self.0.entry(figure.app.clone()).or_default();
            let sources = numbers.entry(figure.metric.clone()).or_default();
            let latest = Latest { value: figure.value, time };
            if sources.get(&figure.source).is_none_or(|known| known.time <= time) {
                sources.insert(figure.source.clone(), latest);
                news += 1;
            }
        }
        Ok(news)
    }

    fn refuse(&self, index: usize, figure: &LoadFigure, now: Timestamp) -> Option<RejectedFigure> {
        let no = |field, why: String| Some(RejectedFigure { index, field, why });
        if !figure.value.is_finite() || figure.value < 0.0 {
            return no("value", format!("is {}; it must be a finite number, 0 or more", figure.value));
        }
        match figure.time {
            Some(time) if time > now + AHEAD => {
                return no(
                    "time",
                    format!(
                        "is {time}, which is in the future; correct the clock of the source, or leave the time out"
                    ),
                );
            }
            Some(time) if time < now - FORGET_AFTER => {
                return no(
                    "time",
                    format!("is {time}, more than 3 minutes ago; report what is measured now"),
                );
            }
            Some(_) | None => {}
        }
        let numbers = self.0.get(&figure.app);
        let sources = numbers.and_then(|numbers| numbers.get(&figure.metric));
        if sources.is_none() && numbers.is_some_and(|numbers| numbers.len() >= MAX_METRICS_PER_APP) {
            return no(
                "metric",
                format!(
                    "would exceed {MAX_METRICS_PER_APP} metrics of one app within 3 minutes; use fewer names"
                ),
            );
        }
        if sources.is_some_and(|all| all.len() >= MAX_SOURCES_PER_METRIC && !all.contains_key(&figure.source))
        {
            return no(
                "source",
                format!(
                    "would exceed {MAX_SOURCES_PER_METRIC} sources of one metric within 3 minutes; give each source the same name in every report"
                ),
            );
        }
        None
    }

    /// Returns the measurement of a metric of an app: the sum over the sources with a recent figure. `since`
    /// is when the daemon began to listen. For a short time after that, it may not have received a figure of
    /// every source.
    pub fn measurement(&self, app: &str, metric: &str, since: Timestamp, now: Timestamp) -> Measurement {
        let sources = self.0.get(app).and_then(|numbers| numbers.get(metric));
        let age = |latest: &Latest| now.duration_since(latest.time);
        let missed = sources.into_iter().flatten().filter(|(_, latest)| age(latest) <= FORGET_AFTER);
        let (fresh, silent): (Vec<_>, Vec<_>) =
            missed.map(|(_, latest)| latest).partition(|latest| age(latest) <= STALE_AFTER);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (covered, expected) = (count(fresh.len()), count(fresh.len() + silent.len()));
        if fresh.is_empty() {
            let gap = if silent.is_empty() { Missing::Nothing } else { Missing::Old };
            return Measurement::missing(Source::Reported, gap, expected);
        }
        let gap = if silent.is_empty() {
            (now.duration_since(since) < STALE_AFTER).then_some(Missing::Young)
        } else {
            Some(Missing::Partial)
        };
        Measurement {
            value: Some(fresh.iter().map(|latest: &&Latest| latest.value).sum()),
            age: fresh.iter().map(|latest: &&Latest| age(latest).as_secs_f64()).fold(0.0, f64::max),
            source: Source::Reported,
            covered,
            expected,
            starting: 0,
            gap,
        }
    }

    /// Removes the figures of sources that are no longer expected.
    pub fn drop_older(&mut self, now: Timestamp) {
        self.0.retain(|_, numbers| {
            numbers.retain(|_, sources| {
                sources.retain(|_, latest| now.duration_since(latest.time) <= FORGET_AFTER);
                !sources.is_empty()
            });
            !numbers.is_empty()
        });
    }

    /// Returns the number of stored figures.
    pub fn len(&self) -> usize {
        self.0.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum()
    }

    /// Returns whether there are no stored figures.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
