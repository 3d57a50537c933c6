//! Changes of ports: what a change records about earlier replicas, and what is done to the Service now and
//! after the rollout succeeded.

use super::*;
use crate::domain::{
    plan::{self, Intent, Rendered, ServiceWrite, find_port_removal, render_objects, render_port_removal},
    service_ports::{ServicePort, Target},
};

/// No revision.
const NONE: [u64; 0] = [];

fn mk_port(name: &str, number: u16) -> Port {
    Port { name: name.into(), number, protocol: Protocol::Tcp }
}

fn mk_with(image: &str, ports: &[Port]) -> Content {
    let spec = Spec { image: image.into(), ports: ports.to_vec(), ..Spec::default() };
    Content { spec, ..Content::default() }
}

/// The ports of a rendered Service, as `name number target`.
fn ports(object: &Object) -> Vec<String> {
    let all = object.manifest["spec"]["ports"].as_array().unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    all.iter().map(|p| ["name", "port", "targetPort"].map(|key| text(&p[key])).join(" ")).collect()
}

fn service(rendered: &Rendered) -> Option<Vec<String>> {
    rendered.objects.iter().find(|object| object.kind == Kind::Service).map(ports)
}

/// An app over its deploys.
struct Course(AppState);

impl Course {
    fn new(content: &Content) -> Self {
        let mut live = mk_live(content.clone());
        let service = live.service.as_mut().unwrap();
        service.ports = content.spec.ports.iter().map(|p| mk_owned(&p.name, p.number, &p.name)).collect();
        Self(live)
    }

    fn decide(&self, content: Content) -> Intent {
        plan::decide_deploy(&mk_masked(content, &["*"]), &self.0).unwrap()
    }

    /// Carries out an intent, and returns what was rendered.
    fn carry_out(&mut self, intent: Intent) -> Rendered {
        let rendered = render_objects(&intent, &self.0).unwrap();
        self.write(rendered.objects.iter().find(|object| object.kind == Kind::Service));
        if rendered.prune.contains(&Kind::Service) {
            self.0.service = None;
        }
        self.0.deployment.as_mut().unwrap().revision = Some(intent.number);
        let past = mk_past(intent.number, Content::default(), None);
        self.0.revisions.retain(|known| known.number != intent.number);
        self.0.revisions.push(StoredRevision { record: intent.record, ..past });
        rendered
    }

    fn write(&mut self, object: Option<&Object>) {
        let Some(object) = object else { return };
        let service = self.0.service.get_or_insert_with(|| mk_service("gantry"));
        let all = object.manifest["spec"]["ports"].as_array().unwrap();
        let port = |p: &Value| ServicePort {
            target: match p["targetPort"].as_str() {
                Some(name) => Target::Name(name.to_owned()),
                None => Target::Number(p["targetPort"].as_u64().unwrap().try_into().unwrap()),
            },
            ..mk_owned(p["name"].as_str().unwrap(), p["port"].as_u64().unwrap().try_into().unwrap(), "")
        };
        service.ports = all.iter().map(port).collect();
    }

    fn end(&mut self, outcome: Outcome) {
        newest(&mut self.0).outcome = Some(outcome);
    }

    /// Makes the step after a success, if there is one. Returns the revisions that it marks.
    fn remove(&mut self) -> Vec<u64> {
        let Some(removal) = find_port_removal(&name::App::new("prod", "shop"), &self.0) else {
            return vec![];
        };
        match render_port_removal(&removal, &self.0) {
            Some(ServiceWrite::Apply(object)) => self.write(Some(&object)),
            Some(ServiceWrite::Delete) => self.0.service = None,
            None => {}
        }
        for past in &mut self.0.revisions {
            past.ports_removed |= removal.numbers.contains(&past.number);
        }
        removal.numbers
    }

    fn service(&self) -> Option<Vec<(&str, u16)>> {
        let service = self.0.service.as_ref()?;
        Some(service.ports.iter().map(|port| (port.name.as_str(), port.number)).collect())
    }
}

