//! Decides which ports the Service of an app has: while a rollout runs, what both the earlier and the new
//! replicas need, and afterwards what the new ones need. Also decides which ports that other field managers
//! put into the Service are made to send to the app. Pure; knows no manifest and no API.
//!
//! The rules are in docs/adr/0017, and for callers at `Port` in app.proto.

use std::collections::{BTreeMap, BTreeSet};

use super::spec::{Port, Protocol};

/// The protocol of every port of an app.
const TCP: &str = "TCP";

/// A port that a Service has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty for the only port of a Service, which needs none.
    pub name: String,
    /// Its number. Number and protocol identify it.
    pub number: u16,
    /// Its transport protocol, for example `TCP`.
    pub protocol: String,
    /// Where it sends to.
    pub target: Target,
    /// Whether Gantry's field manager owns it.
    pub ours: bool,
    /// Whether another field manager made it, alone or too. One that only set a field of it did not.
    pub others: bool,
}

/// The port of a replica that a port of a Service sends to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The port that the replica declares under this name. A replica without it gets nothing.
    Name(String),
    /// This number, whether the replica declares it or not.
    Number(u16),
}

/// A port of the Service that Gantry applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: u16,
    /// Its name; `None` leaves the name to the field manager that made the port.
    pub name: Option<String>,
    /// Where it sends to.
    pub target: Target,
    /// The application protocol; `None` leaves it to the field manager that made the port.
    pub protocol: Option<Protocol>,
}

/// The ports of the templates whose replicas a Service has to reach.
#[derive(Clone, Copy, Debug)]
pub struct Templates<'a> {
    /// Ports of each earlier template that may still have replicas, oldest first. Empty once the rollout
    /// succeeded, or if the new ports contain all of the earlier ones.
    pub earlier: &'a [Vec<Port>],
    /// Ports of the new template.
    pub new: &'a [Port],
}

/// Returns the ports of earlier templates that the Service needs until a rollout to the `new` ports succeeds:
/// each list once, oldest first. Empty if the new ports contain all of them.
pub fn earlier_ports<'a>(lists: impl IntoIterator<Item = &'a [Port]>, new: &[Port]) -> Vec<Vec<Port>> {
    let mut known: Vec<Vec<Port>> = Vec::new();
    for ports in lists {
        let is_same = |other: &Vec<Port>| {
            other.len() == ports.len() && ports.iter().all(|port| has(other, &port.name, port.number))
        };
        if !ports.is_empty() && !known.iter().any(is_same) {
            known.push(ports.to_vec());
        }
    }
    let missing = |port: &Port| !has(new, &port.name, port.number);
    if known.iter().flatten().any(missing) { known } else { Vec::new() }
}

/// Returns the ports of other field managers, by number, that a change makes send to a port of the app, each
/// with the name of that port. `before` are the ports of the app before the change.
///
/// A port that the change leaves as it is takes nothing over. A changed port takes over what sent to it
/// before. A new port takes over what has its number or its name.
pub fn find_takeovers(before: &[Port], new: &[Port], live: &[ServicePort]) -> BTreeMap<u16, String> {
    let changed = || new.iter().filter(|port| !has(before, &port.name, port.number));
    let added = || changed().filter(|port| before.iter().all(|earlier| earlier.name != port.name));
    let receiver = |taken: &ServicePort| {
        let sent_to = before.iter().find(|port| taken.target.is(port));
        let Some(sent_to) = sent_to else {
            let by_number = changed().find(|port| port.number == taken.number);
            return by_number
                .or_else(|| added().find(|port| port.name == taken.name))
                .filter(|port| !taken.target.is(port));
        };
        if new.iter().any(|port| taken.target.is(port)) {
            return None;
        }
        let only = || Some(added().next()?).filter(|_| added().count() == 1);
        changed()
            .find(|port| port.name == sent_to.name)
            // The same port under another name.
            .or_else(|| changed().find(|port| port.number == sent_to.number))
            .or_else(|| added().find(|port| port.name == taken.name))
            .or_else(only)
    };
    live.iter()
        .filter(|port| port.others && port.protocol == TCP)
        .filter_map(|port| Some((port.number, receiver(port)?.name.clone())))
        .collect()
}

/// Returns the ports of the Service that Gantry applies. `takeovers` is the result of [`find_takeovers`],
/// and `live` are the ports that the Service has.
pub fn decide_entries(
    templates: Templates<'_>,
    takeovers: &BTreeMap<u16, String>,
    live: &[ServicePort],
) -> Vec<Entry> {
    let of_others: Vec<_> = live.iter().filter(|port| port.others).collect();
    let shared = shared_entries(templates, takeovers, live);
    let mut entries = own_entries(templates, live);
    let applied = |port: &ServicePort, own: &[Entry]| {
        let is_it = |entry: &Entry| entry.number == port.number;
        takeovers.contains_key(&port.number) || shared.iter().any(is_it) || port.ours && own.iter().any(is_it)
    };
    let taken: BTreeSet<u16> =
        of_others.iter().filter(|port| applied(port, &entries)).map(|port| port.number).collect();
    let is_blocked = |entry: &Entry| {
        of_others.iter().any(|port| {
            let is_taken = port.protocol == TCP && taken.contains(&port.number);
            if port.number == entry.number && port.protocol == TCP {
                return !is_taken;
            }
            // A Service with a port without a name can have no other port.
            port.name.is_empty() || !is_taken && Some(&port.name) == entry.name.as_ref()
        })
    };
    entries.retain(|entry| !is_blocked(entry));
    let owned: BTreeSet<u16> = entries.iter().map(|entry| entry.number).collect();
    // The name stays with a port that others made and that sends to the app, unless that gets another name.
    let stays = |port: &ServicePort| port.protocol != TCP || !owned.contains(&port.number);
    let kept: BTreeSet<&str> =
        of_others.iter().filter(|port| stays(port)).map(|port| port.name.as_str()).collect();
    for entry in &mut entries {
        if let Some(name) = entry.name.take_if(|name| kept.contains(name.as_str())) {
            entry.name = Some(further_name(&name, entry.number));
        }
    }
    entries.extend(shared.into_iter().filter(|entry| !owned.contains(&entry.number)));
    entries
}

