//! Live lines of many logs for one reader: bounded, and in order of time as far as their delays allow. Each
//! log has its own buffer, so that a busy log does not displace lines of other logs. If the reader is too
//! slow, the oldest lines of a full buffer are dropped and counted.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;

/// How much is held, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How long a line waits for earlier lines of other logs.
    pub window: Duration,
    /// The maximum number of lines held per log.
    pub lines: usize,
    /// The maximum number of bytes held per log. One line is always held, however long it is.
    pub bytes: usize,
}

/// The lines that a reader has not taken yet. The code that adds lines gives the times of arrival, from one
/// clock that does not go back.
#[derive(Debug)]
pub struct Live<T> {
    bounds: Bounds,
    logs: HashMap<u64, Log<T>>,
    /// Logs with entries, by the time of the first entry.
    by_time: BTreeSet<(Timestamp, u64)>,
    /// The same logs, by the arrival of the first entry.
    by_arrival: BTreeSet<(Duration, u64)>,
}

#[derive(Debug)]
struct Log<T> {
    held: VecDeque<Entry<T>>,
    bytes: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Entry<T> {
    time: Timestamp,
    arrived: Duration,
    /// `None` for an entry that must not be dropped.
    bytes: Option<usize>,
    item: T,
}

/// The next entry.
#[derive(Debug, PartialEq, Eq)]
pub struct NextEntry<T> {
    /// Its log.
    pub log: u64,
    /// The number of lines of this log dropped before it.
    pub dropped: u64,
    /// The line.
    pub item: T,
}

// === impl Live ===

impl<T> Live<T> {
    /// Creates an empty buffer.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, logs: HashMap::new(), by_time: BTreeSet::new(), by_arrival: BTreeSet::new() }
    }

    /// Adds a line. Returns whether nothing was held before, so that a waiting reader must ask [`Self::due`]
    /// again.
    pub fn line(&mut self, log: u64, time: Timestamp, item: T, bytes: usize, arrived: Duration) -> bool {
        self.push(log, Entry { time, arrived, bytes: Some(bytes), item })
    }

    /// Adds a notice about a log. It stays behind the lines added before it, and is never dropped.
    pub fn word(&mut self, log: u64, now: Timestamp, item: T, arrived: Duration) -> bool {
        let last = self.logs.get(&log).and_then(|log| log.held.back());
        let time = last.map_or(now, |held| held.time);
        self.push(log, Entry { time, arrived, bytes: None, item })
    }

    /// Returns when the next entry can be taken, by the clock of the arrivals. `None` if nothing is held.
    pub fn due(&self) -> Option<Duration> {
        self.by_arrival.first().map(|(arrived, _)| *arrived + self.bounds.window)
    }

    /// Returns the held entry with the earliest time, if an entry is due. So no line waits longer than the
    /// window, even beside a log whose clock is behind.
    pub fn pop(&mut self, now: Duration) -> Option<NextEntry<T>> {
        if self.due()? > now {
            return None;
        }
        let id = self.by_time.first()?.1;
        self.unlink(id);
        let log = self.logs.get_mut(&id)?;
        let held = log.held.pop_front()?;
        log.bytes -= held.bytes.unwrap_or_default();
        let dropped = std::mem::take(&mut log.dropped);
        if log.held.is_empty() {
            self.logs.remove(&id);
        }
        self.link(id);
        Some(NextEntry { log: id, dropped, item: held.item })
    }

    fn push(&mut self, id: u64, held: Entry<T>) -> bool {
        let was_empty = self.logs.is_empty();
        let bounds = self.bounds;
        self.unlink(id);
        let log = self.logs.entry(id).or_insert_with(|| Log { held: VecDeque::new(), bytes: 0, dropped: 0 });
        log.bytes += held.bytes.unwrap_or_default();
        log.held.push_back(held);
        log.make_room(bounds);
        self.link(id);
        was_empty
    }

    fn unlink(&mut self, id: u64) {
        if let Some(first) = self.logs.get(&id).and_then(|log| log.held.front()) {
            self.by_time.remove(&(first.time, id));
            self.by_arrival.remove(&(first.arrived, id));
        }
    }

    fn link(&mut self, id: u64) {
        if let Some(first) = self.logs.get(&id).and_then(|log| log.held.front()) {
            self.by_time.insert((first.time, id));
            self.by_arrival.insert((first.arrived, id));
        }
    }
}

