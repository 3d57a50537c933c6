//! Sends traces to an OpenTelemetry collector, by OTLP over gRPC. Off unless an endpoint is set. If the
//! collector is unreachable, spans are lost but calls are not affected, because spans wait in a bounded queue
//! of the SDK on a separate thread.

use std::{
    env, fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::Context as _;
use opentelemetry::{KeyValue, global, trace::SpanKind};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::{info, warn};

use crate::metrics::METRICS;

/// Attribute of a call's span with its method, as [`crate::grpc`] sets it.
const METHOD: &str = "method";

/// Returns a provider if an endpoint is set, or the reason why traces cannot be sent to it.
pub(super) fn start_tracing(
    endpoint: Option<&str>,
) -> anyhow::Result<(Option<SdkTracerProvider>, Option<String>)> {
    let of_traces = env::var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").ok();
    let wanted = endpoint.or(of_traces.as_deref()).filter(|endpoint| !endpoint.is_empty());
    let Some(endpoint) = wanted else { return Ok((None, None)) };
    if env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok((None, None));
    }
    let protocol = env::var("OTEL_EXPORTER_OTLP_PROTOCOL").unwrap_or_default();
    if !["", "grpc"].contains(&protocol.as_str()) {
        let why = format!("OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}, but gantryd supports only grpc");
        return Ok((None, Some(why)));
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| {
        format!("cannot export traces to {endpoint:?}; give --otlp-endpoint a URL like http://127.0.0.1:4317")
    })?;
    let mut resource = Resource::builder();
    if env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("gantryd");
    }
    let resource =
        resource.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Told { exporter, failing: AtomicBool::new(false) })
        .with_resource(resource)
        .build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    Ok((Some(provider), None))
}

/// Names the spans by the RPC conventions of OpenTelemetry, counts exports, and logs once when the collector
/// becomes unreachable.
struct Told<E> {
    exporter: E,
    failing: AtomicBool,
}

impl<E> fmt::Debug for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
        batch.iter_mut().for_each(name);
        let outcome = self.exporter.export(batch).await;
        let failed = outcome.is_err();
        METRICS.traces_exported(if failed { "failed" } else { "ok" });
        match (self.failing.swap(failed, Ordering::Relaxed), &outcome) {
            (false, Err(error)) => warn!(%error, "cannot export traces; they are dropped"),
            (true, Ok(())) => info!("traces are exported again"),
            (true, Err(_)) | (false, Ok(())) => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, longest: std::time::Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(longest)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Uses the method of a call as the name of its span.
fn name(span: &mut SpanData) {
    let Some(method) = span.attributes.iter().find(|a| a.key.as_str() == METHOD).map(|a| a.value.to_string())
    else {
        return;
    };
    span.span_kind = SpanKind::Server;
    span.attributes.push(KeyValue::new("rpc.system", "grpc"));
    if let Some((service, method)) = method.split_once('/') {
        span.attributes.push(KeyValue::new("rpc.service", service.to_owned()));
        span.attributes.push(KeyValue::new("rpc.method", method.to_owned()));
    }
    span.name = method.into();
}
