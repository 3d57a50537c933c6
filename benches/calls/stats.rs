//! Series of figures and their statistics: medians of rounds, their spread, ratios within a round. Does not
//! know what was measured.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The unit of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds; fewer are better.
    Micros,
    /// Calls per second; more are better.
    PerSecond,
    /// Bytes; fewer are better.
    Bytes,
}

/// One contender: its figures, by round.
pub struct Series {
    pub name: &'static str,
    pub rounds: Vec<Vec<f64>>,
}

/// The ratio of one contender to another, or one contender alone beside a limit.
pub struct Ratio {
    pub what: &'static str,
    pub of: &'static str,
    pub to: Option<&'static str>,
    pub goal: Option<Goal>,
}

/// The value that a ratio should have.
#[derive(Clone, Copy)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// Contenders that were measured in turns.
pub struct Table {
    pub title: &'static str,
    pub about: String,
    pub unit: Unit,
    pub series: Vec<Series>,
    pub ratios: Vec<Ratio>,
}

/// The median, the least and the greatest.
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// How much later `one` was than `than`, in microseconds; negative if it was earlier.
pub fn later(one: Instant, than: Instant) -> f64 {
    if one > than { micros(one - than) } else { -micros(than - one) }
}

/// The value below which `part` percent of the values lie.
pub fn percentile(values: &[f64], part: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get((sorted.len() * part / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

pub fn spread(values: &[f64]) -> Spread {
    Spread {
        median: percentile(values, 50),
        least: values.iter().copied().fold(f64::INFINITY, f64::min),
        most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    }
}

// === impl Ratio ===

impl Ratio {
    /// The ratio of two contenders.
    pub fn of(what: &'static str, of: &'static str, to: &'static str, goal: Option<Goal>) -> Self {
        Self { what, of, to: Some(to), goal }
    }

    /// One contender beside a fixed limit, in the unit of its table.
    pub fn alone(what: &'static str, of: &'static str, goal: Goal) -> Self {
        Self { what, of, to: None, goal: Some(goal) }
    }
}

// === impl Goal ===

impl Goal {
    pub fn is_met(self, by: f64) -> bool {
        match self {
            Self::AtMost(limit) => by <= limit,
            Self::AtLeast(limit) => by >= limit,
        }
    }

    /// `show` writes its limit.
    pub fn text(self, show: impl Fn(f64) -> String) -> String {
        match self {
            Self::AtMost(limit) => format!("at most {}", show(limit)),
            Self::AtLeast(limit) => format!("at least {}", show(limit)),
        }
    }
}

// === impl Series ===

impl Series {
    pub fn new(name: &'static str) -> Self {
        Self { name, rounds: Vec::new() }
    }

    /// The medians of the rounds.
    pub fn medians(&self) -> Vec<f64> {
        self.rounds.iter().filter(|round| !round.is_empty()).map(|round| percentile(round, 50)).collect()
    }

    pub fn all(&self) -> Vec<f64> {
        self.rounds.concat()
    }
}

// === impl Table ===

impl Table {
    pub fn begin_round(&mut self) {
        for series in &mut self.series {
            series.rounds.push(Vec::new());
        }
    }

    /// Adds a figure to the round that runs.
    pub fn push(&mut self, name: &str, value: f64) {
        let series = self.series.iter_mut().find(|series| series.name == name).expect("a known series");
        series.rounds.last_mut().expect("a round").push(value);
    }

    /// Drops all figures, for example those of a warm-up round.
    pub fn forget(&mut self) {
        self.series.iter_mut().for_each(|series| series.rounds.clear());
    }

    /// The ratio in each round.
    pub fn ratio(&self, ratio: &Ratio) -> Vec<f64> {
        let medians = |name| self.series.iter().find(|series| series.name == name).unwrap().medians();
        let of = medians(ratio.of);
        match ratio.to {
            Some(to) => of.iter().zip(medians(to)).map(|(of, to)| of / to).collect(),
            None => of,
        }
    }

    /// Every figure as measured.
    pub fn raw(&self) -> Value {
        let series: serde_json::Map<_, _> =
            self.series.iter().map(|series| (series.name.to_owned(), json!(series.rounds))).collect();
        let unit = match self.unit {
            Unit::Micros => "microseconds",
            Unit::PerSecond => "calls per second",
            Unit::Bytes => "bytes",
        };
        json!({"title": self.title, "about": self.about, "unit": unit, "series": series})
    }
}