/// Returns the ports that Gantry made. Each number of each template has one; a number that only earlier
/// templates have must be in the Service already.
///
/// A port keeps the name that it has in the oldest template, because that is the name which callers know. If
/// a name has another number in a later template, that number gets a port of its own under a further name.
fn own_entries(templates: Templates<'_>, live: &[ServicePort]) -> Vec<Entry> {
    let Templates { earlier, new } = templates;
    let is_live = |port: &Port| {
        new.iter().any(|new| new.number == port.number)
            || live.iter().any(|p| p.ours && !p.others && p.protocol == TCP && p.number == port.number)
    };
    let lists = || earlier.iter().map(Vec::as_slice).chain([new]);
    let mut bases: Vec<&Port> = Vec::new();
    let mut entries: Vec<Entry> = Vec::new();
    for port in lists().flatten().filter(|port| is_live(port)) {
        if bases.iter().any(|base| base.number == port.number) {
            continue;
        }
        let name_taken = bases.iter().any(|base| base.name == port.name);
        bases.push(port);
        let newest = lists().flatten().rfind(|p| p.name == port.name && p.number == port.number);
        entries.push(Entry {
            number: port.number,
            name: Some(if name_taken { further_name(&port.name, port.number) } else { port.name.clone() }),
            target: decide_target(port, templates),
            protocol: newest.map(|port| port.protocol),
        });
    }
    entries
}

/// Decides where the port of the Service that was made for `base` sends to: by name, which goes on working
/// when the port gets another number, or by number, if that reaches replicas that have the number under
/// another name. If neither reaches all replicas, those of the earlier templates count first, because they
/// serve already.
fn decide_target(base: &Port, templates: Templates<'_>) -> Target {
    let Templates { earlier, new } = templates;
    let lists = || earlier.iter().map(Vec::as_slice).chain([new]);
    let named = |ports: &[Port], name: &str| ports.iter().any(|port| port.name == name);
    // Two names in one template are two ports. Otherwise another name for the number is a new name of the
    // same port.
    let is_renamed = |port: &Port| !lists().any(|ports| named(ports, &base.name) && named(ports, &port.name));
    let by_name = |ports: &[Port]| named(ports, &base.name);
    let by_number = |ports: &[Port]| {
        let here = ports.iter().find(|port| port.number == base.number);
        here.is_some_and(|port| port.name == base.name || !by_name(ports) && is_renamed(port))
    };
    let score = |reaches: &dyn Fn(&[Port]) -> bool| {
        (earlier.iter().filter(|ports| reaches(ports)).count(), reaches(new))
    };
    if score(&by_number) > score(&by_name) {
        Target::Number(base.number)
    } else {
        Target::Name(base.name.clone())
    }
}

/// Returns the ports of other field managers whose target Gantry sets or has set. A takeover waits until
/// every replica has the port, by its name or by its number. What Gantry set stays set, also if no replica
/// has it any more: if Gantry left it out, the API server would send to the number of the Service's port.
fn shared_entries(
    Templates { earlier, new }: Templates<'_>,
    takeovers: &BTreeMap<u16, String>,
    live: &[ServicePort],
) -> Vec<Entry> {
    let all_have = |name: &str| earlier.iter().all(|ports| ports.iter().any(|port| port.name == name));
    let entry = |port: &ServicePort| {
        let to = takeovers.get(&port.number).and_then(|name| new.iter().find(|new| new.name == *name));
        let sent_to = |old: &Port, to: &Port| old.number == to.number && port.target.is(old);
        let target = match to {
            Some(to) if all_have(&to.name) => Target::Name(to.name.clone()),
            Some(to) if earlier.iter().all(|ports| ports.iter().any(|old| sent_to(old, to))) => {
                Target::Number(to.number)
            }
            // What was set before stays until then.
            Some(_) | None => port.target.clone(),
        };
        let taken = port.ours || target != port.target;
        taken.then_some(Entry { number: port.number, name: None, target, protocol: None })
    };
    live.iter().filter(|port| port.others && port.protocol == TCP).filter_map(entry).collect()
}

/// Returns the name of a port of the Service for a further number of a name. No port of an app can have such
/// a name, because Kubernetes refuses two hyphens in a row.
fn further_name(name: &str, number: u16) -> String {
    format!("{name}--{number}")
}

fn has(ports: &[Port], name: &str, number: u16) -> bool {
    ports.iter().any(|port| port.name == name && port.number == number)
}

// === impl Target ===

impl Target {
    /// Whether it is this port of a replica.
    pub fn is(&self, port: &Port) -> bool {
        match self {
            Self::Name(name) => *name == port.name,
            Self::Number(number) => *number == port.number,
        }
    }
}

#[cfg(test)]
mod tests;
