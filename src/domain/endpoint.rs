//! The endpoints of an app: its pods, what EndpointSlices say about them, and the names of their ports. Pure;
//! must not know how rows are found.

use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use super::{
    Error, name,
    observed::{EndpointSlice, Pod, SlicePod},
    spec,
};

/// The port that is used if the caller names none and the app has several.
const PREFERRED: &str = "grpc";

/// All replicas of one app that have an address, sorted by pod name.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// The app.
    pub app: name::App,
    /// Ports of the current desired state: those of the container and those of its Services.
    ports: Ports,
    /// Whether the ports of the Services are known. They appear only in EndpointSlices that contain a
    /// replica.
    complete: bool,
    endpoints: Vec<Endpoint>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Name of its pod.
    pub pod: Arc<str>,
    /// Its address.
    pub address: IpAddr,
    /// Whether it takes traffic.
    pub state: State,
    /// Zone of its node.
    pub zone: Option<Arc<str>>,
    /// Its node.
    pub node: Option<Arc<str>>,
    /// Number of its rollout.
    pub rollout: Option<u64>,
    ports: Arc<Ports>,
}

/// Whether an endpoint takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Takes traffic.
    Ready,
    /// Finishes running requests and takes no new ones.
    Draining,
    /// Not ready to take traffic.
    Unready,
}

/// Ports by name. A port without a name gets its number as its name, which cannot collide with a port name of
/// Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ports {
    /// Ports that the container declares.
    own: BTreeSet<(String, u16)>,
    /// Ports of the Services that select the replica.
    services: BTreeSet<(String, u16)>,
}

/// A pod with what is known about its surroundings.
pub struct PodContext<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// The EndpointSlices that contain the pod, with the pod's entry in each. Order and duplicates do not
    /// matter.
    pub slices: Vec<(&'a EndpointSlice, &'a SlicePod)>,
    /// Zone of its node, if that is known.
    pub zone: Option<Arc<str>>,
    /// Number of its rollout.
    pub rollout: Option<u64>,
    /// Ports that its container declares.
    pub ports: &'a [spec::Port],
}

// === impl Set ===

