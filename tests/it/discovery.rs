//! Endpoints and replicas on the wire: lists and their pages, streams, ports, and that a missing app differs
//! from an empty one.

use std::time::Duration;

use gantry::{
    domain::{
        observed::{self, EndpointSlice, SlicePod, SlicePort, Trouble, TroubleKind},
        spec::{Port, Protocol, Spec},
    },
    index::Kind,
    pb::{self, EndpointState, ReplicaState, watch_endpoints_response::Event},
};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, Status, Streaming};

use crate::support::{Server, mk_deployment, mk_pod, mk_replica_set, now, reason};

const WEB: &str = "namespaces/shop/apps/web";

fn mk_ports(ports: &[(&str, u16)]) -> Vec<Port> {
    let port = |(name, number): &(&str, u16)| Port {
        name: (*name).into(),
        number: *number,
        protocol: Protocol::Tcp,
    };
    ports.iter().map(port).collect()
}

fn mk_placed(id: u8, ready: bool) -> observed::Pod {
    observed::Pod {
        node: Some("node-1".into()),
        address: Some([10, 0, 0, id].into()),
        ready_changed: Some(now()),
        running: true,
        own_restarts: i32::from(id),
        stop: None,
        ..mk_pod("web", &format!("{id:03}"), ready)
    }
}

/// A server with an app `shop/web` of these ports and replicas.
async fn serve(ports: &[(&str, u16)], pods: Vec<observed::Pod>) -> Server {
    let server = Server::start().await;
    deploy(&server, ports, pods);
    server
}

fn deploy(server: &Server, ports: &[(&str, u16)], pods: Vec<observed::Pod>) {
    let node = observed::Node {
        name: "node-1".into(),
        zone: Some("zone-a".into()),
        ready: true,
        unschedulable: false,
    };
    server.index.update_rows(vec![node], vec![], now());
    server.index.update_rows(pods, vec![], now());
    let set = observed::ReplicaSet { ports: mk_ports(ports), ..mk_replica_set("web") };
    server.index.update_rows(vec![set], vec![], now());
    server.apply(mk_app(ports));
}

fn mk_app(ports: &[(&str, u16)]) -> observed::Deployment {
    let spec = Spec { image: "web:1".into(), ports: mk_ports(ports), ..Spec::default() };
    observed::Deployment { spec, ..mk_deployment("web", 3, 3) }
}

fn list() -> pb::ListEndpointsRequest {
    pb::ListEndpointsRequest { parent: WEB.into(), ..pb::ListEndpointsRequest::default() }
}

async fn listed(server: &Server, request: pb::ListEndpointsRequest) -> Result<Vec<pb::Endpoint>, Status> {
    Ok(server.discovery().list_endpoints(request).await?.into_inner().endpoints)
}

async fn watch(server: &Server, port: &str, include_unready: bool) -> Streaming<pb::WatchEndpointsResponse> {
    let request = pb::WatchEndpointsRequest { parent: WEB.into(), port: port.into(), include_unready };
    server.discovery().watch_endpoints(request).await.unwrap().into_inner()
}

async fn next(stream: &mut Streaming<pb::WatchEndpointsResponse>) -> Result<Event, Status> {
    let message = tokio::time::timeout(Duration::from_secs(5), stream.next()).await.unwrap().unwrap()?;
    Ok(message.event.unwrap())
}

/// The last part of each address in a snapshot, with its state.
fn snapshot(event: &Event) -> Vec<(String, EndpointState)> {
    let Event::Snapshot(set) = event else { panic!("{event:?} is no snapshot") };
    let short = |e: &pb::Endpoint| (e.address.rsplit('.').next().unwrap().to_owned(), e.state());
    set.endpoints.iter().map(short).collect()
}

