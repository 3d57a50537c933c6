//! Requests with an id whose answer must outlive the process: those that left a revision are known by it; the others are kept in an
//! annotation of the Deployment, and deletions, with which the Deployment goes, in a Lease.

pub(super) mod annotation;
pub(super) mod lease;
