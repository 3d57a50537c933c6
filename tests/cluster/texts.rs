//! Any text passes through every text field of the contract: deployed, read back unchanged, deployed again
//! without a change, changed, rolled back. The revisions that store it can be changed by every kind of
//! client, for example by the garbage collector of Kubernetes.
//!
//! `GANTRY_TEST_SEED` repeats a run, and `GANTRY_TEST_TEXTS` (the number of apps) makes it longer.

use std::time::Instant;

use futures::{StreamExt, stream};
use gantry::pb;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams, ResourceExt},
};
use serde_json::json;

use crate::support::{Env, Numbers, annotate_all, run, setting, until};

/// Texts that people put into such fields: connection strings, documents, code, texts that look like secrets,
/// and texts that are easily misread.
const TEXTS: [&str; 60] = [
    "postgres://user:p%40ss@db.prod:5432/shop?sslmode=require&pool=5",
    "mongodb+srv://u:p@c0.example.net/?retryWrites=true&w=majority",
    "Server=db;Database=shop;User Id=sa;Password=a<b>c&d;Encrypt=True",
    "amqp://guest:guest@mq//vhost?heartbeat=30&prefetch=<10>",
    r#"{"level":"info","hosts":["a","b"],"html":"<b>&amp;</b>","n":1.0}"#,
    "<?xml version=\"1.0\"?>\n<a href='x?y=1&amp;z=2'><![CDATA[<&>]]></a>\n",
    "<script>alert(\"1\" && '2')</script>",
    "--filter=status!=done && owner=='me' || age>3",
    "sh -c 'exec \"$0\" \"$@\" 2>&1 | tee /var/log/x & wait'",
    "if [ \"$A\" -lt 3 ] && [ -n \"${B:-}\" ]; then echo \"<ok>\" >&2; fi",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQ+/=\n-----END PRIVATE KEY-----\n",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl+/==",
    "^(?:[a-z0-9!#$%&'*+/=?^_`{|}~-]+)@(?P<host>[^>]+)\\.\\w{2,}$",
    "C:\\Program Files\\x\\n.txt",
    "\\\\server\\share",
    "{{ .Values.image | default \"x\" }} ${VAR} %s %d {0} #{x} <%= y %>",
    "$$(ESCAPED) $(NONE) $HOME",
    "1.0",
    "1e3",
    "0x1F",
    "007",
    "1_000",
    "-0",
    "123456789012345678901234567890",
    "true",
    "no",
    "null",
    "~",
    "NaN",
    ".inf",
    "2026-11-30",
    "12:30:45",
    "!!str x",
    "*alias",
    "&anchor x",
    "- a\n- b\n",
    "a: b # c",
    "'",
    "\"",
    "`x`",
    "''\"\"\\'\\\"",
    "\\u003c \\x3c &#60; %3C &lt;",
    "a=b=c",
    "=",
    "&",
    "<",
    ">",
    " leading and trailing ",
    "tab\tand\r\nCRLF\rCR",
    "\n",
    "\u{0}nul\u{0}",
    "\u{1b}[31mred\u{1b}[0m\u{7}",
    "\u{7f}\u{80}\u{9f}",
    "\u{2028}\u{2029}\u{85}",
    "\u{feff}bom",
    "\u{200b}\u{200d}\u{202e}abc\u{202c}",
    "e\u{301} Å ﬁ ß İ ı",
    "日本語 한국어 العربية עברית ไทย",
    "👩‍👩‍👧‍👦 🏳️‍🌈 \u{1f1e9}\u{1f1ea} \u{10ffff}",
    "\u{fffd}\u{fffe}\u{ffff}\u{e000}",
];

/// A text from the list, three of them together, or random characters.
fn text(n: &mut Numbers) -> String {
    match n.below(10) {
        0..6 => n.of(&TEXTS).to_owned(),
        6 | 7 => format!("{}{}{}", n.of(&TEXTS), n.of(&TEXTS), n.of(&TEXTS)),
        _ => (0..n.below(40)).filter_map(|_| any_char(n)).collect(),
    }
}

/// A random character, mostly from the planes and blocks in which encoders differ.
fn any_char(n: &mut Numbers) -> Option<char> {
    let code = match n.below(6) {
        0 | 1 => n.below(0x80),
        2 => n.below(0x300),
        3 => 0x2000 + n.below(0x100),
        4 => n.below(0x1_0000),
        _ => n.below(0x11_0000),
    };
    char::from_u32(u32::try_from(code).unwrap())
}

/// A text of the characters that Kubernetes accepts there, not empty.
fn word(n: &mut Numbers) -> String {
    const EDGE: &[u8] = b"abcxyzABC019";
    let inner = b"abcxyzABC019-_.";
    let mut text = vec![n.of(EDGE)];
    text.extend((0..n.below(12)).map(|_| n.of(inner)));
    text.push(n.of(EDGE));
    String::from_utf8(text).unwrap()
}

