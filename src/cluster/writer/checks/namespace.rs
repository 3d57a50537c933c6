//! Checks the surroundings of the replicas in their namespace: quotas, limit ranges, PodDisruptionBudgets and
//! autoscalers.

use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{LimitRange, ResourceQuota, ScopedResourceSelectorRequirement},
    policy::v1::PodDisruptionBudget,
};
use kube::api::{ApiResource, DynamicObject, ListParams, ResourceExt};
use serde_json::Value;

use super::context::{BudgetAfter, CheckContext, in_time, list_in_time, skipped_check};
use crate::{
    cluster::{
        decode,
        writer::other_autoscalers::{HORIZONTAL, Kind, SCALED_OBJECT, autoscalers_of, is_target},
    },
    domain::{
        check::{Check, Finding, Kind as CheckKind},
        checks::{
            autoscaler,
            disruption::{self, Budget},
            or_pass,
            quota::{self, Limit, Quota},
        },
        selector::Selector,
    },
};

pub(super) async fn check_quotas(context: &CheckContext<'_>) -> Vec<Check> {
    let (quotas, limits) = (context.objects::<ResourceQuota>(), context.objects::<LimitRange>());
    let class = context.pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let make = |object| to_quota(object, class);
    let all = tokio::try_join!(
        list_in_time(&quotas, ListParams::default(), "resourcequotas", make),
        list_in_time(&limits, ListParams::default(), "limitranges", to_limits),
    );
    let (quotas, limits) = match all {
        Ok(all) => all,
        Err(why) => return vec![skipped_check(CheckKind::Quota, &why)],
    };
    let needs = CheckContext::needs(&context.pod);
    let old = context.change.before.map(|object| CheckContext::needs(&object.data["spec"]["template"]));
    let old = old.unwrap_or_default();
    let quotas: Vec<_> = quotas.into_iter().flatten().collect();
    let limits: Vec<_> = limits.into_iter().flatten().collect();
    let (mut made, mut unread) = (context.change.makes.clone(), None);
    let counts_sets = |quota: &Quota| quota.hard.keys().any(|entry| entry.ends_with(quota::REPLICA_SETS));
    if context.change.replaces && quotas.iter().any(counts_sets) {
        match has_set(context).await {
            Ok(true) => {}
            Ok(false) => made.push(quota::REPLICA_SETS.to_owned()),
            Err(why) => unread = Some(skipped_check(CheckKind::Quota, &why)),
        }
    }
    let judge = |quota| {
        [quota::check_quota(quota, &needs, &old, &context.growth), quota::check_object_count(quota, &made)]
    };
    let mut found: Vec<_> = quotas.iter().flat_map(judge).flatten().collect();
    let concerned = found.len();
    found.extend(unread);
    found.extend(limits.iter().flat_map(|limit| quota::check_limit_range(limit, &needs)));
    or_pass(found, || {
        let message = match (concerned, limits.len()) {
            (0, 0) => "No quota and no limit of the namespace concerns the change.",
            _ => "Quotas and limits of the namespace leave room.",
        };
        Check::new(CheckKind::Quota, Finding::Pass, message)
    })
}

/// Whether a ReplicaSet with the new template exists already, which the Deployment controller would then
/// reuse. The ReplicaSet of the current template does not count, because the change leaves that template.
async fn has_set(context: &CheckContext<'_>) -> Result<bool, String> {
    let Some(before) = context.change.before else { return Ok(false) };
    let uid = before.metadata.uid.as_deref();
    let of = |spec: &Value| decode::template_hash(&spec["template"]);
    let (present, next) = (of(&before.data["spec"]), of(&context.change.deployment["spec"]));
    if present == next {
        return Ok(false);
    }
    // Read whole objects, because the comparison needs every field of the template.
    let kind = ApiResource::erase::<ReplicaSet>(&());
    let replica_sets = context.writer.cluster.dynamic(context.namespace(), &kind);
    let is_next = |set: DynamicObject| {
        let owned = set.metadata.owner_references.iter().flatten().any(|owner| Some(&*owner.uid) == uid);
        owned && of(&set.data["spec"]) == next
    };
    let all = list_in_time(&replica_sets, ListParams::default(), "replicasets", is_next).await?;
    Ok(all.into_iter().any(|is_next| is_next))
}

/// Returns `None` for a quota that counts only pods of other priority classes.
fn to_quota(object: ResourceQuota, class: &str) -> Option<Quota> {
    let name = object.name_any();
    let spec = object.spec.unwrap_or_default();
    let map = |of: Option<
        std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    >| {
        of.unwrap_or_default().into_iter().map(|(name, quantity)| (name, quantity.0)).collect()
    };
    let mut quota = Quota {
        name,
        used: map(object.status.and_then(|status| status.used)),
        hard: map(spec.hard),
        scopes: spec.scopes.unwrap_or_default(),
        unknown_scope: false,
    };
    for rule in spec.scope_selector.and_then(|s| s.match_expressions).unwrap_or_default() {
        let ScopedResourceSelectorRequirement { operator, scope_name, values } = rule;
        let named = values.unwrap_or_default().iter().any(|value| value == class);
        match (scope_name.as_str(), operator.as_str()) {
            ("PriorityClass", "In") if named => {}
            ("PriorityClass", "NotIn") if !named => {}
            ("PriorityClass", "Exists") if !class.is_empty() => {}
            ("PriorityClass", "DoesNotExist") if class.is_empty() => {}
            ("PriorityClass", _) => return None,
            ("BestEffort" | "NotBestEffort" | "Terminating" | "NotTerminating", "Exists") => {
                quota.scopes.push(scope_name);
            }
            _ => quota.unknown_scope = true,
        }
    }
    let known = ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating"];
    quota.unknown_scope |= quota.scopes.iter().any(|scope| !known.contains(&scope.as_str()));
    Some(quota)
}