#[tokio::test]
async fn an_endpoint_says_where_it_is_and_what_it_belongs_to() {
    let server = serve(&[("http", 8080)], vec![mk_placed(2, false), mk_placed(1, true)]).await;
    let first = pb::Endpoint {
        address: "10.0.0.1".into(),
        port: 8080,
        state: EndpointState::Ready.into(),
        zone: "zone-a".into(),
        node: "node-1".into(),
        weight: 0,
        pod: "web-1-001".into(),
        rollout: format!("{WEB}/rollouts/1"),
    };
    assert_eq!(listed(&server, list()).await.unwrap(), std::slice::from_ref(&first));
    let all = listed(&server, pb::ListEndpointsRequest { include_unready: true, ..list() }).await.unwrap();
    assert_eq!((all.len(), &all[0], all[1].state()), (2, &first, EndpointState::Unready));
}

#[tokio::test]
async fn two_services_over_the_same_pods_show_each_once_by_either_name() {
    let server = serve(&[("http", 8080)], vec![mk_placed(1, true), mk_placed(2, true)]).await;
    let pod = |id: u8| SlicePod {
        name: format!("web-1-{id:03}").into(),
        zone: None,
        ready: true,
        serving: true,
        terminating: false,
    };
    let slice = |name: &str, port: &str| EndpointSlice {
        namespace: "shop".into(),
        name: name.into(),
        ports: vec![SlicePort { name: port.into(), number: 8080 }],
        pods: vec![pod(1), pod(2)],
    };
    server.index.update_rows(vec![slice("one", "web"), slice("two", "public")], vec![], now());
    for port in ["", "http", "web", "public"] {
        let found = listed(&server, pb::ListEndpointsRequest { port: port.into(), ..list() }).await.unwrap();
        assert_eq!(found.iter().map(|e| e.port).collect::<Vec<_>>(), [8080, 8080], "{port}");
    }
    let typo = pb::ListEndpointsRequest { port: "wbe".into(), ..list() };
    let status = listed(&server, typo).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    assert!(status.message().contains("http, public, web"), "{}", status.message());
}

#[tokio::test]
async fn pages_of_endpoints_hold_each_once_in_order() {
    let pods = (1..=25).rev().map(|id| mk_placed(id, id % 5 != 0)).collect();
    let server = serve(&[("http", 8080)], pods).await;
    let ask = |page_token: String| pb::ListEndpointsRequest { page_size: 6, page_token, ..list() };
    let (mut pods, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = server.discovery().list_endpoints(ask(token)).await.unwrap().into_inner();
        pods.extend(page.endpoints.into_iter().map(|e| e.pod));
        (token, pages) = (page.next_page_token, pages + 1);
        if token.is_empty() {
            break;
        }
        let other = pb::ListEndpointsRequest { include_unready: true, ..ask(token.clone()) };
        assert_eq!(reason(&listed(&server, other).await.unwrap_err()), "PAGE_TOKEN_INVALID");
    }
    let expected: Vec<_> = (1..=25).filter(|id| id % 5 != 0).map(|id| format!("web-1-{id:03}")).collect();
    assert_eq!((pods, pages), (expected, 4));
}

#[tokio::test]
async fn missing_is_not_empty_and_neither_is_unread() {
    let server = Server::start_unfilled().await;
    assert_eq!(reason(&listed(&server, list()).await.unwrap_err()), "WARMING_UP");
    let request = pb::WatchEndpointsRequest { parent: WEB.into(), ..Default::default() };
    assert_eq!(reason(&server.discovery().watch_endpoints(request).await.unwrap_err()), "WARMING_UP");
    server.fill();
    let status = listed(&server, list()).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "APP_NOT_FOUND"));
    let mut stream = watch(&server, "", false).await;
    assert_eq!(next(&mut stream).await.unwrap(), Event::Missing(pb::AppMissing {}));

    server.apply(mk_app(&[("http", 80)]));
    assert_eq!(next(&mut stream).await.unwrap(), Event::Snapshot(pb::EndpointSet::default()));
    assert_eq!(listed(&server, list()).await.unwrap(), []);
    server.delete("web");
    assert_eq!(next(&mut stream).await.unwrap(), Event::Missing(pb::AppMissing {}));
}

