//! Serves the API to callers that do not speak gRPC: the Connect protocol (unary and server streaming, in
//! JSON and in binary), and JSON lines for `curl`. Each call is translated with the descriptor into a gRPC
//! call to the router in this process, so that all layers and rules apply to it.

mod error;
mod form;
mod parse;
mod request;
mod response;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method as HttpMethod, StatusCode, Version, header},
    middleware::Next,
    response::Response,
};
use tonic::Status;

use self::form::{Encoding, Form};
use super::{schema, status};

/// Translates calls that are not gRPC. Passes gRPC and gRPC-Web on unchanged.
pub(super) async fn translate_to_grpc(request: Request, next: Next) -> Response {
    let kind = content_type(request.headers());
    if is_grpc(&kind) || is_grpc_web(&kind) {
        if is_grpc(&kind) && request.version() < Version::HTTP_2 {
            let status =
                status::not_spoken("gRPC needs HTTP/2; over HTTP/1.1 use gRPC-Web, Connect or plain JSON");
            return error::error_response(&status, Some(StatusCode::UPGRADE_REQUIRED));
        }
        return next.run(request).await;
    }
    if request.method() != HttpMethod::POST {
        let text = "only POST is supported, for example with the default address: curl -H 'content-type: application/json' -d '{}' \
                    http://localhost:7420/gantry.v1.ServerService/GetServerInfo";
        let mut response =
            error::error_response(&status::not_spoken(text), Some(StatusCode::METHOD_NOT_ALLOWED));
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let Some(form) = Form::from_content_type(&kind) else {
        let status = status::not_spoken(&format!(
            "unsupported content type {kind:?}; use application/json, application/proto, application/connect+json, \
             application/connect+proto, application/grpc or application/grpc-web"
        ));
        return error::error_response(&status, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    };
    answer_form(form, request, next).await
}

async fn answer_form(form: Form, request: Request, next: Next) -> Response {
    let method = schema::method(request.uri().path().trim_start_matches('/'));
    let Some(method) = method else {
        // Without a descriptor nothing can be translated. The router answers that the method does not exist.
        let answer = next.run(request::empty_request(request)).await;
        return response::unknown_method(answer);
    };
    if method.takes_stream {
        let status = status::not_spoken("this method takes a stream of requests; call it with gRPC");
        return error::error_response(&status, None);
    }
    if let (Form::Framed(_), false) = (form, method.streams) {
        let status = status::not_spoken(
            "this method answers with one message; use the content type application/json or application/proto",
        );
        return error::error_response(&status, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let translated = match request::to_grpc(form, method, request) {
        Ok(translated) => translated,
        Err(status) => return response::failed_response(form, &status),
    };
    let answer = next.run(translated).await;
    match (form, method.streams) {
        (Form::Plain(encoding), false) => response::unary_response(encoding, method, answer).await,
        (Form::Plain(Encoding::Json), true) => response::lines_response(method, answer),
        (Form::Plain(Encoding::Binary), true) => {
            let text = "this method answers with a stream; use the content type application/connect+proto";
            error::error_response(&status::not_spoken(text), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE))
        }
        (Form::Framed(encoding), _) => response::framed_response(encoding, method, answer),
    }
}

/// Refuses a call in the protocol that the caller uses.
pub(super) fn refuse_request(headers: &HeaderMap, http: StatusCode, status: &Status) -> Response {
    let kind = content_type(headers);
    if !is_grpc(&kind) && !is_grpc_web(&kind) {
        return error::error_response(status, Some(http));
    }
    let mut response = status.clone().into_http::<Body>();
    *response.status_mut() = http;
    if let (true, Ok(kind)) = (is_grpc_web(&kind), HeaderValue::from_str(&kind)) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// Returns the content type without its parameters.
fn content_type(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_grpc(kind: &str) -> bool {
    ["application/grpc", "application/grpc+proto"].contains(&kind)
}

fn is_grpc_web(kind: &str) -> bool {
    [
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpc-web-text+proto",
    ]
    .contains(&kind)
}