impl<T> Log<T> {
    fn make_room(&mut self, bounds: Bounds) {
        while self.held.len() > 1 && (self.held.len() > bounds.lines || self.bytes > bounds.bytes) {
            let newest = self.held.len() - 1;
            let oldest = self.held.iter().take(newest).position(|held| held.bytes.is_some());
            let Some(dropped) = oldest.and_then(|at| self.held.remove(at)) else { return };
            self.bytes -= dropped.bytes.unwrap_or_default();
            self.dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { window: Duration::from_millis(250), lines: 8, bytes: 100 };
    const ROOMY: Bounds = Bounds { lines: 1000, bytes: 100_000, ..BOUNDS };

    fn time(millis: u64) -> Timestamp {
        Timestamp::from_millisecond(i64::try_from(millis).unwrap()).unwrap()
    }

    fn all<T>(live: &mut Live<T>) -> Vec<NextEntry<T>> {
        std::iter::from_fn(|| live.pop(Duration::MAX)).collect()
    }

    /// Log, time of writing, and delay until it arrives, sorted by arrival.
    fn lines(delay: u64) -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
        prop::collection::vec((0_u64..5, 0_u64..3000, 0..delay), 0..80).prop_map(|mut lines| {
            lines.sort_by_key(|(_, time, delay)| time + delay);
            lines
        })
    }

    proptest! {
        #[test]
        fn delays_shorter_than_the_window_do_not_show(
            lines in prop::collection::vec((0_usize..5, 0_u64..3000), 0..80),
            delays in prop::array::uniform5(0_u64..250),
        ) {
            let mut lines: Vec<_> = lines.iter().map(|(log, at)| (at + delays[*log], *log as u64, *at)).collect();
            lines.sort_unstable();
            let mut live = Live::new(ROOMY);
            let mut got = Vec::new();
            for (arrived, log, at) in &lines {
                let arrived = Duration::from_millis(*arrived);
                got.extend(std::iter::from_fn(|| live.pop(arrived)).map(|popped| popped.item));
                live.line(*log, time(*at), *at, 1, arrived);
            }
            got.extend(all(&mut live).into_iter().map(|popped| popped.item));
            let mut expected: Vec<u64> = lines.iter().map(|(_, _, at)| *at).collect();
            expected.sort_unstable();
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn no_line_waits_longer_than_the_window_whatever_the_clocks(lines in lines(5000)) {
            let mut live = Live::new(ROOMY);
            for (log, at, delay) in &lines {
                let arrived = Duration::from_millis(at + delay);
                while live.pop(arrived).is_some() {}
                prop_assert!(live.due().is_none_or(|due| due > arrived));
                live.line(*log, time(*at), (), 1, arrived);
            }
        }

        #[test]
        fn what_is_dropped_is_counted_and_the_rest_keeps_its_order(
            lines in prop::collection::vec((0_u64..3, 1_usize..60), 0..100),
            words in prop::collection::vec(0_usize..100, 0..5),
        ) {
            let mut live = Live::new(BOUNDS);
            let mut said = 0;
            for (i, (log, bytes)) in lines.iter().enumerate() {
                let arrived = Duration::from_millis(i as u64);
                live.line(*log, time(i as u64), i, *bytes, arrived);
                if words.contains(&i) {
                    said += 1;
                    live.word(*log, time(0), 1_000_000 + i, arrived);
                }
                for log in live.logs.values() {
                    let lines = log.held.iter().filter(|held| held.bytes.is_some()).count();
                    prop_assert!(lines <= BOUNDS.lines && (log.bytes <= BOUNDS.bytes || lines <= 1));
                }
            }
            let got = all(&mut live);
            let dropped: u64 = got.iter().map(|popped| popped.dropped).sum();
            let words = got.iter().filter(|popped| popped.item >= 1_000_000).count();
            prop_assert_eq!(words, said);
            prop_assert_eq!(got.len() - words + usize::try_from(dropped).unwrap(), lines.len());
            for log in 0..3 {
                let items: Vec<_> = got.iter().filter(|p| p.log == log).map(|p| p.item % 1_000_000).collect();
                prop_assert!(items.is_sorted(), "{:?}", items);
            }
            prop_assert!(live.logs.is_empty() && live.by_time.is_empty() && live.by_arrival.is_empty());
        }
    }

    #[test]
    fn a_log_whose_clock_is_behind_does_not_hold_the_others() {
        let mut live = Live::new(ROOMY);
        live.line(1, time(1_000_000), "now", 1, Duration::ZERO);
        let mut out = Vec::new();
        for i in 0..10 {
            let arrived = Duration::from_millis(i * 100);
            out.extend(std::iter::from_fn(|| live.pop(arrived)).map(|popped| popped.item));
            live.line(0, time(i), "behind", 1, arrived);
        }
        assert_eq!(out.iter().position(|item| *item == "now"), Some(3), "{out:?}");
    }
}