#[tokio::test]
async fn a_stream_tells_each_change_of_the_set_and_nothing_else() {
    let server = serve(&[("http", 80)], vec![mk_placed(1, true)]).await;
    let (mut some, mut all) = (watch(&server, "http", false).await, watch(&server, "http", true).await);
    let ready = |id: &str| (id.to_owned(), EndpointState::Ready);
    assert_eq!(snapshot(&next(&mut some).await.unwrap()), [ready("1")]);
    assert_eq!(snapshot(&next(&mut all).await.unwrap()), [ready("1")]);

    // An unready endpoint is sent only to the stream that includes unready ones. The change after it is sent
    // to neither.
    server.index.update_rows(vec![mk_placed(2, false)], vec![], now());
    let unready = ("2".to_owned(), EndpointState::Unready);
    assert_eq!(snapshot(&next(&mut all).await.unwrap()), [ready("1"), unready]);
    server.index.update_rows(vec![observed::Pod { restarts: 9, ..mk_placed(2, false) }], vec![], now());
    server.apply(observed::Deployment { ready: 2, ..mk_app(&[("http", 80)]) });
    server.index.update_rows(vec![mk_placed(2, true)], vec![], now());
    assert_eq!(snapshot(&next(&mut some).await.unwrap()), [ready("1"), ready("2")]);
    assert_eq!(snapshot(&next(&mut all).await.unwrap()), [ready("1"), ready("2")]);

    // A replica drains from its deletion timestamp until it is gone.
    server.index.update_rows(vec![observed::Pod { deleting: true, ..mk_placed(1, true) }], vec![], now());
    assert_eq!(snapshot(&next(&mut some).await.unwrap()), [ready("2")]);
    let draining = ("1".to_owned(), EndpointState::Draining);
    assert_eq!(snapshot(&next(&mut all).await.unwrap()), [draining, ready("2")]);
    server.index.update_rows::<observed::Pod>(vec![], vec![("shop".into(), "web-1-001".into())], now());
    assert_eq!(snapshot(&next(&mut all).await.unwrap()), [ready("2")]);
}

#[tokio::test]
async fn a_stream_keeps_the_port_that_was_meant_and_ends_when_it_has_none() {
    let server = serve(&[("http", 80)], vec![mk_placed(1, true)]).await;
    let mut stream = watch(&server, "", false).await;
    let port = |event| match event {
        Event::Snapshot(set) => set.endpoints[0].port,
        other => panic!("{other:?}"),
    };
    assert_eq!(port(next(&mut stream).await.unwrap()), 80);
    // With a second port a new stream without a port name would be ambiguous.
    let (both, other) = ([("http", 80), ("metrics", 90)], [("admin", 70), ("metrics", 90)]);
    deploy(&server, &both, vec![observed::Pod { node: None, ..mk_placed(1, true) }]);
    assert_eq!(port(next(&mut stream).await.unwrap()), 80);
    let ambiguous = pb::WatchEndpointsRequest { parent: WEB.into(), ..Default::default() };
    let status = server.discovery().watch_endpoints(ambiguous).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_FIELD");
    deploy(&server, &other, vec![mk_placed(1, true)]);
    assert_eq!(reason(&next(&mut stream).await.unwrap_err()), "INVALID_FIELD");
}

#[tokio::test]
async fn a_stream_ends_in_order_when_the_server_goes_and_when_time_is_up() {
    let server = serve(&[("http", 80)], vec![]).await;
    let mut stream = watch(&server, "", false).await;
    next(&mut stream).await.unwrap();
    let mut request = Request::new(pb::WatchEndpointsRequest { parent: WEB.into(), ..Default::default() });
    request.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let mut brief = server.discovery().watch_endpoints(request).await.unwrap().into_inner();
    next(&mut brief).await.unwrap();
    assert_eq!(next(&mut brief).await.unwrap_err().code(), Code::DeadlineExceeded);
    server.drain.cancel();
    assert_eq!(reason(&next(&mut stream).await.unwrap_err()), "SHUTTING_DOWN");
}

