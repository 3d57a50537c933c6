//! AutoscalerService on the wire, with an index filled by hand: what is shown, what is validated, reported
//! figures, decisions in pages and streams, and one daemon that asks another.

use std::{sync::Arc, time::Duration};

use gantry::{
    autoscale::{Evaluation, Hold, Memory, Mode, Outcome, Policy, Signal},
    domain::{name, observed, scaling},
    index::Leader,
    pb::{self, watch_scaling_decisions_response::Event},
};
use jiff::{SignedDuration, Timestamp};
use tokio_stream::StreamExt as _;
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

use crate::support::{Server, mk_deployment, reason};

const WEB: &str = "namespaces/shop/apps/web/autoscaler";

fn mk_policy(mode: Mode) -> Policy {
    Policy {
        mode,
        max: 10,
        targets: vec![Signal::RequestsPerSecond(10.0)],
        acts_for: "ann".into(),
        ..Policy::default()
    }
}

fn with(policy: Policy, hold: Option<Hold>) -> observed::Deployment {
    let scaling = scaling::Scaling {
        policy: Some(Arc::new(policy)),
        hold: hold.map(Arc::new),
        ..scaling::Scaling::default()
    };
    observed::Deployment { scaling, ..mk_deployment("web", 2, 2) }
}

fn mk_seen(current: u32, at: Timestamp) -> Evaluation {
    Evaluation {
        now: at,
        policy: Arc::new(mk_policy(Mode::Active)),
        current,
        readings: vec![],
        rollout: false,
        other_autoscaler: None,
        hold: None,
        elapsed: 5.0,
        memory: Memory::default(),
    }
}

fn record(server: &Server, app: &str, outcome: Outcome) {
    let seen = mk_seen(2, Timestamp::now());
    let verdict = gantry::autoscale::Verdict { outcome, ..seen.decide() };
    server.scaling.record_decision(&name::App::new("shop", app), seen, verdict);
}

async fn get(server: &Server) -> pb::Autoscaler {
    let request = pb::GetAutoscalerRequest { name: WEB.into(), ..Default::default() };
    server.autoscalers().get_autoscaler(request).await.unwrap().into_inner().autoscaler.unwrap()
}

async fn owner(server: &Server) -> pb::ReplicaOwner {
    let request = pb::GetAppRequest { name: "namespaces/shop/apps/web".into(), ..Default::default() };
    let app = server.apps().get_app(request).await.unwrap().into_inner().app.unwrap();
    app.status.unwrap().replica_owner.unwrap()
}

fn figure(metric: &str, source: &str, value: f64) -> pb::LoadFigure {
    pb::LoadFigure {
        app: "namespaces/shop/apps/web".into(),
        metric: metric.into(),
        value,
        source: source.into(),
        time: None,
    }
}

async fn report(server: &Server, figures: Vec<pb::LoadFigure>) -> Result<i32, tonic::Status> {
    let answer = server.autoscalers().report_load(pb::ReportLoadRequest { figures }).await?;
    Ok(answer.into_inner().accepted)
}

fn fields(status: &tonic::Status) -> Vec<String> {
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations.iter().map(|v| v.field.clone()).collect()
}

#[tokio::test]
async fn every_app_has_an_autoscaler_that_is_off_with_its_defaults() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 2, 2));
    let shown = get(&server).await;
    assert_eq!((shown.name.as_str(), shown.mode()), (WEB, pb::AutoscalerMode::Off));
    assert_eq!(
        (shown.min_replicas, shown.max_replicas, shown.violation_objective),
        (Some(1), 0, Some(0.001))
    );
    assert_eq!(shown.scale_down_duration.unwrap().seconds, 120);
    assert_eq!((shown.scale_up_duration.unwrap().seconds, shown.idle_timeout.unwrap().seconds), (0, 300));
    assert!(shown.status.unwrap().message.starts_with("Off"));
    let request =
        pb::GetAutoscalerRequest { name: "namespaces/shop/apps/wob/autoscaler".into(), ..Default::default() };
    let status = server.autoscalers().get_autoscaler(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "APP_NOT_FOUND"));
}

