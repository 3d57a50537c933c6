//! Reads what replicas use from the metrics API of Kubernetes (metrics-server or a replacement for it). Must
//! not know apps.

use std::{borrow::Cow, collections::BTreeMap};

use futures::{FutureExt, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::api::ListParams;
use serde::Deserialize;

use super::client::Cluster;
use crate::{
    autoscale::PodUsage,
    domain::{Error, commands::UsageSource, quantity},
};

/// A metrics.k8s.io/v1beta1 `PodMetrics`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PodMetrics {
    metadata: ObjectMeta,
    timestamp: Option<Time>,
    window: Option<String>,
    containers: Vec<Container>,
}

/// The window of a measurement that does not name one: the longest that is usual.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    usage: BTreeMap<String, String>,
}

impl kube::Resource for PodMetrics {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "PodMetrics".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "metrics.k8s.io".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1beta1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl PodMetrics {
    /// Returns `None` if a container lacks a measurement. The sum would be too small, and the app would be
    /// scaled down for it.
    fn usage(&self) -> Option<PodUsage> {
        let sum = |resource: &str| {
            self.containers
                .iter()
                .map(|c| quantity::parse_quantity(c.usage.get(resource)?))
                .sum::<Option<f64>>()
        };
        Some(PodUsage {
            pod: self.metadata.name.as_deref()?.into(),
            cpu: sum("cpu").filter(|_| !self.containers.is_empty())?,
            memory: sum("memory")?,
            time: self.timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            window: self.window.as_deref().and_then(|window| window.parse().ok()).unwrap_or(WINDOW),
        })
    }
}

impl UsageSource for Cluster {
    fn usage(&self, namespace: String) -> BoxFuture<'_, Result<Vec<PodUsage>, Error>> {
        async move {
            let all = self.namespaced::<PodMetrics>(&namespace).list(&ListParams::default()).await?;
            Ok(all.items.iter().filter_map(PodMetrics::usage).collect())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn usage(containers: &serde_json::Value) -> Option<(f64, f64)> {
        let object = json!({"metadata": {"name": "a"}, "timestamp": "2026-01-02T03:04:05Z", "window": "10s", "containers": containers});
        let usage = serde_json::from_value::<PodMetrics>(object).unwrap().usage()?;
        assert_eq!(usage.time.to_string(), "2026-01-02T03:04:05Z");
        Some((usage.cpu, usage.memory))
    }

    #[test]
    fn the_use_of_a_pod_is_that_of_its_containers() {
        let one = json!({"name": "app", "usage": {"cpu": "250000000n", "memory": "16Mi"}});
        let other = json!({"name": "proxy", "usage": {"cpu": "50m", "memory": "1Ki"}});
        assert_eq!(usage(&json!([one, other])), Some((0.3, 16_778_240.0)));
    }

    #[test]
    fn the_window_is_read_as_go_writes_it() {
        for (text, milliseconds) in [
            (json!("10s"), 10_000),
            (json!("15.034s"), 15_034),
            (json!("1m0s"), 60_000),
            (json!("1m0.5s"), 60_500),
            (json!("500ms"), 500),
            (json!("0s"), 0),
            (json!(null), 60_000),
            (json!("soon"), 60_000),
        ] {
            let object = json!({"metadata": {"name": "a"}, "timestamp": "2026-01-02T03:04:05Z", "window": text,
                "containers": [{"name": "app", "usage": {"cpu": "1", "memory": "1"}}]});
            let usage = serde_json::from_value::<PodMetrics>(object).unwrap().usage().unwrap();
            assert_eq!(usage.window.as_millis(), milliseconds, "{text}");
        }
    }

    #[test]
    fn a_container_without_a_figure_makes_the_pod_unknown() {
        let one = json!({"name": "app", "usage": {"cpu": "250m", "memory": "16Mi"}});
        assert_eq!(usage(&json!([one, {"name": "proxy", "usage": {"memory": "1Ki"}}])), None);
        assert_eq!(usage(&json!([{"name": "app", "usage": {"cpu": "much", "memory": "1"}}])), None);
        assert_eq!(usage(&json!([])), None);
    }
}