#[tokio::test]
async fn many_readers_of_one_app_get_each_change() {
    let server = serve(&[("http", 80)], (1..=20).map(|id| mk_placed(id, true)).collect()).await;
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(watch(&server, "", false).await);
    }
    for stream in &mut streams {
        assert_eq!(snapshot(&next(stream).await.unwrap()).len(), 20);
    }
    server.index.update_rows(vec![mk_placed(7, false)], vec![], now());
    for stream in &mut streams {
        assert_eq!(snapshot(&next(stream).await.unwrap()).len(), 19);
    }
}

#[tokio::test]
async fn replicas_are_listed_with_state_and_reason() {
    let mut failing = mk_placed(3, false);
    failing.trouble = Some(Box::new(Trouble {
        container: "app".into(),
        kind: TroubleKind::Config,
        reason: "StartError".into(),
        message: "exec: \"/nope\": no such file or directory".into(),
        since: None,
        restarts: 0,
        exit: None,
    }));
    let pending = observed::Pod { node: None, address: None, running: false, ..mk_placed(4, false) };
    let draining = observed::Pod { deleting: true, ..mk_placed(2, true) };
    let server = serve(&[("http", 80)], vec![pending, failing, draining, mk_placed(1, true)]).await;
    let ask = |page_size, page_token| pb::ListReplicasRequest {
        parent: WEB.into(),
        page_size,
        page_token,
        ..Default::default()
    };
    let first = server.apps().list_replicas(ask(3, String::new())).await.unwrap().into_inner();
    let second = server.apps().list_replicas(ask(3, first.next_page_token)).await.unwrap().into_inner();
    assert_eq!(second.next_page_token, "");
    let all: Vec<_> = first.replicas.into_iter().chain(second.replicas).collect();
    let states: Vec<_> = all.iter().map(pb::Replica::state).collect();
    let expected =
        [ReplicaState::Ready, ReplicaState::Draining, ReplicaState::Failing, ReplicaState::Pending];
    assert_eq!(states, expected);
    assert!(all[2].message.contains("/nope"), "{}", all[2].message);
    let expected = pb::Replica {
        pod: "web-1-001".into(),
        state: ReplicaState::Ready.into(),
        message: all[0].message.clone(),
        rollout: format!("{WEB}/rollouts/1"),
        node: "node-1".into(),
        zone: "zone-a".into(),
        address: "10.0.0.1".into(),
        restarts: 1,
        create_time: all[1].create_time,
        ready_time: all[0].create_time,
        ..pb::Replica::default()
    };
    assert_eq!(all[0], expected);
    assert_eq!((all[3].ready_time, all[3].node.as_str()), (None, ""));

    let missing = pb::ListReplicasRequest { parent: "namespaces/shop/apps/wed".into(), ..Default::default() };
    let status = server.apps().list_replicas(missing).await.unwrap_err();
    assert_eq!(reason(&status), "APP_NOT_FOUND");
}

#[tokio::test]
async fn a_server_that_may_not_read_nodes_and_slices_discovers_all_the_same() {
    let server = Server::start_unfilled().await;
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_optional()) {
        server.index.refuse_kind(kind, now());
    }
    server.index.reset_rows::<observed::Event>(Kind::Events, vec![], now());
    server.index.reset_rows::<observed::Revision>(Kind::Revisions, vec![], now());
    server.index.reset_rows(Kind::Pods, vec![mk_placed(1, true)], now());
    let set = observed::ReplicaSet { ports: mk_ports(&[("http", 80)]), ..mk_replica_set("web") };
    server.index.reset_rows(Kind::ReplicaSets, vec![set], now());
    server.index.reset_rows(Kind::Deployments, vec![mk_app(&[("http", 80)])], now());
    let found = listed(&server, list()).await.unwrap();
    assert_eq!((found.len(), found[0].zone.as_str()), (1, ""));
    let info = server.server().get_server_info(pb::GetServerInfoRequest {}).await.unwrap().into_inner();
    let told =
        info.warnings.iter().filter(|w| w.contains("may not list nodes:") || w.contains("endpointslices:"));
    assert_eq!(told.count(), 2, "{:?}", info.warnings);
}
