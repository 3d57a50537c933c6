//! Compiles the options in the descriptor into rules. An unknown rule is an error, so that no rule in the
//! contract goes unenforced.

use std::collections::HashSet;

use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    OneofDescriptor, Value,
};
use regex::Regex;

use super::{
    Field, Node, Rules,
    rule::{Bounds, Rule, nanos},
};

/// A rule of the contract that is not enforced.
#[derive(Debug, thiserror::Error)]
#[error("the rule {rule} of {place} in the contract is not supported")]
pub struct Unknown {
    place: String,
    rule: String,
}

/// `buf.validate.Ignore.IGNORE_IF_ZERO_VALUE`.
const IF_ZERO: i32 = 1;

struct Compiler {
    field_rules: Option<ExtensionDescriptor>,
    oneof_rules: Option<ExtensionDescriptor>,
    message_rules: Option<ExtensionDescriptor>,
}

// === impl Rules ===

impl Rules {
    /// Compiles the rules of these messages and of all messages within them.
    pub(in super::super) fn compile(
        pool: &DescriptorPool,
        roots: impl Iterator<Item = MessageDescriptor>,
    ) -> Result<Self, Unknown> {
        let compiler = Compiler {
            field_rules: pool.get_extension_by_name("buf.validate.field"),
            oneof_rules: pool.get_extension_by_name("buf.validate.oneof"),
            message_rules: pool.get_extension_by_name("buf.validate.message"),
        };
        let mut rules = Self::default();
        let mut seen = HashSet::new();
        let mut open: Vec<_> = roots.collect();
        while let Some(message) = open.pop() {
            // Google's own types have no rules, and one of them, Struct, is recursive.
            let foreign = message.full_name().starts_with("google.");
            if foreign || !seen.insert(message.full_name().to_owned()) {
                continue;
            }
            rules.0.insert(message.full_name().to_owned(), compiler.node(&message)?);
            open.extend(message.fields().filter_map(|field| message_in(&field)));
        }
        rules.prune();
        Ok(rules)
    }

    /// Removes messages and fields that lead to no rule, so that a check does not visit them.
    fn prune(&mut self) {
        loop {
            let bare = |node: &Node| node.fields.is_empty() && node.oneofs.is_empty();
            let gone: HashSet<_> =
                self.0.iter().filter(|(_, node)| bare(node)).map(|(name, _)| name.clone()).collect();
            self.0.retain(|name, _| !gone.contains(name));
            let mut changed = !gone.is_empty();
            let names: HashSet<_> = self.0.keys().cloned().collect();
            for node in self.0.values_mut() {
                for field in &mut node.fields {
                    field.within = field.within.take().filter(|name| names.contains(name));
                }
                let before = node.fields.len();
                node.fields.retain(Field::says_something);
                changed |= node.fields.len() != before;
            }
            if !changed {
                return;
            }
        }
    }
}

impl Field {
    fn says_something(&self) -> bool {
        self.required || !self.rules.is_empty() || !self.items.is_empty() || self.within.is_some()
    }
}

/// Returns the message type of a field, of a list or of the values of a map.
fn message_in(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let kind = field.kind();
    let message = kind.as_message()?;
    if message.is_map_entry() {
        return message.map_entry_value_field().kind().as_message().cloned();
    }
    Some(message.clone())
}

/// Returns the value of an option, if it is set.
fn option(options: &DynamicMessage, extension: Option<&ExtensionDescriptor>) -> Option<DynamicMessage> {
    let extension = extension.filter(|extension| options.has_extension(extension))?;
    options.get_extension(extension).as_message().cloned()
}

// === impl Compiler ===

impl Compiler {
    fn node(&self, message: &MessageDescriptor) -> Result<Node, Unknown> {
        if option(&message.options(), self.message_rules.as_ref()).is_some() {
            return Err(unknown(message.full_name(), "message"));
        }
        let fields = message.fields().map(|field| self.field(field)).collect::<Result<_, _>>()?;
        let mut oneofs = Vec::new();
        for oneof in message.oneofs() {
            if self.is_required(&oneof)? {
                oneofs.push(oneof);
            }
        }
        Ok(Node { fields, oneofs })
    }

    fn is_required(&self, oneof: &OneofDescriptor) -> Result<bool, Unknown> {
        let Some(rules) = option(&oneof.options(), self.oneof_rules.as_ref()) else { return Ok(false) };
        let mut required = false;
        for (rule, value) in rules.fields() {
            match (rule.name(), value) {
                ("required", Value::Bool(value)) => required = *value,
                (name, _) => return Err(unknown(oneof.full_name(), name)),
            }
        }
        Ok(required)
    }

