//! The gRPC and HTTP API: one file per service, with the parsing of requests, the conversion of answers, and
//! the one translation of errors to statuses. Must not know Kubernetes: it reads the index, and makes changes
//! through [`crate::domain::commands::Commands`].

mod app;
mod autoscaler;
mod call;
mod codec;
mod context;
mod convert;
mod discovery;
mod execute;
mod health;
mod idempotency;
mod info;
mod json;
mod layers;
mod loopback;
mod pagination;
mod parse;
mod reflection;
mod replica_list;
mod rollout;
mod schema;
mod serve;
mod server;
mod status;
mod stream;
mod timeline;
mod turns;
mod validate;

pub(crate) use self::codec::Codec;
pub use self::context::{Connection, Context};
pub use self::health::Health;
pub use self::idempotency::IdempotencyCache;
pub use self::layers::origin::{InvalidOrigin, Origin};
pub use self::loopback::is_loopback_host;
pub use self::serve::{Args, serve};
pub use self::server::{RouterError, router};
pub use self::turns::Turns;
