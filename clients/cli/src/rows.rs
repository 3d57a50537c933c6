//! Apps as rows: for the list, and for the watch, which says each change once. Pure: must not know clocks nor terminals.

use std::collections::{BTreeMap, BTreeSet};

use gantry_client::{
    name,
    v1::{self, watch_apps_response::Event},
};

use crate::text;

/// Headings of the list.
pub(crate) const LIST: [&str; 7] = ["NAMESPACE", "NAME", "STATE", "READY", "IMAGE", "AGE", "MESSAGE"];
/// Headings of the watch, where rows come one by one: instead of the age there is the time of the change.
pub(crate) const WATCH: [&str; 7] = ["TIME", "NAMESPACE", "NAME", "STATE", "READY", "IMAGE", "MESSAGE"];
/// Widths that most rows of a watch keep to.
pub(crate) const WATCH_WIDTHS: [usize; 7] = [8, 12, 20, 8, 7, 28, 0];

/// What a watch has shown.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The last row shown for each app, by resource name.
    shown: BTreeMap<String, [String; 5]>,
    /// The apps seen since the stream began anew; `None` once its snapshot is complete.
    snapshot: Option<BTreeSet<String>>,
}

/// A row of the list.
pub(crate) fn list(app: &v1::App, now: i64) -> Vec<String> {
    let (namespace, name) = place(&app.name);
    let [state, ready, image, message] = facts(app);
    vec![namespace, name, state, ready, image, text::age(app.create_time.as_ref(), now), message]
}

/// The state of an app in one word.
pub(crate) fn state(status: &v1::AppStatus) -> &'static str {
    text::bare(status.state().as_str_name(), "APP_STATE_")
}

fn place(name: &str) -> (String, String) {
    name::App::parse(name, "")
        .map_or_else(|_| (String::new(), name.to_owned()), |name| (name.namespace, name.app))
}

/// State, ready, image and message.
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
    /// Begins before the first snapshot.
    pub(crate) fn new() -> Self {
        Self { snapshot: Some(BTreeSet::new()), ..Self::default() }
    }

    /// Takes an event in and returns the rows that differ from what was shown.
    pub(crate) fn apply(&mut self, event: Event, now: i64) -> Vec<Vec<String>> {
        match event {
            Event::Updated(app) => self.updated(&app, now).into_iter().collect(),
            Event::Deleted(name) => self.deleted(&name, now).into_iter().collect(),
            Event::Synced(_) => {
                // What a later snapshot lacks went away while nobody listened.
                let seen = self.snapshot.take().unwrap_or_default();
                let gone: Vec<_> = self.shown.keys().filter(|name| !seen.contains(*name)).cloned().collect();
                gone.iter().filter_map(|name| self.deleted(name, now)).collect()
            }
            Event::Heartbeat(_) => Vec::new(),
        }
    }

    /// The stream broke off: it begins again with a snapshot.
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
    fn the_clock_is_utc() {
        assert_eq!(
            (clock(0), clock(86_399), clock(86_400)),
            ("00:00:00".into(), "23:59:59".into(), "00:00:00".into())
        );
    }
}
