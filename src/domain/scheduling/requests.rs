//! The resource requests of a pod, computed from its containers. Knows neither nodes nor scores.

use std::collections::BTreeMap;

use super::amounts::Amounts;

/// Thousandths of a core that the scheduler's scores, but not its filters, assume for a container without a
/// CPU request.
const UNASKED_CPU: i64 = 100;
/// The same for memory, in bytes.
const UNASKED_MEMORY: i64 = 200 * 1024 * 1024;

/// The resource requests of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRequests {
    /// What the filters count, and what is reserved on the node.
    pub exact: Amounts,
    /// What the scores count, with an assumed amount for containers without requests.
    pub weighed: Amounts,
}

/// What a container contributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Quantities by resource.
    pub requests: BTreeMap<String, String>,
    /// Whether it is an init container that keeps running.
    pub sidecar: bool,
}

/// Computes the requests of a pod. Containers run together. Init containers run before them, one after the
/// other, each beside the sidecars that started earlier. The pod needs the larger of the two sums. A request
/// for the pod as a whole replaces the sum of its containers, and the overhead of the container runtime is
/// added.
///
/// The rule:
/// <https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/753-sidecar-containers#resources-calculation-for-scheduling-and-pod-admission>.
pub fn compute_pod_requests(
    init: &[Container],
    containers: &[Container],
    whole: &BTreeMap<String, String>,
    overhead: &BTreeMap<String, String>,
) -> PodRequests {
    let sum = |weighed: bool| {
        let of = |container: &Container| {
            let mut amounts = Amounts::read(&container.requests);
            if weighed && !container.requests.contains_key("cpu") {
                amounts.cpu = UNASKED_CPU;
            }
            if weighed && !container.requests.contains_key("memory") {
                amounts.memory = UNASKED_MEMORY;
            }
            amounts
        };
        let (mut running, mut sidecars, mut starting) =
            (Amounts::default(), Amounts::default(), Amounts::default());
        for container in containers {
            running.add(&of(container), 1);
        }
        for container in init {
            let mut step = of(container);
            if container.sidecar {
                running.add(&step, 1);
                sidecars.add(&step, 1);
                step = sidecars.clone();
            } else {
                step.add(&sidecars, 1);
            }
            starting.max(&step);
        }
        running.max(&starting);
        let named = Amounts::read(whole);
        for name in whole.keys() {
            match name.as_str() {
                "cpu" => running.cpu = named.cpu,
                "memory" => running.memory = named.memory,
                huge if huge.starts_with("hugepages-") => {
                    running.others.insert(huge.to_owned(), named.of(huge));
                }
                _ => {}
            }
        }
        running.add(&Amounts::read(overhead), 1);
        running
    };
    PodRequests { exact: sum(false), weighed: sum(true) }
}
