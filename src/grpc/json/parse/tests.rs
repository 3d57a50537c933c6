//! What JSON is taken, and how what is refused is named.

use tonic_types::StatusExt;

use super::*;
use crate::grpc::schema::method;

fn parse(text: &str) -> Result<DynamicMessage, Status> {
    let deploy = method("gantry.v1.AppService/DeployApp").unwrap();
    parse_message(&deploy.input, text.as_bytes(), &Spelling::default())
}

fn fields(text: &str) -> Vec<(String, String)> {
    let status = parse(text).unwrap_err();
    let details = status.get_error_details();
    let bad = details.bad_request().unwrap();
    bad.field_violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect()
}

fn names(text: &str) -> Vec<String> {
    fields(text).into_iter().map(|(field, _)| field).collect()
}

#[test]
fn every_unknown_field_is_named() {
    let text = r#"{"ap": 1, "app": {"nam": "x", "spec": {"ports": [{}, {"numbr": 1}],
        "secretEnv": {"A": {"kee": ""}}, "podTemplatePatch": {"anything": {"goes": 1}}}}}"#;
    assert_eq!(names(text), ["ap", "app.nam", "app.spec.ports[1].numbr", "app.spec.secretEnv[A].kee"]);
    assert_eq!(fields(text)[2].1, "is not a field of Port; did you mean number?");
}

#[test]
fn what_is_given_twice_is_refused_by_name() {
    for (text, field, description) in [
        (r#"{"force": true, "force": true}"#, "force", "is given twice"),
        (
            r#"{"validateOnly": true, "validate_only": false}"#,
            "validate_only",
            "is given twice, as validateOnly and as validate_only",
        ),
        (r#"{"app": {"spec": {"env": {"A": "1", "A": "2"}}}}"#, "app.spec.env[A]", "is given twice"),
        (
            r#"{"app": {"spec": {"secretEnv": {"A": {}, "A": {}}}}}"#,
            "app.spec.secretEnv[A]",
            "is given twice",
        ),
        (
            r#"{"app": {"spec": {"podTemplatePatch": {"spec": {"a": 1, "a": 1}}}}}"#,
            "app.spec.podTemplatePatch.spec[a]",
            "is given twice",
        ),
        (
            r#"{"app": {"spec": {"probes": {"readiness": {"tcpPort": "a", "exec": {}}}}}}"#,
            "app.spec.probes.readiness.exec",
            "cannot be given together with tcpPort; give one of them",
        ),
    ] {
        assert_eq!(fields(text), [(field.to_owned(), description.to_owned())], "{text}");
    }
    parse(r#"{"app": {"spec": {"probes": {"readiness": {"tcpPort": null, "exec": {}}}}}}"#).unwrap();
}

#[test]
fn every_wrong_value_is_named_with_what_is_expected() {
    for (text, field, description) in [
        (
            r#"{"app": {"spec": {"ports": [{"number": "many"}]}}}"#,
            "app.spec.ports[0].number",
            "is \"many\"; expected a whole number from -2147483648 to 2147483647",
        ),
        (
            r#"{"app": {"spec": {"terminationGrace": "soon"}}}"#,
            "app.spec.terminationGrace",
            "is \"soon\"; expected a time in seconds such as \"90s\" or \"1.5s\"",
        ),
        (r#"{"validateOnly": 1}"#, "validateOnly", "is 1; expected true or false"),
        (
            r#"{"concurrency": "reject"}"#,
            "concurrency",
            "is \"reject\"; expected one of CONCURRENCY_UNSPECIFIED, CONCURRENCY_SUPERSEDE, CONCURRENCY_REJECT",
        ),
        (
            r#"{"app": {"spec": {"resources": {"requests": {"cpu": 1}}}}}"#,
            "app.spec.resources.requests[cpu]",
            "is 1; expected a string in quotes",
        ),
        (
            r#"{"updateMask": ["spec.image"]}"#,
            "updateMask",
            "is [\"spec.image\"]; expected one string of paths and commas such as \"spec.image,labels\"",
        ),
        (r#"{"app": []}"#, "app", "is []; expected an object"),
        (
            r#"{"app": {"spec": {"secretEnv": [{"name": "A"}]}}}"#,
            "app.spec.secretEnv",
            "is [{\"name\":\"A\"}]; expected an object, each value an object",
        ),
        (
            r#"{"app": {"spec": {"args": "a"}}}"#,
            "app.spec.args",
            "is \"a\"; expected a list, each item a string in quotes",
        ),
        (
            r#"{"app": {"labels": [1]}}"#,
            "app.labels",
            "is [1]; expected an object, each value a string in quotes",
        ),
    ] {
        assert_eq!(fields(text), [(field.to_owned(), description.to_owned())], "{text}");
    }
    // Unknown fields and wrong values are told together.
    let both = r#"{"foo": 1, "validateOnly": 1, "app": {"spec": {"envs": 2, "env": [{"name": "A"}]}}}"#;
    assert_eq!(names(both), ["foo", "app.spec.envs", "validateOnly", "app.spec.env"]);
    let two = r#"{"validateOnly": 1, "app": {"spec": {"args": [1, "a", null]}}}"#;
    assert_eq!(names(two), ["validateOnly", "app.spec.args[0]", "app.spec.args[2]"]);
    for text in ["[]", "", "{", "{} {}", "null", "1", r#""x""#] {
        assert_eq!(names(text), [""], "{text}");
    }
}

#[test]
fn both_spellings_of_a_field_and_of_a_mask_are_taken() {
    for text in [r#"{"validateOnly": true}"#, r#"{"validate_only": true}"#] {
        let message = parse(text).unwrap();
        assert_eq!(message.get_field_by_name("validate_only").unwrap().as_bool(), Some(true));
    }
    let mask = |text: &str| parse(text).unwrap().get_field_by_name("update_mask").unwrap().into_owned();
    let camel = mask(r#"{"updateMask": "spec.secretEnv,labels,*"}"#);
    assert_eq!(camel, mask(r#"{"updateMask": "spec.secret_env, labels, *"}"#));
    assert!(format!("{camel:?}").contains("spec.secret_env"));
}

#[test]
fn text_that_nests_deeply_is_refused() {
    let deep = |n: usize| {
        format!(
            r#"{{"app": {{"spec": {{"podTemplatePatch": {}1{}}}}}}}"#,
            r#"{"a": "#.repeat(n),
            "}".repeat(n)
        )
    };
    parse(&deep(29)).unwrap();
    assert_eq!(names(&deep(30)), ["app.spec.podTemplatePatch.a"]);
    assert_eq!(names(&deep(60)), ["app.spec.podTemplatePatch.a"]);
    assert_eq!(names(&deep(500)), [""]);
}
