//! The side that callers see: one file per service, parsing in, converting out, and the one translation of errors. Must not
//! know Kubernetes: it reads the index and asks [`crate::domain::commands::Commands`] to change things.

mod app;
mod autoscaler;
mod call;
mod codec;
mod context;
mod convert;
mod discovery;
mod execute;
mod idempotency;
mod info;
mod json;
mod layers;
mod loopback;
mod pagination;
mod parse;
mod replica_list;
mod rollout;
mod schema;
mod serve;
mod server;
mod status;
mod stream;
mod timeline;
mod validate;

pub(crate) use self::codec::Codec;
pub use self::context::{Connection, Context};
pub use self::idempotency::IdempotencyCache;
pub use self::layers::origin::{InvalidOrigin, Origin};
pub use self::loopback::is_loopback_host;
pub use self::serve::{Args, serve};
pub use self::server::{Health, RouterError, router};
