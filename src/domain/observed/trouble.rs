//! What keeps a pod from being ready: trouble, or something that it waits for. Pure.

use jiff::Timestamp;

/// What keeps a pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The container; empty if the problem is about the pod itself.
    pub container: String,
    /// Its kind.
    pub kind: TroubleKind,
    /// The reason that Kubernetes gives, for example `ImagePullBackOff`.
    pub reason: String,
    /// The message of Kubernetes.
    pub message: String,
    /// When it began, if Kubernetes says so.
    pub since: Option<Timestamp>,
    /// How the container last ended.
    pub exit: Option<Exit>,
    /// How often that container was started again.
    pub restarts: i32,
}

/// Kinds of [`Trouble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// No node accepts the pod.
    Unschedulable,
    /// The image cannot be pulled.
    Image,
    /// The container's configuration is missing or wrong.
    Config,
    /// The container ended and waits for its next start, as in `CrashLoopBackOff`.
    Crash,
}

/// How a pod ended for good. Kubernetes keeps it for a while, and another pod replaces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The reason that Kubernetes gives, for example `Evicted` or `OutOfcpu`; empty if its containers ended
    /// by themselves.
    pub reason: String,
    /// The message of Kubernetes.
    pub message: String,
    /// When it ended.
    pub time: Timestamp,
    /// The container that ended last, with its exit; `None` if none ran.
    pub exit: Option<(String, Exit)>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit status.
    pub code: i32,
    /// The signal that ended it; 0 if none did.
    pub signal: i32,
    /// The reason that Kubernetes gives: `Error`, `Completed` or `OOMKilled`.
    pub reason: String,
    /// When it ended.
    pub finished: Option<Timestamp>,
}

/// What a pod that is not ready waits for, although nothing is known to be wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The removal of these scheduling gates. Until then the scheduler ignores the pod.
    Gates(Vec<String>),
    /// The end of this init container.
    Init {
        /// Name of the container.
        container: String,
        /// When it was started.
        since: Option<Timestamp>,
    },
    /// The startup probe of this sidecar, which is an init container that keeps running. The containers after
    /// it are started once the probe passes.
    Sidecar {
        /// Name of the container.
        container: String,
        /// When it was started.
        since: Option<Timestamp>,
    },
    /// The probes of these containers, all of which run.
    Containers(Vec<String>),
    /// These conditions, which its readiness gates name. All its containers are ready.
    Conditions(Vec<String>),
}

// === impl Trouble ===

impl Trouble {
    /// Returns how often its container crashed. Each restart follows a crash, and one more crash may still be
    /// waiting for its restart.
    pub fn crashes(&self) -> i32 {
        self.restarts.saturating_add(i32::from(self.kind == TroubleKind::Crash))
    }
}

// === impl Wait ===

impl Wait {
    /// Returns the containers that it waits for.
    pub fn containers(&self) -> &[String] {
        match self {
            Self::Init { container, .. } | Self::Sidecar { container, .. } => std::slice::from_ref(container),
            Self::Containers(containers) => containers,
            Self::Gates(_) | Self::Conditions(_) => &[],
        }
    }
}
