//! Decodes the volume mounts of the app container, with their volumes, into `AppSpec.volumes`: the inverse of
//! `domain::manifest::volume`. What `AppSpec` cannot express is skipped.

use serde_json::Value;

use super::json::{read_list, read_text};
use crate::domain::spec::{EmptyDir, Files, Source, Volume};

pub(super) fn decode_volumes(pod: &Value) -> Vec<Volume> {
    let mounts: Vec<&Value> = read_list(&pod["containers"][0]["volumeMounts"]).collect();
    mounts.iter().filter_map(|mount| volume(mount, pod)).collect()
}

fn volume(mount: &Value, pod: &Value) -> Option<Volume> {
    let whole = ["subPath", "subPathExpr"].iter().all(|field| read_text(&mount[*field]).is_empty());
    let propagates = !matches!(mount["mountPropagation"].as_str(), None | Some("None"));
    let volume = read_list(&pod["volumes"]).find(|v| v["name"] == mount["name"] && !v["name"].is_null())?;
    let source = source(volume).filter(|_| whole && !propagates)?;
    // AppSpec gives each mount a separate volume, so an emptyDir that two mounts share would become two.
    if matches!(source, Source::EmptyDir(_)) && count_mounts(pod, &mount["name"]) != 1 {
        return None;
    }
    // The kubelet mounts these read-only, whatever the mount says.
    let always_read_only = matches!(source, Source::ConfigMap(_) | Source::Secret(_));
    Some(Volume {
        mount_path: read_text(&mount["mountPath"]),
        source,
        read_only: mount["readOnly"] == true && !always_read_only,
    })
}

/// Counts the mounts of a volume in all containers.
fn count_mounts(pod: &Value, volume: &Value) -> usize {
    let containers = ["containers", "initContainers"].into_iter().flat_map(|kind| read_list(&pod[kind]));
    containers.flat_map(|c| read_list(&c["volumeMounts"])).filter(|m| m["name"] == *volume).count()
}

fn source(volume: &Value) -> Option<Source> {
    let get_source = |field: &str| Some(&volume[field]).filter(|v| v.is_object());
    if let Some(source) = get_source("configMap") {
        return files(source, "name").map(Source::ConfigMap);
    }
    if let Some(source) = get_source("secret") {
        return files(source, "secretName").map(Source::Secret);
    }
    if let Some(source) = get_source("persistentVolumeClaim") {
        let claim = read_text(&source["claimName"]);
        return (!claim.is_empty() && source["readOnly"] != true).then_some(Source::Claim(claim));
    }
    let dir = get_source("emptyDir")?;
    let medium = read_text(&dir["medium"]);
    matches!(medium.as_str(), "" | "Memory").then(|| {
        let limit = &dir["sizeLimit"];
        let size_limit = limit.as_u64().map_or_else(|| read_text(limit), |n| n.to_string());
        Source::EmptyDir(EmptyDir { size_limit, in_memory: medium == "Memory" })
    })
}

fn files(source: &Value, name: &str) -> Option<Files> {
    let name = read_text(&source[name]);
    // AppSpec has no file modes. With only some of its items the list would mean something else, so the
    // volume is skipped.
    let no_item_mode = read_list(&source["items"]).all(|item| item["mode"].is_null());
    let default_mode = source["defaultMode"].as_u64().is_none_or(|mode| mode == 0o644);
    let items =
        read_list(&source["items"]).map(|item| (read_text(&item["key"]), read_text(&item["path"]))).collect();
    (!name.is_empty() && no_item_mode && default_mode).then(|| Files {
        name,
        items,
        optional: source["optional"] == true,
    })
}