fn mk_owned(name: &str, number: u16, target: &str) -> ServicePort {
    ServicePort {
        name: name.into(),
        number,
        protocol: "TCP".into(),
        target: Target::Name(target.into()),
        ours: true,
        others: false,
    }
}

#[test]
fn a_renamed_port_is_renamed_after_the_success_and_not_after_a_failure() {
    let mut app = Course::new(&mk_with("shop:1", &[mk_port("http", 80)]));
    let failing = app.decide(mk_with("shop:2", &[mk_port("web", 80)]));
    assert_eq!(failing.record.earlier_ports, [[mk_port("http", 80)]]);
    let rendered = app.carry_out(failing);
    assert_eq!(service(&rendered).unwrap(), ["http 80 80"]);
    let Some(ServiceWrite::Apply(last)) = &rendered.after_success else { panic!("{rendered:?}") };
    assert_eq!(ports(last), ["web 80 web"]);
    for outcome in [Outcome::Failed, Outcome::Superseded] {
        app.end(outcome);
        assert_eq!(app.remove(), NONE, "{outcome:?}");
    }
    app.end(Outcome::Failed);
    let next = app.decide(mk_with("shop:3", &[mk_port("web", 80)]));
    assert_eq!(next.record.earlier_ports, [[mk_port("http", 80)], [mk_port("web", 80)]]);
    app.carry_out(next);
    assert_eq!(app.service().unwrap(), [("http", 80)]);
    app.end(Outcome::Succeeded);
    assert_eq!(app.remove(), [5, 6], "the failed one has nothing left to do, either");
    assert_eq!(app.service().unwrap(), [("web", 80)]);
    assert_eq!(app.remove(), NONE);
}

#[test]
fn without_ports_the_service_goes_after_the_success() {
    let mut app = Course::new(&mk_with("shop:1", &[mk_port("http", 80)]));
    let rendered = app.carry_out(app.decide(mk_with("shop:2", &[])));
    assert_eq!((service(&rendered).unwrap(), &rendered.prune), (vec!["http 80 http".to_owned()], &vec![]));
    assert_eq!(rendered.after_success, Some(ServiceWrite::Delete));
    app.end(Outcome::Succeeded);
    assert_eq!(app.remove(), [5]);
    assert_eq!(app.service(), None);

    // A port that others made stays, and the Service with it.
    let mut app = Course::new(&mk_with("shop:1", &[mk_port("http", 80)]));
    let extra = ServicePort { ours: false, others: true, ..mk_owned("extra", 9, "http") };
    app.0.service.as_mut().unwrap().ports.push(extra);
    let rendered = app.carry_out(app.decide(mk_with("shop:2", &[])));
    let Some(ServiceWrite::Apply(last)) = &rendered.after_success else { panic!("{rendered:?}") };
    assert_eq!(ports(last), [""; 0]);
}

#[test]
fn the_same_again_plans_nothing_for_later_that_is_not_planned_already() {
    let mut app = Course::new(&mk_with("shop:1", &[mk_port("http", 80)]));
    let content = mk_with("shop:2", &[mk_port("http", 90)]);
    let first = app.carry_out(app.decide(content.clone()));
    let again = app.decide(content.clone());
    assert!(!again.is_new);
    let repeated = app.carry_out(again);
    assert_eq!(service(&repeated), service(&first), "while it rolls out");
    app.end(Outcome::Succeeded);
    let rendered = app.carry_out(app.decide(content));
    assert_eq!(
        (service(&rendered).unwrap(), rendered.after_success),
        (vec!["http 90 http".to_owned()], None)
    );
}

