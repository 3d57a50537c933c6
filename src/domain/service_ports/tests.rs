//! The ports of a Service before, while and after ports of an app change, and the ports of others in it.

use proptest::{collection::vec, prelude::*};

use super::*;

fn mk_ports(ports: &[(&str, u16)]) -> Vec<Port> {
    let port = |(name, number): &(&str, u16)| Port {
        name: (*name).to_owned(),
        number: *number,
        protocol: Protocol::Tcp,
    };
    ports.iter().map(port).collect()
}

/// The Service after these entries were applied over it. Ports that others made stay. If Gantry leaves out a
/// target that it had set, the API server fills in the number of the port.
fn apply(entries: &[Entry], live: &[ServicePort]) -> Vec<ServicePort> {
    let mut after: Vec<_> = live.iter().filter(|port| port.others).cloned().collect();
    for port in &mut after {
        if port.ours {
            port.target = Target::Number(port.number);
        }
        port.ours = false;
    }
    for entry in entries {
        let known = after.iter_mut().find(|port| port.number == entry.number && port.protocol == TCP);
        match known {
            Some(port) => {
                port.ours = true;
                port.target = entry.target.clone();
                port.name = entry.name.clone().unwrap_or_else(|| port.name.clone());
            }
            None => after.push(ServicePort {
                name: entry.name.clone().unwrap(),
                number: entry.number,
                protocol: TCP.to_owned(),
                target: entry.target.clone(),
                ours: true,
                others: false,
            }),
        }
    }
    let distinct = |ids: Vec<String>| ids.iter().collect::<BTreeSet<_>>().len() == ids.len();
    assert!(distinct(after.iter().map(|port| port.name.clone()).collect()), "names: {after:?}");
    assert!(
        distinct(after.iter().map(|p| format!("{}/{}", p.number, p.protocol)).collect()),
        "numbers: {after:?}"
    );
    assert!(after.len() < 2 || after.iter().all(|port| !port.name.is_empty()), "{after:?}");
    after
}

/// Where a port of the Service leads to in a replica with these ports: its number, if it is reached at all.
fn reaches(port: &ServicePort, replica: &[Port]) -> Option<u16> {
    match &port.target {
        Target::Name(name) => Some(replica.iter().find(|port| port.name == *name)?.number),
        Target::Number(number) => Some(*number),
    }
}

/// A Service over its time.
struct App {
    service: Vec<ServicePort>,
    earlier: Vec<Vec<Port>>,
    ports: Vec<Port>,
    takeovers: BTreeMap<u16, String>,
}

impl App {
    fn new(ports: &[Port]) -> Self {
        Self::beside(ports, vec![])
    }

    fn beside(ports: &[Port], service: Vec<ServicePort>) -> Self {
        let mut app = Self { service, earlier: vec![], ports: ports.to_vec(), takeovers: BTreeMap::new() };
        app.write();
        app
    }

    fn write(&mut self) {
        let templates = Templates { earlier: &self.earlier, new: &self.ports };
        let entries = decide_entries(templates, &self.takeovers, &self.service);
        self.service = apply(&entries, &self.service);
        let again = decide_entries(templates, &self.takeovers, &self.service);
        assert_eq!(apply(&again, &self.service), self.service, "the same again changes nothing");
    }

    /// Deploys other ports.
    fn deploy(&mut self, ports: &[Port]) {
        let lists = self.earlier.iter().chain([&self.ports]).map(Vec::as_slice);
        let earlier = earlier_ports(lists, ports);
        self.takeovers = find_takeovers(&self.ports, ports, &self.service);
        (self.earlier, self.ports) = (earlier, ports.to_vec());
        self.write();
    }

    /// The rollout succeeds, and the step after it is made.
    fn succeed(&mut self) {
        self.earlier.clear();
        self.write();
    }

    /// Each port as `name number target`.
    fn list(&self) -> Vec<String> {
        let target = |port: &ServicePort| match &port.target {
            Target::Name(name) => name.clone(),
            Target::Number(number) => number.to_string(),
        };
        let mut all: Vec<_> =
            self.service.iter().map(|p| format!("{} {} {}", p.name, p.number, target(p))).collect();
        all.sort();
        all
    }
}

