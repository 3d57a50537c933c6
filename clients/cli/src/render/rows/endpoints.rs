//! Endpoints as rows: for the list, and for the watch, which prints each change once. Pure: must not know
//! clocks nor terminals.

use std::collections::BTreeMap;

use gantry_client::v1::{self, watch_endpoints_response::Event};

use super::{clock, number, word};
use crate::render::text::Paint;

/// Headings of the list.
pub(crate) const HEADINGS: [&str; 7] = ["ADDRESS", "STATE", "ZONE", "NODE", "POD", "ROLLOUT", "WEIGHT"];
/// Headings of the watch, where changes come one by one.
pub(crate) const WATCH: [&str; 6] = ["TIME", "CHANGE", "ADDRESS", "STATE", "ZONE", "POD"];
/// Column widths of the watch, which fit most rows.
pub(crate) const WATCH_WIDTHS: [usize; 6] = [8, 7, 21, 8, 12, 0];

/// The endpoints that a watch has shown.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    endpoints: BTreeMap<String, v1::Endpoint>,
    missing: bool,
}

/// Formats `10.0.0.1:80` or `[fd00::1]:80`.
pub(crate) fn address(endpoint: &v1::Endpoint) -> String {
    if endpoint.address.contains(':') {
        format!("[{}]:{}", endpoint.address, endpoint.port)
    } else {
        format!("{}:{}", endpoint.address, endpoint.port)
    }
}

/// Returns a row of the list.
pub(crate) fn row(endpoint: &v1::Endpoint) -> Vec<String> {
    vec![
        address(endpoint),
        state(endpoint),
        endpoint.zone.clone(),
        endpoint.node.clone(),
        endpoint.pod.clone(),
        number(&endpoint.rollout),
        endpoint.weight.max(1).to_string(),
    ]
}

/// Colours the state.
pub(crate) fn painted(column: usize, cell: &str, paint: Paint) -> String {
    match (column, cell) {
        (1, "READY") => paint.good(cell),
        (1, "UNREADY") => paint.bad(cell),
        (1, "DRAINING") => paint.warn(cell),
        _ => cell.to_owned(),
    }
}

fn state(endpoint: &v1::Endpoint) -> String {
    word(endpoint.state().as_str_name(), "ENDPOINT_STATE_")
}

// === impl Watched ===

impl Watched {
    /// Takes in an event and returns a row for each difference from what was shown.
    pub(crate) fn apply(&mut self, event: Event, now: i64) -> Vec<Vec<String>> {
        let (next, missing) = match event {
            Event::Heartbeat(_) => return Vec::new(),
            Event::Missing(_) => (BTreeMap::new(), true),
            Event::Snapshot(set) => {
                (set.endpoints.into_iter().map(|endpoint| (address(&endpoint), endpoint)).collect(), false)
            }
        };
        let mut rows = Vec::new();
        for (address, endpoint) in &self.endpoints {
            if !next.contains_key(address) {
                rows.push(Self::row("gone", endpoint, now));
            }
        }
        for (address, endpoint) in &next {
            match self.endpoints.get(address) {
                None => rows.push(Self::row("new", endpoint, now)),
                Some(before) if before != endpoint => rows.push(Self::row("changed", endpoint, now)),
                Some(_) => {}
            }
        }
        if missing && !self.missing {
            let mut row = vec![clock(now), "missing".to_owned(), "the app does not exist".to_owned()];
            row.resize(WATCH.len(), String::new());
            rows.push(row);
        }
        (self.endpoints, self.missing) = (next, missing);
        rows
    }

    /// Returns the current endpoints as rows of the list; `None` if the app does not exist.
    pub(crate) fn rows(&self) -> Option<Vec<Vec<String>>> {
        (!self.missing).then(|| self.endpoints.values().map(row).collect())
    }

    fn row(change: &str, endpoint: &v1::Endpoint, now: i64) -> Vec<String> {
        let state = if change == "gone" { "-".to_owned() } else { state(endpoint) };
        vec![
            clock(now),
            change.to_owned(),
            address(endpoint),
            state,
            endpoint.zone.clone(),
            endpoint.pod.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_endpoint(address: &str, state: v1::EndpointState) -> v1::Endpoint {
        v1::Endpoint {
            address: address.into(),
            port: 80,
            state: state.into(),
            zone: "a".into(),
            pod: "shop-x".into(),
            ..Default::default()
        }
    }

    fn mk_snapshot(endpoints: &[(&str, v1::EndpointState)]) -> Event {
        let endpoints = endpoints.iter().map(|(address, state)| mk_endpoint(address, *state)).collect();
        Event::Snapshot(v1::EndpointSet { endpoints })
    }

    #[test]
    fn addresses_can_be_dialled() {
        assert_eq!(address(&mk_endpoint("10.0.0.1", v1::EndpointState::Ready)), "10.0.0.1:80");
        assert_eq!(address(&mk_endpoint("fd00::1", v1::EndpointState::Ready)), "[fd00::1]:80");
        let row = row(&mk_endpoint("10.0.0.1", v1::EndpointState::Ready));
        assert_eq!(row, ["10.0.0.1:80", "READY", "a", "", "shop-x", "", "1"]);
        assert_eq!(row.len(), HEADINGS.len());
    }

    #[test]
    fn only_differences_are_shown() {
        use v1::EndpointState::{Draining, Ready};
        let mut watched = Watched::default();
        let mut seen = |event| {
            let rows = watched.apply(event, 100);
            rows.iter().map(|row| format!("{} {} {}", row[1], row[2], row[3])).collect::<Vec<_>>()
        };
        let two = [("10.0.0.1", Ready), ("10.0.0.2", Ready)];
        assert_eq!(seen(mk_snapshot(&two)), ["new 10.0.0.1:80 READY", "new 10.0.0.2:80 READY"]);
        assert!(seen(mk_snapshot(&two)).is_empty());
        assert!(seen(Event::Heartbeat(v1::Heartbeat::default())).is_empty());
        let moved = mk_snapshot(&[("10.0.0.2", Draining), ("10.0.0.3", Ready)]);
        assert_eq!(
            seen(moved),
            ["gone 10.0.0.1:80 -", "changed 10.0.0.2:80 DRAINING", "new 10.0.0.3:80 READY"]
        );
        let missing = seen(Event::Missing(v1::AppMissing {}));
        assert_eq!(missing.last().map(String::as_str), Some("missing the app does not exist "));
        assert!(seen(Event::Missing(v1::AppMissing {})).is_empty());
        assert_eq!(watched.rows(), None);
    }
}