impl Set {
    /// Builds the set of an app that wants these ports. `ours` says that Gantry manages the app, so its
    /// Service has the container's port names.
    pub fn new<'a>(
        app: name::App,
        wanted: &[spec::Port],
        ours: bool,
        replicas: impl IntoIterator<Item = PodContext<'a>>,
    ) -> Self {
        let mut ports = Ports::new(wanted, &[]);
        let mut complete = ours;
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for context in replicas {
            // A pod that is ready and in no EndpointSlice has no Service: an EndpointSlice contains a pod as
            // soon as it has an address.
            complete |= context.pod.ready || !context.slices.is_empty();
            let Some(mut endpoint) = Endpoint::new(&context) else { continue };
            ports.services.extend(endpoint.ports.services.iter().cloned());
            // Replicas of one template have the same ports, so they share one copy.
            if let Some(last) = endpoints.last().filter(|last| last.ports == endpoint.ports) {
                endpoint.ports = last.ports.clone();
            }
            endpoints.push(endpoint);
        }
        endpoints.sort_by(|one, other| one.pod.cmp(&other.pod));
        Self { app, ports, complete, endpoints }
    }

    /// Returns an error if the app does not have this port. An empty name means the only port, or the one
    /// named `grpc`.
    pub fn check(&self, port: &str) -> Result<(), Error> {
        // An app without ports has no endpoints. That is not a mistake of the caller.
        let unasked_none = port.is_empty() && self.ports.is_empty();
        if unasked_none || self.ports.number(port).is_some() || self.has_earlier(port) || !self.complete {
            return Ok(());
        }
        let known: BTreeSet<&str> = self.ports.names().collect();
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        Err(Error::invalid(
            "port",
            match (port, known.as_str()) {
                ("", known) => {
                    format!(
                        "is required because the app has several ports and none is named grpc; its ports are {known}"
                    )
                }
                (port, "") => format!("\"{port}\" is not a port of the app; it has no ports"),
                (port, known) => format!("\"{port}\" is not a port of the app; its ports are {known}"),
            },
        ))
    }

    /// Returns the name of the port that is used if the caller names none.
    pub fn default_port(&self) -> Option<&str> {
        let number = self.ports.number("")?;
        let mut all = self.ports.own.iter().chain(&self.ports.services);
        all.find(|(_, known)| *known == number).map(|(name, _)| name.as_str())
    }

    /// Returns the endpoints that have this port, each with its number. Without `unready`, only those that
    /// take traffic.
    pub fn at<'a>(&'a self, port: &'a str, unready: bool) -> impl Iterator<Item = (&'a Endpoint, u16)> {
        let wanted = move |e: &&Endpoint| unready || e.state == State::Ready;
        // Replicas of an earlier template may have more ports, of which the default is one, or another name
        // for it.
        let name = if port.is_empty() { self.default_port().unwrap_or_default() } else { port };
        let number = move |e: &Endpoint| e.ports.number(name).or_else(|| e.ports.number(port));
        self.endpoints.iter().filter(wanted).filter_map(move |e| Some((e, number(e)?)))
    }

    /// Returns a hash that differs if the selection differs, so that a selection need not be stored.
    pub fn fingerprint(&self, port: &str, unready: bool) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.app.hash(&mut hasher);
        for (e, number) in self.at(port, unready) {
            (&e.pod, e.address, e.state, &e.zone, &e.node, e.rollout, number).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Returns whether a replica of an earlier template still has a port that the app no longer declares.
    fn has_earlier(&self, port: &str) -> bool {
        !port.is_empty() && self.endpoints.iter().any(|e| e.ports.number(port).is_some())
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// Builds an endpoint; `None` if the pod has no address yet.
    fn new(context: &PodContext<'_>) -> Option<Self> {
        let PodContext { pod, slices, .. } = context;
        let state = State::of(pod, slices);
        let by_slices = || slices.iter().filter_map(|(_, at)| at.zone.as_ref()).min().cloned();
        Some(Self {
            pod: pod.name.clone(),
            address: pod.address?,
            state,
            zone: context.zone.clone().or_else(by_slices),
            node: pod.node.clone(),
            rollout: context.rollout,
            ports: Arc::new(Ports::new(context.ports, slices)),
        })
    }
}

impl State {
    /// Computes the state of a pod from the pod and its EndpointSlices.
    pub fn of(pod: &Pod, slices: &[(&EndpointSlice, &SlicePod)]) -> Self {
        if pod.deleting || slices.iter().any(|(_, at)| at.terminating) {
            Self::Draining
        } else if takes_traffic(pod, slices) {
            Self::Ready
        } else {
            Self::Unready
        }
    }
}

/// Returns whether the pod takes traffic. EndpointSlices follow the pod with a delay, so all of them must
/// agree. If a slice says ready but not serving, the owner of the Service chose to publish pods that are not
/// ready.
fn takes_traffic(pod: &Pod, slices: &[(&EndpointSlice, &SlicePod)]) -> bool {
    let published = slices.iter().any(|(_, at)| at.ready && !at.serving);
    slices.iter().all(|(_, at)| at.ready) && (pod.ready || published)
}

// === impl Ports ===

impl Ports {
    fn new(own: &[spec::Port], slices: &[(&EndpointSlice, &SlicePod)]) -> Self {
        let named = |name: &str, number: u16| {
            (if name.is_empty() { number.to_string() } else { name.to_owned() }, number)
        };
        let services = slices.iter().flat_map(|(slice, _)| &slice.ports);
        Self {
            own: own.iter().map(|p| named(&p.name, p.number)).collect(),
            services: services.map(|p| named(&p.name, p.number)).collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.services.is_empty()
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.own.iter().chain(&self.services).map(|(name, _)| name.as_str())
    }

    /// Finds the number of a port. The container's own names come first, because a Service may give the same
    /// name to another number.
    fn number(&self, asked: &str) -> Option<u16> {
        let by_name = |name: &str| {
            self.own.iter().chain(&self.services).find(|(known, _)| known == name).map(|(_, number)| *number)
        };
        if !asked.is_empty() {
            return by_name(asked);
        }
        // The ports that the container declares are the app's ports. If it declares none, the target ports of
        // its Services are.
        let declared = if self.own.is_empty() { &self.services } else { &self.own };
        let numbers: BTreeSet<u16> = declared.iter().map(|(_, number)| *number).collect();
        match numbers.len() {
            1 => numbers.first().copied(),
            _ => by_name(PREFERRED),
        }
    }
}

#[cfg(test)]
mod tests;
