//! A rollout on its way: events in, lines and a live view out. Pure: must not know clocks nor terminals.

use std::{collections::VecDeque, time::Duration};

use gantry_client::{
    v1::{self, watch_rollout_response::Event},
    watch::Update,
};

use crate::render::{
    outcome, problem, rows,
    text::{self, Paint},
};

const BAR: usize = 24;
/// Lines of logs and events in the live view.
const RECENT: usize = 5;
/// Problems in the live view.
pub(crate) const WORST: usize = 3;

/// Log lines of each problem in the live view.
const WORDS: usize = 3;
/// Lines of replicas in the live view. Further replicas are only counted.
const REPLICAS: usize = 12;

/// The state of a rollout as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    title: String,
    rollout: v1::Rollout,
    problems: Vec<v1::Problem>,
    replicas: Vec<v1::Replica>,
    recent: VecDeque<String>,
    interrupted: Option<String>,
    /// Reasons of the problems whose logs were printed.
    logged: Vec<String>,
    completed: bool,
    /// The last line about state and counts, so that it is printed once.
    said: String,
}

// === impl Progress ===

impl Progress {
    /// Starts with the rollout that the deploy returned.
    pub(crate) fn new(rollout: v1::Rollout, own_namespace: &str) -> Self {
        Self { title: outcome::title(&rollout.name, own_namespace), rollout, ..Self::default() }
    }

    /// Returns the rollout as it was last seen.
    pub(crate) fn rollout(&self) -> &v1::Rollout {
        &self.rollout
    }

    /// Whether the stream is complete. A failed state alone does not complete it, because the last log lines
    /// of the failing container come after it.
    pub(crate) fn is_completed(&self) -> bool {
        self.completed
    }

    /// Takes in one item of the stream, and returns what is new in it, as lines.
    pub(crate) fn apply(&mut self, update: Update<v1::WatchRolloutResponse>) -> Vec<String> {
        let event = match update {
            Update::Message(message) => message.event,
            Update::Interrupted { error, retry_in } => {
                let line = text::line(&format!("{error}; trying again in {}", text::took(retry_in)));
                self.interrupted = Some(line.clone());
                return vec![line];
            }
        };
        self.interrupted = None;
        self.completed = matches!(event, Some(Event::Completed(_)));
        match event {
            Some(Event::Rollout(rollout) | Event::Completed(rollout)) => {
                self.rollout = rollout;
                self.state_line().into_iter().collect()
            }
            Some(Event::Problem(problem)) => self.problem_lines(&problem),
            Some(Event::Log(log)) => {
                let object = if log.object.is_empty() { String::new() } else { format!("{}: ", log.object) };
                let line = text::line(&format!("{object}{}", log.message));
                if self.recent.len() == RECENT {
                    self.recent.pop_front();
                }
                self.recent.push_back(line.clone());
                vec![line]
            }
            Some(Event::Heartbeat(_)) | None => Vec::new(),
        }
    }

    /// Takes in the state of each replica of the app, which only the live view shows.
    pub(crate) fn look(&mut self, replicas: Vec<v1::Replica>) {
        self.replicas = replicas;
    }

    /// Returns the live view of a terminal, which is redrawn at each beat. `now` is in Unix seconds. The
    /// replicas come last, because a small terminal cuts off the end of a view.
    pub(crate) fn view(&self, elapsed: Duration, beat: usize, now: i64, paint: Paint) -> Vec<String> {
        let counts = self.rollout.progress.unwrap_or_default();
        let mut lines = vec![format!(
            "{} {}  {}  {}/{} ready  {}",
            spinner(beat),
            paint.bold(&self.title),
            bar(counts.ready, counts.desired, paint),
            counts.ready,
            counts.desired,
            paint.dim(&text::took(elapsed)),
        )];
        lines.push(format!("  {} updated, {} old, {} draining", counts.updated, counts.old, counts.draining));
        if !self.rollout.message.is_empty() {
            lines.push(format!("  {}", text::line(&self.rollout.message)));
        }
        for problem in self.problems.iter().rev().take(WORST) {
            lines.push(format!("  {}", paint.warn(&problem::headline(problem))));
            lines.extend(problem::advice(problem, WORDS, paint).into_iter().map(|line| format!("  {line}")));
        }
        lines.extend(self.recent.iter().map(|line| format!("  {}", paint.dim(line))));
        lines.extend(self.interrupted.iter().map(|line| format!("  {}", paint.warn(line))));
        let replicas = rows::replicas::live(&self.replicas, REPLICAS, now, paint);
        lines.extend(replicas.into_iter().map(|line| format!("  {line}")));
        lines
    }

    fn state_line(&mut self) -> Option<String> {
        let counts = self.rollout.progress.unwrap_or_default();
        let mut line = format!("{}/{} ready, {} updated", counts.ready, counts.desired, counts.updated);
        for (n, word) in [(counts.old, "old"), (counts.draining, "draining")] {
            if n > 0 {
                line = format!("{line}, {n} {word}");
            }
        }
        if !self.rollout.message.is_empty() {
            line = text::line(&format!("{line}: {}", self.rollout.message));
        }
        (self.said != line).then(|| self.said.clone_from(&line)).map(|()| line)
    }

    fn problem_lines(&mut self, problem: &v1::Problem) -> Vec<String> {
        // A problem that grows or moves to another pod is the same one.
        let known = self.problems.iter_mut().find(|known| known.reason == problem.reason);
        // Its events come as separate lines.
        let log = problem.log_tail.iter().map(|text| format!("  log: {}", text::line(text)));
        let log: Vec<_> = log.filter(|_| !self.logged.contains(&problem.reason)).collect();
        if !log.is_empty() {
            self.logged.push(problem.reason.clone());
        }
        if let Some(known) = known {
            known.clone_from(problem);
            // The log may come after the problem, because it is read once the problem is known.
            return log;
        }
        self.problems.push(problem.clone());
        let remedy = Some(&problem.remedy).filter(|remedy| !remedy.is_empty());
        let remedy = remedy.map(|remedy| text::line(&format!("  remedy: {remedy}")));
        std::iter::once(problem::headline(problem)).chain(remedy).chain(log).collect()
    }
}

/// Returns a character that turns with the beat.
pub(crate) fn spinner(beat: usize) -> &'static str {
    const SIGNS: [&str; 4] = ["|", "/", "-", "\\"];
    SIGNS[beat % SIGNS.len()]
}

/// Draws the share of replicas that are ready, as a bar of fixed width.
pub(crate) fn bar(ready: i32, desired: i32, paint: Paint) -> String {
    let part = |n: i32| usize::try_from(n.max(0)).unwrap_or(0);
    let (ready, desired) = (part(ready), part(desired));
    // With no replicas wanted the bar is full.
    let full = (ready.min(desired) * BAR).checked_div(desired).unwrap_or(BAR);
    format!("[{}{}]", paint.good(&"#".repeat(full)), "-".repeat(BAR - full))
}

#[cfg(test)]
mod tests;
