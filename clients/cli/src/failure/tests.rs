//! Errors as people read them, and the exit status of each.

use std::{collections::BTreeMap, time::Duration};

use gantry_client::{
    error::{Link, Resource},
    name,
};

use super::*;

fn mk_refusal(code: Code, message: &str, reason: &str) -> Refusal {
    Refusal {
        code,
        message: message.into(),
        reason: reason.into(),
        metadata: BTreeMap::new(),
        fields: Vec::new(),
        obstacles: Vec::new(),
        retry_after: None,
        help: Vec::new(),
        resource: None,
        request_id: None,
    }
}

fn refused(refusal: Refusal) -> Failure {
    Failure::Client(Error::Refused(Box::new(refusal)))
}

#[test]
fn everything_the_server_said_is_shown() {
    let failure = refused(Refusal {
        metadata: [("didYouMean".into(), "shop".into())].into(),
        fields: vec![Violation { subject: "app.spec.image".into(), description: "must not be empty".into() }],
        obstacles: vec![Violation { subject: "resourcequota/cpu".into(), description: "used up".into() }],
        retry_after: Some(Duration::from_secs(2)),
        help: vec![
            Link { description: "name an image".into(), url: String::new() },
            Link { description: "read".into(), url: "https://example.org".into() },
        ],
        resource: Some(Resource {
            kind: "gantry.dev/App".into(),
            name: "namespaces/a/apps/b".into(),
            owner: "helm".into(),
            description: String::new(),
        }),
        request_id: Some("r-1".into()),
        ..mk_refusal(Code::InvalidArgument, "app.spec.image is empty", "INVALID_FIELD")
    });
    assert_eq!(
        failure.lines(Paint::default()),
        [
            "error: app.spec.image is empty",
            "  reason:   INVALID_FIELD",
            "  field:    app.spec.image: must not be empty",
            "  because:  resourcequota/cpu: used up",
            "  object:   gantry.dev/App namespaces/a/apps/b, owned by helm",
            "  did you mean: shop",
            "  try:      name an image",
            "  try:      read (https://example.org)",
            "  retry:    in 2.0 s",
            "  call:     r-1 in the server's log",
        ]
    );
}

#[test]
fn nothing_is_said_twice() {
    let field = |subject: &str| Violation { subject: subject.into(), description: "is wrong".into() };
    let mk_failure = |message: &str, fields: Vec<Violation>| {
        let description = message.to_owned();
        let resource =
            Resource { kind: "App".into(), name: "shop".into(), owner: String::new(), description };
        refused(Refusal {
            fields,
            resource: Some(resource),
            ..mk_refusal(Code::InvalidArgument, message, "INVALID_FIELD")
        })
    };
    assert_eq!(
        mk_failure("a: is wrong", vec![field("a")]).lines(Paint::default()),
        ["error: a: is wrong", "  reason:   INVALID_FIELD", "  object:   App shop"]
    );
    assert_eq!(
        mk_failure("a: is wrong; b: is wrong", vec![field("a"), field("b")]).lines(Paint::default())[..4],
        [
            "error: 2 fields are wrong",
            "  reason:   INVALID_FIELD",
            "  field:    a: is wrong",
            "  field:    b: is wrong"
        ]
    );
}

#[test]
fn whoever_meets_an_autoscaler_learns_the_way_past_it() {
    let lines = |reason| {
        refused(mk_refusal(Code::FailedPrecondition, "it scales itself", reason)).lines(Paint::default())
    };
    let active = lines("AUTOSCALER_ACTIVE");
    assert!(active[2].starts_with("  try:      `--hold-for 1h`"), "{active:?}");
    assert!(active[3].starts_with("  try:      `gantry autoscale NAME --mode off`"), "{active:?}");
    let foreign = lines("FOREIGN_AUTOSCALER");
    assert!(foreign[2].contains("--mode shadow"), "{foreign:?}");
}

#[test]
fn a_missing_server_is_explained() {
    let cause = "Connection refused (os error 111)".to_owned();
    let failure = Failure::Client(Error::Unreachable { address: "http://127.0.0.1:7420".into(), cause });
    let text = failure.lines(Paint::default()).join("\n");
    assert!(text.contains("http://127.0.0.1:7420") && text.contains("gantryd --insecure-loopback"), "{text}");
    let cause = "invalid peer certificate: UnknownIssuer".to_owned();
    let failure = Failure::Client(Error::Unreachable { address: "https://127.0.0.1:7420".into(), cause });
    let text = failure.lines(Paint::default()).join("\n");
    assert!(text.contains("--ca-file") && !text.contains("gantryd"), "{text}");
}

#[test]
fn every_failure_has_its_exit_status() {
    let waiting = Failure::Waiting { what: "it goes on".into(), how: "gantry wait shop".into() };
    assert_eq!(waiting.lines(Paint::default()), ["it goes on", "  go on:    gantry wait shop"]);
    let broken_pipe = Failure::Output(io::ErrorKind::BrokenPipe.into());
    assert!(broken_pipe.lines(Paint::default()).is_empty());
    for (failure, exit) in [
        (waiting, Exit::Waiting),
        (broken_pipe, Exit::Done),
        (Failure::Output(io::ErrorKind::StorageFull.into()), Exit::Failed),
        (Failure::Interrupted { what: String::new(), how: String::new() }, Exit::Interrupted),
        (Failure::Client(Error::Name(name::Error::App("a b".into()))), Exit::Usage),
        (Failure::Client(Error::Deadline), Exit::Waiting),
        (Failure::Client(Error::Broken("reset".into())), Exit::Failed),
        (refused(mk_refusal(Code::InvalidArgument, "", "")), Exit::Usage),
        (refused(mk_refusal(Code::DeadlineExceeded, "", "DEADLINE")), Exit::Waiting),
        (refused(mk_refusal(Code::NotFound, "", "APP_NOT_FOUND")), Exit::Failed),
        (refused(mk_refusal(Code::Unimplemented, "", "NOT_IMPLEMENTED")), Exit::Failed),
    ] {
        assert_eq!(failure.exit(), exit, "{failure:?}");
    }
}

#[test]
fn several_lines_stay_readable() {
    let cause = proto::Error::Syntax("line 1\n  | a: [\n  |    ^".into());
    let failure = Failure::Manifest { path: "app.yaml".into(), cause };
    assert_eq!(
        failure.lines(Paint::default()),
        ["error: app.yaml does not describe an app: line 1\n    | a: [\n    |    ^"]
    );
}
