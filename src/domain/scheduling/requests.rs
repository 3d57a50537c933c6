//! What a pod asks for, from its containers. Knows neither nodes nor scores.

use std::collections::BTreeMap;

use super::amounts::Amounts;

/// What the scheduler's scores, not its filters, take a container for that asks for no CPU: thousandths of a
/// core.
const UNASKED_CPU: i64 = 100;
/// And for no memory.
const UNASKED_MEMORY: i64 = 200 * 1024 * 1024;

/// What a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRequests {
    /// What is reserved for it.
    pub exact: Amounts,
    /// The same for scores, where a container that asks for nothing counts for something.
    pub weighed: Amounts,
}

/// A container's part in that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// Quantities by resource.
    pub requests: BTreeMap<String, String>,
    /// An init container that keeps running.
    pub sidecar: bool,
}

/// Adds up a pod. Containers run together, init containers before them one after the other, each beside the
/// sidecars that were started before it; so the pod needs whichever is more. What is asked for the pod as a
/// whole counts instead of its parts; the overhead of its runtime comes on top.
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
