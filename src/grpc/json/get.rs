//! Calls with HTTP GET, for methods that the contract marks as free of side effects: the request is in the
//! query, as the Connect protocol has it. A caller may leave out everything that has a default, so that the
//! address alone is a call.

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderValue, header},
    response::Response,
};
use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use tonic::Status;

use super::form::{Encoding, Form};
use crate::domain::Error;

/// URL-safe base64, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the call as if its request had been sent with POST.
pub(super) fn to_post(request: Request) -> Result<(Form, Request), Status> {
    let (mut parts, _) = request.into_parts();
    let (mut message, mut encoding, mut is_base64) = (None, Encoding::Json, false);
    for (name, value) in form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()) {
        match (&*name, &*value) {
            ("message", _) if message.is_some() => {
                return Err(Error::invalid("message", "is given twice".to_owned()).into());
            }
            ("message", value) => message = Some(value.to_owned()),
            ("encoding", "json") => encoding = Encoding::Json,
            ("encoding", "proto") => encoding = Encoding::Binary,
            ("encoding", other) => return Err(wrong("encoding", other, "json or proto")),
            ("base64", "1") => is_base64 = true,
            ("base64", "0" | "") => is_base64 = false,
            ("base64", other) => return Err(wrong("base64", other, "1 or 0")),
            ("compression", "identity" | "") | ("connect", "v1") => {}
            ("compression", "gzip") => {
                parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            ("compression", other) => return Err(wrong("compression", other, "gzip or identity")),
            ("connect", other) => return Err(wrong("connect", other, "v1")),
            (other, _) => {
                let known = "message, encoding, base64, compression, connect";
                return Err(
                    Error::invalid(other, format!("is not a parameter of a call; expected {known}")).into()
                );
            }
        }
    }
    let message = match (message, encoding, is_base64) {
        (None, Encoding::Json, _) => Bytes::from_static(b"{}"),
        (None, Encoding::Binary, _) => Bytes::new(),
        (Some(text), _, true) => {
            let decoded = BASE64.decode(&text).map_err(|_| wrong("message", &text, "base64"))?;
            decoded.into()
        }
        (Some(text), _, false) => text.into(),
    };
    Ok((Form::Plain(encoding), Request::from_parts(parts, Body::from(message))))
}

fn wrong(parameter: &str, value: &str, expected: &str) -> Status {
    let value: String = value.chars().take(80).collect();
    Error::invalid(parameter, format!("is {value:?}; expected {expected}")).into()
}

/// Tells caches not to keep the answer. It shows the cluster at one moment, to one caller.
pub(super) fn forbid_caching(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.append(header::VARY, HeaderValue::from_static("authorization, origin"));
}
