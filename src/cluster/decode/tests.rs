//! Decodes objects as the API server sends them, and checks that no object fails to decode, whatever it
//! lacks.

mod objects;
mod pods;
mod template;

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::objects::{
    mk_crashing, mk_deployment, mk_end, mk_event, mk_node, mk_owner, mk_record, mk_replica_set, mk_revision,
    mk_running, mk_scaler, mk_series, mk_slice, mk_text, mk_waiting,
};
use super::{
    Decode, Deployment, EndpointSlice, Event, HorizontalPodAutoscaler, Node, Pod, ReplicaSet, Revision,
    ScaledObject, VERDICT_ANNOTATION,
};
use crate::domain::{
    name,
    observed::{self, Exit, Kind, Trouble, TroubleKind, Wait},
    revision::{
        Cause, Record,
        form::{self, Form},
    },
    spec::{Check, KeyRef, Port, Probe, Probes, Protocol, Resources, Spec},
};

const CREATED: &str = "2026-01-02T03:04:05Z";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn row<K: Decode + DeserializeOwned>(object: Value) -> Option<K::Row> {
    serde_json::from_value::<K>(object).unwrap().into_row()
}

fn trouble(pod: Value) -> Option<Trouble> {
    row::<Pod>(pod).unwrap().trouble.map(|t| *t)
}

#[test]
fn a_slice_holds_the_pods_of_a_service_and_what_it_says_of_them() {
    let pod = |name: &str, ready, serving, terminating| observed::SlicePod {
        name: name.into(),
        zone: Some("zone-a".into()),
        ready,
        serving,
        terminating,
    };
    let expected = observed::EndpointSlice {
        namespace: "prod".into(),
        name: "shop-x7k2p".into(),
        ports: vec![observed::SlicePort { name: "web".into(), number: 8080 }],
        pods: vec![
            pod("shop-6f7c-a", true, true, false),
            pod("shop-6f7c-b", false, true, true),
            // Unset conditions count as true.
            observed::SlicePod { zone: None, ..pod("shop-6f7c-c", true, true, false) },
        ],
    };
    assert_eq!(row::<EndpointSlice>(mk_slice()), Some(expected));
    let mut foreign = mk_slice();
    foreign["metadata"]["labels"] = json!({"multicluster.kubernetes.io/service-name": "shop"});
    assert_eq!(row::<EndpointSlice>(foreign), None);
    // A Service without pods.
    let mut empty = mk_slice();
    (empty["endpoints"], empty["ports"]) = (Value::Null, Value::Null);
    assert_eq!(row::<EndpointSlice>(empty).map(|s| (s.pods, s.ports)), Some((vec![], vec![])));
}

#[test]
fn a_node_says_where_it_is_and_whether_it_takes_pods() {
    let expected = observed::Node {
        name: "node-1".into(),
        zone: Some("zone-a".into()),
        ready: true,
        unschedulable: false,
    };
    assert_eq!(row::<Node>(mk_node()), Some(expected.clone()));
    let mut cordoned = mk_node();
    cordoned["spec"]["unschedulable"] = json!(true);
    cordoned["metadata"]["labels"].take();
    cordoned["status"]["conditions"][1]["status"] = json!("Unknown");
    let found = row::<Node>(cordoned);
    assert_eq!(found, Some(observed::Node { zone: None, ready: false, unschedulable: true, ..expected }));
}

