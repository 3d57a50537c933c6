//! Digests that identify equal content. Must not know what the content is.

use sha2::{Digest, Sha256};

/// Returns the first 128 bits of the SHA-256, in hexadecimal digits.
pub(super) fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    format!("{:.32x}", Sha256::digest(bytes))
}
