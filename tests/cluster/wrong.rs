//! Wrong requests: each is refused with a reason and the field or object at fault, and nothing is written.

use gantry::pb;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, api::PostParams};
use prost_types::{FieldMask, Struct, Value, value::Kind};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{Env, annotate, reason, run, until, web};

const ID: &str = "6f1a2c1e-0000-4000-8000-000000000001";

/// What a refusal must have: code, reason, and the field of the request or the object.
type Expected = (Code, &'static str, String);

/// The wrong fields or the object that the refusal names.
fn about(status: &Status) -> String {
    let details = status.get_error_details();
    if let Some(bad) = details.bad_request() {
        return bad.field_violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>().join(" ");
    }
    details.resource_info().map(|info| info.resource_name.clone()).unwrap_or_default()
}

struct Table {
    env: Env,
    before: Vec<String>,
    wrong: Vec<String>,
}

impl Table {
    /// Compares one answer, and checks that no object was written.
    async fn expect<T: std::fmt::Debug>(
        &mut self,
        what: &str,
        answer: Result<T, Status>,
        (code, expected, field): Expected,
    ) {
        match answer {
            Ok(answer) => self.wrong.push(format!("{what}: was done: {answer:?}")),
            Err(status) => {
                let got = (status.code(), reason(&status), about(&status));
                if got != (code, expected.to_owned(), field.clone()) {
                    self.wrong.push(format!(
                        "{what}: {got:?} and not {:?}: {}",
                        (code, expected, field),
                        status.message()
                    ));
                }
                if !status.message().contains(' ') {
                    self.wrong.push(format!("{what}: says only {:?}", status.message()));
                }
            }
        }
        let now = self.env.objects().await;
        if now != self.before {
            self.wrong.push(format!("{what}: {:?} became {now:?}", self.before));
            self.before = now;
        }
    }

    async fn deploy(&mut self, what: &str, request: pb::DeployAppRequest, expected: Expected) {
        let answer = self.env.daemon.deploy_app(request.clone()).await;
        self.expect(what, answer, expected.clone()).await;
        // A plan of the same deploy is refused with the same error.
        let only = pb::DeployAppRequest { validate_only: true, ..request };
        if expected.1 != "REQUEST_ID_REUSED" {
            let answer = self.env.daemon.deploy_app(only).await;
            self.expect(&format!("a plan of {what}"), answer, expected).await;
        }
    }
}

fn invalid(field: &str) -> Expected {
    (Code::InvalidArgument, "INVALID_FIELD", field.to_owned())
}

fn masked(request: pb::DeployAppRequest, path: &str) -> pb::DeployAppRequest {
    pb::DeployAppRequest { update_mask: Some(FieldMask { paths: vec![path.into()] }), ..request }
}

fn text(value: &str) -> Value {
    Value { kind: Some(Kind::StringValue(value.into())) }
}

fn object(fields: &[(&str, Value)]) -> Struct {
    Struct { fields: fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect() }
}

fn nested(fields: &[(&str, Value)]) -> Value {
    Value { kind: Some(Kind::StructValue(object(fields))) }
}

/// A patch of one field of the pod's spec.
fn of_spec(field: &str, value: Value) -> Struct {
    object(&[("spec", nested(&[(field, value)]))])
}

fn list_of(field: &str, value: &str) -> Value {
    let entry = nested(&[(field, text(value))]);
    Value { kind: Some(Kind::ListValue(prost_types::ListValue { values: vec![entry] })) }
}

/// A patch that changes the image of the app's own container.
fn image_patch() -> Struct {
    let container = nested(&[("name", text("app")), ("image", text("other:1"))]);
    let list = Value { kind: Some(Kind::ListValue(prost_types::ListValue { values: vec![container] })) };
    object(&[("spec", nested(&[("containers", list)]))])
}

/// Deploys `web`, creates `alien` outside Gantry, and waits until nothing changes any more.
async fn table(env: Env) -> Table {
    let request = pb::DeployAppRequest { request_id: ID.into(), ..env.deploy_request("web", web()) };
    env.deploy_and_follow(request).await;
    let alien = json!({"metadata": {"name": "alien"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": web().image}]}}}});
    let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
    deployments.create(&PostParams::default(), &serde_json::from_value(alien).unwrap()).await.unwrap();
    until("the app not managed by Gantry is active", async || {
        env.get("alien").await.is_ok_and(|app| app.status.unwrap().state() == pb::AppState::Active)
    })
    .await;
    let before = env.settled().await;
    Table { env, before, wrong: Vec::new() }
}

async fn deploy_under_wrong_names(t: &mut Table) {
    let named = |name: &str| {
        let app = pb::App { name: name.into(), spec: Some(web()), ..Default::default() };
        pb::DeployAppRequest { app: Some(app), ..Default::default() }
    };
    for name in
        ["web", "namespaces/x", "namespaces/x/apps/", "namespaces/x/apps/3web", "namespaces/x/apps/Web"]
    {
        t.deploy(name, named(name), invalid("app.name")).await;
    }
    t.deploy("no app", pb::DeployAppRequest::default(), invalid("app")).await;
    let missing = (Code::NotFound, "NAMESPACE_NOT_FOUND", "namespaces/gantry-test-none".to_owned());
    t.deploy("a missing namespace", named("namespaces/gantry-test-none/apps/web"), missing).await;
}

/// A spec that is valid and changes the app.
fn web_2() -> pb::AppSpec {
    pb::AppSpec { image: "web:2".into(), ..Default::default() }
}

/// Wrong specs: what is wrong, the spec, and the field that the refusal names.
fn wrong_specs() -> Vec<(&'static str, pb::AppSpec, &'static str)> {
    let port = |name: &str, number| pb::Port { name: name.into(), number, protocol: 0 };
    let requests = |cpu: &str| pb::Resources {
        requests: [("cpu".to_owned(), cpu.to_owned())].into(),
        ..Default::default()
    };
    vec![
        (
            "an invalid quantity",
            pb::AppSpec { resources: Some(requests("lots")), ..web_2() },
            "app.spec.resources.requests[cpu]",
        ),
        (
            "a port name twice",
            pb::AppSpec { ports: vec![port("a", 1), port("a", 2)], ..web_2() },
            "app.spec.ports[1].name",
        ),
        (
            "a port number twice",
            pb::AppSpec { ports: vec![port("a", 1), port("b", 1)], ..web_2() },
            "app.spec.ports[1].number",
        ),
        ("a negative count", pb::AppSpec { replicas: Some(-1), ..web_2() }, "app.spec.replicas"),
        ("too many", pb::AppSpec { replicas: Some(10_001), ..web_2() }, "app.spec.replicas"),
        (
            "an image that is a URL",
            pb::AppSpec { image: "https://a.b/c:1".into(), ..web_2() },
            "app.spec.image",
        ),
        (
            "a fraction in the patch",
            pb::AppSpec { pod_template_patch: Some(of_spec("priority", 1.5.into())), ..web_2() },
            "app.spec.pod_template_patch.spec.priority",
        ),
        (
            "a volume of the patch with an invalid name",
            pb::AppSpec {
                pod_template_patch: Some(of_spec("volumes", list_of("name", "Bad_Name"))),
                ..web_2()
            },
            "app.spec.pod_template_patch.spec.volumes[0].name",
        ),
        (
            "an init container of the patch without an image",
            pb::AppSpec {
                pod_template_patch: Some(of_spec("initContainers", list_of("name", "init"))),
                ..web_2()
            },
            "app.spec.pod_template_patch.spec.initContainers[0].image",
        ),
        ("an image with a space", pb::AppSpec { image: "a b".into(), ..web_2() }, "app.spec.image"),
        (
            "a patch of a field of the spec",
            pb::AppSpec { pod_template_patch: Some(image_patch()), ..web_2() },
            "app.spec.pod_template_patch.spec.containers[0].image",
        ),
    ]
}

/// Deploys each wrong spec, as a change of an app and as a new app.
async fn deploy_wrong_specs(t: &mut Table) {
    for (what, spec, field) in wrong_specs() {
        t.deploy(what, t.env.deploy_request("web", spec.clone()), invalid(field)).await;
        t.deploy(&format!("{what}, as a new app"), t.env.deploy_request("new", spec), invalid(field)).await;
    }
    let empty = pb::AppSpec::default();
    t.deploy("no image", t.env.deploy_request("new", empty.clone()), invalid("app.spec.image")).await;
    let cleared = masked(t.env.deploy_request("web", empty), "spec.image");
    t.deploy("the image cleared", cleared, invalid("app.spec.image")).await;
}

/// Deploys a valid spec with one field of the request wrong.
async fn deploy_with_wrong_fields(t: &mut Table) {
    let request = t.env.deploy_request("web", web_2());
    for path in ["spec.imagee", "spec.ports.name", "status", "name"] {
        t.deploy(path, masked(request.clone(), path), invalid("update_mask")).await;
    }
    let mut stale = request.clone();
    stale.app.as_mut().unwrap().etag = "yesterday".into();
    t.deploy("a stale etag", stale, (Code::Aborted, "ETAG_MISMATCH", String::new())).await;
    let again = pb::DeployAppRequest { request_id: ID.into(), ..request.clone() };
    let reused = (Code::InvalidArgument, "REQUEST_ID_REUSED", "request_id".to_owned());
    t.deploy("the id of another request", again, reused).await;
    let no_uuid = pb::DeployAppRequest { request_id: "1".into(), ..request.clone() };
    t.deploy("an id that is no UUID", no_uuid, invalid("request_id")).await;
    let taken = (Code::AlreadyExists, "NAME_TAKEN", format!("{}/alien", t.env.namespace));
    t.deploy("an app not managed by Gantry", t.env.deploy_request("alien", web_2()), taken).await;
    let long = pb::DeployAppRequest { reason: "x".repeat(1025), ..request };
    t.deploy("a reason that is too long", long, invalid("reason")).await;
}

#[tokio::test]
async fn a_wrong_deploy_is_refused_by_the_field_and_writes_nothing() {
    run(|env| async move {
        let mut t = table(env).await;
        let web_name = t.env.name("web");
        deploy_under_wrong_names(&mut t).await;
        deploy_wrong_specs(&mut t).await;
        deploy_with_wrong_fields(&mut t).await;
        assert_eq!(t.wrong, Vec::<String>::new());
        assert_eq!(t.env.get("web").await.unwrap().name, web_name);
    })
    .await;
}

fn no_app(name: &str) -> Expected {
    (Code::NotFound, "APP_NOT_FOUND", name.to_owned())
}

fn no_rollout(name: &str) -> Expected {
    (Code::NotFound, "ROLLOUT_NOT_FOUND", name.to_owned())
}

fn unmanaged() -> Expected {
    (Code::FailedPrecondition, "NOT_MANAGED", String::new())
}

fn stale() -> Expected {
    (Code::Aborted, "ETAG_MISMATCH", String::new())
}

async fn scale_wrongly(t: &mut Table) {
    let (web_name, absent) = (t.env.name("web"), t.env.name("absent"));
    let mut apps = t.env.daemon.apps().await;
    let scale =
        |name: &str, replicas| pb::ScaleAppRequest { name: name.into(), replicas, ..Default::default() };
    for (what, request, expected) in [
        ("no count", scale(&web_name, None), invalid("replicas")),
        ("a negative count", scale(&web_name, Some(-1)), invalid("replicas")),
        ("too many", scale(&web_name, Some(10_001)), invalid("replicas")),
        ("a missing app", scale(&absent, Some(1)), no_app(&absent)),
        ("no name", scale("web", Some(1)), invalid("name")),
        ("stale", pb::ScaleAppRequest { etag: "x".into(), ..scale(&web_name, Some(3)) }, stale()),
        (
            "reused",
            pb::ScaleAppRequest { request_id: ID.into(), ..scale(&web_name, Some(3)) },
            (Code::InvalidArgument, "REQUEST_ID_REUSED", "request_id".into()),
        ),
    ] {
        t.expect(&format!("scale {what}"), apps.scale_app(request).await, expected).await;
    }
}

async fn restart_and_delete_wrongly(t: &mut Table) {
    let (web_name, absent, alien) = (t.env.name("web"), t.env.name("absent"), t.env.name("alien"));
    let mut apps = t.env.daemon.apps().await;
    let restart = |name: &str| pb::RestartAppRequest { name: name.into(), ..Default::default() };
    t.expect("restart a missing app", apps.restart_app(restart(&absent)).await, no_app(&absent)).await;
    t.expect("restart no name", apps.restart_app(restart("")).await, invalid("name")).await;
    let delete = |name: &str, etag: &str| pb::DeleteAppRequest {
        name: name.into(),
        etag: etag.into(),
        ..Default::default()
    };
    t.expect("delete a missing app", apps.delete_app(delete(&absent, "")).await, no_app(&absent)).await;
    t.expect("delete stale", apps.delete_app(delete(&web_name, "x")).await, stale()).await;
    t.expect("delete an unmanaged app", apps.delete_app(delete(&alien, "")).await, unmanaged()).await;
}

async fn roll_back_wrongly(t: &mut Table) {
    let (web_name, absent, alien) = (t.env.name("web"), t.env.name("absent"), t.env.name("alien"));
    let (past, foreign) = (web_name.clone() + "/rollouts/99", absent.clone() + "/rollouts/1");
    let mut rollouts = t.env.daemon.rollouts().await;
    let none = (Code::FailedPrecondition, "NO_EARLIER_ROLLOUT", String::new());
    for (what, name, rollout, expected) in [
        ("to a missing rollout", &web_name, past.as_str(), no_rollout(&past)),
        ("to a rollout of another app", &web_name, foreign.as_str(), invalid("rollout")),
        ("to before the first rollout", &web_name, "", none),
        ("an unmanaged app", &alien, "", unmanaged()),
        ("a missing app", &absent, "", no_app(&absent)),
    ] {
        let request =
            pb::RollbackAppRequest { name: name.clone(), rollout: rollout.into(), ..Default::default() };
        t.expect(&format!("roll back {what}"), rollouts.rollback_app(request).await, expected).await;
    }
}

/// Holds, resumes, reads and follows rollouts that have ended or that do not exist.
async fn name_rollouts_wrongly(t: &mut Table) {
    let web_name = t.env.name("web");
    let (past, latest) = (web_name.clone() + "/rollouts/99", web_name.clone() + "/rollouts/latest");
    let mut rollouts = t.env.daemon.rollouts().await;
    let ended = (Code::FailedPrecondition, "ROLLOUT_ENDED", String::new());
    let pause = |name: &str| pb::PauseRolloutRequest { name: name.into(), ..Default::default() };
    let resume = |name: &str| pb::ResumeRolloutRequest { name: name.into(), ..Default::default() };
    t.expect("hold an ended rollout", rollouts.pause_rollout(pause(&latest)).await, ended.clone()).await;
    t.expect("resume an ended rollout", rollouts.resume_rollout(resume(&latest)).await, ended).await;
    t.expect("hold a missing rollout", rollouts.pause_rollout(pause(&past)).await, no_rollout(&past)).await;
    t.expect("hold an app", rollouts.pause_rollout(pause(&web_name)).await, invalid("name")).await;
    let get = pb::GetRolloutRequest { name: past.clone(), ..Default::default() };
    t.expect("read a missing rollout", rollouts.get_rollout(get).await, no_rollout(&past)).await;
    let wait = pb::WaitRolloutRequest { name: past.clone(), ..Default::default() };
    t.expect("wait for a missing rollout", rollouts.wait_rollout(wait).await, no_rollout(&past)).await;
    let watch = pb::WatchRolloutRequest { name: past.clone(), ..Default::default() };
    t.expect("watch a missing rollout", rollouts.watch_rollout(watch).await, no_rollout(&past)).await;
}

/// Sends the page token of one list to other lists.
async fn page_wrongly(t: &mut Table) {
    let (web_name, parent) = (t.env.name("web"), format!("namespaces/{}", t.env.namespace));
    let mut apps = t.env.daemon.apps().await;
    let mut discovery = t.env.daemon.discovery().await;
    let list = |parent: &str, token: &str| pb::ListAppsRequest {
        parent: parent.into(),
        page_size: 1,
        page_token: token.into(),
        ..Default::default()
    };
    let token = apps.list_apps(list(&parent, "")).await.unwrap().into_inner().next_page_token;
    assert_ne!(token, "", "two apps are two pages of one");
    let bad_token = (Code::InvalidArgument, "PAGE_TOKEN_INVALID", "page_token".to_owned());
    t.expect("apps of all", apps.list_apps(list("namespaces/-", &token)).await, bad_token.clone()).await;
    let replicas =
        pb::ListReplicasRequest { parent: web_name.clone(), page_token: token.clone(), ..Default::default() };
    t.expect("replicas", apps.list_replicas(replicas).await, bad_token.clone()).await;
    let endpoints = pb::ListEndpointsRequest { parent: web_name, page_token: token, ..Default::default() };
    t.expect("endpoints", discovery.list_endpoints(endpoints).await, bad_token).await;
}

/// Reads apps that do not exist, and at a position that is not valid.
async fn read_wrongly(t: &mut Table) {
    let (web_name, absent) = (t.env.name("web"), t.env.name("absent"));
    let mut apps = t.env.daemon.apps().await;
    let get = |name: &str, after: &str| pb::GetAppRequest { name: name.into(), read_after: after.into() };
    t.expect("read a missing app", apps.get_app(get(&absent, "")).await, no_app(&absent)).await;
    t.expect("after never", apps.get_app(get(&web_name, "never")).await, invalid("read_after")).await;
    let wait = pb::WaitAppRequest { name: absent.clone(), ..Default::default() };
    t.expect("wait for a missing app", apps.wait_app(wait).await, no_app(&absent)).await;
    let replicas = pb::ListReplicasRequest { parent: absent.clone(), ..Default::default() };
    t.expect("replicas of a missing app", apps.list_replicas(replicas).await, no_app(&absent)).await;
}

#[tokio::test]
async fn a_wrong_call_of_any_other_method_is_refused_and_writes_nothing() {
    run(|env| async move {
        let mut t = table(env).await;
        scale_wrongly(&mut t).await;
        restart_and_delete_wrongly(&mut t).await;
        roll_back_wrongly(&mut t).await;
        name_rollouts_wrongly(&mut t).await;
        page_wrongly(&mut t).await;
        read_wrongly(&mut t).await;
        assert_eq!(t.wrong, Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_field_that_is_not_in_the_contract_is_refused_by_its_name() {
    run(|env| async move {
        let t = table(env).await;
        let body = json!({"app": {"name": t.env.name("web"), "spec": {"imagee": "web:2"}}}).to_string();
        let mut stream = TcpStream::connect(&t.env.daemon.address).await.unwrap();
        let head = format!(
            "POST /gantry.v1.AppService/DeployApp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("imagee") && answer.contains("INVALID_FIELD"), "{answer}");
        assert_eq!(t.env.objects().await, t.before);
    })
    .await;
}

#[tokio::test]
async fn a_plan_uses_no_request_id_and_a_deploy_may_refuse_to_supersede() {
    run(|env| async move {
        let slow = pb::AppSpec { pod_template_patch: Some(annotate("sim/unready", "true")), ..web() };
        let with_id = |request| pb::DeployAppRequest { request_id: ID.into(), ..request };
        let mut apps = env.daemon.apps().await;
        let plan = pb::DeployAppRequest { validate_only: true, ..with_id(env.deploy_request("web", web())) };
        apps.deploy_app(plan).await.unwrap();
        assert_eq!(env.objects().await, Vec::<String>::new(), "a plan writes nothing");
        let begun = apps
            .deploy_app(with_id(env.deploy_request("web", slow)))
            .await
            .unwrap()
            .into_inner()
            .rollout
            .unwrap();

        let other = pb::AppSpec { image: "web:2".into(), ..Default::default() };
        let concurrency = pb::Concurrency::Reject.into();
        let polite = pb::DeployAppRequest { concurrency, ..env.deploy_request("web", other.clone()) };
        if crate::support::simulated() {
            let status = apps.deploy_app(polite).await.unwrap_err();
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::FailedPrecondition, "ROLLOUT_IN_PROGRESS")
            );
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().metadata["rollout"], begun.name);
        }
        apps.deploy_app(env.deploy_request("web", other)).await.unwrap();
    })
    .await;
}
