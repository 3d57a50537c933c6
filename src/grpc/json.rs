//! Serves the API to callers that do not speak gRPC: the Connect protocol in JSON and in binary, GET for
//! methods without side effects, gRPC-Web in JSON, and JSON lines for `curl`. Each call is translated with
//! the descriptor into a gRPC call to the router in this process, so that all layers and rules apply to it.

mod error;
mod form;
mod get;
mod parse;
mod path;
mod request;
mod response;
mod tree;
mod write;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method as HttpMethod, StatusCode, Version, header, uri::Authority},
    middleware::Next,
    response::Response,
};
use tonic::Status;

use self::{
    form::{Encoding, Form, Translation},
    response::StreamFormat,
};
use super::{
    schema::{self, Method},
    status,
};

/// Translates calls that are not gRPC. Passes gRPC and gRPC-Web on unchanged.
pub(super) async fn translate_to_grpc(request: Request, next: Next) -> Response {
    let kind = content_type(request.headers());
    if is_grpc(&kind) || is_grpc_web(&kind) {
        if is_grpc(&kind) && request.version() < Version::HTTP_2 {
            let status =
                status::not_spoken("gRPC needs HTTP/2; over HTTP/1.1 use gRPC-Web, Connect or plain JSON");
            return error::error_response(&status, Some(StatusCode::UPGRADE_REQUIRED));
        }
        if request.method() != HttpMethod::POST {
            return only_post(&request);
        }
        return next.run(accept_as_sent(request, &kind)).await;
    }
    let Some(method) = schema::method(request.uri().path().trim_start_matches('/')) else {
        // Without a descriptor nothing can be translated. The router answers that the method does not exist.
        let answer = next.run(request::empty_request(request)).await;
        return response::unknown_method(answer);
    };
    if request.method() == HttpMethod::GET && method.takes_get() {
        let mut response = match get::to_post(request) {
            Ok((form, request)) => answer_form(form, method, request, next).await,
            Err(status) => error::error_response(&status, None),
        };
        get::forbid_caching(&mut response);
        return response;
    }
    if request.method() != HttpMethod::POST {
        return wrong_verb(method, &request);
    }
    let Some(form) = Form::from_content_type(&kind) else {
        let status = status::not_spoken(&format!(
            "unsupported content type {kind:?}; send JSON with -H 'content-type: application/json', or use application/proto, \
             application/connect+json, application/connect+proto, application/grpc, application/grpc-web or \
             application/grpc-web+json"
        ));
        return error::error_response(&status, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    };
    answer_form(form, method, request, next).await
}

async fn answer_form(form: Form, method: &'static Method, request: Request, next: Next) -> Response {
    if let Some(hint) = misfit(form, method) {
        return error::error_response(&status::not_spoken(hint), Some(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let translation = Translation::new(form, method);
    let translated = match request::to_grpc(&translation, request) {
        Ok(translated) => translated,
        Err(status) => return response::failed_response(form, &status),
    };
    let answer = next.run(translated).await;
    let format = match form {
        Form::Plain(encoding) if !method.streams => {
            return response::unary_response(&translation, encoding, answer).await;
        }
        Form::Plain(_) => StreamFormat::Lines,
        Form::Framed(encoding) => StreamFormat::Frames(encoding),
        Form::Web => StreamFormat::Web,
    };
    response::stream_response(translation, format, answer)
}

/// Returns what to do instead, if a method cannot be called in this form.
fn misfit(form: Form, method: &Method) -> Option<&'static str> {
    match form {
        Form::Plain(_) | Form::Web if method.takes_stream => Some(
            "this method takes a stream of requests; call it with gRPC, or with application/connect+json over HTTP/2",
        ),
        Form::Plain(Encoding::Binary) if method.streams => {
            Some("this method answers with a stream; use the content type application/connect+proto")
        }
        Form::Framed(_) if !method.streams => Some(
            "this method answers with one message; use the content type application/json or application/proto",
        ),
        Form::Plain(_) | Form::Framed(_) | Form::Web => None,
    }
}

/// Asks for the answer in the form of the request. The layer of gRPC-Web would answer text in binary unless
/// the caller accepts text, and nothing else.
fn accept_as_sent(mut request: Request, kind: &str) -> Request {
    if let (true, Ok(kind)) = (is_grpc_web(kind), HeaderValue::from_str(kind)) {
        request.headers_mut().insert(header::ACCEPT, kind);
    }
    request
}

/// Returns the answer to gRPC and gRPC-Web with another HTTP method than POST.
fn only_post(request: &Request) -> Response {
    refuse_verb(request, "POST", "gRPC and gRPC-Web are called with POST")
}

/// Returns the answer to an HTTP method that a method of the API does not have.
fn wrong_verb(method: &Method, request: &Request) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| request.uri().authority().map(Authority::as_str));
    let (host, path) = (host.unwrap_or("localhost:7420"), request.uri().path());
    let (allowed, verbs) =
        if method.takes_get() { ("GET, POST", "GET and POST are") } else { ("POST", "POST is") };
    let text = format!(
        "only {verbs} supported here, for example: curl -H 'content-type: application/json' -d '{{}}' http://{host}{path}"
    );
    refuse_verb(request, allowed, &text)
}

/// Refuses an HTTP method, and says which ones are `allowed`.
fn refuse_verb(request: &Request, allowed: &'static str, text: &str) -> Response {
    let status = status::not_spoken(text);
    let mut response = refuse_request(request.headers(), StatusCode::METHOD_NOT_ALLOWED, &status);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// Refuses a call in the protocol that the caller uses.
pub(super) fn refuse_request(headers: &HeaderMap, http: StatusCode, status: &Status) -> Response {
    let kind = content_type(headers);
    if !is_grpc(&kind) && !is_grpc_web(&kind) {
        return error::error_response(status, Some(http));
    }
    let mut response = status.clone().into_http::<Body>();
    *response.status_mut() = http;
    status::escape_message(response.headers_mut());
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
