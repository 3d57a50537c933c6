//! Merges past lines of several logs in order of time. It holds one line of each log and returns the
//! earliest.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Line;

/// Merges logs and preserves the order within each log.
#[derive(Debug, Default)]
pub struct Past {
    heads: Vec<Head>,
    /// Logs whose next line is held, by the time of that line.
    held: BTreeSet<(Timestamp, usize)>,
    /// Logs whose next line has yet to be put.
    missing: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct Head {
    line: Option<Line>,
    /// The time by which the log is sorted. It never goes back, so a line with an earlier time than its
    /// predecessor stays behind that line.
    not_before: Timestamp,
}

// === impl Past ===

impl Past {
    /// Creates a merge of this many logs.
    pub fn new(logs: usize) -> Self {
        let heads = (0..logs).map(|_| Head::default()).collect();
        Self { heads, held: BTreeSet::new(), missing: (0..logs).collect() }
    }

    /// Returns a log whose next line, or end, must be put before the next line can be returned.
    pub fn missing(&self) -> Option<usize> {
        self.missing.first().copied()
    }

    /// Puts the next line of a log.
    pub fn put(&mut self, log: usize, line: Line) {
        let head = &mut self.heads[log];
        head.not_before = head.not_before.max(line.time);
        self.missing.remove(&log);
        self.held.insert((head.not_before, log));
        head.line = Some(line);
    }

    /// Marks a log as ended.
    pub fn end(&mut self, log: usize) {
        self.missing.remove(&log);
    }

    /// Returns the earliest line, once no log is missing.
    pub fn pop(&mut self) -> Option<(usize, Line)> {
        if !self.missing.is_empty() {
            return None;
        }
        let (_, log) = self.held.pop_first()?;
        self.missing.insert(log);
        Some((log, self.heads[log].line.take()?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_line_comes_once_and_in_order(logs in prop::collection::vec(prop::collection::vec(0_i64..50, 0..20), 0..8)) {
            let mut logs: Vec<Vec<i64>> = logs;
            for log in &mut logs {
                log.sort_unstable();
            }
            let mut sources: Vec<VecDeque<i64>> = logs.iter().map(|log| log.iter().copied().collect()).collect();
            let mut past = Past::new(logs.len());
            let mut got = Vec::new();
            loop {
                while let Some(log) = past.missing() {
                    match sources[log].pop_front() {
                        Some(second) => past.put(log, Line { time: Timestamp::from_second(second).unwrap(), text: String::new() }),
                        None => past.end(log),
                    }
                }
                let Some((log, line)) = past.pop() else { break };
                got.push((line.time.as_second(), log));
            }
            let mut expected: Vec<_> =
                logs.iter().enumerate().flat_map(|(i, log)| log.iter().map(move |second| (*second, i))).collect();
            expected.sort_unstable();
            prop_assert_eq!(got, expected);
        }
    }
}
