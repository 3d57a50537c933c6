//! The generated code of `proto/gantry/v1`.
#![allow(
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    clippy::use_self,
    clippy::wildcard_enum_match_arm
)]

tonic::include_proto!("gantry.v1");
