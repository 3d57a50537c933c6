//! The caller of a call. How it is identified is decided elsewhere.

use std::fmt;

/// The Kubernetes user on whose behalf a call is carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The name, for example `system:serviceaccount:ci:deployer`.
    pub user: String,
}

// === impl Caller ===

impl Caller {
    /// Creates the caller with this user name.
    pub fn named(user: impl Into<String>) -> Self {
        Self { user: user.into() }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)
    }
}