/// A name for a variable. Kubernetes accepts printable ASCII without `=`.
fn variable(n: &mut Numbers, i: u64) -> String {
    let name = match n.below(4) {
        0 => "A&<>'\"\\ b".to_owned(),
        1 => "spring.datasource.url".to_owned(),
        2 => "my-app/x:y".to_owned(),
        _ => "PLAIN".to_owned(),
    };
    format!("{name}{i}")
}

/// A spec in which every text field has a text.
fn spec(n: &mut Numbers, long: bool) -> pb::AppSpec {
    use pb::probe::Check;
    let texts = |n: &mut Numbers, most: u64| (0..=n.below(most)).map(|_| text(n)).collect::<Vec<_>>();
    let exec =
        pb::Probe { check: Some(Check::Exec(pb::Exec { command: texts(n, 3) })), ..pb::Probe::default() };
    let path = format!("/{}", text(n).replace('\0', ""));
    let get = pb::Probe {
        check: Some(Check::HttpGet(pb::HttpGet { port: "http".into(), path })),
        ..pb::Probe::default()
    };
    let service = pb::GrpcHealth { port: "http".into(), service: text(n) };
    let grpc = pb::Probe { check: Some(Check::Grpc(service)), ..pb::Probe::default() };
    let volume = pb::Volume {
        mount_path: format!("/{}", text(n).replace([':', '\0'], "")),
        source: Some(pb::volume::Source::EmptyDir(pb::EmptyDir::default())),
        read_only: false,
    };
    let mut env: std::collections::BTreeMap<_, _> = (0..3).map(|i| (variable(n, i), text(n))).collect();
    if long {
        env.insert("LONG".into(), text(n).repeat(100_000).chars().take(100_000).collect());
    }
    pb::AppSpec {
        // Not every word is a valid path of an image.
        image: format!(
            "registry.example/{}:{}",
            word(n).to_lowercase().replace(['-', '_', '.'], ""),
            word(n)
        ),
        replicas: Some(n.small(3)),
        ports: vec![pb::Port { name: "http".into(), number: 8080, protocol: pb::Protocol::Tcp.into() }],
        command: texts(n, 3),
        args: texts(n, 4),
        env,
        probes: Some(pb::Probes { readiness: Some(get), liveness: Some(exec), startup: Some(grpc) }),
        volumes: vec![volume],
        placement: Some(pb::Placement {
            node_selector: [("example.com/pool".to_owned(), word(n))].into(),
            tolerations: vec![pb::Toleration { key: word(n), value: word(n), ..pb::Toleration::default() }],
            ..pb::Placement::default()
        }),
        pod_template_patch: Some(annotate_all(&[("example.com/note", &text(n)), ("other", &text(n))])),
        ..pb::AppSpec::default()
    }
}

fn revisions(env: &Env) -> Api<ControllerRevision> {
    Api::namespaced(env.client.clone(), &env.namespace)
}

fn reason(n: &mut Numbers) -> String {
    text(n).chars().take(200).collect()
}

/// Changes every revision of an app in each way that clients use.
async fn change_revisions(env: &Env, app: &str) {
    let api = revisions(env);
    let of_app = ListParams::default().labels(&format!("gantry.dev/revisions-of={app}"));
    for revision in api.list(&of_app).await.unwrap() {
        let name = revision.name_any();
        let patch = |value| json!({"metadata": {"labels": {"example.com/z": value}}});
        let strategic = Patch::Strategic(patch("1"));
        let changed = api.patch(&name, &PatchParams::default(), &strategic).await;
        changed.unwrap_or_else(|e| panic!("strategic merge patch of {name}: {e}; {:?}", revision.data));
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch("2"))).await.unwrap();
        let applied = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"annotations": {"example.com/y": "1"}}});
        api.patch(&name, &PatchParams::apply("somebody"), &Patch::Apply(applied)).await.unwrap();
        // A client that replaces the whole object reads it again if the daemon has written the verdict
        // meanwhile.
        until(&format!("{name} is replaced"), async || {
            let mut whole = api.get(&name).await.unwrap();
            whole.labels_mut().insert("example.com/z".into(), "3".into());
            match api.replace(&name, &PostParams::default(), &whole).await {
                Err(kube::Error::Api(refused)) if refused.code == 409 => false,
                answer => answer.map(|_| true).unwrap(),
            }
        })
        .await;
    }
}

