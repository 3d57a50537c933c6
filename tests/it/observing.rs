//! The metrics that an operator sees, and that their documentation is correct.

use std::{collections::BTreeSet, fs, path::Path};

use gantry::{metrics::METRICS, pb};
use tokio_stream::StreamExt as _;
use tonic::{Code, Request, client::Grpc};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_prost::ProstCodec;

use crate::support::{Server, until};

/// Names, types and labels in the table of docs/operations.md.
fn documented() -> BTreeSet<(String, String, Vec<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = fs::read_to_string(path).unwrap();
    let (_, table) = text.split_once("| Metric | Type | Labels |").expect("the table of metrics");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(", ").filter(|l| !l.is_empty()).map(|l| l.trim_matches('`').to_owned());
        (cells[1].trim_matches('`').to_owned(), cells[2].to_owned(), labels.collect())
    })
    .collect()
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let there: BTreeSet<_> = METRICS
        .list_metrics()
        .iter()
        .map(|m| {
            let labels = m.labels.iter().map(|&label| label.to_owned()).collect();
            (m.name.clone(), m.kind.to_owned(), labels)
        })
        .collect();
    let documented = documented();
    let missing: Vec<_> = there.difference(&documented).collect();
    let extra: Vec<_> = documented.difference(&there).collect();
    assert!(missing.is_empty() && extra.is_empty(), "not documented: {missing:?}\nnot there: {extra:?}");
}

/// The value of one sample, or 0 if there is none yet.
fn sample(name: &str) -> f64 {
    let text = METRICS.to_text().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn calls_are_counted_by_method_and_outcome() {
    let server = Server::start().await;
    let name =
        "gantry_grpc_call_duration_seconds_count{method=\"gantry.v1.AppService/GetApp\",code=\"NOT_FOUND\"}";
    let before = (sample(name), sample("gantry_errors_total{reason=\"APP_NOT_FOUND\"}"));
    let request = pb::GetAppRequest { name: "namespaces/shop/apps/none".into(), ..Default::default() };
    server.apps().get_app(request).await.unwrap_err();
    assert!(sample(name) > before.0);
    assert!(sample("gantry_errors_total{reason=\"APP_NOT_FOUND\"}") > before.1);

    server.server().get_server_info(pb::GetServerInfoRequest {}).await.unwrap();
    let info = "gantry_grpc_call_duration_seconds_count{method=\"gantry.v1.ServerService/GetServerInfo\",code=\"OK\"}";
    until(|| sample(info) >= 1.0).await;
}

#[tokio::test]
async fn what_callers_invent_makes_no_label() {
    let server = Server::start().await;
    let mut client = Grpc::new(server.channel.clone());
    client.ready().await.unwrap();
    let path = "/gantry.v1.AppService/Invented".parse().unwrap();
    let codec = ProstCodec::<pb::GetServerInfoRequest, pb::GetServerInfoResponse>::default();
    let status = client.unary(Request::new(pb::GetServerInfoRequest {}), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    let text = METRICS.to_text().unwrap();
    assert!(!text.contains("Invented") && text.contains("{method=\"other\""), "{text}");
}

// The metrics are those of the whole process. Only one other test opens a stream of this method, and it
// cancels none.
#[tokio::test]
async fn streams_are_counted_while_they_are_open() {
    let open = "gantry_grpc_streams{method=\"grpc.health.v1.Health/Watch\"}";
    let gone =
        "gantry_grpc_call_duration_seconds_count{method=\"grpc.health.v1.Health/Watch\",code=\"CANCELLED\"}";
    let server = Server::start().await;
    let mut client = HealthClient::new(server.channel.clone());
    let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    assert!(sample(open) >= 1.0 && sample(gone) < 1.0);
    drop(stream);
    until(|| sample(open) < 1.0 && sample(gone) >= 1.0).await;
}
