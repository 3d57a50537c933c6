//! Digests that tell equal content. Must not know of what.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The first 128 bits of the SHA-256, in hexadecimal digits.
pub(super) fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
