//! Kinds of the objects of an app, and how Kubernetes names them. Knows no manifest.

use super::name;

/// Kinds of the objects of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// apps/v1 Deployment.
    Deployment,
    /// v1 Service.
    Service,
    /// policy/v1 PodDisruptionBudget.
    Budget,
}

// === impl Kind ===

impl Kind {
    /// Returns the prefix of an object's name in the API of Gantry.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Deployment => "deployment.apps",
            Self::Service => "service",
            Self::Budget => "poddisruptionbudget.policy",
        }
    }

    /// Returns the API group and resource, as the authorization of Kubernetes names them.
    pub const fn resource(self) -> (&'static str, &'static str) {
        match self {
            Self::Deployment => ("apps", "deployments"),
            Self::Service => ("", "services"),
            Self::Budget => ("policy", "poddisruptionbudgets"),
        }
    }

    /// Returns the app's object of this kind as the API of Gantry writes it, for example `service/shop`.
    pub fn object_of(self, app: &name::App) -> String {
        format!("{}/{}", self.prefix(), app.app)
    }
}
