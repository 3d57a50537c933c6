//! What Kubernetes says of pods: reasons and messages of the kubelet, the controllers and the API server.

/// Waiting reasons of the kubelet, with a message of each.
pub const WAITING: &[(&str, &str)] = &[
    (
        "ErrImagePull",
        "failed to pull and unpack image \"docker.io/library/shop:9\": docker.io/library/shop:9: not found",
    ),
    (
        "ErrImagePull",
        "failed to do request: Head \"https://docker.io/v2/\": dial tcp 10.0.0.1:443: i/o timeout",
    ),
    ("ImagePullBackOff", "Back-off pulling image \"shop:9\""),
    ("InvalidImageName", "couldn't parse image name \"Shop::9\": invalid reference format"),
    ("ErrImageNeverPull", "Container image \"shop:9\" is not present with pull policy of Never"),
    ("ImageInspectError", "failed to inspect image"),
    ("RegistryUnavailable", "registry is unavailable"),
    ("SignatureValidationFailed", "signature is invalid"),
    ("CreateContainerConfigError", "secret \"db\" not found"),
    ("CreateContainerError", "context deadline exceeded"),
    ("RunContainerError", "exec: \"/nope\": stat /nope: no such file or directory"),
    ("PreCreateHookError", "hook failed"),
    ("PreStartHookError", "hook failed"),
    ("PostStartHookError", "Exec lifecycle hook ([/x]) failed"),
    ("CrashLoopBackOff", "back-off 40s restarting failed container"),
    ("ContainerCreating", ""),
    ("PodInitializing", ""),
];

/// How containers end: the reason, the status and the signal.
pub const ENDS: &[(&str, i32, i32)] = &[
    ("Completed", 0, 0),
    ("Error", 1, 0),
    ("Error", 127, 0),
    ("Error", 137, 0),
    ("Error", 0, 11),
    ("OOMKilled", 137, 0),
    ("StartError", 128, 0),
    ("ContainerCannotRun", 127, 0),
    ("ContainerStatusUnknown", 137, 0),
];

/// Why a pod ended for good; empty if its containers ended.
pub const ENDED: &[&str] =
    &["", "Evicted", "OutOfcpu", "NodeAffinity", "NodeShutdown", "Terminated", "UnexpectedAdmissionError"];

/// Events about pods: type, reason, note.
pub const EVENTS: &[(&str, &str, &str)] = &[
    ("Normal", "Scheduled", "Successfully assigned prod/web to node-1"),
    ("Normal", "Pulling", "Pulling image \"shop:9\""),
    ("Warning", "Failed", "Failed to pull image \"shop:9\": docker.io/library/shop:9: not found"),
    ("Warning", "Failed", "Error: ErrImagePull"),
    ("Normal", "BackOff", "Back-off pulling image \"shop:9\""),
    ("Warning", "BackOff", "Back-off restarting failed container app in pod web"),
    ("Warning", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"),
    ("Warning", "Unhealthy", "Startup probe failed: command timed out"),
    ("Warning", "Unhealthy", "Liveness probe failed: connection refused"),
    ("Warning", "Unhealthy", "Readiness probe errored and resulted in unknown state: rpc error"),
    ("Warning", "FailedMount", "MountVolume.SetUp failed for volume \"conf\" : configmap \"shop\" not found"),
    ("Warning", "FailedAttachVolume", "Multi-Attach error for volume \"pvc-1\""),
    ("Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: plugin type=\"cni\" failed"),
    ("Warning", "FailedPreStopHook", "PreStopHook failed"),
    ("Warning", "Evicted", "The node was low on resource: memory."),
];

/// Messages of refused pods.
pub const REFUSALS: &[&str] = &[
    "pods \"web-2-\" is forbidden: error looking up service account prod/till: serviceaccount \"till\" not found",
    "pods \"web-2-\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2",
    "pods \"web-2-\" is forbidden: failed quota: q: must specify limits.cpu for: app",
    "pods \"web-2-\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
    "pods \"web-2-\" is forbidden: unable to create new content in namespace prod because it is being terminated",
    "Internal error occurred: failed calling webhook \"a.b\": failed to call webhook: Post \"https://x\": context deadline exceeded",
    "etcdserver: request timed out",
    "Operation cannot be fulfilled on resourcequotas \"q\": the object has been modified",
];