#[tokio::test]
async fn whoever_owns_the_count_is_shown_and_what_ends_by_itself_ends() {
    let server = Server::start().await;
    let hold = |until| Hold {
        replicas: 4,
        until,
        actor: "bob".into(),
        reason: "sale".into(),
        since: Timestamp::now(),
        generation: 0,
    };
    let soon = Timestamp::now() + SignedDuration::from_hours(1);
    server.apply(with(mk_policy(Mode::Active), None));
    assert_eq!(owner(&server).await.kind(), pb::ReplicaOwnerKind::Autoscaler);
    server.apply(with(mk_policy(Mode::Active), Some(hold(soon))));
    let held = owner(&server).await;
    assert_eq!(
        (held.kind(), held.owner.as_str(), held.reason.as_str()),
        (pb::ReplicaOwnerKind::Hold, "bob", "sale")
    );
    assert_eq!(held.hold_end_time.unwrap().seconds, soon.as_second());
    server.apply(with(mk_policy(Mode::Shadow), Some(hold(soon))));
    assert_eq!(
        owner(&server).await.kind(),
        pb::ReplicaOwnerKind::Caller,
        "a hold is over an autoscaler that acts"
    );
    server.apply(with(Policy { freeze_end: Some(soon), ..mk_policy(Mode::Frozen) }, None));
    let frozen = owner(&server).await;
    assert_eq!(frozen.kind(), pb::ReplicaOwnerKind::Autoscaler);
    assert!(frozen.reason.starts_with("frozen until"), "{}", frozen.reason);
    assert_eq!(get(&server).await.mode(), pb::AutoscalerMode::Frozen);

    // The rows are stored long before the hold ends. After that only the clock advances.
    server.index.update_rows(vec![with(mk_policy(Mode::Active), Some(hold(soon)))], vec![], Timestamp::now());
    for kind in gantry::index::Kind::ALL {
        server.index.note_heard(kind, soon);
    }
    server.index.tick(soon);
    assert_eq!(owner(&server).await.kind(), pb::ReplicaOwnerKind::Autoscaler);
}

