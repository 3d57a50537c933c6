//! Server reflection, as grpcurl, evans, buf and the clients of many languages use it.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio_stream::StreamExt as _;
use tonic_reflection::pb::{
    v1::{
        ExtensionRequest, ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha::{self, server_reflection_client as client, server_reflection_request as request},
};

use crate::{
    support::Server,
    wire::{framed, frames, json, post},
};

const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

fn ask(message: MessageRequest) -> ServerReflectionRequest {
    ServerReflectionRequest { host: "here".to_owned(), message_request: Some(message) }
}

/// Asks everything on one stream.
async fn answers(server: &Server, questions: Vec<MessageRequest>) -> Vec<MessageResponse> {
    let questions: Vec<_> = questions.into_iter().map(ask).collect();
    let mut client = ServerReflectionClient::new(server.channel.clone());
    let stream = client.server_reflection_info(tokio_stream::iter(questions.clone())).await.unwrap();
    let answers: Vec<_> = stream.into_inner().map(Result::unwrap).collect().await;
    for (question, answer) in questions.iter().zip(&answers) {
        assert_eq!(answer.valid_host, "here");
        assert_eq!(answer.original_request.as_ref(), Some(question));
    }
    assert_eq!(questions.len(), answers.len());
    answers.into_iter().map(|answer| answer.message_response.unwrap()).collect()
}

fn file(answer: MessageResponse) -> FileDescriptorProto {
    let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("no file: {answer:?}") };
    FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap()
}

#[tokio::test]
async fn both_versions_list_every_service() {
    let server = Server::start().await;
    let list = answers(&server, vec![MessageRequest::ListServices(String::new())]).await.remove(0);
    let MessageResponse::ListServicesResponse(list) = list else { panic!("no list") };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    let expected = ["App", "Autoscaler", "Discovery", "Rollout", "Server", "Timeline"];
    let mut expected: Vec<_> = expected.iter().map(|name| format!("gantry.v1.{name}Service")).collect();
    expected.extend(["grpc.health.v1.Health".to_owned()]);
    expected.extend(["v1", "v1alpha"].map(|version| format!("grpc.reflection.{version}.ServerReflection")));
    assert_eq!(names, expected);

    // Older clients, for example Python's, know only this version.
    let message_request = Some(request::MessageRequest::ListServices(String::new()));
    let question = v1alpha::ServerReflectionRequest { host: String::new(), message_request };
    let mut client = client::ServerReflectionClient::new(server.channel.clone());
    let mut older = client.server_reflection_info(tokio_stream::once(question)).await.unwrap().into_inner();
    let answer = older.next().await.unwrap().unwrap();
    let text = format!("{answer:?}");
    assert!(expected.iter().all(|name| text.contains(name)), "{text}");
}

/// What a tool does: begins at the services and follows the imports.
#[tokio::test]
async fn a_client_finds_everything_that_the_services_need() {
    let server = Server::start().await;
    let symbols = ["gantry.v1.AppService", "google.rpc.ErrorInfo", "grpc.reflection.v1.ServerReflection"];
    let questions = symbols.map(|symbol| MessageRequest::FileContainingSymbol(symbol.to_owned()));
    let mut files = BTreeMap::new();
    let mut new: Vec<_> = answers(&server, questions.to_vec()).await.into_iter().map(file).collect();
    while let Some(found) = new.pop() {
        let imports: Vec<_> =
            found.dependency.iter().filter(|name| !files.contains_key(*name)).cloned().collect();
        files.insert(found.name().to_owned(), found);
        let questions = imports.into_iter().map(MessageRequest::FileByFilename).collect();
        new.extend(answers(&server, questions).await.into_iter().map(file));
    }
    let names: BTreeSet<_> = files.keys().map(String::as_str).collect();
    for name in ["gantry/v1/app.proto", "buf/validate/validate.proto", "google/protobuf/duration.proto"] {
        assert!(names.contains(name), "{names:?}");
    }
    let comments = format!("{:?}", files["gantry/v1/app_service.proto"].source_code_info);
    assert!(comments.contains("Creates the app, or changes the fields that the request names"));
}