fn mk_other(name: &str, number: u16, target: Target) -> ServicePort {
    let (name, protocol) = (name.to_owned(), TCP.to_owned());
    ServicePort { name, number, protocol, target, ours: false, others: true }
}

#[test]
fn while_it_rolls_the_service_has_what_old_and_new_replicas_need() {
    // What changes, ports before and after, the Service meanwhile, and afterwards.
    type Ports = &'static [(&'static str, u16)];
    type Case = (&'static str, Ports, Ports, &'static [&'static str], &'static [&'static str]);
    let cases: [Case; 8] = [
        ("nothing", &[("http", 8080)], &[("http", 8080)], &["http 8080 http"], &["http 8080 http"]),
        (
            "a port is added",
            &[("http", 8080)],
            &[("http", 8080), ("more", 9000)],
            &["http 8080 http", "more 9000 more"],
            &["http 8080 http", "more 9000 more"],
        ),
        ("a number is renamed", &[("http", 8080)], &[("web", 8080)], &["http 8080 8080"], &["web 8080 web"]),
        (
            "a name is renumbered",
            &[("http", 8080)],
            &[("http", 9000)],
            &["http 8080 http", "http--9000 9000 http"],
            &["http 9000 http"],
        ),
        (
            "both change",
            &[("http", 8080)],
            &[("web", 9000)],
            &["http 8080 http", "web 9000 web"],
            &["web 9000 web"],
        ),
        ("all go", &[("http", 8080), ("more", 1)], &[], &["http 8080 http", "more 1 more"], &[]),
        (
            "two ports change places",
            &[("http", 8080), ("admin", 9000)],
            &[("http", 9000), ("admin", 8080)],
            &["admin 9000 admin", "http 8080 http"],
            &["admin 8080 admin", "http 9000 http"],
        ),
        (
            "a port gets the number of one that goes",
            &[("http", 8080), ("admin", 9000)],
            &[("admin", 8080)],
            &["admin 9000 admin", "http 8080 http"],
            &["admin 8080 admin"],
        ),
    ];
    for (what, before, after, meanwhile, end) in cases {
        let mut app = App::new(&mk_ports(before));
        app.deploy(&mk_ports(after));
        assert_eq!(app.list(), meanwhile, "{what}");
        app.succeed();
        assert_eq!(app.list(), end, "{what}, afterwards");
    }
}

#[test]
fn a_rollback_in_the_middle_changes_no_port_of_those_that_serve() {
    for after in [&[("web", 8080)][..], &[("http", 9000)], &[]] {
        let mut app = App::new(&mk_ports(&[("http", 8080)]));
        app.deploy(&mk_ports(after));
        app.deploy(&mk_ports(&[("http", 8080)]));
        let meanwhile = app.list();
        assert!(meanwhile.iter().any(|port| port.starts_with("http 8080")), "{after:?}: {meanwhile:?}");
        app.succeed();
        assert_eq!(app.list(), ["http 8080 http"], "{after:?}");
    }
}

#[test]
fn a_deploy_in_the_middle_keeps_what_all_three_need() {
    let mut app = App::new(&mk_ports(&[("http", 8080)]));
    app.deploy(&mk_ports(&[("web", 8080), ("a", 1)]));
    app.deploy(&mk_ports(&[("api", 9000)]));
    assert_eq!(app.list(), ["a 1 a", "api 9000 api", "http 8080 8080"]);
    app.succeed();
    assert_eq!(app.list(), ["api 9000 api"]);
}

#[test]
fn a_port_that_others_made_is_left_alone_unless_the_app_moves_away_from_it() {
    let service = || vec![mk_other("http", 80, Target::Number(8080))];
    let mut app = App::beside(&mk_ports(&[("http", 8080)]), service());
    assert_eq!(app.list(), ["http 80 8080"], "adoption changes nothing");
    app.deploy(&mk_ports(&[("http", 8080), ("more", 1)]));
    assert_eq!(app.list(), ["http 80 8080", "more 1 more"]);
    app.succeed();
    app.deploy(&mk_ports(&[("http", 9000), ("more", 1)]));
    assert!(app.list().contains(&"http 80 http".to_owned()), "{:?}", app.list());
    app.succeed();
    assert_eq!(app.list(), ["http 80 http", "http--9000 9000 http", "more 1 more"]);
    app.deploy(&mk_ports(&[("http", 9000)]));
    app.succeed();
    assert_eq!(app.list(), ["http 80 http", "http--9000 9000 http"], "it stays taken over");
}

#[test]
fn a_takeover_waits_for_replicas_that_have_the_port() {
    // Replicas made outside Gantry declare the port without a name.
    let mut app =
        App::beside(&mk_ports(&[("port-8080", 8080)]), vec![mk_other("", 8080, Target::Number(8080))]);
    assert_eq!(app.list(), [" 8080 8080"], "made by kubectl expose");
    app.deploy(&mk_ports(&[("http", 9000)]));
    assert_eq!(app.list(), [" 8080 8080"]);
    app.succeed();
    assert_eq!(app.list(), [" 8080 http"]);
}

#[test]
fn a_port_that_others_made_follows_a_new_name_of_the_number() {
    let sends_to_http = vec![mk_other("pub", 80, Target::Name("http".to_owned()))];
    let mut app = App::beside(&mk_ports(&[("http", 8080)]), sends_to_http);
    app.deploy(&mk_ports(&[("web", 8080), ("adm", 9000)]));
    assert!(app.list().contains(&"pub 80 8080".to_owned()), "both are reached: {:?}", app.list());
    app.succeed();
    assert!(app.list().contains(&"pub 80 web".to_owned()), "{:?}", app.list());
}

#[test]
fn what_was_taken_over_is_never_left_to_the_api_server() {
    let mut app = App::beside(&mk_ports(&[("http", 8080)]), vec![mk_other("web", 80, Target::Number(8080))]);
    app.deploy(&mk_ports(&[("http", 9000)]));
    app.succeed();
    assert!(app.list().contains(&"web 80 http".to_owned()), "{:?}", app.list());
    app.deploy(&[]);
    app.succeed();
    assert_eq!(app.list(), ["web 80 http"], "it reaches nothing, as asked, and no other port");
    app.deploy(&mk_ports(&[("http", 9000)]));
    app.succeed();
    assert!(app.list().contains(&"web 80 http".to_owned()), "{:?}", app.list());
}

#[test]
fn what_others_send_elsewhere_stays_theirs_unless_a_new_port_has_its_name_or_number() {
    let proxy = || vec![mk_other("http", 80, Target::Number(8081))];
    let of = |before: &[(&str, u16)], after: &[(&str, u16)], service: &[ServicePort]| {
        find_takeovers(&mk_ports(before), &mk_ports(after), service)
    };
    let is = |number: u16, name: &str| BTreeMap::from([(number, name.to_owned())]);
    assert_eq!(of(&[("http", 8080)], &[("http", 9000)], &proxy()), BTreeMap::new(), "it sends to a proxy");
    assert_eq!(of(&[], &[("http", 9000)], &proxy()), is(80, "http"));
    assert_eq!(of(&[("a", 1)], &[("a", 80)], &proxy()), is(80, "a"));
    assert_eq!(of(&[("a", 8081)], &[("b", 8081)], &proxy()), BTreeMap::new(), "the number is still there");
    let ours = vec![ServicePort { ours: true, others: false, ..proxy().remove(0) }];
    assert_eq!(of(&[], &[("http", 9000)], &ours), BTreeMap::new());
    let datagrams = vec![ServicePort { protocol: "UDP".to_owned(), ..proxy().remove(0) }];
    assert_eq!(of(&[], &[("http", 9000)], &datagrams), BTreeMap::new());
}

fn mk_any_ports() -> impl Strategy<Value = Vec<Port>> {
    vec(("[a-d]", 1u16..6), 0..4).prop_map(|ports| {
        let mut distinct: Vec<Port> = Vec::new();
        for (name, number) in ports {
            if distinct.iter().all(|port| port.name != name && port.number != number) {
                distinct.push(Port { name, number, protocol: Protocol::Tcp });
            }
        }
        distinct
    })
}

proptest! {
    // Of two templates, everything that the old replicas were reached by goes on reaching them, and the new
    // ones are reached by each name and number that does not belong to another port of the old ones.
    #[test]
    fn each_replica_is_reached_by_name_and_number_at_every_moment(old in mk_any_ports(), new in mk_any_ports()) {
        let mut app = App::new(&old);
        app.deploy(&new);
        let find = |name: &str| app.service.iter().find(|port| port.name == name);
        let at = |number: u16| app.service.iter().find(|port| port.number == number);
        for port in &old {
            for found in [find(&port.name), at(port.number)] {
                prop_assert_eq!(found.map(|f| (&*f.name, f.number)), Some((&*port.name, port.number)));
                prop_assert_eq!(found.and_then(|f| reaches(f, &old)), Some(port.number));
            }
        }
        for port in &new {
            let number_is_old = old.iter().find(|old| old.number == port.number);
            let name_is_old = old.iter().any(|old| old.name == port.name);
            if name_is_old {
                prop_assert_eq!(find(&port.name).and_then(|f| reaches(f, &new)), Some(port.number));
            }
            match number_is_old {
                None => prop_assert_eq!(at(port.number).and_then(|f| reaches(f, &new)), Some(port.number)),
                // A rename: neither name is another port of the other template.
                Some(was) if !name_is_old && new.iter().all(|new| new.name != was.name) => {
                    prop_assert_eq!(at(port.number).and_then(|f| reaches(f, &new)), Some(port.number));
                }
                Some(_) => {}
            }
            if number_is_old.is_none() && !name_is_old {
                prop_assert_eq!(find(&port.name).map(|f| f.number), Some(port.number));
            }
        }
        for found in &app.service {
            if let Target::Number(number) = found.target {
                for replica in [&old, &new] {
                    prop_assert!(replica.iter().any(|p| p.number == number), "nothing listens on {:?}", found);
                }
            }
        }
        app.succeed();
        prop_assert_eq!(app.list(), App::new(&new).list());
    }

    // However many deploys follow each other without success, with failures and rollbacks among them.
    #[test]
    fn nothing_that_serves_is_taken_away_before_a_success(first in mk_any_ports(), others in vec(mk_any_ports(), 1..5)) {
        let mut app = App::new(&first);
        for ports in &others {
            let before = app.service.clone();
            app.deploy(ports);
            if app.earlier.is_empty() {
                // The new ports contain all earlier ones.
                prop_assert_eq!(app.list(), App::new(ports).list());
            }
            for port in &before {
                let after = app.service.iter().find(|p| p.number == port.number);
                prop_assert!(after.is_some(), "{:?} is gone from {:?}", port, app.service);
            }
            for port in &first {
                let found = app.service.iter().find(|p| p.number == port.number).unwrap();
                prop_assert_eq!(&found.name, &port.name);
                prop_assert_eq!(reaches(found, &first), Some(port.number));
            }
            for port in ports {
                prop_assert!(app.service.iter().any(|p| p.number == port.number), "{:?}", port);
            }
        }
        app.succeed();
        prop_assert_eq!(app.list(), App::new(others.last().unwrap()).list());
    }

    // Ports of others never make the Service one that the API server refuses, and stay unless taken over.
    #[test]
    fn ports_of_others_stay(first in mk_any_ports(), others in vec(("[a-d]", 1u16..6, 1u16..6), 0..3), deploys in vec(mk_any_ports(), 1..4)) {
        let mut theirs: Vec<ServicePort> = Vec::new();
        for (name, number, target) in others {
            if theirs.iter().all(|port| port.name != name && port.number != number) {
                theirs.push(mk_other(&name, number, Target::Number(target)));
            }
        }
        let mut app = App::beside(&first, theirs.clone());
        for ports in &deploys {
            app.deploy(ports);
            app.succeed();
            for port in &theirs {
                prop_assert!(app.service.iter().any(|p| p.number == port.number && p.others));
            }
        }
        // Once taken over, a port sends to a port of the app, or to the name of one that the app had.
        for port in app.service.iter().filter(|port| port.ours) {
            let named = matches!(&port.target, Target::Name(name) if first.iter().chain(deploys.iter().flatten()).any(|p| p.name == *name));
            prop_assert!(named || reaches(port, deploys.last().unwrap()).is_some(), "{:?}", port);
        }
    }
}