async fn try_texts(env: &Env, seed: u64, i: u64) {
    let n = &mut Numbers(seed.wrapping_mul(1_000_003).wrapping_add(i));
    let app = format!("t{i}");
    let what = format!("seed {seed}, app {i}");
    let first = spec(n, i.is_multiple_of(20));
    let annotations: std::collections::BTreeMap<_, _> =
        [("example.com/a".to_owned(), text(n)), ("b".to_owned(), text(n))].into();
    let labels: std::collections::BTreeMap<_, _> = [("example.com/team".to_owned(), word(n))].into();
    let mut apps = env.daemon.apps().await;
    let mut request = env.deploy_request(&app, first.clone());
    let wanted = request.app.as_mut().unwrap();
    (wanted.annotations, wanted.labels) = (annotations.clone(), labels.clone());
    request.reason = reason(n);
    let answer =
        apps.deploy_app(request.clone()).await.unwrap_or_else(|e| panic!("{what}: {e}")).into_inner();
    assert_eq!(answer.rollout.unwrap().reason, request.reason, "{what}");
    let read = env.get(&app).await.unwrap();
    assert_eq!(read.spec.as_ref(), Some(&first), "{what}");
    assert_eq!((&read.annotations, &read.labels), (&annotations, &labels), "{what}");

    let live = Api::<Deployment>::namespaced(env.client.clone(), &env.namespace).get(&app).await.unwrap();
    let container = &live.spec.as_ref().unwrap().template.spec.as_ref().unwrap().containers[0];
    for variable in container.env.iter().flatten() {
        assert_eq!(variable.value.as_deref().unwrap_or_default(), first.env[&variable.name], "{what}");
    }
    assert_eq!(container.args.clone().unwrap_or_default(), first.args, "{what}");

    let again = apps.deploy_app(request.clone()).await.unwrap().into_inner();
    assert_eq!(again.plan.unwrap().changes, [], "{what}");
    // One variable changes, and a rollback changes it back.
    let mut second = first.clone();
    second.env.insert("CHANGED".into(), text(n) + "&");
    let mut change = env.deploy_request(&app, second.clone());
    change.reason = reason(n);
    apps.deploy_app(change).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(env.get(&app).await.unwrap().spec, Some(second), "{what}");
    let back = pb::RollbackAppRequest {
        name: env.name(&app),
        rollout: env.name(&app) + "/rollouts/1",
        reason: reason(n),
        ..pb::RollbackAppRequest::default()
    };
    let back = env.daemon.rollback_app(back).await.unwrap();
    assert_eq!(env.get(&app).await.unwrap().spec, Some(first), "{what}");
    assert_eq!(back.rollout.unwrap().name, env.name(&app) + "/rollouts/3", "{what}");
    change_revisions(env, &app).await;
    let reason = reason(n);
    let restart = pb::RestartAppRequest {
        name: env.name(&app),
        reason: reason.clone(),
        ..pb::RestartAppRequest::default()
    };
    let restarted = apps.restart_app(restart).await.unwrap().into_inner().rollout.unwrap();
    assert_eq!((restarted.name, restarted.reason), (env.name(&app) + "/rollouts/4", reason), "{what}");
    hold(env, &app, n).await;
    let delete = pb::DeleteAppRequest { name: env.name(&app), ..pb::DeleteAppRequest::default() };
    apps.delete_app(delete).await.unwrap();
}

/// Checks the reasons that are stored outside revisions.
async fn hold(env: &Env, app: &str, n: &mut Numbers) {
    let autoscaler = pb::Autoscaler {
        name: env.name(app) + "/autoscaler",
        mode: pb::AutoscalerMode::Active.into(),
        min_replicas: Some(1),
        max_replicas: 9,
        targets: vec![pb::ScalingTarget { signal: Some(pb::scaling_target::Signal::CpuPercent(60)) }],
        ..pb::Autoscaler::default()
    };
    let update = pb::UpdateAutoscalerRequest {
        autoscaler: Some(autoscaler),
        reason: reason(n),
        ..pb::UpdateAutoscalerRequest::default()
    };
    env.daemon.update_autoscaler(update).await.unwrap();
    let scale = pb::ScaleAppRequest {
        name: env.name(app),
        replicas: Some(5),
        hold_for: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
        reason: reason(n),
        ..pb::ScaleAppRequest::default()
    };
    env.daemon.scale_app(scale.clone()).await.unwrap();
    let owner = env.get(app).await.unwrap().status.unwrap().replica_owner.unwrap();
    assert_eq!((owner.kind(), owner.reason), (pb::ReplicaOwnerKind::Hold, scale.reason));
}

#[tokio::test]
async fn any_text_is_deployed_read_changed_and_rolled_back() {
    run(|env| async move {
        let (seed, count) = (setting("GANTRY_TEST_SEED", 20_261_130), setting("GANTRY_TEST_TEXTS", 100));
        env.refuse_pods().await;
        let start = Instant::now();
        stream::iter(0..count).for_each_concurrent(6, |i| try_texts(&env, seed, i)).await;
        eprintln!("{count} apps with seed {seed} in {:?}", start.elapsed());
    })
    .await;
}
