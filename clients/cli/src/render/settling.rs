//! An app on its way to the desired state: its states in, and lines, a live view and a verdict out. Pure:
//! must not know clocks nor terminals.

use std::{collections::BTreeSet, time::Duration};

use gantry_client::v1;

use crate::{
    failure::Exit,
    render::{
        outcome::Outcome,
        problem,
        progress::{self, bar},
        rows,
        text::{self, Paint},
    },
};

/// The state of an app as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    title: String,
    app: Option<v1::App>,
    /// The last line about state and counts, so that it is printed once.
    said: String,
    /// Reasons of the problems that were printed.
    known: BTreeSet<String>,
}

/// Describes the state of a settled app; `None` means that the app is gone.
pub(crate) fn verdict(app: Option<&v1::App>, title: &str, took: Option<Duration>, paint: Paint) -> Outcome {
    let Some(app) = app else {
        return Outcome { exit: Exit::Done, lines: vec![format!("{title} is gone")] };
    };
    let status = app.status.clone().unwrap_or_default();
    let state = rows::state(&status);
    let after = took.map_or_else(String::new, |took| format!(" after {}", text::took(took)));
    let ready = counts(&status);
    match status.state() {
        v1::AppState::Degraded | v1::AppState::Failed => {
            let message = text::line(&status.message);
            let mut lines = vec![format!("{} {title} is {state}{after}: {message}", paint.bad("error:"))];
            for problem in &status.problems {
                lines.push(format!("  {}", problem::headline(problem)));
                lines.extend(problem::evidence(problem, paint));
            }
            Outcome { exit: Exit::Failed, lines }
        }
        v1::AppState::Deleting => Outcome { exit: Exit::Done, lines: vec![format!("{title} is gone")] },
        v1::AppState::Active | v1::AppState::Stopped => Outcome {
            exit: Exit::Done,
            lines: vec![format!("{title} is {}{after}: {ready}", paint.good(state))],
        },
        v1::AppState::Updating | v1::AppState::Unspecified => {
            Outcome { exit: Exit::Done, lines: vec![format!("{title} is {state}{after}: {ready}")] }
        }
    }
}

fn counts(status: &v1::AppStatus) -> String {
    format!("{} of {} ready", status.ready_replicas, text::count(status.desired_replicas, "replica"))
}

// === impl Settling ===

impl Settling {
    /// Starts without having seen the app.
    pub(crate) fn new(title: String) -> Self {
        Self { title, ..Self::default() }
    }

    /// Takes in the current app, and returns what is new about it, as lines.
    pub(crate) fn apply(&mut self, app: v1::App) -> Vec<String> {
        let status = app.status.clone().unwrap_or_default();
        self.app = Some(app);
        let mut lines = Vec::new();
        let message = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
        let line = text::line(&format!("{}, {}{message}", rows::state(&status), counts(&status)));
        if line != self.said {
            self.said.clone_from(&line);
            lines.push(line);
        }
        for problem in &status.problems {
            // A problem that grows or moves to another pod is the same one.
            if self.known.insert(problem.reason.clone()) {
                lines.push(problem::headline(problem));
            }
        }
        lines
    }

    /// Returns the live view of a terminal, which is redrawn at each beat.
    pub(crate) fn view(&self, elapsed: Duration, beat: usize, paint: Paint) -> Vec<String> {
        let status = self.app.as_ref().and_then(|app| app.status.clone()).unwrap_or_default();
        let state = if self.app.is_some() { rows::state(&status) } else { "" };
        let mut lines = vec![format!(
            "{} {}  {}  {}/{} ready  {}",
            progress::spinner(beat),
            paint.bold(&self.title),
            bar(status.ready_replicas, status.desired_replicas, paint),
            status.ready_replicas,
            status.desired_replicas,
            paint.dim(&text::took(elapsed)),
        )];
        if self.app.is_some() {
            lines.push(format!("  {}", text::line(&format!("{state} {}", status.message))));
        }
        let worst = status.problems.iter().take(progress::WORST);
        lines.extend(worst.map(|problem| format!("  {}", paint.warn(&problem::headline(problem)))));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::problem::mk_problem;

    fn mk_app(state: v1::AppState, ready: i32, problems: Vec<v1::Problem>) -> v1::App {
        let status = v1::AppStatus {
            state: state.into(),
            message: "it is so".into(),
            desired_replicas: 5,
            ready_replicas: ready,
            problems,
            ..Default::default()
        };
        v1::App { name: "namespaces/prod/apps/shop".into(), status: Some(status), ..Default::default() }
    }

    #[test]
    fn every_change_is_said_once() {
        let mut settling = Settling::new("shop".into());
        let updating = mk_app(v1::AppState::Updating, 3, Vec::new());
        assert_eq!(settling.apply(updating.clone()), ["UPDATING, 3 of 5 replicas ready: it is so"]);
        assert!(settling.apply(updating).is_empty());
        let lines = settling.apply(mk_app(v1::AppState::Updating, 3, vec![mk_problem()]));
        assert!(lines.len() == 1 && lines[0].starts_with("IMAGE_PULL_FAILED: "), "{lines:?}");
        assert!(settling.apply(mk_app(v1::AppState::Updating, 3, vec![mk_problem()])).is_empty());
        let view = settling.view(Duration::from_secs(2), 0, Paint::default());
        assert_eq!(
            view[..2],
            ["| shop  [##############----------]  3/5 ready  2.0 s", "  UPDATING it is so"]
        );
        assert_eq!(view.len(), 3);
    }

    #[test]
    fn only_trouble_is_a_failure() {
        let of = |state, problems| {
            let outcome = verdict(Some(&mk_app(state, 5, problems)), "shop", None, Paint::default());
            (outcome.exit, outcome.lines)
        };
        assert_eq!(
            of(v1::AppState::Active, Vec::new()),
            (Exit::Done, vec!["shop is ACTIVE: 5 of 5 replicas ready".to_owned()])
        );
        assert_eq!(of(v1::AppState::Stopped, Vec::new()).0, Exit::Done);
        assert_eq!(of(v1::AppState::Deleting, Vec::new()).1, ["shop is gone"]);
        let (exit, lines) = of(v1::AppState::Degraded, vec![mk_problem()]);
        assert_eq!((exit, lines[0].as_str()), (Exit::Failed, "error: shop is DEGRADED: it is so"));
        assert!(lines[1].contains("IMAGE_PULL_FAILED") && lines[2].contains("remedy:"), "{lines:?}");
        let gone = verdict(None, "shop", None, Paint::default());
        assert_eq!((gone.exit, gone.lines), (Exit::Done, vec!["shop is gone".to_owned()]));
    }
}