#[test]
fn a_deployment_is_the_row_that_it_says() {
    let port = |name: &str, number| Port { name: name.into(), number, protocol: Protocol::Tcp };
    let spec = Spec {
        image: "shop:1".into(),
        replicas: Some(3),
        // `AppSpec` requires a name for each port.
        ports: vec![port("http", 8080), port("port-9090", 9090)],
        command: vec!["/shop".into()],
        args: vec!["-v".into()],
        env: [("MODE".to_owned(), "live".to_owned())].into(),
        secret_env: [("KEY".to_owned(), KeyRef { name: "s".into(), key: "k".into(), optional: false })]
            .into(),
        // Gantry's defaults for an app with ports, which this Deployment does not have.
        probes: Some(Box::new(Probes { readiness: Some(Probe::new(Check::None)), ..Probes::default() })),
        drain_delay: Some(Duration::ZERO),
        service_account: "default".into(),
        resources: Some(Resources {
            requests: [("cpu".to_owned(), "250m".to_owned())].into(),
            limits: [].into(),
        }),
        container: "main".into(),
        ..Spec::default()
    };
    let found = row::<Deployment>(mk_deployment()).unwrap();
    let expected = observed::Deployment {
        name: name::App::new("prod", "shop"),
        uid: "0c9f1a34-7b1e-4a39-9f0e-2f4f3c1d5e60".into(),
        resource_version: 48_211,
        labels: [("gantry.dev/app", "shop"), ("pod-template-hash", "6f7c")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
        revision: Some(5),
        template_revision: 3,
        template: found.template,
        generation: 2,
        observed_generation: 2,
        desired: 3,
        current: 4,
        updated: 2,
        ready: 3,
        available: 1,
        stalled: Some(time("2026-01-02T03:14:05Z")),
        completed: None,
        progressed: None,
        create_failure: None,
        deadline: Some(600),
        template_by: None,
        count_by: None,
        scaling: crate::domain::scaling::Scaling::default(),
        paused: false,
        created: time(CREATED),
        deleting: false,
        orphans: false,
        spec,
        unmodelled: vec!["spec.template.spec.containers[proxy]".into()],
    };
    assert_eq!(found, expected);
}

#[test]
fn who_changed_template_and_count_last_is_read_from_the_managed_fields() {
    let entry = |manager: &str, subresource: Option<&str>, second: u8, fields: Value| {
        json!({"manager": manager, "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
            "time": format!("2026-01-02T03:04:{second:02}Z"), "subresource": subresource, "fieldsV1": {"f:spec": fields}})
    };
    let template =
        || json!({"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {"f:image": {}}}}}});
    let mut deployment = mk_deployment();
    deployment["metadata"]["managedFields"] = json!([
        entry("gantry", None, 50, json!({"f:template": {}, "f:replicas": {}})),
        entry("kube-controller-manager", Some("status"), 55, template()),
        entry("kubectl-set", None, 20, template()),
        entry("kubectl-edit", None, 30, template()),
        entry("kubectl-label", None, 40, json!({"f:paused": {}})),
        entry("gantry-scale", Some("scale"), 51, json!({"f:replicas": {}})),
    ]);
    let found = row::<Deployment>(deployment.clone()).unwrap();
    let told = |touch: Option<observed::FieldUpdate>| touch.map(|t| (t.manager.to_string(), t.time));
    assert_eq!(told(found.template_by), Some(("kubectl-edit".into(), time("2026-01-02T03:04:30Z"))));
    assert_eq!(told(found.count_by), Some(("gantry-scale".into(), time("2026-01-02T03:04:51Z"))));
    for fields in [Value::Null, json!([]), json!([{"fieldsV1": {"f:spec": null}}, {"manager": null}])] {
        deployment["metadata"]["managedFields"] = fields;
        let found = row::<Deployment>(deployment.clone()).unwrap();
        assert_eq!((found.template_by, found.count_by), (None, None));
    }
}

#[test]
fn a_deployment_says_when_it_was_complete_and_whether_it_will_ever_say_so() {
    let mut deployment = mk_deployment();
    let progressing = |reason: &str| json!([{"type": "Progressing", "status": "True", "reason": reason, "lastUpdateTime": CREATED}]);
    for (reason, expected) in [("NewReplicaSetAvailable", Some(time(CREATED))), ("ReplicaSetUpdated", None)] {
        deployment["status"]["conditions"] = progressing(reason);
        assert_eq!(row::<Deployment>(deployment.clone()).unwrap().completed, expected);
    }
    deployment["spec"]["progressDeadlineSeconds"] = json!(i32::MAX);
    assert_eq!(row::<Deployment>(deployment).unwrap().deadline, None);
}

#[test]
fn an_autoscaler_is_a_row_if_it_scales_a_deployment() {
    let scaler = |name: &str, target: &str| observed::ExternalAutoscaler {
        namespace: "prod".into(),
        name: name.into(),
        target: target.into(),
    };
    let found = |object: &Value| {
        let hpa = row::<HorizontalPodAutoscaler>(object.clone()).map(|row| row.0);
        assert_eq!(hpa, row::<ScaledObject>(object.clone()).map(|row| row.0));
        hpa
    };
    assert_eq!(found(&mk_scaler()), Some(scaler("by-hand", "shop")));
    let mut terse = mk_scaler();
    terse["spec"]["scaleTargetRef"] = json!({"name": "shop"});
    assert_eq!(found(&terse), Some(scaler("by-hand", "shop")), "as KEDA allows");
    for (field, value) in [("kind", "StatefulSet"), ("apiVersion", "argoproj.io/v1alpha1"), ("name", "")] {
        let mut other = mk_scaler();
        other["spec"]["scaleTargetRef"][field] = json!(value);
        assert_eq!(found(&other), None, "{field}");
    }
}

#[test]
fn a_deployment_that_moves_is_not_stalled() {
    let mut moving = mk_deployment();
    moving["status"]["conditions"][1]["reason"] = json!("DeploymentPaused");
    moving["spec"]["paused"] = json!(true);
    let found = row::<Deployment>(moving).unwrap();
    assert_eq!((found.stalled, found.paused), (None, true));
}

// As a real Deployment controller wrote them: it updates neither the time nor the message while status and
// reason stay the same.
#[test]
fn a_deployment_says_why_it_has_no_replica_set_and_when_it_moved() {
    let words = "Failed to create new replica set \"shop-59f7\": replicasets.apps \"shop-59f7\" is forbidden: exceeded quota: sets, requested: count/replicasets.apps=1, used: count/replicasets.apps=1, limited: count/replicasets.apps=1";
    let progressing = |status: &str, reason: &str, message: &str| {
        let mut deployment = mk_deployment();
        deployment["status"]["observedGeneration"] = json!(1);
        deployment["status"]["conditions"] = json!([
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": "Deployment has minimum availability.",
                "lastUpdateTime": CREATED, "lastTransitionTime": CREATED},
            {"type": "Progressing", "status": status, "reason": reason, "message": message,
                "lastUpdateTime": "2026-01-02T03:14:05Z", "lastTransitionTime": CREATED},
        ]);
        row::<Deployment>(deployment).unwrap()
    };
    let told = Some(time("2026-01-02T03:14:05Z"));
    let refused = progressing("False", "ReplicaSetCreateError", words);
    let failure = observed::CreateFailure { message: words.into(), since: told };
    assert_eq!((refused.create_failure, refused.stalled, refused.progressed), (Some(failure), None, None));
    let stalled = progressing("False", "ProgressDeadlineExceeded", "timed out");
    assert_eq!((stalled.create_failure, stalled.stalled, stalled.progressed), (None, told, None));
    for (status, reason) in [
        ("True", "ReplicaSetUpdated"),
        ("True", "NewReplicaSetAvailable"),
        ("Unknown", "DeploymentPaused"),
        ("Unknown", "DeploymentResumed"),
    ] {
        let moved = progressing(status, reason, "");
        assert_eq!((moved.create_failure, moved.stalled, moved.progressed), (None, None, told), "{reason}");
    }
}

#[test]
fn a_deployment_without_status_or_count_is_one_replica_to_come() {
    let mut new = mk_deployment();
    new.as_object_mut().unwrap().remove("status");
    new["spec"]["replicas"].take();
    let found = row::<Deployment>(new).unwrap();
    assert_eq!((found.desired, found.current, found.observed_generation), (1, 0, 0));
}

#[test]
fn a_replica_set_has_the_template_of_its_deployment_but_for_one_label() {
    let mut deployment = mk_deployment();
    deployment["spec"]["template"]["metadata"]["labels"] = json!({"gantry.dev/app": "shop"});
    let mut copy = mk_replica_set();
    copy["spec"]["template"] = deployment["spec"]["template"].clone();
    copy["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] = json!("6f7c");
    let template = row::<Deployment>(deployment).unwrap().template;
    let of = |copy: Value| row::<ReplicaSet>(copy).unwrap().template;
    assert_eq!(of(copy.clone()), template);
    let changes =
        [("/metadata/labels/gantry.dev~1app", json!("cart")), ("/spec/containers/0/image", json!("shop:2"))];
    for (path, value) in changes {
        let mut other = copy.clone();
        *other["spec"]["template"].pointer_mut(path).unwrap() = value;
        assert_ne!(of(other), template, "{path}");
    }
}

#[test]
fn a_replica_set_belongs_to_the_deployment_that_controls_it() {
    let found = row::<ReplicaSet>(mk_replica_set()).unwrap();
    let expected = observed::ReplicaSet {
        namespace: "prod".into(),
        name: "shop-6f7c".into(),
        deployment: "shop".into(),
        template_revision: 3,
        template: found.template,
        revision: Some(5),
        created: time(CREATED),
        create_failure: Some(observed::CreateFailure {
            message: "exceeded quota: compute".into(),
            since: Some(time("2026-01-02T03:10:00Z")),
        }),
        ports: vec![Port { name: "http".into(), number: 8080, protocol: Protocol::Tcp }],
    };
    assert_eq!(found, expected);
    for status in ["False", "Unknown"] {
        let mut free = mk_replica_set();
        free["status"]["conditions"][0]["status"] = json!(status);
        assert_eq!(row::<ReplicaSet>(free).unwrap().create_failure, None, "{status}");
    }
    let mut own = mk_replica_set();
    own["metadata"]["ownerReferences"].take();
    assert_eq!(row::<ReplicaSet>(own), None);
}

#[test]
fn both_generations_of_events_tell_count_and_time() {
    let told = |event| {
        row::<Event>(event).map(|e| (e.about.kind, e.about.name.to_string(), e.warning, e.count, e.time))
    };
    let pod = |count, text| Some((Kind::Pod, "shop-6f7c-x2x".to_owned(), true, count, time(text)));
    assert_eq!(told(mk_event()), pod(4, "2026-01-02T03:06:00Z"));
    assert_eq!(told(mk_series()), pod(7, "2026-01-02T03:07:00.5Z"));
    let mut single = mk_series();
    single["series"].take();
    assert_eq!(told(single), pod(1, "2026-01-02T03:04:05.123456Z"));
    let mut about_a_node = mk_event();
    about_a_node["involvedObject"]["kind"] = json!("Node");
    assert_eq!(told(about_a_node), None);
    let found = row::<Event>(mk_event()).unwrap();
    assert_eq!(
        (&*found.id, &*found.reason, &*found.note),
        ("shop-6f7c-x2x.1862aa", "Failed", "Failed to pull image")
    );
    let about = |path: Value| {
        let mut event = mk_event();
        event["involvedObject"]["fieldPath"] = path;
        row::<Event>(event).unwrap().container
    };
    for (path, container) in [
        (json!("spec.containers{app}"), Some("app")),
        (json!("spec.initContainers{migrate}"), Some("migrate")),
        (json!("spec.volumes{data}"), None),
        (json!("spec.containers{"), None),
        (json!(""), None),
        (Value::Null, None),
    ] {
        assert_eq!(about(path).as_deref(), container);
    }
}

#[test]
fn a_revision_of_ours_is_read_back_as_it_was_written() {
    let expected = observed::Revision {
        end: Some(mk_end()),
        version: 48_211,
        owner: Some("5a1c".into()),
        ..observed::Revision::new(name::App::new("prod", "shop"), 5, mk_record())
    };
    assert_eq!(row::<Revision>(mk_revision()).as_ref(), Some(&expected));
    let mut of_an_earlier_version = mk_revision();
    of_an_earlier_version["data"] = json!(mk_record());
    assert_eq!(
        row::<Revision>(of_an_earlier_version),
        Some(observed::Revision { form: Form::Object, ..expected })
    );
}

/// The metadata that is left of a revision when its Deployment was deleted with `--cascade=orphan`, or when
/// it was restored from a backup.
#[test]
fn a_revision_says_itself_that_it_was_carried_out() {
    let told = |cause: Cause, written: &str, annotations: Value| {
        let mut revision = mk_revision();
        revision["metadata"]["ownerReferences"].take();
        revision["metadata"]["annotations"] = annotations;
        let record = Record { cause, time: time(written), ..mk_record() };
        revision["data"] = form::to_data(&record).unwrap();
        let row = row::<Revision>(revision.clone()).unwrap();
        let past = serde_json::from_value::<Revision>(revision).unwrap().into_stored().unwrap();
        assert_eq!((row.applied, row.owner.is_some()), (past.applied, past.owner.is_some()));
        (row.applied, past.version)
    };
    let now = "2026-01-02T03:04:05.5Z";
    assert_eq!(told(Cause::Deploy, now, json!({})), (false, None), "it is still to be carried out");
    let marked = json!({"gantry.dev/applied-to": "u1", "gantry.dev/version": "77"});
    assert_eq!(told(Cause::Deploy, now, marked), (true, Some(("u1".to_owned(), 77))));
    let superseded = json!({"gantry.dev/applied-to": "u1"});
    assert_eq!(told(Cause::Deploy, now, superseded), (true, None), "a later one took its place");
    let earlier = json!({"gantry.dev/version": "77"});
    assert_eq!(
        told(Cause::Deploy, now, earlier),
        (true, None),
        "the Deployment of that version is not known"
    );
    assert_eq!(told(Cause::External, now, json!({})), (true, None), "no caller asked for it");
    assert_eq!(
        told(Cause::Deploy, "2026-01-02T02:00:00Z", json!({})),
        (true, None),
        "it comes from a backup"
    );
    assert_eq!(
        told(Cause::Deploy, "2026-01-02T03:10:00Z", json!({})),
        (false, None),
        "the writer's clock is ahead"
    );
}

#[test]
fn revisions_that_are_not_ours_or_not_readable_are_no_rows() {
    let mut of_a_daemon_set = mk_revision();
    of_a_daemon_set["metadata"]["labels"] = json!({"app": "logs", "controller-revision-hash": "7d9f"});
    assert_eq!(row::<Revision>(of_a_daemon_set), None);
    for (pointer, value) in [
        ("/data", json!({"spec": {"template": {"$patch": "replace"}}})),
        ("/data/record", json!("{}")),
        ("/data/record", json!(mk_text().replace("\"image\"", "\"field_of_tomorrow\""))),
        ("/data/record", json!(mk_text().replace("\"deploy\"", "\"cause_of_tomorrow\""))),
        ("/data", Value::Null),
        ("/revision", json!(-1)),
    ] {
        let mut unknown = mk_revision();
        *unknown.pointer_mut(pointer).unwrap() = value;
        assert_eq!(row::<Revision>(unknown), None, "{pointer}");
    }
    let mut external = mk_revision();
    let record = Record { cause: Cause::External, time: time("2026-01-02T03:00:00Z"), ..mk_record() };
    external["data"] = form::to_data(&record).unwrap();
    assert_eq!(
        row::<Revision>(external).map(|r| r.created),
        Some(time("2026-01-02T03:00:00Z")),
        "noticed later"
    );
    let mut garbled = mk_revision();
    garbled["metadata"]["annotations"][VERDICT_ANNOTATION] = json!("{");
    assert_eq!(row::<Revision>(garbled).map(|r| r.end), Some(None));
}

/// Removes some fields and sets others to null. `choices` has one entry for each field on the way.
fn cut(value: &mut Value, choices: &mut impl Iterator<Item = u8>) {
    match value {
        Value::Object(map) => {
            map.retain(|_, _| choices.next() != Some(0));
            for (key, value) in map {
                // The API server writes null for a field, but never for an entry of a map of strings.
                let texts = ["labels", "annotations", "requests", "limits"].contains(&key.as_str());
                match choices.next() {
                    Some(1) => *value = Value::Null,
                    Some(_) if !texts => cut(value, choices),
                    _ => {}
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| cut(item, choices)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn survives<K: Decode + DeserializeOwned>(object: &Value) -> Result<bool, TestCaseError> {
    match serde_json::from_value::<K>(object.clone()) {
        Ok(decoded) => Ok(decoded.into_row().is_some()),
        Err(error) => Err(TestCaseError::fail(format!("{error}: {object}"))),
    }
}

proptest! {
    #[test]
    fn no_object_fails_to_decode_for_what_it_lacks(which in 0usize..9, choices in proptest::collection::vec(0u8..12, 200)) {
        let make: [fn() -> Value; 9] = [
            mk_crashing, mk_deployment, mk_replica_set, mk_event, mk_series, mk_scaler, mk_revision, mk_slice, mk_node,
        ];
        let mut object = make[which]();
        let (name, namespace) = (object["metadata"]["name"].clone(), object["metadata"]["namespace"].clone());
        cut(&mut object, &mut choices.into_iter());
        let named = object["metadata"]["name"] == name && object["metadata"]["namespace"] == namespace;
        let found = match which {
            0 => survives::<Pod>(&object)?,
            1 => survives::<Deployment>(&object)? == named,
            2 => survives::<ReplicaSet>(&object)?,
            3 | 4 => survives::<Event>(&object)?,
            5 => survives::<HorizontalPodAutoscaler>(&object)?,
            7 => survives::<EndpointSlice>(&object)?,
            8 => survives::<Node>(&object)?,
            _ => survives::<Revision>(&object)?,
        };
        prop_assert!(which != 1 || found, "a Deployment that has a name is an app: {object}");
    }
}
