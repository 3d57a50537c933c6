//! The forms of messages outside gRPC, by content type, and how a call in one of them is translated.

use tonic::Status;

use super::path::Spelling;
use crate::grpc::schema::Method;

/// Length of the prefix of each message in gRPC and Connect: one byte of flags, four bytes of length.
pub(super) const PREFIX: usize = 5;

/// The form of the messages of a call, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One message each way, without a prefix. A stream is answered with lines.
    Plain(Encoding),
    /// Messages with the prefix of Connect.
    Framed(Encoding),
    /// JSON messages with the prefix of gRPC-Web. Binary ones are translated by a layer of their own.
    Web,
}

/// The encoding of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Json,
    Binary,
}

// === impl Form ===

impl Form {
    pub(super) fn from_content_type(kind: &str) -> Option<Self> {
        Some(match kind {
            "application/json" => Self::Plain(Encoding::Json),
            "application/proto" => Self::Plain(Encoding::Binary),
            "application/connect+json" => Self::Framed(Encoding::Json),
            "application/connect+proto" => Self::Framed(Encoding::Binary),
            "application/grpc-web+json" => Self::Web,
            _ => return None,
        })
    }

    pub(super) const fn encoding(self) -> Encoding {
        match self {
            Self::Plain(encoding) | Self::Framed(encoding) => encoding,
            Self::Web => Encoding::Json,
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Plain(Encoding::Json) => "application/json",
            Self::Plain(Encoding::Binary) => "application/proto",
            Self::Framed(Encoding::Json) => "application/connect+json",
            Self::Framed(Encoding::Binary) => "application/connect+proto",
            Self::Web => "application/grpc-web+json",
        }
    }
}

/// How one call is translated.
#[derive(Clone)]
pub(super) struct Translation {
    pub(super) form: Form,
    pub(super) method: &'static Method,
    pub(super) spelling: Spelling,
}

// === impl Translation ===

impl Translation {
    pub(super) fn new(form: Form, method: &'static Method) -> Self {
        Self { form, method, spelling: Spelling::default() }
    }

    /// Returns an error with the field names that the caller uses.
    pub(super) fn respell(&self, status: Status) -> Status {
        match self.form.encoding() {
            Encoding::Json => self.spelling.respell(&self.method.input, status),
            Encoding::Binary => status,
        }
    }
}

/// Returns a message with its prefix.
pub(super) fn frame_message(flags: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = Vec::with_capacity(PREFIX + message.len());
    framed.push(flags);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    framed
}
