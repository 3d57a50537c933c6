//! The contract as data: which methods there are, what goes in and out of them, and the rules of the fields. Read once from the
//! descriptor; whoever needs to treat all methods alike asks here, so that nowhere is a list of them.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use prost_types::{FileDescriptorSet, method_options::IdempotencyLevel};

use super::validate::{Rules, Unknown};
use crate::pb;

/// Largest request. An app with a generous patch has some tens of KiB; Kubernetes itself refuses objects beyond 1.5 MiB.
pub(super) const LARGEST_REQUEST: usize = 1024 * 1024;

/// Largest request to the autoscaler: a simulation may bring 200,000 numbers, 1.6 MB of them in binary and twice that in JSON.
pub(super) const LARGEST_AUTOSCALER: usize = 4 * 1024 * 1024;

/// Bytes that a request of a method may have, in any form.
pub(super) fn largest_request(path: &str) -> usize {
    if path.starts_with("/gantry.v1.AutoscalerService/") { LARGEST_AUTOSCALER } else { LARGEST_REQUEST }
}

/// What is known of the API.
pub(super) struct Schema {
    pool: DescriptorPool,
    methods: HashMap<String, Method>,
    /// What callers send, by full name.
    inputs: HashMap<String, MessageDescriptor>,
    rules: Rules,
}

/// One method.
pub(super) struct Method {
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
    /// It answers with a stream.
    pub(super) streams: bool,
    /// It takes a stream.
    pub(super) takes_stream: bool,
    pub(super) does: Does,
    /// It answers from the cache, so that the age of the cache belongs to its answers.
    pub(super) cached: bool,
}

/// What a method does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// It tells, and changes nothing.
    Read,
    /// It tells when something has come about, and has a limit of its own.
    Wait,
    /// It changes something.
    Write,
}

/// Why the descriptor is no use. Found when the router is built, so that no call meets it.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It cannot be read.
    #[error("cannot read the descriptor of the API: {0}")]
    Descriptor(#[from] DescriptorError),
    /// It cannot be decoded.
    #[error("cannot decode a descriptor: {0}")]
    Decode(#[from] prost::DecodeError),
    /// It has a rule that nobody here enforces.
    #[error(transparent)]
    Rule(#[from] Unknown),
}

static SCHEMA: LazyLock<Result<Schema, Unfit>> = LazyLock::new(Schema::read);

/// Services whose reads come from the cache.
const CACHED: [&str; 3] = ["gantry.v1.AppService", "gantry.v1.RolloutService", "gantry.v1.DiscoveryService"];

/// The contract, read at the first use.
pub(super) fn schema() -> Result<&'static Schema, &'static Unfit> {
    SCHEMA.as_ref()
}

/// A method by its path, without the first slash.
pub(super) fn method(path: &str) -> Option<&'static Method> {
    schema().ok()?.methods.get(path)
}

// === impl Schema ===

impl Schema {
    fn read() -> Result<Self, Unfit> {
        let mut pool = DescriptorPool::decode(pb::DESCRIPTOR)?;
        for set in [tonic_types::pb::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            // Both bring files of Google's that the API brings too, in another version.
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

    /// The rules of all messages that callers send.
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The type of a message that callers send.
    pub(super) fn input(&self, name: &str) -> Option<MessageDescriptor> {
        self.inputs.get(name).cloned()
    }

    /// Any message, of ours or of an error's details.
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
        let reads = options
            .is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects)
            || is("Watch")
            || is("Stream");
        Self {
            input: method.input(),
            output: method.output(),
            streams: method.is_server_streaming(),
            takes_stream: method.is_client_streaming(),
            does: match (is("Wait"), reads) {
                (true, _) => Does::Wait,
                (false, true) => Does::Read,
                (false, false) => Does::Write,
            },
            cached: reads && CACHED.contains(&method.parent_service().full_name()),
        }
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
