//! Every rule of the contract is broken alone, in every method that it reaches, and the answer must name
//! exactly that field. This test reads the rules from the options of the contract, so a rule that the daemon
//! does not know is found.

use prost::{Message, bytes::Buf, bytes::BufMut};
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_types::StatusExt;

use crate::support::{Server, reason};

/// A codec that sends bytes unchanged in place of messages.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

struct Case {
    rule: String,
    field: String,
    message: Vec<u8>,
}

struct Walk {
    pool: DescriptorPool,
    cases: Vec<Case>,
}

type Wrap<'a> = &'a dyn Fn(DynamicMessage) -> DynamicMessage;

/// Calls a method by its path with an encoded message.
pub async fn call(server: &Server, path: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(server.channel.clone());
    grpc.ready().await.unwrap();
    grpc.unary(Request::new(message), path.parse().unwrap(), Raw).await.map(tonic::Response::into_inner)
}

/// A request that breaks no rule, for the method of this path; empty if there is no such method.
pub fn valid_request(path: &str) -> Vec<u8> {
    let pool = DescriptorPool::decode(gantry::pb::DESCRIPTOR).unwrap();
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap();
    let service = pool.get_service_by_name(service).unwrap();
    let method = service.methods().find(|known| known.name() == method);
    let walk = Walk { pool, cases: vec![] };
    method.map(|method| walk.valid(&method.input()).encode_to_vec()).unwrap_or_default()
}

#[tokio::test]
async fn every_rule_of_the_contract_is_enforced_in_every_method() {
    let server = Server::start().await;
    let pool = DescriptorPool::decode(gantry::pb::DESCRIPTOR).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    let mut count = 0;
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let mut walk = Walk { pool: pool.clone(), cases: vec![] };
        walk.message(&method.input(), "", &mut vec![], &|message| message);
        for case in walk.cases {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            let sent = call(&server, &path, case.message).await;
            let place = format!("{path}: {} of {}", case.rule, case.field);
            let status = sent.expect_err(&place);
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, "INVALID_FIELD"),
                "{place}"
            );
            let details = status.get_error_details();
            let violations = &details.bad_request().unwrap().field_violations;
            let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
            if case.rule == "repeated.max_items" {
                // Equal elements break a second rule too.
                assert!(fields.contains(&case.field.as_str()), "{place}: {status}");
            } else {
                assert_eq!(fields, [case.field.as_str()], "{place}: {status}");
            }
            assert!(!violations[0].description.is_empty(), "{place}");
            kinds.insert(case.rule);
            count += 1;
        }
    }
    assert!(count > 150, "{count}");
    assert!(kinds.len() >= 18, "{kinds:?}");
}

impl Walk {
    fn rules(&self, of: &str, options: &DynamicMessage) -> Vec<(String, Value)> {
        let extension = self.pool.get_extension_by_name(of).unwrap();
        if !options.has_extension(&extension) {
            return vec![];
        }
        let rules = options.get_extension(&extension);
        let flat = |kind: &str, rules: &DynamicMessage| -> Vec<(String, Value)> {
            rules.fields().map(|(rule, value)| (format!("{kind}.{}", rule.name()), value.clone())).collect()
        };
        rules
            .as_message()
            .unwrap()
            .fields()
            .flat_map(|(rule, value)| match value {
                Value::Message(within) => flat(rule.name(), within),
                other => vec![(rule.name().to_owned(), other.clone())],
            })
            .collect()
    }

    fn message(&mut self, descriptor: &MessageDescriptor, at: &str, above: &mut Vec<String>, wrap: Wrap<'_>) {
        let name = descriptor.full_name().to_owned();
        if name.starts_with("google.") || above.contains(&name) {
            return;
        }
        above.push(name);
        let join = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        for oneof in descriptor.oneofs() {
            for (rule, _) in self.rules("buf.validate.oneof", &oneof.options()) {
                assert_eq!(rule, "required");
                let mut message = self.valid(descriptor);
                oneof.fields().for_each(|field| message.clear_field(&field));
                self.case(format!("oneof.{rule}"), join(oneof.name()), &wrap(message));
            }
        }
        for field in descriptor.fields() {
            let valid = self.valid(descriptor);
            for (rule, value) in self.rules("buf.validate.field", &field.options()) {
                for (rule, place, bad) in self.broken(&field, &rule, &value) {
                    let mut message = valid.clone();
                    match bad {
                        Some(bad) => message.set_field(&field, bad),
                        None => message.clear_field(&field),
                    }
                    self.case(rule, join(&format!("{}{place}", field.name())), &wrap(message));
                }
            }
            let kind = field.kind();
            let Some(within) = kind.as_message() else { continue };
            let put = |value: Value| {
                let mut message = valid.clone();
                message.set_field(&field, value);
                wrap(message)
            };
            let path = join(field.name());
            if within.is_map_entry() {
                let value = within.map_entry_value_field().kind();
                let Some(within) = value.as_message() else { continue };
                let put = |m| put(Value::Map([(MapKey::String("KEY".into()), Value::Message(m))].into()));
                self.message(within, &format!("{path}[KEY]"), above, &put);
            } else if field.is_list() {
                let put = |m| put(Value::List(vec![Value::Message(m)]));
                self.message(within, &format!("{path}[0]"), above, &put);
            } else {
                self.message(within, &path, above, &|m| put(Value::Message(m)));
            }
        }
        above.pop();
    }