#[test]
fn a_change_outside_gantry_in_the_middle_keeps_the_ports_until_it_succeeds() {
    let mut app = Course::new(&mk_with("shop:1", &[mk_port("http", 80)]));
    app.carry_out(app.decide(mk_with("shop:2", &[mk_port("web", 90)])));
    app.end(Outcome::Superseded);
    let mut external = mk_past(6, mk_with("shop:3", &[mk_port("web", 90)]), None);
    external.record.cause = Cause::External;
    app.0.revisions.push(external);
    assert_eq!(app.remove(), NONE);
    app.end(Outcome::Succeeded);
    assert_eq!(app.remove(), [5]);
    assert_eq!(app.service().unwrap(), [("web", 90)]);
}

#[test]
fn a_restart_and_a_rollback_keep_what_is_kept() {
    let mut app = Course::new(&mk_with("shop:1", &[mk_port("http", 80)]));
    app.carry_out(app.decide(mk_with("shop:2", &[])));
    let name = name::App::new("prod", "shop");
    let restart = crate::domain::commands::Restart { name: name.clone(), meta: mk_asked() };
    let restart = plan::decide_restart(&restart, &app.0).unwrap();
    assert_eq!(service(&app.carry_out(restart)).unwrap(), ["http 80 http"]);
    let (force, keep_autoscaler) = (false, false);
    let back = Rollback { name, to: Some(4), force, keep_autoscaler, failed: None, meta: mk_asked() };
    let back = plan::decide_rollback(&back, &app.0).unwrap().unwrap();
    assert_eq!(back.record.earlier_ports, Vec::<Vec<Port>>::new(), "it has all ports that there are");
    assert_eq!(service(&app.carry_out(back)).unwrap(), ["http 80 http"]);
}

#[test]
fn a_record_of_the_version_before_has_no_step_and_its_service_no_change() {
    let text =
        serde_json::to_value(&mk_past(4, mk_with("shop:1", &[mk_port("http", 80)]), None).record).unwrap();
    assert!(text.get("earlierPorts").is_none() && text.get("takeovers").is_none(), "{text}");
    let mut app = Course::new(&mk_with("shop:1", &[mk_port("http", 80)]));
    assert_eq!(app.remove(), NONE);
    // The version before had changed the Service at once, and the rollout failed.
    app.0.revisions.push(mk_past(5, mk_with("shop:2", &[mk_port("web", 90)]), Some(Outcome::Failed)));
    app.0.service.as_mut().unwrap().ports = vec![mk_owned("web", 90, "web")];
    assert_eq!(app.remove(), NONE);
    let rendered = app.carry_out(app.decide(mk_with("shop:3", &[mk_port("web", 90)])));
    assert_eq!(service(&rendered).unwrap(), ["web 90 web"]);
}

#[test]
fn an_adopted_service_sends_to_the_port_of_a_new_number() {
    let content = mk_with("shop:1", &[mk_port("http", 8080)]);
    let mut app = Course::new(&content);
    let theirs =
        ServicePort { target: Target::Number(8080), ours: false, others: true, ..mk_owned("http", 80, "") };
    app.0.service.as_mut().unwrap().ports = vec![theirs.clone()];
    let deployment = app.0.deployment.as_mut().unwrap();
    (deployment.managed, deployment.managed_by, deployment.content) = (Managed::No, "Helm".into(), content);
    app.0.service.as_mut().unwrap().managed_by = "Helm".into();
    let moved = mk_with("shop:1", &[mk_port("http", 9000)]);
    let request = Deploy { adopt: true, ..mk_masked(moved, &["spec.ports"]) };
    let intent = plan::decide_deploy(&request, &app.0).unwrap();
    assert_eq!(intent.record.takeovers, [(80, "http".to_owned())].into());
    assert_eq!(
        service(&render_objects(&intent, &app.0).unwrap()).unwrap(),
        ["http--9000 9000 http", "null 80 http"]
    );

    let kept = plan::decide_deploy(
        &Deploy { adopt: true, ..mk_masked(mk_with("shop:2", &[]), &["spec.image"]) },
        &app.0,
    );
    let kept = kept.unwrap();
    assert_eq!(kept.record.takeovers, [].into());
    assert_eq!(service(&render_objects(&kept, &app.0).unwrap()).unwrap(), [""; 0], "it stays theirs");
}
