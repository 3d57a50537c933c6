//! What readers ask for: one object by its name (`get_`), a page of many (`list_`), what is new (`_after`), a
//! signal when there is something new (`watch_`).

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

/// Which apps a list wants.
#[derive(Clone, Debug, Default)]
pub struct AppFilter {
    /// Labels of the Deployment.
    pub selector: Selector,
    /// One of these; empty means any.
    pub states: Vec<State>,
}

// === impl Index ===

impl Index {
    /// One app.
    pub fn get_app(&self, name: &name::App) -> Result<Arc<App>, Error> {
        let state = self.state.read();
        state.views.app(name).ok_or_else(|| state.views.missing(name))
    }

    /// One rollout.
    pub fn get_rollout(&self, name: &name::Rollout) -> Result<Arc<Rollout>, Error> {
        self.state.read().rollout(name)
    }

    /// Rollouts of an app, newest first, those with numbers below `before`, at most `limit`. The flag says
    /// that more follow.
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

    /// The autoscaler outside Gantry that owns an app's replica count:
    /// `horizontalpodautoscaler.autoscaling/shop`.
    pub fn autoscaler_of(&self, app: &name::App) -> Option<String> {
        self.state.read().tables.autoscaler_of(app)
    }

    /// Apps of a scope in the order of their names, those after `after`, at most `limit`. The flag says that
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

    /// Changes of a scope after a cursor: each app at most once, in its latest state. `None` begins with a
    /// snapshot, and so does a cursor of another process, or one that is too old.
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

    /// Where the replicas of an app are.
    pub fn get_endpoints(&self, name: &name::App) -> Result<Arc<endpoint::Set>, Error> {
        let state = self.state.read();
        let found = state.endpoint_channels.latest(name).or_else(|| state.tables.endpoints(name));
        found.ok_or_else(|| state.views.missing(name))
    }

    /// Follows where the replicas of an app are; it may not exist.
    pub fn watch_endpoints(&self, name: &name::App) -> watch::Receiver<Endpoints> {
        let IndexState { endpoint_channels, tables, .. } = &mut *self.state.write();
        endpoint_channels.subscribe(name, tables)
    }

    /// Replicas of an app in the order of their pods' names, those after `after`, at most `limit`. The flag
    /// says that more follow.
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

    /// Wakes after each change of the scope.
    pub fn watch_changes(&self, scope: &Scope) -> watch::Receiver<u64> {
        self.state.write().app_subscriptions.subscribe(scope)
    }

    /// Events about the app and the replicas of one rollout, later than `after`, in the order in which they
    /// became known.
    pub fn events_after(&self, name: &name::App, rollout: u64, after: u64) -> Vec<SequencedEvent> {
        let state = self.state.read();
        state.tables.events_after(name, state.carries_rollout(name, rollout), after)
    }
}

// === impl AppFilter ===

impl AppFilter {
    /// Whether the list wants this app.
    pub fn matches(&self, app: &App) -> bool {
        (self.states.is_empty() || self.states.contains(&app.state)) && self.selector.matches(&app.labels)
    }
}
