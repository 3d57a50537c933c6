//! Where a reader of one log stands, so that it can be opened again without losing or repeating a line.

use jiff::Timestamp;

use super::Line;

/// Lines that a reader has.
///
/// Kubernetes opens a log from a whole second on, and filters line by line. So the lines of a second opening
/// begin with exactly those that the first one gave of that second and later, in the same order: to count
/// them is enough, and lines that share a time are no special case. It is opened from one second before the
/// latest line on, since what is written at once by two threads may stand in the file with times that go
/// back. A log that was rotated away meanwhile gives fewer; the count then ends at the first line that is
/// later than any seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Only later lines are wanted.
    after: Option<Timestamp>,
    /// Lines long before this were not wanted.
    from: Option<Timestamp>,
    /// The latest line.
    latest: Option<Timestamp>,
    /// Lines of the whole second of the latest one.
    of_second: u64,
    /// Lines of the second before.
    of_before: u64,
    /// Lines still to be passed over after the log was opened again.
    passing: u64,
}

// === impl Position ===

impl Position {
    /// Nothing was read, and only lines after this time are wanted.
    pub const fn new(after: Option<Timestamp>) -> Self {
        Self { after, from: None, latest: None, of_second: 0, of_before: 0, passing: 0 }
    }

    /// Nothing was read, and lines long before this time are not wanted. The clock of the node may be another
    /// one, so none is refused.
    pub fn from(time: Timestamp) -> Self {
        Self { from: Some(time), ..Self::new(None) }
    }

    /// Whether a line was read.
    pub const fn has_begun(&self) -> bool {
        self.latest.is_some()
    }

    /// The time from which the log is to be opened now; the lines that come are to be shown to
    /// [`Self::admits`].
    pub fn reopen(&mut self) -> Option<Timestamp> {
        self.passing = self.of_second + self.of_before;
        match self.latest {
            Some(latest) => second(latest.as_second() - 1),
            None => self.after.or(self.from).and_then(|time| second(time.as_second())),
        }
    }

    /// Whether a line is new, and wanted.
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
