//! Rust client of Gantry: the generated code of `gantry.v1`, and the little that every caller would otherwise
//! write again.
//!
//! - [`Client`] connects, repeats calls while the daemon is not available, and pages through lists; changes
//!   carry a `request_id`, so that repeating them is safe;
//! - [`name`] turns `shop` or `prod/shop` into resource names;
//! - [`Error`] holds the details of an error, decoded;
//! - [`watch`] resumes a stream where it broke off.
//!
//! It must not know about terminals, files or the environment.
//!
//! ```no_run
//! # async fn example() -> Result<(), gantry_client::Error> {
//! use gantry_client::{Client, name, v1};
//!
//! let client = Client::connect(gantry_client::DEFAULT_ADDRESS).await?;
//! let shop = name::App::parse("prod/shop", "default")?;
//! let spec = v1::AppSpec { image: "shop:1.4".into(), ..Default::default() };
//! let app = v1::App { name: shop.to_string(), spec: Some(spec), ..Default::default() };
//! let request = v1::DeployAppRequest { app: Some(app), ..Default::default() };
//! let deployed = client.deploy_app(request).await?;
//! println!("{deployed:?}");
//! # Ok(()) }
//! ```

mod auth;
mod backoff;
mod calls;
mod client;
pub mod error;
pub mod name;
pub mod v1;
pub mod watch;
mod write;

pub use auth::{Bearer, Token};
pub use client::{Client, DEFAULT_ADDRESS, Options, Transport};
pub use error::Error;
pub use tonic::Code;
pub use write::{Write, request_id};

/// The compiled contract with all its imports (a `google.protobuf.FileDescriptorSet`), for JSON and
/// reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