#[tokio::test]
async fn every_kind_of_symbol_and_extension_is_found() {
    let server = Server::start().await;
    let app = "gantry/v1/app.proto";
    let symbols = [
        ("gantry.v1.App", app),
        ("gantry.v1.App.name", app),
        ("gantry.v1.App.LabelsEntry", app),
        ("gantry.v1.Probe.check", app),
        ("gantry.v1.Probe.http_get", app),
        ("gantry.v1.Protocol", app),
        ("gantry.v1.PROTOCOL_GRPC", app),
        ("gantry.v1.AppService", "gantry/v1/app_service.proto"),
        ("gantry.v1.AppService.DeployApp", "gantry/v1/app_service.proto"),
        ("gantry.v1.ErrorReason", "gantry/v1/error.proto"),
        ("buf.validate.field", "buf/validate/validate.proto"),
        ("google.rpc.BadRequest.FieldViolation", "error_details.proto"),
        ("grpc.health.v1.Health.Watch", "health.proto"),
    ];
    let questions = symbols.map(|(name, _)| MessageRequest::FileContainingSymbol(name.to_owned()));
    for ((symbol, name), answer) in symbols.iter().zip(answers(&server, questions.to_vec()).await) {
        assert_eq!(file(answer).name(), *name, "{symbol}");
    }

    let options = "google.protobuf.FieldOptions".to_owned();
    let field = ExtensionRequest { containing_type: options.clone(), extension_number: 1159 };
    let questions = vec![
        MessageRequest::FileContainingExtension(field),
        MessageRequest::AllExtensionNumbersOfType(options),
    ];
    let mut found = answers(&server, questions).await;
    let MessageResponse::AllExtensionNumbersResponse(numbers) = found.remove(1) else { panic!("no numbers") };
    assert!(numbers.extension_number.contains(&1159), "{numbers:?}");
    assert_eq!(file(found.remove(0)).name(), "buf/validate/validate.proto");
}

#[tokio::test]
async fn what_is_unknown_is_said_in_the_stream_and_the_stream_goes_on() {
    let server = Server::start().await;
    let nothing = || "gantry.v1.Nothing".to_owned();
    let questions = vec![
        MessageRequest::FileContainingSymbol(nothing()),
        MessageRequest::FileContainingSymbol("gantry.v1.App.nothing".to_owned()),
        MessageRequest::FileContainingSymbol(String::new()),
        MessageRequest::FileByFilename("nothing.proto".to_owned()),
        MessageRequest::FileContainingExtension(ExtensionRequest {
            containing_type: "gantry.v1.App".to_owned(),
            extension_number: -1,
        }),
        MessageRequest::AllExtensionNumbersOfType(nothing()),
        MessageRequest::FileByFilename("gantry/v1/app.proto".to_owned()),
    ];
    let mut answers = answers(&server, questions).await;
    assert_eq!(file(answers.pop().unwrap()).name(), "gantry/v1/app.proto");
    for answer in answers {
        let MessageResponse::ErrorResponse(error) = answer else { panic!("{answer:?}") };
        assert_eq!(error.error_code, 5, "NOT_FOUND: {error:?}");
        assert!(error.error_message.starts_with("there is no "), "{error:?}");
    }
}

/// buf curl asks over the protocol of the call, which is Connect unless a flag says otherwise.
#[tokio::test]
async fn reflection_works_over_connect_and_says_so_elsewhere() {
    let server = Server::start().await;
    let binary = framed(&ask(MessageRequest::ListServices(String::new())).encode_to_vec());
    let text = framed(br#"{"listServices": ""}"#);
    for http2 in [true, false] {
        for (kind, message) in [("application/connect+proto", &binary), ("application/connect+json", &text)] {
            let twice = [message.as_slice(), message.as_slice()].concat();
            let reply = post(&server, http2, V1, &[("content-type", kind)], twice).await;
            assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)));
            let frames = frames(&reply.body);
            assert_eq!(frames.iter().map(|(flags, _)| *flags).collect::<Vec<_>>(), [0, 0, 2]);
            assert!(!String::from_utf8_lossy(&frames[2].1).contains("error"), "{kind}");
            assert!(String::from_utf8_lossy(&frames[0].1).contains("gantry.v1.AppService"));
        }
    }
    let reply = json(&server, V1, r#"{"listServices": ""}"#).await;
    assert_eq!((reply.status, reply.error()), (415, ("unimplemented".into(), "NOT_IMPLEMENTED".into())));
    assert!(reply.json()["message"].as_str().unwrap().contains("call it with gRPC"));
}