    fn case(&mut self, rule: String, field: String, message: &DynamicMessage) {
        self.cases.push(Case { rule, field, message: message.encode_to_vec() });
    }

    /// Values that break a rule, each with its place in the field. `None` stands for no value.
    fn broken(
        &self,
        field: &FieldDescriptor,
        rule: &str,
        limit: &Value,
    ) -> Vec<(String, String, Option<Value>)> {
        let seconds = |n: i64| {
            let mut duration = limit.as_message().unwrap().clone();
            let old = duration.get_field_by_name("seconds").unwrap().as_i64().unwrap();
            duration.set_field_by_name("seconds", Value::I64(old + n));
            Value::Message(duration)
        };
        let bad = match rule {
            "ignore" => return vec![], // an exception to rules, not a rule
            "required" => None,
            "string.pattern" => Some(Value::String("!".into())),
            "string.min_len" => Some(Value::String(String::new())),
            "string.max_len" => {
                Some(Value::String("x".repeat(usize::try_from(limit.as_u64().unwrap()).unwrap() + 1)))
            }
            "string.uuid" => Some(Value::String("123e4567-e89b-12d3-a456-42661417400".into())),
            "enum.defined_only" => Some(Value::EnumNumber(9999)),
            "int32.gte" => Some(Value::I32(limit.as_i32().unwrap() - 1)),
            "int32.lte" => Some(Value::I32(limit.as_i32().unwrap() + 1)),
            "double.gt" => Some(limit.clone()),
            "double.gte" => Some(Value::F64(limit.as_f64().unwrap() - 1.0)),
            "double.lte" => Some(Value::F64(limit.as_f64().unwrap() + 1.0)),
            "double.finite" => Some(Value::F64(f64::INFINITY)),
            "duration.gt" => Some(seconds(0)),
            "duration.gte" => Some(seconds(-1)),
            "duration.lte" => Some(seconds(1)),
            "repeated.min_items" => Some(Value::List(vec![])),
            "repeated.max_items" => {
                let count = usize::try_from(limit.as_u64().unwrap()).unwrap() + 1;
                Some(Value::List(vec![self.sample(&field.kind(), &[]); count]))
            }
            "repeated.items" => {
                return limit
                    .as_message()
                    .unwrap()
                    .fields()
                    .flat_map(|(kind, rules)| {
                        let rules = rules.as_message().unwrap();
                        rules
                            .fields()
                            .map(|(rule, value)| (format!("{}.{}", kind.name(), rule.name()), value.clone()))
                            .collect::<Vec<_>>()
                    })
                    .flat_map(|(rule, limit)| self.broken(field, &rule, &limit))
                    .map(|(rule, _, bad)| {
                        (format!("items.{rule}"), "[0]".to_owned(), bad.map(|bad| Value::List(vec![bad])))
                    })
                    .collect();
            }
            other => panic!("this test does not know the rule {other} of {}", field.full_name()),
        };
        vec![(rule.to_owned(), String::new(), bad)]
    }

    /// The smallest message that breaks no rule.
    fn valid(&self, descriptor: &MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for oneof in descriptor.oneofs() {
            if !self.rules("buf.validate.oneof", &oneof.options()).is_empty() {
                let field = oneof.fields().next().unwrap();
                self.set(&mut message, &field);
            }
        }
        for field in descriptor.fields() {
            let rules = self.rules("buf.validate.field", &field.options());
            let has = |name: &str| rules.iter().any(|(rule, _)| rule == name);
            if has("required") || !rules.is_empty() && !field.supports_presence() && !has("ignore") {
                self.set(&mut message, &field);
            }
        }
        message
    }

    fn set(&self, message: &mut DynamicMessage, field: &FieldDescriptor) {
        let rules = self.rules("buf.validate.field", &field.options());
        let value = if field.is_list() {
            let least = rules.iter().find(|(rule, _)| rule == "repeated.min_items");
            let count = least.map_or(0, |(_, n)| usize::try_from(n.as_u64().unwrap()).unwrap());
            Value::List(vec![self.sample(&field.kind(), &[]); count])
        } else if field.name() == "mount_path" {
            // The daemon demands an absolute path, which no rule can express.
            Value::String("/a".to_owned())
        } else {
            self.sample(&field.kind(), &rules)
        };
        message.set_field(field, value);
    }

    fn sample(&self, kind: &Kind, rules: &[(String, Value)]) -> Value {
        let limit = |name: &str| rules.iter().find(|(rule, _)| rule == name).map(|(_, value)| value);
        match kind {
            Kind::Message(descriptor) => Value::Message(self.valid(descriptor)),
            Kind::String => {
                let pattern =
                    limit("string.pattern").map(|p| regex::Regex::new(p.as_str().unwrap()).unwrap());
                let fits = |text: &&str| {
                    pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
                        && (!text.is_empty() || limit("string.min_len").is_none())
                };
                let text = ["", "a", "namespaces/a/apps/a"].into_iter().find(fits).expect("a text that fits");
                Value::String(text.to_owned())
            }
            Kind::Int32 => limit("int32.gte").cloned().unwrap_or(Value::I32(0)),
            Kind::Double => limit("double.gte").cloned().unwrap_or(Value::F64(1.0)),
            other => other.default_value(),
        }
    }
}
