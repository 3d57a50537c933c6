//! Wrong requests: each is refused with a reason and the field or object that it is about, and nothing is written.

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

/// What a refusal must say: code, reason, and the field of the request or the object.
type Expected = (Code, &'static str, String);

/// What the refusal is about: the wrong fields, or the object, or what failed.
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
    /// Takes in one answer.
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
        // A plan for it is refused in the same words.
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

/// A patch that gives the app's own container another image.
fn image_patch() -> Struct {
    let container = nested(&[("name", text("app")), ("image", text("other:1"))]);
    let list = Value { kind: Some(Kind::ListValue(prost_types::ListValue { values: vec![container] })) };
    object(&[("spec", nested(&[("containers", list)]))])
}

/// Deploys `web`, makes `alien` as others would, and waits until nothing moves any more.
async fn table(env: Env) -> Table {
    let request = pb::DeployAppRequest { request_id: ID.into(), ..env.deploy_request("web", web()) };
    env.deploy_and_follow(request).await;
    let alien = json!({"metadata": {"name": "alien"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": web().image}]}}}});
    let deployments = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace);
    deployments.create(&PostParams::default(), &serde_json::from_value(alien).unwrap()).await.unwrap();
    until("the app of others is active", async || {
        env.get("alien").await.is_ok_and(|app| app.status.unwrap().state() == pb::AppState::Active)
    })
    .await;
    let before = env.settled().await;
    Table { env, before, wrong: Vec::new() }
}

#[tokio::test]
async fn a_wrong_deploy_is_refused_by_the_field_and_writes_nothing() {
    run(|env| async move {
        let mut t = table(env).await;
        let (web_name, namespace) = (t.env.name("web"), t.env.namespace.clone());
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
        let nowhere = (Code::NotFound, "NAMESPACE_NOT_FOUND", "namespaces/gantry-test-none".to_owned());
        t.deploy("nowhere", named("namespaces/gantry-test-none/apps/web"), nowhere).await;

        let name = |n: &str, number| pb::Port { name: n.into(), number, protocol: 0 };
        let requests = |cpu: &str| pb::Resources {
            requests: [("cpu".to_owned(), cpu.to_owned())].into(),
            ..Default::default()
        };
        let base = pb::AppSpec { image: "web:2".into(), ..Default::default() };
        for (what, spec, field) in [
            (
                "no quantity",
                pb::AppSpec { resources: Some(requests("lots")), ..base.clone() },
                "app.spec.resources.requests[cpu]",
            ),
            (
                "a port's name twice",
                pb::AppSpec { ports: vec![name("a", 1), name("a", 2)], ..base.clone() },
                "app.spec.ports[1].name",
            ),
            (
                "a port's number twice",
                pb::AppSpec { ports: vec![name("a", 1), name("b", 1)], ..base.clone() },
                "app.spec.ports[1].number",
            ),
            ("less than none", pb::AppSpec { replicas: Some(-1), ..base.clone() }, "app.spec.replicas"),
            ("too many", pb::AppSpec { replicas: Some(10_001), ..base.clone() }, "app.spec.replicas"),
            ("an image of two words", pb::AppSpec { image: "a b".into(), ..base.clone() }, "app.spec.image"),
            (
                "a patch of our field",
                pb::AppSpec { pod_template_patch: Some(image_patch()), ..base.clone() },
                "app.spec.pod_template_patch",
            ),
        ] {
            t.deploy(what, t.env.deploy_request("web", spec.clone()), invalid(field)).await;
            t.deploy(&format!("{what}, as a new app"), t.env.deploy_request("new", spec), invalid(field))
                .await;
        }
        t.deploy("no image", t.env.deploy_request("new", pb::AppSpec::default()), invalid("app.spec.image"))
            .await;
        let cleared = masked(t.env.deploy_request("web", pb::AppSpec::default()), "spec.image");
        t.deploy("the image cleared", cleared, invalid("app.spec.image")).await;
        for path in ["spec.imagee", "spec.ports.name", "status", "name"] {
            let request = masked(t.env.deploy_request("web", base.clone()), path);
            t.deploy(path, request, invalid("update_mask")).await;
        }
        let mut stale = t.env.deploy_request("web", base.clone());
        stale.app.as_mut().unwrap().etag = "yesterday".into();
        t.deploy("an etag of yesterday", stale, (Code::Aborted, "ETAG_MISMATCH", String::new())).await;
        let again =
            pb::DeployAppRequest { request_id: ID.into(), ..t.env.deploy_request("web", base.clone()) };
        let reused = (Code::InvalidArgument, "REQUEST_ID_REUSED", "request_id".to_owned());
        t.deploy("an id used for something else", again, reused).await;
        let no_id =
            pb::DeployAppRequest { request_id: "1".into(), ..t.env.deploy_request("web", base.clone()) };
        t.deploy("no UUID", no_id, invalid("request_id")).await;
        let taken = (Code::AlreadyExists, "NAME_TAKEN", format!("{namespace}/alien"));
        t.deploy("what others made", t.env.deploy_request("alien", base.clone()), taken).await;
        let long = pb::DeployAppRequest { reason: "x".repeat(1025), ..t.env.deploy_request("web", base) };
        t.deploy("a novel", long, invalid("reason")).await;
        assert_eq!(t.wrong, Vec::<String>::new());
        assert_eq!(t.env.get("web").await.unwrap().name, web_name);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_call_of_any_other_method_is_refused_and_writes_nothing() {
    run(|env| async move {
        let mut t = table(env).await;
        let web_name = t.env.name("web");
        let no_app = |name: &str| (Code::NotFound, "APP_NOT_FOUND", name.to_owned());
        let (mut apps, mut rollouts) = (t.env.daemon.apps().await, t.env.daemon.rollouts().await);
        let mut discovery = t.env.daemon.discovery().await;
        let absent = t.env.name("absent");
        let scale =
            |name: &str, replicas| pb::ScaleAppRequest { name: name.into(), replicas, ..Default::default() };
        for (what, request, expected) in [
            ("no count", scale(&web_name, None), invalid("replicas")),
            ("less than none", scale(&web_name, Some(-1)), invalid("replicas")),
            ("too many", scale(&web_name, Some(10_001)), invalid("replicas")),
            ("nobody", scale(&absent, Some(1)), no_app(&absent)),
            ("no name", scale("web", Some(1)), invalid("name")),
            (
                "stale",
                pb::ScaleAppRequest { etag: "x".into(), ..scale(&web_name, Some(3)) },
                (Code::Aborted, "ETAG_MISMATCH", String::new()),
            ),
            (
                "reused",
                pb::ScaleAppRequest { request_id: ID.into(), ..scale(&web_name, Some(3)) },
                (Code::InvalidArgument, "REQUEST_ID_REUSED", "request_id".into()),
            ),
        ] {
            t.expect(&format!("scale {what}"), apps.scale_app(request).await, expected).await;
        }
        let restart = |name: &str| pb::RestartAppRequest { name: name.into(), ..Default::default() };
        t.expect("restart nobody", apps.restart_app(restart(&absent)).await, no_app(&absent)).await;
        t.expect("restart no name", apps.restart_app(restart("")).await, invalid("name")).await;
        let delete = |name: &str, etag: &str| pb::DeleteAppRequest {
            name: name.into(),
            etag: etag.into(),
            ..Default::default()
        };
        t.expect("delete nobody", apps.delete_app(delete(&absent, "")).await, no_app(&absent)).await;
        let stale = (Code::Aborted, "ETAG_MISMATCH", String::new());
        t.expect("delete stale", apps.delete_app(delete(&web_name, "x")).await, stale).await;
        let unmanaged = (Code::FailedPrecondition, "NOT_MANAGED", String::new());
        let alien = t.env.name("alien");
        t.expect("delete others'", apps.delete_app(delete(&alien, "")).await, unmanaged.clone()).await;

        let roll_back = |name: &str, rollout: &str| pb::RollbackAppRequest {
            name: name.into(),
            rollout: rollout.into(),
            ..Default::default()
        };
        let past = web_name.clone() + "/rollouts/99";
        let no_rollout = (Code::NotFound, "ROLLOUT_NOT_FOUND", past.clone());
        t.expect(
            "back to what never was",
            rollouts.rollback_app(roll_back(&web_name, &past)).await,
            no_rollout.clone(),
        )
        .await;
        let foreign = absent.clone() + "/rollouts/1";
        t.expect(
            "back to another app's",
            rollouts.rollback_app(roll_back(&web_name, &foreign)).await,
            invalid("rollout"),
        )
        .await;
        let none = (Code::FailedPrecondition, "NO_EARLIER_ROLLOUT", String::new());
        t.expect("back to before the first", rollouts.rollback_app(roll_back(&web_name, "")).await, none)
            .await;
        t.expect("back what others made", rollouts.rollback_app(roll_back(&alien, "")).await, unmanaged)
            .await;
        t.expect("back nobody", rollouts.rollback_app(roll_back(&absent, "")).await, no_app(&absent)).await;
        let ended = (Code::FailedPrecondition, "ROLLOUT_ENDED", String::new());
        let latest = web_name.clone() + "/rollouts/latest";
        let pause = |name: &str| pb::PauseRolloutRequest { name: name.into(), ..Default::default() };
        let resume = |name: &str| pb::ResumeRolloutRequest { name: name.into(), ..Default::default() };
        t.expect("hold what has ended", rollouts.pause_rollout(pause(&latest)).await, ended.clone()).await;
        t.expect("let go on what has ended", rollouts.resume_rollout(resume(&latest)).await, ended).await;
        t.expect("hold what never was", rollouts.pause_rollout(pause(&past)).await, no_rollout.clone()).await;
        t.expect("hold no rollout", rollouts.pause_rollout(pause(&web_name)).await, invalid("name")).await;
        let get = pb::GetRolloutRequest { name: past.clone(), ..Default::default() };
        t.expect("read what never was", rollouts.get_rollout(get).await, no_rollout.clone()).await;
        let wait = pb::WaitRolloutRequest { name: past.clone(), ..Default::default() };
        t.expect("wait for what never was", rollouts.wait_rollout(wait).await, no_rollout.clone()).await;
        let watch = pb::WatchRolloutRequest { name: past, ..Default::default() };
        t.expect("watch what never was", rollouts.watch_rollout(watch).await, no_rollout).await;

        // Of reads: a page token of another list, a position that is none, a name that is none.
        let parent = format!("namespaces/{}", t.env.namespace);
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
        let replicas = |token: &str| pb::ListReplicasRequest {
            parent: web_name.clone(),
            page_token: token.into(),
            ..Default::default()
        };
        t.expect("replicas", apps.list_replicas(replicas(&token)).await, bad_token.clone()).await;
        let endpoints = |token: &str| pb::ListEndpointsRequest {
            parent: web_name.clone(),
            page_token: token.into(),
            ..Default::default()
        };
        t.expect("endpoints", discovery.list_endpoints(endpoints(&token)).await, bad_token).await;
        let get = |name: &str, after: &str| pb::GetAppRequest { name: name.into(), read_after: after.into() };
        t.expect("read nobody", apps.get_app(get(&absent, "")).await, no_app(&absent)).await;
        t.expect("after never", apps.get_app(get(&web_name, "never")).await, invalid("read_after")).await;
        let wait = pb::WaitAppRequest { name: absent.clone(), ..Default::default() };
        t.expect("wait for nobody", apps.wait_app(wait).await, no_app(&absent)).await;
        let nobody = pb::ListReplicasRequest { parent: absent.clone(), ..Default::default() };
        t.expect("replicas of nobody", apps.list_replicas(nobody).await, no_app(&absent)).await;
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
