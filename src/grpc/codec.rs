//! The codec of all services, which the generated code names. It checks every request against the field rules
//! of the contract before a service sees it, so that no service can forget to.

use std::{any::Any, marker::PhantomData};

use prost::{Message, Name, bytes::Buf};
use prost_reflect::DynamicMessage;
use tonic::{
    Status,
    codec::{BufferSettings, Codec as TonicCodec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstEncoder};
use tonic_types::StatusExt;

use super::{call, parse, schema};
use crate::{
    domain::{Error, caller::Caller, error::Violation},
    pb,
};

/// Longest resource name that the log and the audit record, in bytes.
const LONGEST_NAME: usize = 253;

/// Bytes of a caller's reason that the audit records.
const LONGEST_REASON: usize = 512;

/// The protobuf codec, with the field rules of the contract.
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

/// The decoder, which also checks the field rules.
pub(crate) struct Checked<U>(PhantomData<U>);

// === impl Codec ===

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Checked<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::default())
    }

    fn decoder(&mut self) -> Self::Decoder {
        Checked(PhantomData)
    }
}

// === impl Checked ===

impl<U: Message + Name + Default + Send + 'static> Decoder for Checked<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let message = U::decode(bytes.clone()).map_err(|error| not_a_message(&error))?;
        let schema = schema::schema().map_err(|unfit| Error::Bug(unfit.to_string()))?;
        // Only requests have rules. A client in this process decodes answers with the same codec.
        let input = schema.input(&U::full_name()).filter(|input| schema.rules().govern(input.full_name()));
        let Some(descriptor) = input else { return Ok(Some(message)) };
        let reflected = DynamicMessage::decode(descriptor, bytes).map_err(|error| not_a_message(&error))?;
        let name = subject(&reflected).filter(|name| name.len() <= LONGEST_NAME).unwrap_or_default();
        if !name.is_empty() {
            tracing::Span::current().record("app", name.as_str());
        }
        let field = |field: &str| reflected.get_field_by_name(field);
        call::set_audit_subject(call::AuditSubject {
            subject: name,
            reason: field("reason").and_then(|value| value.as_str().map(cut)).unwrap_or_default(),
            validate_only: field("validate_only").and_then(|value| value.as_bool()).unwrap_or_default(),
            is_read: true,
        });
        let broken = schema.rules().check(&reflected);
        if broken.is_empty() {
            return Ok(Some(message));
        }
        Err(Error::Invalid(with_domain(broken, &message)).into())
    }
}

/// Cuts a caller's reason to the length that the audit records.
fn cut(reason: &str) -> String {
    reason[..reason.floor_char_boundary(LONGEST_REASON)].to_owned()
}

fn not_a_message(error: &prost::DecodeError) -> Status {
    Error::invalid("", format!("the request is not a valid message of this method: {error}")).into()
}

/// Returns the name of the resource that a call is about.
fn subject(message: &DynamicMessage) -> Option<String> {
    ["name", "parent", "app", "autoscaler", "policy"].iter().find_map(|field| {
        let value = message.get_field_by_name(field)?;
        let name = match value.as_message() {
            Some(within) => within.get_field_by_name("name")?.as_str()?.to_owned(),
            None => value.as_str()?.to_owned(),
        };
        (!name.is_empty()).then_some(name)
    })
}

/// Adds the violations that no field rule can express, so that a caller can fix everything at once. Where
/// both describe a field, the description of the domain is used because it says more.
fn with_domain(broken: Vec<Violation>, message: &dyn Any) -> Vec<Violation> {
    let refused = message
        .downcast_ref::<pb::DeployAppRequest>()
        .and_then(|request| parse::parse_deploy(request.clone(), &Caller::default()).err());
    let details = refused.map(|status| status.get_error_details());
    let mut all: Vec<_> = details
        .iter()
        .filter_map(|details| details.bad_request())
        .flat_map(|bad| &bad.field_violations)
        .map(|v| Violation { field: v.field.clone(), description: v.description.clone() })
        .collect();
    for violation in broken {
        if all.iter().all(|known| known.field != violation.field) {
            all.push(violation);
        }
    }
    all
}
