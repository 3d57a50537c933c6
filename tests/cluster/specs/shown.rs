//! Messages as JSON, to print a case and to keep it, and the differences between two of them.

use std::sync::LazyLock;

use gantry::pb;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::Value;

use crate::planned::leaves;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(pb::DESCRIPTOR).unwrap());

fn app_type() -> MessageDescriptor {
    POOL.get_message_by_name("gantry.v1.App").unwrap()
}

pub fn to_json(app: &pb::App) -> Value {
    let message = DynamicMessage::decode(app_type(), app.encode_to_vec().as_slice()).unwrap();
    serde_json::to_value(message).unwrap()
}

pub fn from_json(text: &str) -> pb::App {
    let message = DynamicMessage::deserialize(app_type(), &mut serde_json::Deserializer::from_str(text));
    pb::App::decode(message.unwrap().encode_to_vec().as_slice()).unwrap()
}

/// Each field that differs, as a sentence.
pub fn differences(expected: &pb::App, found: &pb::App) -> Vec<String> {
    let mut all = Vec::new();
    leaves::differences("", &to_json(expected), &to_json(found), &mut all);
    all
}
