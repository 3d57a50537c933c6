//! Apps as rows: for the list, and for the watch, which prints each change once. Pure: must not know clocks
//! nor terminals.

pub(crate) mod decisions;
pub(crate) mod endpoints;
pub(crate) mod replicas;
pub(crate) mod rollouts;
pub(crate) mod timeline;

use std::collections::{BTreeMap, BTreeSet};

use gantry_client::{
    name,
    v1::{self, watch_apps_response::Event},
};

use crate::render::text::{self, Paint};

/// Headings of the list.
pub(crate) const LIST: [&str; 7] = ["NAMESPACE", "NAME", "STATE", "READY", "IMAGE", "AGE", "MESSAGE"];
/// Headings of the watch, where each row is a change: the time of the change stands in place of the age.
pub(crate) const WATCH: [&str; 7] = ["TIME", "NAMESPACE", "NAME", "STATE", "READY", "IMAGE", "MESSAGE"];
/// Headings of the live view, where a row stays and is updated.
pub(crate) const LIVE: [&str; 6] = ["NAMESPACE", "NAME", "STATE", "READY", "IMAGE", "MESSAGE"];
/// Column widths of the watch, which fit most rows.
pub(crate) const WATCH_WIDTHS: [usize; 7] = [8, 12, 20, 8, 7, 28, 0];

/// The rows that a watch has shown.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The last row shown for each app, by resource name.
    shown: BTreeMap<String, [String; 5]>,
    /// The apps seen since the stream began or was resumed; `None` once its snapshot is complete.
    snapshot: Option<BTreeSet<String>>,
}

/// Returns a row of the list.
pub(crate) fn list(app: &v1::App, now: i64) -> Vec<String> {
    let (namespace, name) = place(&app.name);
    let [state, ready, image, message] = facts(app);
    vec![namespace, name, state, ready, image, text::age(app.create_time.as_ref(), now), message]
}

/// Returns the state of an app without its prefix, for example `ACTIVE`.
pub(crate) fn state(status: &v1::AppStatus) -> &'static str {
    text::bare(status.state().as_str_name(), "APP_STATE_")
}

/// Colours the state, which is the third column of the list and of the live view.
pub(crate) fn painted(column: usize, cell: &str, paint: Paint) -> String {
    match (column, cell) {
        (2, "ACTIVE") => paint.good(cell),
        (2, "DEGRADED" | "FAILED") => paint.bad(cell),
        (2, "UPDATING" | "DELETING") => paint.warn(cell),
        _ => cell.to_owned(),
    }
}

/// Returns the number of a rollout from its resource name.
fn number(rollout: &str) -> String {
    name::Rollout::parse(rollout).map_or_else(|_| rollout.to_owned(), |rollout| rollout.revision)
}

/// Returns an enum value without its prefix: `ROLLOUT_CAUSE_AUTO_ROLLBACK` -> `AUTO_ROLLBACK`. Returns an
/// empty text for `UNSPECIFIED`.
fn word(value: &str, prefix: &str) -> String {
    let word = text::bare(value, prefix);
    if word == "UNSPECIFIED" { String::new() } else { word.to_owned() }
}

fn place(name: &str) -> (String, String) {
    name::App::parse(name, "")
        .map_or_else(|_| (String::new(), name.to_owned()), |name| (name.namespace, name.app))
}

/// Returns state, ready, image and message.
fn facts(app: &v1::App) -> [String; 4] {
    let status = app.status.clone().unwrap_or_default();
    let image = app.spec.as_ref().map(|spec| spec.image.clone()).unwrap_or_default();
    let ready = format!("{}/{}", status.ready_replicas, status.desired_replicas);
    [state(&status).to_owned(), ready, image, status.message]
}

fn clock(now: i64) -> String {
    format!("{:02}:{:02}:{:02}", now.rem_euclid(86_400) / 3600, now.rem_euclid(3600) / 60, now.rem_euclid(60))
}

// === impl Watched ===

impl Watched {
    /// Starts before the first snapshot.
    pub(crate) fn new() -> Self {
        Self { snapshot: Some(BTreeSet::new()), ..Self::default() }
    }

