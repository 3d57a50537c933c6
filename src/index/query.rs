//! The queries of readers: one object by name (`get_`), a page of many (`list_`), what is new (`_after`), and
//! a signal when something is new (`watch_`).

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    change_log::{ChangeBatch, ChangeCursor},
    endpoints::Endpoints,
    state::{Index, IndexState},
    tables::SequencedEvent,
};
use crate::domain::{
    Error,
    app::{App, State},
    endpoint,
    name::{self, Scope},
    replica::Replica,
    rollout::Rollout,
    selector::Selector,
};

/// Selects the apps of a list.
#[derive(Clone, Debug, Default)]
pub struct AppFilter {
    /// Labels of the Deployment.
    pub selector: Selector,
    /// The app must be in one of these states. Empty means any.
    pub states: Vec<State>,
}

// === impl Index ===

impl Index {
    /// Returns one app.
    pub fn get_app(&self, name: &name::App) -> Result<Arc<App>, Error> {
        let state = self.state.read();
        state.views.app(name).ok_or_else(|| state.views.missing(name))
    }

    /// Whether the index has an app in a namespace.
    pub fn has_app_in(&self, namespace: &str) -> bool {
        let scope = Scope::Namespace(namespace.to_owned());
        self.state.read().views.apps_after(&scope, None).next().is_some()
    }

    /// Returns the error for a namespace that does not exist.
    pub fn missing_namespace(&self, namespace: &str) -> Error {
        self.state.read().views.missing_namespace(namespace)
    }

    /// Returns one rollout.
    pub fn get_rollout(&self, name: &name::Rollout) -> Result<Arc<Rollout>, Error> {
        self.state.read().rollout(name)
    }

    /// Returns the rollouts of an app with numbers below `before`, newest first, at most `limit`. The flag
    /// says whether more follow.
    pub fn list_rollouts(
        &self,
        app: &name::App,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Arc<Rollout>>, bool), Error> {
        let state = self.state.read();
        let mut found = state.rollouts(app, before, limit.saturating_add(1));
        if found.is_empty() && state.views.app(app).is_none() && state.views.newest_rollout(app).is_none() {
            return Err(state.views.missing(app));
        }
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// Returns the external autoscaler that owns an app's replica count, for example
    /// `horizontalpodautoscaler.autoscaling/shop`.
    pub fn autoscaler_of(&self, app: &name::App) -> Option<String> {
        self.state.read().tables.autoscaler_of(app)
    }

    /// Returns the apps of a scope after `after`, ordered by name, at most `limit`. The flag says whether
    /// more follow.
    pub fn list_apps(
        &self,
        scope: &Scope,
        filter: &AppFilter,
        after: Option<&name::App>,
        limit: usize,
    ) -> (Vec<Arc<App>>, bool) {
        let state = self.state.read();
        let mut matching = state.views.apps_after(scope, after).filter(|app| filter.matches(app));
        let page: Vec<_> = matching.by_ref().take(limit).cloned().collect();
        let more = matching.next().is_some();
        (page, more)
    }

    /// Returns the changes of a scope after a cursor: each app at most once, in its latest state. `None`, a
    /// cursor of another process and a cursor that is too old begin with a snapshot.
    pub fn changes_after(&self, scope: &Scope, cursor: Option<ChangeCursor>, limit: usize) -> ChangeBatch {
        let state = self.state.read();
        state.changes.changes_after(
            &state.views,
            scope,
            cursor.filter(|c| c.epoch == self.epoch),
            self.epoch,
            limit,
        )
    }

    /// Returns the endpoints of an app.
    pub fn get_endpoints(&self, name: &name::App) -> Result<Arc<endpoint::Set>, Error> {
        let state = self.state.read();
        let found = state.endpoint_channels.latest(name).or_else(|| state.tables.endpoints(name));
        found.ok_or_else(|| state.views.missing(name))
    }

    /// Follows the endpoints of an app, which need not exist.
    pub fn watch_endpoints(&self, name: &name::App) -> watch::Receiver<Endpoints> {
        let IndexState { endpoint_channels, tables, .. } = &mut *self.state.write();
        endpoint_channels.subscribe(name, tables)
    }

    /// Returns the replicas of an app after `after`, ordered by pod name, at most `limit`. The flag says
    /// whether more follow.
    pub fn list_replicas(
        &self,
        name: &name::App,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Replica>, bool), Error> {
        let state = self.state.read();
        if !state.tables.deployments.contains_key(name) {
            return Err(state.views.missing(name));
        }
        Ok(state.tables.page_of_replicas(name, after, limit))
    }

    /// Returns a channel that wakes after each change in the scope.
    pub fn watch_changes(&self, scope: &Scope) -> watch::Receiver<u64> {
        self.state.write().app_subscriptions.subscribe(scope)
    }

    /// Returns the events about an app and the replicas of one rollout with sequence numbers above `after`,
    /// in the order in which they became known.
    pub fn events_after(&self, name: &name::App, rollout: u64, after: u64) -> Vec<SequencedEvent> {
        let state = self.state.read();
        state.tables.events_after(name, state.carries_rollout(name, rollout), after)
    }
}

// === impl AppFilter ===

impl AppFilter {
    /// Whether the filter selects this app.
    pub fn matches(&self, app: &App) -> bool {
        (self.states.is_empty() || self.states.contains(&app.state)) && self.selector.matches(&app.labels)
    }
}
