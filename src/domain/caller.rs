//! Who a call is made for. Knows no way to find that out.

use std::fmt;

/// The Kubernetes user that a call is made for, from the wire to the write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its name, for example `system:serviceaccount:ci:deployer`.
    pub user: String,
}

// === impl Caller ===

impl Caller {
    /// The user of this name.
    pub fn named(user: impl Into<String>) -> Self {
        Self { user: user.into() }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)
    }
}