fn to_limits(object: LimitRange) -> Vec<Limit> {
    let name = object.name_any();
    let map = |of: Option<
        std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    >| {
        of.unwrap_or_default().into_iter().map(|(name, quantity)| (name, quantity.0)).collect()
    };
    let one = |item: k8s_openapi::api::core::v1::LimitRangeItem| Limit {
        name: name.clone(),
        kind: item.type_,
        max: map(item.max),
        min: map(item.min),
    };
    object.spec.map(|spec| spec.limits).unwrap_or_default().into_iter().map(one).collect()
}

pub(super) async fn check_disruption(context: &CheckContext<'_>) -> Check {
    let api = context.objects::<PodDisruptionBudget>();
    let labels = &context.change.deployment["spec"]["template"]["metadata"]["labels"];
    let labels = serde_json::from_value(labels.clone()).unwrap_or_default();
    let covering = |object: PodDisruptionBudget| {
        let spec = object.spec.clone().unwrap_or_default();
        let selector = serde_json::to_value(spec.selector?).ok()?;
        let value = |v| serde_json::to_value(v).unwrap_or(Value::Null);
        Selector::from_structured(&selector).matches(&labels).then(|| Budget {
            name: object.name_any(),
            min_available: value(spec.min_available),
            max_unavailable: value(spec.max_unavailable),
        })
    };
    match list_in_time(&api, ListParams::default(), "poddisruptionbudgets", covering).await {
        Ok(all) => {
            let mut all: Vec<_> = all.into_iter().flatten().collect();
            if !matches!(context.change.budget, BudgetAfter::Stays) {
                all.retain(|budget| budget.name != context.change.name.app);
            }
            if let BudgetAfter::Becomes(own) = &context.change.budget {
                all.push(own.clone());
            }
            disruption::check_disruption(&all, context.growth.change.replicas)
        }
        Err(why) => skipped_check(CheckKind::Disruption, &why),
    }
}

pub(super) async fn check_autoscalers(context: &CheckContext<'_>) -> Vec<Check> {
    let wanted = context.wanted();
    let scaling = context
        .change
        .before
        .map(|object| decode::decode_scaling(&object.metadata, &object.data["spec"]["template"]));
    let replicas = context.growth.change.replicas;
    let mut found = scaling
        .map(|scaling| autoscaler::check_autoscaler(&scaling, &wanted, replicas, context.change.time))
        .unwrap_or_default();
    let (scaled, horizontal) = tokio::join!(others(context, SCALED_OBJECT), others(context, HORIZONTAL));
    let mut there = |all: Result<Vec<Value>, String>| {
        all.unwrap_or_else(|why| {
            found.push(skipped_check(CheckKind::Autoscaler, &why));
            Vec::new()
        })
    };
    let (scaled, horizontal) = (there(scaled), there(horizontal));
    found.extend(autoscaler::check_other_autoscalers(&scaled, &horizontal, &wanted));
    if found.is_empty() {
        let message = "No autoscaler decides the count.";
        found.push(Check::new(CheckKind::Autoscaler, Finding::Pass, message));
    }
    found
}

/// Returns the autoscalers of a kind that target the app; empty if the cluster does not have the kind.
async fn others(context: &CheckContext<'_>, kind: Kind) -> Result<Vec<Value>, String> {
    let (group, version, _, plural) = kind;
    let autoscalers = autoscalers_of(context.writer, context.namespace(), kind);
    let here = |object: DynamicObject| {
        is_target(&object, context.change.name).then(|| serde_json::to_value(object).unwrap_or_default())
    };
    let why = match list_in_time(&autoscalers, ListParams::default(), plural, here).await {
        Ok(all) => return Ok(all.into_iter().flatten().collect()),
        Err(why) => why,
    };
    // For a kind that does not exist, the API server answers 404 to callers who may list it and 403 to all
    // other callers. Everybody may read which kinds exist, so ask for that.
    let version = format!("{group}/{version}");
    let kinds = context.writer.cluster.list_kinds(&version);
    match in_time(kinds, || format!("get {version}")).await {
        Ok(None) => Ok(Vec::new()),
        Ok(Some(kinds)) if kinds.iter().all(|kind| kind != plural) => Ok(Vec::new()),
        Ok(Some(_)) | Err(_) => Err(why),
    }
}
