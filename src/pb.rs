//! The generated code of `proto/gantry/v1`, and nothing else.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    rustdoc::all,
    clippy::all,
    clippy::pedantic,
    clippy::use_self,
    clippy::wildcard_enum_match_arm
)]

tonic::include_proto!("gantry.v1");

/// The API with its imports and comments, as reflection serves it: a serialized
/// `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
