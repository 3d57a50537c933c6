//! Which parts of the pod template belong to a field that is set, so that no patch may touch them. A part
//! that was rendered because a field is unset, such as the default probe, belongs to no field.

use serde_json::json;

use super::volume;
use crate::domain::{
    keyed_lists::{entry_id, join_entry},
    labels::{APP_LABEL, MANAGED_BY_LABEL},
    pod_template_patch::{OwnedField, join_path},
    spec::{Check, Content, SecurityProfile, Spec, Spread},
};

/// Returns the parts that set fields rendered.
pub(in crate::domain) fn owned_fields(content: &Content, renderer: u32) -> Vec<OwnedField> {
    let spec = &content.spec;
    let mut owned = vec![
        OwnedField { path: join_path("metadata.labels", APP_LABEL), field: "name" },
        OwnedField { path: join_path("metadata.labels", "app.kubernetes.io/name"), field: "name" },
        OwnedField { path: join_path("metadata.labels", MANAGED_BY_LABEL), field: "name" },
    ];
    let mut own = |path: String, field| owned.push(OwnedField { path, field });
    for key in content.labels.keys() {
        own(join_path("metadata.labels", key), "labels");
    }
    container(spec, &mut own);
    if spec.termination_grace.is_some() {
        own("spec.terminationGracePeriodSeconds".to_owned(), "spec.termination_grace");
    }
    if !spec.service_account.is_empty() {
        own("spec.serviceAccountName".to_owned(), "spec.service_account");
    }
    if let Some(profile) = spec.security_profile {
        own("spec.securityContext.seccompProfile".to_owned(), "spec.security_profile");
        if profile == SecurityProfile::Restricted {
            own("spec.securityContext.runAsNonRoot".to_owned(), "spec.security_profile");
        }
    }
    for volume in &spec.volumes {
        own(join_entry("spec.volumes", &volume::volume_name(volume, renderer)), "spec.volumes");
    }
    for secret in &spec.image_pull_secrets {
        own(join_entry("spec.imagePullSecrets", secret), "spec.image_pull_secrets");
    }
    if let Some(placement) = &spec.placement {
        for key in placement.node_selector.keys() {
            own(join_path("spec.nodeSelector", key), "spec.placement");
        }
        if !placement.tolerations.is_empty() {
            own("spec.tolerations".to_owned(), "spec.placement");
        }
        for spread in &placement.spread {
            let entry =
                json!({"topologyKey": spread.topology_key, "whenUnsatisfiable": when_unsatisfiable(spread)});
            if let Some(id) = entry_id("topologySpreadConstraints", &entry) {
                own(join_entry("spec.topologySpreadConstraints", &id), "spec.placement");
            }
        }
        if !placement.priority_class.is_empty() {
            own("spec.priorityClassName".to_owned(), "spec.placement");
        }
    }
    owned
}

fn container(spec: &Spec, own: &mut impl FnMut(String, &'static str)) {
    let container = join_entry("spec.containers", spec.container());
    own(format!("{container}.name"), "spec.container");
    own(format!("{container}.image"), "spec.image");
    if !spec.command.is_empty() {
        own(format!("{container}.command"), "spec.command");
    }
    if !spec.args.is_empty() {
        own(format!("{container}.args"), "spec.args");
    }
    for (key, field) in spec
        .env
        .keys()
        .map(|key| (key, "spec.env"))
        .chain(spec.secret_env.keys().map(|key| (key, "spec.secret_env")))
        .chain(spec.config_map_env.keys().map(|key| (key, "spec.config_map_env")))
    {
        own(join_entry(&format!("{container}.env"), key), field);
    }
    for port in &spec.ports {
        own(join_entry(&format!("{container}.ports"), &port.number.to_string()), "spec.ports");
    }
    for (part, map) in spec.resources.iter().flat_map(|r| [("requests", &r.requests), ("limits", &r.limits)])
    {
        for key in map.keys() {
            own(join_path(&format!("{container}.resources.{part}"), key), "spec.resources");
        }
    }
    for (name, probe) in spec.probes.iter().flat_map(|probes| probes.set()) {
        if probe.check != Check::None {
            own(format!("{container}.{name}Probe"), "spec.probes");
        }
    }
    for volume in &spec.volumes {
        own(join_entry(&format!("{container}.volumeMounts"), &volume.mount_path), "spec.volumes");
    }
    if let Some(profile) = spec.security_profile {
        own(format!("{container}.securityContext.allowPrivilegeEscalation"), "spec.security_profile");
        if profile == SecurityProfile::Restricted {
            own(format!("{container}.securityContext.capabilities"), "spec.security_profile");
        }
    }
    if spec.drain_delay.is_some_and(|delay| !delay.is_zero()) {
        own(format!("{container}.lifecycle.preStop"), "spec.drain_delay");
    }
}

/// Returns the value of `whenUnsatisfiable`.
pub(super) fn when_unsatisfiable(spread: &Spread) -> &'static str {
    if spread.required { "DoNotSchedule" } else { "ScheduleAnyway" }
}
