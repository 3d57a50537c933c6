//! The writes: what the domain planned is done to the cluster, in an order in which a crash at any point does no harm.
//!
//! A deploy writes the revision first, then the Deployment, then what belongs to it, each by server-side apply with one field
//! manager, and last into the revision that all is done; whoever finds a revision without that word completes it.
//!
//! From the top down: `commands`; a file for each command, and for each thing that the daemon does by itself; `carry_out` and `apply`; `dry_run`, `access_review` and
//! `checks`; `snapshot`; `revisions`, `managed_fields`, `scale_subresource`, `idempotency`; `objects`.

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
mod revision_owners;
mod revisions;
mod scale;
mod scale_subresource;
mod secret_values;
mod set_replicas;
mod snapshot;
mod verdict;

pub use self::objects::Writer;
