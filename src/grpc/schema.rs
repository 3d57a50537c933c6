//! The contract as data: its methods, their input and output types, and the field rules. Read once from the
//! descriptor. Code that treats all methods alike reads this module, so that there is no second list of
//! methods to maintain.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use prost_types::{FileDescriptorSet, method_options::IdempotencyLevel};

use super::validate::{Rules, Unknown};
use crate::pb;

/// Largest request, in bytes. An app with a large patch has some tens of KiB, and Kubernetes refuses objects
/// above 1.5 MiB.
pub(super) const LARGEST_REQUEST: usize = 1024 * 1024;

/// Largest request to AutoscalerService, in bytes. A simulation may send 200,000 numbers, which take 1.6 MB
/// in binary and twice that in JSON.
pub(super) const LARGEST_AUTOSCALER: usize = 4 * 1024 * 1024;

/// Returns the largest size of a request to this path, in bytes, for every encoding.
pub(super) fn largest_request(path: &str) -> usize {
    if path.starts_with("/gantry.v1.AutoscalerService/") { LARGEST_AUTOSCALER } else { LARGEST_REQUEST }
}

/// The descriptor of the API, and what is derived from it.
pub(super) struct Schema {
    pool: DescriptorPool,
    methods: HashMap<String, Method>,
    /// The request types, by full name.
    inputs: HashMap<String, MessageDescriptor>,
    rules: Rules,
}

/// One method.
pub(super) struct Method {
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
    /// Whether it answers with a stream.
    pub(super) streams: bool,
    /// Whether it takes a stream.
    pub(super) takes_stream: bool,
    pub(super) does: Does,
    /// Whether it answers from the index, so that its answers carry the age of the cache.
    pub(super) cached: bool,
}

/// What a method does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// It reads, and changes nothing.
    Read,
    /// It waits until something has happened, and has its own timeout.
    Wait,
    /// It changes something.
    Write,
}

/// Why the descriptor cannot be used. Found when the router is built, before any call.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It cannot be read.
    #[error("cannot read the descriptor of the API: {0}")]
    Descriptor(#[from] DescriptorError),
    /// It cannot be decoded.
    #[error("cannot decode a descriptor: {0}")]
    Decode(#[from] prost::DecodeError),
    /// It has a rule that is not enforced here.
    #[error(transparent)]
    Rule(#[from] Unknown),
}

static SCHEMA: LazyLock<Result<Schema, Unfit>> = LazyLock::new(Schema::read);

/// Services whose reads are answered from the index.
const CACHED: [&str; 3] = ["gantry.v1.AppService", "gantry.v1.RolloutService", "gantry.v1.DiscoveryService"];

/// Returns the contract, which is read at the first use.
pub(super) fn schema() -> Result<&'static Schema, &'static Unfit> {
    SCHEMA.as_ref()
}

/// Returns the method with this path, which has no leading slash.
pub(super) fn method(path: &str) -> Option<&'static Method> {
    schema().ok()?.methods.get(path)
}

// === impl Schema ===

impl Schema {
    fn read() -> Result<Self, Unfit> {
        let mut pool = DescriptorPool::decode(pb::DESCRIPTOR)?;
        // What is served beside the API, and the details of errors: tools cannot show them otherwise.
        for set in [
            tonic_types::pb::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            // Some contain files of Google's that the API contains too, in another version.
            let files = FileDescriptorSet::decode(set)?.file;
            let new = files.into_iter().filter(|file| pool.get_file_by_name(file.name()).is_none());
            let new: Vec<_> = new.collect();
            pool.add_file_descriptor_protos(new)?;
        }
        let descriptors: Vec<_> = pool.services().flat_map(|s| s.methods().collect::<Vec<_>>()).collect();
        let rules = Rules::compile(&pool, descriptors.iter().map(MethodDescriptor::input))?;
        let inputs = descriptors.iter().map(|m| (m.input().full_name().to_owned(), m.input())).collect();
        let methods = descriptors.iter().map(|method| (path(method), Method::new(method))).collect();
        Ok(Self { pool, methods, inputs, rules })
    }

    /// Returns the descriptors of everything that is served.
    pub(super) fn pool(&self) -> &DescriptorPool {
        &self.pool
    }

    /// Returns all methods with their paths, which have no leading slash.
    pub(super) fn methods(&self) -> impl Iterator<Item = (&str, &Method)> {
        self.methods.iter().map(|(path, method)| (path.as_str(), method))
    }

    /// Returns whether a service of this name is served.
    pub(super) fn has_service(&self, name: &str) -> bool {
        self.pool.get_service_by_name(name).is_some()
    }

    /// Returns the rules of all request types.
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns the request type of this name.
    pub(super) fn input(&self, name: &str) -> Option<MessageDescriptor> {
        self.inputs.get(name).cloned()
    }

    /// Decodes any message of the API or of error details.
    pub(super) fn decode(&self, name: &str, bytes: &[u8]) -> Option<DynamicMessage> {
        DynamicMessage::decode(self.pool.get_message_by_name(name)?, bytes).ok()
    }
}

fn path(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}

// === impl Method ===

impl Method {
    fn new(method: &MethodDescriptor) -> Self {
        let is = |verb: &str| method.name().starts_with(verb);
        let options = method.method_descriptor_proto().options.as_ref();
        let no_side_effects =
            options.is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects);
        let reads = no_side_effects || is("Watch") || is("Stream");
        Self {
            input: method.input(),
            output: method.output(),
            streams: method.is_server_streaming(),
            takes_stream: method.is_client_streaming(),
            does: match (is("Wait"), reads) {
                (true, true) => Does::Wait,
                (false, true) => Does::Read,
                (_, false) => Does::Write,
            },
            cached: reads && CACHED.contains(&method.parent_service().full_name()),
        }
    }

    /// Returns whether it may be called with HTTP GET: it answers with one message, and the contract says
    /// that it has no side effects.
    pub(super) fn takes_get(&self) -> bool {
        !self.streams && self.does != Does::Write
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_can_be_read_and_every_rule_in_it_is_enforced() {
        let schema = schema().map_err(ToString::to_string).unwrap();
        assert!(schema.rules().len() > 20, "{}", schema.rules().len());
    }

    #[test]
    fn reads_and_waits_are_told_from_writes() {
        let get = method("gantry.v1.AppService/GetApp").unwrap();
        assert!(get.does == Does::Read && get.cached && !get.streams);
        let deploy = method("gantry.v1.AppService/DeployApp").unwrap();
        assert!(deploy.does == Does::Write && !deploy.cached);
        let watch = method("gantry.v1.RolloutService/WatchRollout").unwrap();
        assert!(watch.does == Does::Read && watch.streams && watch.cached);
        let wait = method("gantry.v1.RolloutService/WaitRollout").unwrap();
        assert!(wait.does == Does::Wait && wait.cached);
        assert!(method("grpc.health.v1.Health/Check").is_some());
    }
}
