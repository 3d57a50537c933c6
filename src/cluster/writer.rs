//! The writes: carries out in the cluster what the domain planned, in an order in which a crash at any point
//! does no harm.
//!
//! A deploy first writes the revision, then the Deployment, then the objects that the Deployment owns. Each
//! object is written by server-side apply with one field manager. At the end the deploy marks the revision as
//! applied. Any gantryd that finds a revision without that mark completes it.
//!
//! The modules, from the top down: `commands`; one file for each command and for each write that the daemon
//! starts without a call; `carry_out` and `apply`; `dry_run`, `access_review` and `checks`; `snapshot`;
//! `revisions`, `managed_fields`, `scale_subresource`, `idempotency`; `objects`.

mod access_review;
mod apply;
mod autoscaler_policy;
mod carry_out;
mod checks;
mod commands;
mod conflict;
mod delete;
mod deploy;
mod dry_run;
mod external_revision;
mod field_ownership;
mod idempotency;
mod managed_fields;
mod objects;
mod other_autoscalers;
mod pause;
mod port_removal;
mod revision_owners;
mod revisions;
mod scale;
mod scale_subresource;
mod secret_values;
mod set_replicas;
mod snapshot;
mod verdict;

pub use self::objects::Writer;
