//! Where an app's replicas can be reached: pods, what EndpointSlices say of them, and the names of ports, as
//! one set. Pure; how rows are found is not its business.

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

/// Name of the port that is meant when none is named and there are several.
const PREFERRED: &str = "grpc";

/// All replicas of one app that have an address, in the order of their pods' names.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// The app.
    pub app: name::App,
    /// Ports of the app as it is wanted now, the container's own and those of its Services.
    ports: Ports,
    /// Whether those of the Services are known: they show only in slices that hold a replica.
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
    /// Where it stands.
    pub state: State,
    /// Zone of its node.
    pub zone: Option<Arc<str>>,
    /// Its node.
    pub node: Option<Arc<str>>,
    /// Number of the rollout that it belongs to.
    pub rollout: Option<u64>,
    ports: Arc<Ports>,
}

/// Where an endpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Takes traffic.
    Ready,
    /// Finishes what it has, takes nothing new.
    Draining,
    /// Not ready to take traffic.
    Unready,
}

/// Ports by name. A port without a name is named by its number, which no name of Kubernetes can be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ports {
    /// Those that the container declares.
    own: BTreeSet<(String, u16)>,
    /// Those of the Services that stand for it.
    services: BTreeSet<(String, u16)>,
}

/// A pod with what is known around it.
pub struct PodContext<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What the slices that hold it say of it; any order, and one more than once makes no difference.
    pub slices: Vec<(&'a EndpointSlice, &'a SlicePod)>,
    /// Zone of its node, if that is known.
    pub zone: Option<Arc<str>>,
    /// Number of the rollout that it belongs to.
    pub rollout: Option<u64>,
    /// Ports that its container declares.
    pub ports: &'a [spec::Port],
}

// === impl Set ===

impl Set {
    /// The set of an app that wants these ports. `ours`: this server made it, so its Service has the
    /// container's port names.
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
            // A pod that is ready and in no slice has no Service: a slice holds it from its address on.
            complete |= context.pod.ready || !context.slices.is_empty();
            let Some(mut endpoint) = Endpoint::new(&context) else { continue };
            ports.services.extend(endpoint.ports.services.iter().cloned());
            // Replicas of one template have the same ports; they are kept once.
            if let Some(last) = endpoints.last().filter(|last| last.ports == endpoint.ports) {
                endpoint.ports = last.ports.clone();
            }
            endpoints.push(endpoint);
        }
        endpoints.sort_by(|one, other| one.pod.cmp(&other.pod));
        Self { app, ports, complete, endpoints }
    }

    /// Refuses a port that the app does not have. Empty means the only one, or the one named `grpc`.
    pub fn check(&self, port: &str) -> Result<(), Error> {
        // An app without any port has no endpoints, and that is no mistake of the caller.
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
                    format!("is required: the app has several ports and none named grpc; it has {known}")
                }
                (port, "") => format!("\"{port}\" is no port of the app; it has none"),
                (port, known) => format!("\"{port}\" is no port of the app; it has {known}"),
            },
        ))
    }

    /// Name of the port that is meant when none is named.
    pub fn default_port(&self) -> Option<&str> {
        let number = self.ports.number("")?;
        let mut all = self.ports.own.iter().chain(&self.ports.services);
        all.find(|(_, known)| *known == number).map(|(name, _)| name.as_str())
    }

    /// The endpoints at a port, with its number. Unless `unready`, only those that take traffic.
    pub fn at<'a>(&'a self, port: &'a str, unready: bool) -> impl Iterator<Item = (&'a Endpoint, u16)> {
        let wanted = move |e: &&Endpoint| unready || e.state == State::Ready;
        self.endpoints.iter().filter(wanted).filter_map(move |e| Some((e, e.ports.number(port)?)))
    }

    /// Tells two selections apart without keeping one of them.
    pub fn fingerprint(&self, port: &str, unready: bool) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        self.app.hash(&mut hasher);
        for (e, number) in self.at(port, unready) {
            (&e.pod, e.address, e.state, &e.zone, &e.node, e.rollout, number).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Replicas of an earlier template may still have a port that the app gives up.
    fn has_earlier(&self, port: &str) -> bool {
        !port.is_empty() && self.endpoints.iter().any(|e| e.ports.number(port).is_some())
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// `None` for a pod that has no address yet.
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
    /// Where a pod stands as an endpoint, with what slices say of it.
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

/// Slices follow the pod by a moment, so each must agree. A slice of a Service that publishes unready pods
/// (ready, and yet not serving) is its owner's wish.
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

    /// The container's own names come first: a Service may give one of them to another number.
    fn number(&self, asked: &str) -> Option<u16> {
        let by_name = |name: &str| {
            self.own.iter().chain(&self.services).find(|(known, _)| known == name).map(|(_, number)| *number)
        };
        if !asked.is_empty() {
            return by_name(asked);
        }
        // What the container declares are the app's ports. Many declare none; then those that its Services
        // lead to are.
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
