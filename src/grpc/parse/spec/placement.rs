//! Parses `AppSpec.placement` and checks the rules of its fields.

use std::collections::HashSet;

use super::field::{SPEC, check_object_name};
use crate::{
    domain::{
        selector::{is_label_key, is_label_value},
        spec::{Placement, Spread, Toleration},
    },
    grpc::parse::violations::Violations,
    pb,
};

const EFFECTS: [&str; 4] = ["", "NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn parse_placement(placement: pb::Placement, wrong: &mut Violations) -> Placement {
    let at = |field: String| format!("{SPEC}.placement.{field}");
    for (key, value) in &placement.node_selector {
        if !is_label_key(key) || !is_label_value(value) {
            wrong.add(
                at(format!("node_selector[{key}]")),
                format!("\"{key}={value}\" is not a valid node label"),
            );
        }
    }
    if !placement.priority_class.is_empty() {
        check_object_name(
            &at("priority_class".to_owned()),
            &placement.priority_class,
            "a PriorityClass",
            wrong,
        );
    }
    let mut spreads = HashSet::new();
    let mut spread = Vec::with_capacity(placement.spread.len());
    for (i, s) in placement.spread.into_iter().enumerate() {
        if !is_label_key(&s.topology_key) {
            let said = format!("\"{}\" is not a valid label key", s.topology_key);
            wrong.add(at(format!("spread[{i}].topology_key")), said);
        }
        if s.max_skew < 0 {
            wrong.add(at(format!("spread[{i}].max_skew")), "must not be negative");
        }
        if !spreads.insert((s.topology_key.clone(), s.required)) {
            let said = format!("\"{}\" is already the key of an earlier spread", s.topology_key);
            wrong.add(at(format!("spread[{i}].topology_key")), said);
        }
        spread.push(Spread { topology_key: s.topology_key, max_skew: s.max_skew, required: s.required });
    }
    let tolerations = placement.tolerations.into_iter().enumerate();
    Placement {
        node_selector: placement.node_selector.into_iter().collect(),
        tolerations: tolerations
            .map(|(i, t)| toleration(&at(format!("tolerations[{i}]")), t, wrong))
            .collect(),
        spread,
        priority_class: placement.priority_class,
    }
}

fn toleration(at: &str, toleration: pb::Toleration, wrong: &mut Violations) -> Toleration {
    let pb::Toleration { key, value, effect } = toleration;
    if !key.is_empty() && !is_label_key(&key) {
        wrong.add(format!("{at}.key"), format!("\"{key}\" is not a valid taint key"));
    }
    if !is_label_value(&value) {
        wrong.add(format!("{at}.value"), format!("\"{value}\" is not a valid taint value"));
    } else if key.is_empty() && !value.is_empty() {
        wrong.add(format!("{at}.value"), "needs a key");
    }
    if !EFFECTS.contains(&effect.as_str()) {
        let said =
            format!("\"{effect}\" is not a valid effect; expected NoSchedule, PreferNoSchedule or NoExecute");
        wrong.add(format!("{at}.effect"), said);
    }
    Toleration { key, value, effect }
}
