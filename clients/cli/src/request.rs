//! Flags and files -> requests. Pure: must not read files nor call anybody.

use std::collections::BTreeMap;

use gantry_client::{name, v1};
use prost_types::{FieldMask, Struct, Value, value::Kind};

use crate::args::{self, value::Pair};

/// The request of `deploy NAME` with its flags. Without an update mask the server changes the fields that are set.
pub(crate) fn deploy(name: &name::App, flags: &args::Deploy) -> v1::DeployAppRequest {
    let spec = &flags.spec;
    let resources = v1::Resources { requests: map(&spec.requests), limits: map(&spec.limits) };
    let app = v1::App {
        name: name.to_string(),
        labels: map(&spec.labels),
        annotations: map(&spec.annotations),
        spec: Some(v1::AppSpec {
            image: spec.image.clone().unwrap_or_default(),
            replicas: spec.replicas,
            ports: spec.ports.clone(),
            env: map(&spec.env),
            args: spec.args.clone(),
            resources: (resources != v1::Resources::default()).then_some(resources),
            pod_template_patch: pod_annotations(&spec.pod_annotations),
            ..Default::default()
        }),
        ..Default::default()
    };
    with_circumstances(app, flags)
}

/// The request of `deploy -f`: the file is everything, so what it leaves out is cleared.
pub(crate) fn deploy_file(app: v1::App, flags: &args::Deploy) -> v1::DeployAppRequest {
    let update_mask = Some(FieldMask { paths: vec!["*".to_owned()] });
    v1::DeployAppRequest { update_mask, ..with_circumstances(app, flags) }
}

/// The request of `delete`.
pub(crate) fn delete(name: &name::App, flags: &args::Delete) -> v1::DeleteAppRequest {
    v1::DeleteAppRequest {
        name: name.to_string(),
        allow_missing: flags.allow_missing,
        reason: flags.reason.clone().unwrap_or_default(),
        ..Default::default()
    }
}

fn with_circumstances(mut app: v1::App, flags: &args::Deploy) -> v1::DeployAppRequest {
    if let Some(etag) = &flags.etag {
        app.etag.clone_from(etag);
    }
    let concurrency = match flags.concurrency {
        None => v1::Concurrency::Unspecified,
        Some(args::Concurrency::Supersede) => v1::Concurrency::Supersede,
        Some(args::Concurrency::Reject) => v1::Concurrency::Reject,
    };
    v1::DeployAppRequest {
        app: Some(app),
        concurrency: concurrency.into(),
        reason: flags.reason.clone().unwrap_or_default(),
        ..Default::default()
    }
}

fn map(pairs: &[Pair]) -> BTreeMap<String, String> {
    pairs.iter().cloned().collect()
}

/// `{"metadata": {"annotations": {...}}}`
fn pod_annotations(pairs: &[Pair]) -> Option<Struct> {
    let object = |fields| Value { kind: Some(Kind::StructValue(Struct { fields })) };
    let text = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
    let annotations: BTreeMap<_, _> = pairs.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    let metadata = BTreeMap::from([("annotations".to_owned(), object(annotations))]);
    (!pairs.is_empty())
        .then(|| Struct { fields: BTreeMap::from([("metadata".to_owned(), object(metadata))]) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn mk_request(line: &str) -> v1::DeployAppRequest {
        let Ok(Cli { command: Command::Deploy(flags), .. }) = Cli::try_parse_from(line.split(' ')) else {
            panic!("`{line}` is in order");
        };
        deploy(&name::App { namespace: "prod".into(), app: "shop".into() }, &flags)
    }

    #[test]
    fn what_is_not_named_is_not_set() {
        let request = mk_request("gantry deploy shop");
        let app = v1::App {
            name: "namespaces/prod/apps/shop".into(),
            spec: Some(v1::AppSpec::default()),
            ..Default::default()
        };
        assert_eq!(request, v1::DeployAppRequest { app: Some(app), ..Default::default() });
    }

    #[test]
    fn every_flag_arrives() {
        let request = mk_request(
            "gantry deploy shop -i a:1 -r 0 -p http=80/http --request cpu=1,memory=2Gi --limit cpu=2 -e A=b=c --label l=1 \
             --annotation a=1 --pod-annotation p=1 --reason why --etag e --concurrency reject -- serve --fast",
        );
        assert_eq!((request.reason.as_str(), request.concurrency()), ("why", v1::Concurrency::Reject));
        assert_eq!(request.update_mask, None);
        let app = request.app.unwrap_or_default();
        let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        assert_eq!((app.etag.as_str(), app.labels, app.annotations), ("e", pair("l", "1"), pair("a", "1")));
        let spec = app.spec.unwrap_or_default();
        assert_eq!((spec.image.as_str(), spec.replicas, spec.ports.len()), ("a:1", Some(0), 1));
        assert_eq!((spec.env, spec.args), (pair("A", "b=c"), vec!["serve".to_owned(), "--fast".to_owned()]));
        let resources = spec.resources.unwrap_or_default();
        assert_eq!((resources.requests.len(), resources.limits), (2, pair("cpu", "2")));
        let patch = v1::AppSpec { pod_template_patch: spec.pod_template_patch, ..Default::default() };
        let json = crate::proto::to_json(&patch).expect("it is a message");
        assert_eq!(json, r#"{"podTemplatePatch":{"metadata":{"annotations":{"p":"1"}}}}"#);
    }

    #[test]
    fn a_file_replaces_everything() {
        let flags = args::Deploy { etag: Some("mine".into()), ..Default::default() };
        let request = deploy_file(v1::App { etag: "of the file".into(), ..Default::default() }, &flags);
        assert_eq!(request.update_mask.map(|mask| mask.paths), Some(vec!["*".to_owned()]));
        assert_eq!(request.app.map(|app| app.etag).as_deref(), Some("mine"));
    }
}
