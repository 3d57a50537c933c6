//! Checks the new spec against the app's autoscaler, Gantry's or an external one: targets that could not be
//! measured, and a count outside the limits.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    autoscale::{Mode, Signal},
    domain::{
        check::{Check, Finding, Kind as CheckKind},
        scaling::Scaling,
    },
};

/// Checks Gantry's autoscaler. `scaling` is that of the app, and `wanted` has the requests of the new
/// template.
pub fn check_autoscaler(scaling: &Scaling, wanted: &Scaling, replicas: usize, now: Timestamp) -> Vec<Check> {
    let says = |result, message: String| Check::new(CheckKind::Autoscaler, result, message);
    let Some(policy) = scaling.policy.as_ref().filter(|policy| policy.mode != Mode::Off) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for target in &policy.targets {
        let (resource, unasked) = match target {
            Signal::CpuPercent(_) => ("cpu", wanted.cpu_request.is_none()),
            Signal::MemoryPercent(_) => ("memory", wanted.memory_request.is_none()),
            Signal::RequestsPerSecond(_) | Signal::Concurrency(_) | Signal::Reported { .. } => continue,
        };
        if unasked {
            found.push(says(Finding::Warn, unmeasured("The app's autoscaler", resource)));
        }
    }
    let (least, most) = (policy.min, policy.max);
    let held = scaling.active_hold(now).is_some();
    if scaling.is_active(now) && !held {
        let count = u32::try_from(replicas).unwrap_or(u32::MAX);
        let to = if count < least { least } else { count.min(most.max(least)) };
        if to != count {
            let message = format!(
                "The app's autoscaler will change the replica count from {count} to {to}, because its limits are {least} and {most}. Change its limits, or hold a count with ScaleApp."
            );
            found.push(says(Finding::Warn, message));
        }
    }
    if found.is_empty() {
        let message = "The app's autoscaler can measure all of its targets.";
        found.push(says(Finding::Pass, message.to_owned()));
    }
    found
}

/// Checks the external autoscalers that target the app: what they could not measure with the new template.
/// These are KEDA's ScaledObjects, and HorizontalPodAutoscalers except those that KEDA created for a
/// ScaledObject.
pub fn check_other_autoscalers(scaled: &[Value], horizontal: &[Value], wanted: &Scaling) -> Vec<Check> {
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let is_made = |hpa: &Value| {
        let owners = hpa["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        owners.into_iter().any(|owner| {
            owner["kind"] == "ScaledObject" && scaled.iter().any(|s| s["metadata"]["name"] == owner["name"])
        })
    };
    let of_keda = scaled.iter().flat_map(|object| {
        let triggers = object["spec"]["triggers"].as_array().into_iter().flatten();
        // The field that held the kind of target before KEDA 2.9 is still valid.
        let relative = triggers.filter_map(|trigger| {
            let kind =
                [&trigger["metricType"], &trigger["metadata"]["type"]].into_iter().find(|k| k.is_string())?;
            (kind == "Utilization").then(|| trigger["type"].as_str())?
        });
        check_other_autoscaler(("ScaledObject", "scaledobject.keda.sh"), &name(object), relative, wanted)
    });
    let of_kubernetes = horizontal.iter().filter(|hpa| !is_made(hpa)).flat_map(|object| {
        let metrics = object["spec"]["metrics"].as_array().into_iter().flatten();
        let relative = metrics.filter_map(|metric| {
            let source =
                [&metric["resource"], &metric["containerResource"]].into_iter().find(|s| s.is_object())?;
            source["target"]["averageUtilization"].is_number().then(|| source["name"].as_str())?
        });
        let kind = ("HorizontalPodAutoscaler", "horizontalpodautoscaler.autoscaling");
        check_other_autoscaler(kind, &name(object), relative, wanted)
    });
    of_keda.chain(of_kubernetes).collect()
}

/// Checks one external autoscaler. The kind is given as people write it and as a prefix of object names.
/// `relative` are the resources that it measures in percent of the request.
fn check_other_autoscaler<'a>(
    (kind, resource): (&str, &str),
    name: &str,
    relative: impl Iterator<Item = &'a str>,
    wanted: &Scaling,
) -> Vec<Check> {
    let who = format!("{kind} {name}");
    let says = |result, message: String| {
        Check::new(CheckKind::Autoscaler, result, message).of(format!("{resource}/{name}"))
    };
    let unasked = relative.filter(|resource| match *resource {
        "cpu" => wanted.cpu_request.is_none(),
        "memory" => wanted.memory_request.is_none(),
        _ => false,
    });
    let found: Vec<_> = unasked.map(|resource| says(Finding::Warn, unmeasured(&who, resource))).collect();
    if found.is_empty() {
        return vec![says(Finding::Pass, format!("{who} decides the count and can measure its targets."))];
    }
    found
}

fn unmeasured(who: &str, resource: &str) -> String {
    format!(
        "{who} has a target on {resource} in percent of the request, but a container has no such request, so the replica count will not change. Set resources.requests.{resource}."
    )
}