    /// Returns the current apps as rows of the live view.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let row = |[name, state, ready, image, message]: &[String; 5]| {
            let (namespace, name) = place(name);
            vec![namespace, name, state.clone(), ready.clone(), image.clone(), message.clone()]
        };
        self.shown.values().map(row).collect()
    }

    /// Takes in an event and returns the rows that differ from what was shown.
    pub(crate) fn apply(&mut self, event: Event, now: i64) -> Vec<Vec<String>> {
        match event {
            Event::Updated(app) => self.updated(&app, now).into_iter().collect(),
            Event::Deleted(name) => self.deleted(&name, now).into_iter().collect(),
            Event::Synced(v1::Synced { resumed: true }) => {
                self.snapshot = None;
                Vec::new()
            }
            Event::Synced(v1::Synced { resumed: false }) => {
                // Apps missing from a later snapshot were deleted while the stream was interrupted.
                let seen = self.snapshot.take().unwrap_or_default();
                let gone: Vec<_> = self.shown.keys().filter(|name| !seen.contains(*name)).cloned().collect();
                gone.iter().filter_map(|name| self.deleted(name, now)).collect()
            }
            Event::Heartbeat(_) => Vec::new(),
        }
    }

    /// Notes that the stream broke off. It continues with what changed meanwhile, or starts again with a
    /// snapshot.
    pub(crate) fn interrupted(&mut self) {
        self.snapshot = Some(BTreeSet::new());
    }

    fn updated(&mut self, app: &v1::App, now: i64) -> Option<Vec<String>> {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.insert(app.name.clone());
        }
        let [state, ready, image, message] = facts(app);
        let row = [app.name.clone(), state, ready, image, message];
        (self.shown.get(&app.name) != Some(&row)).then(|| {
            self.shown.insert(app.name.clone(), row.clone());
            Self::row(row, now)
        })
    }

    fn deleted(&mut self, name: &str, now: i64) -> Option<Vec<String>> {
        let [_, _, _, image, _] = self.shown.remove(name)?;
        Some(Self::row([name.to_owned(), "DELETED".to_owned(), "-".to_owned(), image, String::new()], now))
    }

    fn row([name, state, ready, image, message]: [String; 5], now: i64) -> Vec<String> {
        let (namespace, name) = place(&name);
        [clock(now), namespace, name, state, ready, image, message]
            .iter()
            .map(|cell| text::line(cell))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_app(name: &str, ready: i32) -> v1::App {
        let status = v1::AppStatus {
            state: v1::AppState::Updating.into(),
            ready_replicas: ready,
            desired_replicas: 3,
            message: "on its way".into(),
            ..Default::default()
        };
        v1::App {
            name: format!("namespaces/prod/apps/{name}"),
            spec: Some(v1::AppSpec { image: "shop:1".into(), ..Default::default() }),
            status: Some(status),
            create_time: Some(prost_types::Timestamp { seconds: 40, nanos: 0 }),
            ..Default::default()
        }
    }

    #[test]
    fn a_row_of_the_list() {
        assert_eq!(
            list(&mk_app("shop", 1), 100),
            ["prod", "shop", "UPDATING", "1/3", "shop:1", "60s", "on its way"]
        );
        assert_eq!(list(&v1::App::default(), 0), ["", "", "UNSPECIFIED", "0/0", "", "", ""]);
    }

    #[test]
    fn a_change_is_shown_once() {
        let mut watched = Watched::new();
        let row = vec![vec!["00:01:40", "prod", "shop", "UPDATING", "1/3", "shop:1", "on its way"]];
        assert_eq!(watched.apply(Event::Updated(mk_app("shop", 1)), 100), row);
        assert!(watched.apply(Event::Updated(mk_app("shop", 1)), 101).is_empty());
        assert_eq!(watched.apply(Event::Updated(mk_app("shop", 2)), 102).len(), 1);
        let gone = watched.apply(Event::Deleted("namespaces/prod/apps/shop".into()), 103);
        assert_eq!(gone[0][3], "DELETED");
        assert!(watched.apply(Event::Deleted("namespaces/prod/apps/shop".into()), 104).is_empty());
    }

    #[test]
    fn what_a_fresh_snapshot_lacks_is_gone() {
        let mut watched = Watched::new();
        for name in ["a", "b"] {
            watched.apply(Event::Updated(mk_app(name, 1)), 0);
        }
        assert!(watched.apply(Event::Synced(v1::Synced::default()), 0).is_empty());
        watched.interrupted();
        assert!(watched.apply(Event::Updated(mk_app("b", 1)), 0).is_empty());
        let gone = watched.apply(Event::Synced(v1::Synced::default()), 0);
        assert_eq!(
            gone.iter().map(|row| (row[2].as_str(), row[3].as_str())).collect::<Vec<_>>(),
            [("a", "DELETED")]
        );
    }

    #[test]
    fn what_a_resumed_stream_does_not_mention_is_still_there() {
        let mut watched = Watched::new();
        for name in ["a", "b"] {
            watched.apply(Event::Updated(mk_app(name, 1)), 0);
        }
        watched.apply(Event::Synced(v1::Synced::default()), 0);
        watched.interrupted();
        assert_eq!(watched.apply(Event::Updated(mk_app("b", 2)), 0).len(), 1);
        assert!(watched.apply(Event::Synced(v1::Synced { resumed: true }), 0).is_empty());
        assert_eq!(watched.rows().len(), 2);
        assert_eq!(watched.rows()[1][..4], ["prod", "b", "UPDATING", "2/3"]);
    }

    #[test]
    fn the_clock_is_utc() {
        assert_eq!(
            (clock(0), clock(86_399), clock(86_400)),
            ("00:00:00".into(), "23:59:59".into(), "00:00:00".into())
        );
    }
}
