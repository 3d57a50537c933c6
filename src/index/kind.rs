//! The kinds of objects that the index holds.

/// What the index holds rows of, one watch each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// apps/v1 Deployments.
    Deployments,
    /// apps/v1 ReplicaSets.
    ReplicaSets,
    /// v1 Pods.
    Pods,
    /// v1 Events.
    Events,
    /// apps/v1 ControllerRevisions that Gantry wrote.
    Revisions,
    /// discovery.k8s.io/v1 EndpointSlices.
    EndpointSlices,
    /// v1 Nodes.
    Nodes,
    /// autoscaling/v2 HorizontalPodAutoscalers.
    HorizontalPodAutoscalers,
    /// keda.sh/v1alpha1 ScaledObjects; there are none where KEDA is not installed.
    ScaledObjects,
}

// === impl Kind ===

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Deployments,
        Self::ReplicaSets,
        Self::Pods,
        Self::Events,
        Self::Revisions,
        Self::EndpointSlices,
        Self::Nodes,
        Self::HorizontalPodAutoscalers,
        Self::ScaledObjects,
    ];

    /// Its resource name in Kubernetes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployments => "deployments",
            Self::ReplicaSets => "replicasets",
            Self::Pods => "pods",
            Self::Events => "events",
            Self::Revisions => "controllerrevisions",
            Self::EndpointSlices => "endpointslices",
            Self::Nodes => "nodes",
            Self::HorizontalPodAutoscalers => "horizontalpodautoscalers",
            Self::ScaledObjects => "scaledobjects",
        }
    }

    /// Whether the rest is of use without it: a replica's own readiness says what slices say, a node says
    /// only its zone, and an autoscaler only who decides the count. A cluster that does not have it, or a
    /// server that may not read it, goes on.
    pub const fn is_optional(self) -> bool {
        match self {
            Self::EndpointSlices | Self::Nodes | Self::HorizontalPodAutoscalers | Self::ScaledObjects => true,
            Self::Deployments | Self::ReplicaSets | Self::Pods | Self::Events | Self::Revisions => false,
        }
    }
}
