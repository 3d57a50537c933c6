//! The state of the cluster as rows, and one view per app made from them. Synchronous: it is read under a
//! lock that is never held across an await. Must not know how rows arrive or who reads them.
//!
//! ```text
//! rows --update--> tables --publish--> views --> change log, timeline log, channels --query, timeline-->
//! readers
//! ```
//!
//! `state` holds the data of the index. The methods of [`Index`] are in the file of their subject. `update`
//! takes rows in. `query`, `history`, `timeline`, `log_sources`, `autoscaler_inputs` and `pending_work`
//! answer readers. `freshness` compares the index with the cluster.

mod autoscaler_inputs;
mod autoscaler_state;
mod change_log;
mod channels;
mod endpoints;
mod freshness;
mod history;
mod interner;
mod kind;
mod log_sources;
mod pending_work;
mod query;
mod state;
mod subscriptions;
mod tables;
mod timeline;
mod timeline_log;
mod update;
mod views;

pub use self::{
    autoscaler_inputs::AutoscalerInput,
    autoscaler_state::{AutoscalerState, Decision, Leader},
    change_log::{AppChange, ChangeBatch, ChangeCursor},
    endpoints::Endpoints,
    freshness::{IndexSize, RowDifference},
    kind::Kind,
    log_sources::LogSource,
    query::AppFilter,
    state::Index,
    tables::{Row, SequencedEvent},
    timeline::TimelineStart,
    timeline_log::{AuditedCall, TimelineEntry, TimelineEvent},
    views::UnrecordedVerdict,
};

#[cfg(test)]
mod tests;