#[tokio::test]
async fn an_update_is_asked_for_with_the_fields_that_count() {
    let server = Server::start().await;
    server.apply(mk_deployment("web", 2, 2));
    let autoscaler = pb::Autoscaler {
        name: WEB.into(),
        mode: pb::AutoscalerMode::Shadow.into(),
        max_replicas: 7,
        targets: vec![pb::ScalingTarget { signal: Some(pb::scaling_target::Signal::CpuPercent(60)) }],
        ..pb::Autoscaler::default()
    };
    let request = pb::UpdateAutoscalerRequest { autoscaler: Some(autoscaler.clone()), ..Default::default() };
    let answer = server.autoscalers().update_autoscaler(request.clone()).await.unwrap().into_inner();
    let stored = answer.autoscaler.unwrap();
    assert_eq!(
        (stored.mode(), stored.max_replicas, stored.targets.len()),
        (pb::AutoscalerMode::Shadow, 7, 1)
    );
    assert_eq!(stored.status.unwrap().acts_for, "ann");
    let asked = server.act.tunes.lock().unwrap().pop().unwrap();
    assert_eq!(asked.change.fields.len(), 3);

    let prometheus = pb::PrometheusTarget { query: "q".into(), per_replica: 1.0 };
    let target = pb::ScalingTarget { signal: Some(pb::scaling_target::Signal::Prometheus(prometheus)) };
    let later = pb::Autoscaler { targets: vec![target], ..autoscaler.clone() };
    let later = pb::UpdateAutoscalerRequest { autoscaler: Some(later), ..Default::default() };
    let status = server.autoscalers().update_autoscaler(later).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "NOT_IMPLEMENTED"));
    assert!(status.message().contains("autoscaler.targets[0].prometheus"), "{}", status.message());

    let paths = vec!["max_replicas".to_owned(), "colour".to_owned()];
    let masked =
        pb::UpdateAutoscalerRequest { update_mask: Some(prost_types::FieldMask { paths }), ..request };
    let status = server.autoscalers().update_autoscaler(masked).await.unwrap_err();
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["update_mask".to_owned()]));
    assert!(server.act.tunes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn figures_add_up_and_each_wrong_one_is_named_and_nothing_of_its_report_taken() {
    let server = Server::start().await;
    server.apply(with(mk_policy(Mode::Active), None));
    let both = vec![figure("requests_per_second", "a", 7.0), figure("requests_per_second", "b", 5.0)];
    assert_eq!(report(&server, both).await.unwrap(), 2);
    let app = name::App::new("shop", "web");
    let sum = || server.scaling.load_measurement(&app, "requests_per_second", Timestamp::now()).value;
    assert_eq!(sum(), Some(12.0));

    let now = Timestamp::now().as_second();
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let future = pb::LoadFigure { time: at(now + 60), ..figure("requests_per_second", "c", 1.0) };
    let nan = figure("requests_per_second", "d", f64::NAN);
    let negative = figure("requests_per_second", "e", -1.0);
    let status = report(&server, vec![figure("x", "a", 1.0), future.clone()]).await.unwrap_err();
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["figures[1].time".to_owned()]));
    let status = report(&server, vec![figure("x", "a", 1.0), nan, negative]).await.unwrap_err();
    assert_eq!(fields(&status), ["figures[1].value", "figures[2].value"]);
    let absent = pb::LoadFigure { app: "namespaces/shop/apps/wob".into(), ..figure("x", "a", 1.0) };
    let status = report(&server, vec![figure("x", "a", 1.0), absent]).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "APP_NOT_FOUND"));
    assert_eq!(fields(&status), ["figures[1].app"]);
    assert!(status.message().contains("did you mean namespaces/shop/apps/web"), "{}", status.message());
    assert_eq!(server.scaling.load_measurement(&app, "x", Timestamp::now()).value, None);
    let old = pb::LoadFigure { time: at(now - 100), ..figure("requests_per_second", "a", 1.0) };
    assert_eq!(
        (report(&server, vec![old]).await.unwrap(), sum()),
        (0, Some(12.0)),
        "older than what is known"
    );
}

