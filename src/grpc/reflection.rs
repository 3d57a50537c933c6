//! Server reflection: the descriptors of everything that is served, with comments, field rules and error
//! details. Tools such as grpcurl read the API from here.

use futures::StreamExt as _;
use prost_reflect::{DescriptorPool, FileDescriptor};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    server_reflection_server::ServerReflection,
};

use super::{schema, stream::Answers};
use crate::domain::Error;

/// The path of the service in its first version. The messages of both versions are the same on the wire.
pub(super) const V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
/// The path of the service.
pub(super) const V1: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// The implementation of `grpc.reflection.v1.ServerReflection`.
#[derive(Clone)]
pub(super) struct Reflection;

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream = Answers<ServerReflectionResponse>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let schema = schema::schema().map_err(|unfit| Error::Bug(unfit.to_string()))?;
        let answers = request.into_inner().map(|question| question.map(|q| answer(schema.pool(), q)));
        Ok(Response::new(answers.boxed()))
    }
}

fn answer(pool: &DescriptorPool, question: ServerReflectionRequest) -> ServerReflectionResponse {
    let found = match &question.message_request {
        None => Err((Code::InvalidArgument, "the request asks nothing: set one of its fields".to_owned())),
        Some(MessageRequest::FileByFilename(name)) => {
            pool.get_file_by_name(name).map(|file| to_file(&file)).ok_or_else(|| missing("file", name))
        }
        Some(MessageRequest::FileContainingSymbol(name)) => {
            find_symbol(pool, name).map(|file| to_file(&file)).ok_or_else(|| missing("symbol", name))
        }
        Some(MessageRequest::FileContainingExtension(asked)) => {
            let number = u32::try_from(asked.extension_number).unwrap_or(0);
            let file = pool
                .get_message_by_name(&asked.containing_type)
                .and_then(|extended| extended.get_extension(number))
                .map(|extension| to_file(&extension.parent_file()));
            let what = format!("{} of {}", asked.extension_number, asked.containing_type);
            file.ok_or_else(|| missing("extension", &what))
        }
        Some(MessageRequest::AllExtensionNumbersOfType(name)) => match pool.get_message_by_name(name) {
            Some(extended) => {
                let numbers = extended.extensions().filter_map(|e| i32::try_from(e.number()).ok());
                Ok(MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                    base_type_name: name.clone(),
                    extension_number: numbers.collect(),
                }))
            }
            None => Err(missing("message", name)),
        },
        Some(MessageRequest::ListServices(_)) => {
            let services = pool.services().map(|s| ServiceResponse { name: s.full_name().to_owned() });
            let mut service: Vec<_> = services.collect();
            service.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(MessageResponse::ListServicesResponse(ListServiceResponse { service }))
        }
    };
    let response = found.unwrap_or_else(|(code, error_message)| {
        MessageResponse::ErrorResponse(ErrorResponse { error_code: code.into(), error_message })
    });
    ServerReflectionResponse {
        valid_host: question.host.clone(),
        original_request: Some(question),
        message_response: Some(response),
    }
}

/// The protocol answers a question without an answer within the stream, so that the client can go on asking.
fn missing(kind: &str, name: &str) -> (Code, String) {
    (Code::NotFound, format!("there is no {kind} {name:?} in this API"))
}

fn to_file(file: &FileDescriptor) -> MessageResponse {
    let file_descriptor_proto = vec![file.encode_to_vec()];
    MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto })
}

/// Finds the file that declares a symbol: a service or its method, a message or its field, an enum or its
/// value, an extension.
fn find_symbol(pool: &DescriptorPool, name: &str) -> Option<FileDescriptor> {
    if let Some(message) = pool.get_message_by_name(name) {
        return Some(message.parent_file());
    }
    if let Some(found) = pool.get_enum_by_name(name) {
        return Some(found.parent_file());
    }
    if let Some(service) = pool.get_service_by_name(name) {
        return Some(service.parent_file());
    }
    if let Some(extension) = pool.get_extension_by_name(name) {
        return Some(extension.parent_file());
    }
    // The values of an enum are named beside it, not within it.
    if let Some(found) = pool.all_enums().find(|e| e.values().any(|value| value.full_name() == name)) {
        return Some(found.parent_file());
    }
    let (parent, member) = name.rsplit_once('.')?;
    if let Some(service) = pool.get_service_by_name(parent) {
        return service.methods().any(|method| method.name() == member).then(|| service.parent_file());
    }
    let message = pool.get_message_by_name(parent)?;
    let is_member =
        message.get_field_by_name(member).is_some() || message.oneofs().any(|oneof| oneof.name() == member);
    is_member.then(|| message.parent_file())
}
