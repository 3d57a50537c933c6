//! The position of a reader in one log, so that the log can be reopened without losing or repeating a line.

use jiff::Timestamp;

use super::Line;

/// The position of a reader in one log.
///
/// Kubernetes opens a log at a whole second and filters it line by line. So a reopened log begins with
/// exactly those lines of that second and later that the reader already has, in the same order. Counting them
/// is enough, even if several lines have the same time.
///
/// The log is reopened one second before the latest line, because two threads that write at once may leave
/// times in the file that go back. If the log was rotated meanwhile, fewer of these lines come. Then counting
/// ends at the first line later than the latest one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Only lines after this time are wanted.
    after: Option<Timestamp>,
    /// The log is opened from this time on.
    from: Option<Timestamp>,
    /// The time of the latest line.
    latest: Option<Timestamp>,
    /// The number of lines in the second of the latest line.
    of_second: u64,
    /// The number of lines in the second before that.
    of_before: u64,
    /// The number of lines still to skip after the log was reopened.
    passing: u64,
}

// === impl Position ===

impl Position {
    /// A position before the first line. Only lines after this time are wanted.
    pub const fn new(after: Option<Timestamp>) -> Self {
        Self { after, from: None, latest: None, of_second: 0, of_before: 0, passing: 0 }
    }

    /// A position before the first line, for a log that is opened from this time on. No line is refused,
    /// because the clock of the node may differ.
    pub fn from(time: Timestamp) -> Self {
        Self { from: Some(time), ..Self::new(None) }
    }

    /// Returns whether a line was read.
    pub const fn has_begun(&self) -> bool {
        self.latest.is_some()
    }

    /// Returns the time from which to open the log now. Pass each line that comes to [`Self::admits`].
    pub fn reopen(&mut self) -> Option<Timestamp> {
        self.passing = self.of_second + self.of_before;
        match self.latest {
            Some(latest) => second(latest.as_second() - 1),
            None => self.after.or(self.from).and_then(|time| second(time.as_second())),
        }
    }

    /// Returns whether a line is new and wanted.
    pub fn admits(&mut self, line: &Line) -> bool {
        if self.passing > 0 {
            if self.latest.is_some_and(|latest| line.time <= latest) {
                self.passing -= 1;
                return false;
            }
            self.passing = 0;
        }
        match self.latest.map(|latest| line.time.as_second() - latest.as_second()) {
            Some(0) => self.of_second += 1,
            Some(-1) => self.of_before += 1,
            Some(..-1) => {}
            Some(1) => (self.of_before, self.of_second) = (self.of_second, 1),
            Some(2..) | None => (self.of_before, self.of_second) = (0, 1),
        }
        self.latest = self.latest.max(Some(line.time));
        self.after.is_none_or(|after| line.time > after)
    }
}

fn second(second: i64) -> Option<Timestamp> {
    Timestamp::from_second(second).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mk_line(millis: i64, text: usize) -> Line {
        Line { time: Timestamp::from_millisecond(millis).unwrap(), text: text.to_string() }
    }

    /// What Kubernetes gives of a log from a time on.
    fn since(log: &[Line], since: Option<Timestamp>) -> impl Iterator<Item = &Line> {
        log.iter().filter(move |line| since.is_none_or(|since| line.time >= since))
    }

    proptest! {
        #[test]
        fn however_often_it_breaks_each_line_comes_once(
            steps in prop::collection::vec((0_i64..1500, 0_i64..900), 0..60),
            cuts in prop::collection::vec(0_usize..70, 0..6),
        ) {
            let mut now = 1_700_000_000_000;
            let log: Vec<Line> = steps
                .iter()
                .enumerate()
                .map(|(i, (step, early))| { now += step; mk_line(now - early, i) })
                .collect();
            let mut position = Position::default();
            let mut got = Vec::new();
            let mut written = 0;
            for cut in cuts.into_iter().chain([usize::MAX]) {
                // The log grows to this length while it is read.
                written = cut.min(log.len()).max(written);
                let from = position.reopen();
                got.extend(since(&log[..written], from).filter(|line| position.admits(line)).cloned());
            }
            prop_assert_eq!(got, log);
        }

        #[test]
        fn only_later_lines_are_wanted(times in prop::collection::vec(0_i64..5000, 0..40), after in 0_i64..5000) {
            let log: Vec<Line> = times.iter().enumerate().map(|(i, time)| mk_line(*time, i)).collect();
            let after = Timestamp::from_millisecond(after).unwrap();
            let mut position = Position::new(Some(after));
            let from = position.reopen();
            let got: Vec<_> = since(&log, from).filter(|line| position.admits(line)).cloned().collect();
            let wanted: Vec<_> = log.iter().filter(|line| line.time > after).cloned().collect();
            prop_assert_eq!(got, wanted);
        }
    }

    #[test]
    fn lines_that_were_rotated_away_do_not_cost_new_ones() {
        let mut position = Position::default();
        for line in [mk_line(1000, 0), mk_line(1001, 1), mk_line(1002, 2)] {
            assert!(position.admits(&line));
        }
        assert_eq!(position.reopen(), Some(Timestamp::from_second(0).unwrap()));
        // Two of the three are gone from the file.
        let came = [mk_line(1002, 2), mk_line(1500, 3), mk_line(1600, 4)];
        let new: Vec<_> = came.iter().filter(|line| position.admits(line)).map(|l| l.text.as_str()).collect();
        assert_eq!(new, ["3", "4"]);
    }
}