async fn list(
    server: &Server,
    page_size: i32,
    token: &str,
    outcomes: &[pb::ScalingOutcome],
) -> pb::ListScalingDecisionsResponse {
    let request = pb::ListScalingDecisionsRequest {
        parent: WEB.into(),
        page_size,
        page_token: token.into(),
        outcomes: outcomes.iter().map(|o| (*o).into()).collect(),
    };
    server.autoscalers().list_scaling_decisions(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn decisions_are_listed_newest_first_in_pages() {
    let server = Server::start().await;
    server.apply(with(mk_policy(Mode::Active), None));
    for _ in 0..3 {
        record(&server, "web", Outcome::Unchanged);
        record(&server, "web", Outcome::Scaled);
        record(&server, "other", Outcome::Scaled);
    }
    let (mut token, mut names) = (String::new(), Vec::new());
    loop {
        let page = list(&server, 4, &token, &[]).await;
        names.extend(page.decisions.into_iter().map(|d| d.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names.len(), 6);
    let ids: Vec<u64> = names.iter().map(|n| n.rsplit('/').next().unwrap().parse().unwrap()).collect();
    assert!(
        ids.windows(2).all(|pair| pair[0] > pair[1]) && names[0].starts_with(&format!("{WEB}/decisions/"))
    );
    let scaled = list(&server, 0, "", &[pb::ScalingOutcome::Scaled]).await.decisions;
    assert_eq!(scaled.len(), 3);
    assert!(scaled[0].message.contains("Scaled from 2 to") && !scaled[0].policy_digest.is_empty());
    assert_eq!(get(&server).await.status.unwrap().last_decision.unwrap().name, names[0]);
}

async fn watch(server: &Server, parent: &str, token: &str) -> Streaming<pb::WatchScalingDecisionsResponse> {
    let request = pb::WatchScalingDecisionsRequest {
        parent: parent.into(),
        outcomes: vec![pb::ScalingOutcome::Scaled.into()],
        resume_token: token.into(),
    };
    server.autoscalers().watch_scaling_decisions(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<pb::WatchScalingDecisionsResponse>) -> (String, String) {
    let message =
        tokio::time::timeout(Duration::from_secs(5), stream.next()).await.unwrap().unwrap().unwrap();
    match message.event.unwrap() {
        Event::Decision(decision) => {
            (decision.name.split("/autoscaler").next().unwrap().to_owned(), message.resume_token)
        }
        other @ Event::Heartbeat(_) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stream_tells_decisions_as_they_are_made_and_goes_on_where_it_ended() {
    let server = Server::start().await;
    server.apply(with(mk_policy(Mode::Active), None));
    record(&server, "web", Outcome::Scaled);
    let mut one = watch(&server, WEB, "").await;
    let mut all = watch(&server, "namespaces/-/apps/-/autoscaler", "").await;
    record(&server, "web", Outcome::Unchanged);
    record(&server, "other", Outcome::Scaled);
    record(&server, "web", Outcome::Scaled);
    let (web, other) = ("namespaces/shop/apps/web", "namespaces/shop/apps/other");
    assert_eq!(next(&mut one).await.0, web);
    let (first, token) = next(&mut all).await;
    assert_eq!((first.as_str(), next(&mut all).await.0.as_str()), (other, web));
    drop((one, all));
    record(&server, "web", Outcome::Scaled);
    let mut resumed = watch(&server, "namespaces/shop/apps/-/autoscaler", &token).await;
    assert_eq!([next(&mut resumed).await.0, next(&mut resumed).await.0], [web, web]);
}

#[tokio::test]
async fn a_server_that_does_not_run_the_loop_asks_the_one_that_does() {
    let (here, there) = (Server::start().await, Server::start().await);
    for server in [&here, &there] {
        server.apply(with(mk_policy(Mode::Active), None));
    }
    let address = there.address.trim_start_matches("http://").to_owned();
    here.scaling.set_leader(Leader::Remote { holder: "other".into(), address }, Timestamp::now());
    record(&there, "web", Outcome::Scaled);
    assert_eq!(list(&here, 0, "", &[]).await.decisions.len(), 1);
    assert!(get(&here).await.status.unwrap().last_decision.is_some());
    assert_eq!(report(&here, vec![figure("requests_per_second", "a", 3.0)]).await.unwrap(), 1);
    let app = name::App::new("shop", "web");
    assert_eq!(
        there.scaling.load_measurement(&app, "requests_per_second", Timestamp::now()).value,
        Some(3.0)
    );
    let status = report(&here, vec![figure("requests_per_second", "a", f64::INFINITY)]).await.unwrap_err();
    assert_eq!(fields(&status), ["figures[0].value"]);
    let mut stream = watch(&here, WEB, "").await;
    record(&there, "web", Outcome::Scaled);
    assert_eq!(next(&mut stream).await.0, "namespaces/shop/apps/web");

    // Until the Lease is read, the loop may run in another daemon, which never sees a figure stored here.
    here.scaling.set_leader(Leader::Unknown(String::new()), Timestamp::now());
    let status = report(&here, vec![figure("requests_per_second", "a", 4.0)]).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "AUTOSCALER_ELSEWHERE"));

    let gone = Leader::Remote { holder: "gone".into(), address: "127.0.0.1:1".into() };
    here.scaling.set_leader(gone, Timestamp::now());
    let request = pb::ListScalingDecisionsRequest { parent: WEB.into(), ..Default::default() };
    let status = here.autoscalers().list_scaling_decisions(request).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "AUTOSCALER_ELSEWHERE"));
    assert_eq!(get(&here).await.mode(), pb::AutoscalerMode::Active, "what is stored is known here");
    let status = report(&here, vec![figure("requests_per_second", "a", 4.0)]).await.unwrap_err();
    assert_eq!(reason(&status), "AUTOSCALER_ELSEWHERE", "a figure stored here would count nowhere");
}
