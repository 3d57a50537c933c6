//! The kinds of objects that the index holds.

/// A kind of objects that the index holds. Each kind has one watch.
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
    /// keda.sh/v1alpha1 ScaledObjects. There are none where KEDA is not installed.
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

    /// Returns its resource name in Kubernetes.
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

    /// Whether the index is useful without this kind. Without EndpointSlices, the readiness of a pod says
    /// nearly the same. A Node adds only its zone and whether it is ready, and an external autoscaler only
    /// who sets the replica count. The daemon goes on without an optional kind that the cluster does not have
    /// or that it may not read.
    pub const fn is_optional(self) -> bool {
        match self {
            Self::EndpointSlices | Self::Nodes | Self::HorizontalPodAutoscalers | Self::ScaledObjects => true,
            Self::Deployments | Self::ReplicaSets | Self::Pods | Self::Events | Self::Revisions => false,
        }
    }
}