    fn field(&self, descriptor: FieldDescriptor) -> Result<Field, Unknown> {
        let within = message_in(&descriptor).map(|message| message.full_name().to_owned());
        let options = option(&descriptor.options(), self.field_rules.as_ref());
        let mut field = Field {
            descriptor,
            required: false,
            zero_is_fine: false,
            rules: Vec::new(),
            items: Vec::new(),
            within,
        };
        for (rule, value) in options.iter().flat_map(DynamicMessage::fields) {
            match (rule.name(), value) {
                ("required", Value::Bool(required)) => field.required = *required,
                ("ignore", Value::EnumNumber(IF_ZERO)) => field.zero_is_fine = true,
                ("repeated", Value::Message(rules)) => list_rules(rules, &mut field)?,
                (_, Value::Message(rules)) => {
                    let (place, kind) = (field.descriptor.full_name(), field.descriptor.kind());
                    field.rules = value_rules(place, rule.name(), rules, &kind)?;
                }
                (name, _) => return Err(unknown(field.descriptor.full_name(), name)),
            }
        }
        Ok(field)
    }
}

fn list_rules(rules: &DynamicMessage, field: &mut Field) -> Result<(), Unknown> {
    let (place, kind) = (field.descriptor.full_name().to_owned(), field.descriptor.kind());
    for (rule, value) in rules.fields() {
        match (rule.name(), value) {
            ("min_items", Value::U64(n)) => field.rules.push(Rule::MinItems(*n)),
            ("max_items", Value::U64(n)) => field.rules.push(Rule::MaxItems(*n)),
            ("items", Value::Message(items)) => {
                for (of, rules) in items.fields() {
                    let Value::Message(rules) = rules else { return Err(unknown(&place, of.name())) };
                    field.items.extend(value_rules(&place, of.name(), rules, &kind)?);
                }
            }
            (name, _) => return Err(unknown(&place, &format!("repeated.{name}"))),
        }
    }
    Ok(())
}

fn value_rules(place: &str, of: &str, rules: &DynamicMessage, kind: &Kind) -> Result<Vec<Rule>, Unknown> {
    let mut found = Vec::new();
    let (mut int32, mut double, mut duration) = (Bounds::none(), Bounds::none(), Bounds::none());
    for (rule, value) in rules.fields() {
        let refused = || unknown(place, &format!("{of}.{}", rule.name()));
        match (of, rule.name(), value) {
            ("string", "pattern", Value::String(pattern)) => {
                found.push(Rule::Pattern(Regex::new(pattern).map_err(|_| refused())?));
            }
            ("string", "min_len", Value::U64(n)) => found.push(Rule::MinLen(*n)),
            ("string", "max_len", Value::U64(n)) => found.push(Rule::MaxLen(*n)),
            ("string", "uuid", Value::Bool(true)) => found.push(Rule::Uuid),
            ("enum", "defined_only", Value::Bool(true)) => {
                found.push(Rule::Defined(kind.as_enum().ok_or_else(refused)?.clone()));
            }
            ("double", "finite", Value::Bool(true)) => found.push(Rule::Finite),
            ("int32", bound, Value::I32(n)) => int32.set(bound, *n).ok_or_else(refused)?,
            ("double", bound, Value::F64(n)) => double.set(bound, *n).ok_or_else(refused)?,
            ("duration", bound, Value::Message(limit)) => {
                duration.set(bound, nanos(limit).ok_or_else(refused)?).ok_or_else(refused)?;
            }
            _ => return Err(refused()),
        }
    }
    found.extend(int32.is_set().then_some(Rule::Int32(int32)));
    found.extend(double.is_set().then_some(Rule::Double(double)));
    found.extend(duration.is_set().then_some(Rule::Duration(duration)));
    Ok(found)
}

// === impl Bounds ===

impl<T> Bounds<T> {
    fn none() -> Self {
        Self { lower: None, upper: None }
    }

    fn is_set(&self) -> bool {
        self.lower.is_some() || self.upper.is_some()
    }

    fn set(&mut self, bound: &str, limit: T) -> Option<()> {
        let (side, itself) = match bound {
            "gte" => (&mut self.lower, true),
            "gt" => (&mut self.lower, false),
            "lte" => (&mut self.upper, true),
            "lt" => (&mut self.upper, false),
            _ => return None,
        };
        *side = Some((limit, itself));
        Some(())
    }
}

fn unknown(place: &str, rule: &str) -> Unknown {
    Unknown { place: place.to_owned(), rule: rule.to_owned() }
}
