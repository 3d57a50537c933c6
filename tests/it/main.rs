//! Tests without a cluster: the server in this process with an index fed by hand, and the walls of the house.

#![allow(missing_docs, clippy::expect_used, clippy::unwrap_used)]

mod errors;
mod reading;
mod shutdown;
mod support;
mod walls;
mod watching;
