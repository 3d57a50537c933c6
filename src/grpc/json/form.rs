//! The forms of messages outside gRPC, by content type, and the prefix of each message in a stream.

/// Length of the prefix of each message in gRPC and Connect: one byte of flags, four bytes of length.
pub(super) const PREFIX: usize = 5;

/// The form of the messages of a call, by its content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One message each way, without a prefix. A stream is answered with lines.
    Plain(Encoding),
    /// Messages with the prefix of Connect.
    Framed(Encoding),
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
            _ => return None,
        })
    }

    pub(super) const fn encoding(self) -> Encoding {
        match self {
            Self::Plain(encoding) | Self::Framed(encoding) => encoding,
        }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Plain(Encoding::Json) => "application/json",
            Self::Plain(Encoding::Binary) => "application/proto",
            Self::Framed(Encoding::Json) => "application/connect+json",
            Self::Framed(Encoding::Binary) => "application/connect+proto",
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
