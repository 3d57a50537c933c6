//! Parses `AppSpec.volumes` and checks the rules of their fields.

use std::collections::HashSet;

use super::field::{SPEC, check_data_key, check_object_name};
use crate::{
    domain::{
        quantity,
        spec::{EmptyDir, Files, Source, Volume},
    },
    grpc::parse::violations::Violations,
    pb,
};

pub(super) fn parse_volumes(volumes: Vec<pb::Volume>, wrong: &mut Violations) -> Vec<Volume> {
    let mut paths = HashSet::new();
    let mut parsed = Vec::with_capacity(volumes.len());
    for (i, volume) in volumes.into_iter().enumerate() {
        let at = format!("{SPEC}.volumes[{i}]");
        let path = &volume.mount_path;
        if !path.starts_with('/') || path.contains([':', '\0']) || path.split('/').any(|part| part == "..") {
            let said = "is not a valid mount path; expected an absolute path without ':' or '..'";
            wrong.add(format!("{at}.mount_path"), said);
        } else if !paths.insert(path.trim_end_matches('/').to_owned()) {
            wrong.add(
                format!("{at}.mount_path"),
                format!("\"{path}\" is already the path of an earlier volume"),
            );
        }
        let Some(source) = source(&at, volume.source, wrong) else { continue };
        let always = matches!(source, Source::ConfigMap(_) | Source::Secret(_));
        parsed.push(Volume { mount_path: volume.mount_path, source, read_only: volume.read_only && !always });
    }
    parsed
}

fn source(at: &str, source: Option<pb::volume::Source>, wrong: &mut Violations) -> Option<Source> {
    Some(match source {
        Some(pb::volume::Source::ConfigMap(from)) => {
            Source::ConfigMap(files(&format!("{at}.config_map"), from, "a ConfigMap", wrong))
        }
        Some(pb::volume::Source::Secret(from)) => {
            Source::Secret(files(&format!("{at}.secret"), from, "a Secret", wrong))
        }
        Some(pb::volume::Source::Claim(claim)) => {
            check_object_name(&format!("{at}.claim"), &claim, "a PersistentVolumeClaim", wrong);
            Source::Claim(claim)
        }
        Some(pb::volume::Source::EmptyDir(dir)) => {
            let limit = &dir.size_limit;
            if !limit.is_empty() && quantity::parse_quantity(limit).is_none_or(|value| value < 0.0) {
                let said = format!("\"{limit}\" is not a valid quantity; expected for example 256Mi or 1Gi");
                wrong.add(format!("{at}.empty_dir.size_limit"), said);
            }
            Source::EmptyDir(EmptyDir { size_limit: dir.size_limit, in_memory: dir.in_memory })
        }
        None => {
            wrong.add(format!("{at}.source"), "is required: config_map, secret, claim or empty_dir");
            return None;
        }
    })
}

fn files(at: &str, files: pb::Files, kind: &str, wrong: &mut Violations) -> Files {
    check_object_name(&format!("{at}.name"), &files.name, kind, wrong);
    for (key, path) in &files.items {
        let at = format!("{at}.items[{key}]");
        check_data_key(&at, key, wrong);
        let inside = !path.is_empty() && !path.starts_with(['/', ':']) && !path.starts_with("..");
        if !inside || path.contains([':', '\0']) || path.split('/').any(|part| part == "..") {
            let said = "is not a valid file path; expected a relative path without ':' or '..'";
            wrong.add(at, format!("\"{path}\" {said}"));
        }
    }
    Files { name: files.name, items: files.items.into_iter().collect(), optional: files.optional }
}
