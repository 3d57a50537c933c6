//! Renders volumes and their mounts. The name of a volume is a digest of its content, so that the same spec
//! gives the same names everywhere.

use serde_json::{Value, json};

use crate::domain::{
    digest::sha256_hex,
    revision::FIRST_RENDERER,
    spec::{Files, Source, Volume},
};

/// Returns the name of the volume: its kind, and a digest of its source and mount path. Each path has one
/// volume.
pub(super) fn volume_name(volume: &Volume, renderer: u32) -> String {
    let source = if renderer > FIRST_RENDERER { volume.source.canonical() } else { volume.source.clone() };
    let kind = match &volume.source {
        Source::ConfigMap(_) => "config-map",
        Source::Secret(_) => "secret",
        Source::Claim(_) => "claim",
        Source::EmptyDir(_) => "empty-dir",
    };
    let content = json!([volume.mount_path, source]).to_string();
    format!("{kind}-{:.10}", sha256_hex(content))
}

pub(super) fn render_volume(volume: &Volume, renderer: u32) -> Value {
    let mut rendered = match &volume.source {
        Source::ConfigMap(from) => json!({"configMap": files("name", from)}),
        Source::Secret(from) => json!({"secret": files("secretName", from)}),
        Source::Claim(claim) => json!({"persistentVolumeClaim": {"claimName": claim}}),
        Source::EmptyDir(dir) => {
            let mut source = json!({});
            if !dir.size_limit.is_empty() {
                source["sizeLimit"] = json!(dir.size_limit);
            }
            if dir.in_memory {
                source["medium"] = json!("Memory");
            }
            json!({"emptyDir": source})
        }
    };
    rendered["name"] = json!(volume_name(volume, renderer));
    rendered
}

fn files(name_key: &str, files: &Files) -> Value {
    let mut source = json!({name_key: files.name});
    if !files.items.is_empty() {
        source["items"] = files.items.iter().map(|(key, path)| json!({"key": key, "path": path})).collect();
    }
    if files.optional {
        source["optional"] = json!(true);
    }
    source
}

pub(super) fn render_mount(volume: &Volume, renderer: u32) -> Value {
    let mut mount = json!({"name": volume_name(volume, renderer), "mountPath": volume.mount_path});
    if volume.read_only || matches!(volume.source, Source::ConfigMap(_) | Source::Secret(_)) {
        mount["readOnly"] = json!(true);
    }
    mount
}
