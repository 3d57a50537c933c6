//! Checks whether the disruption budgets that cover the replicas ever allow an eviction, so that nodes can be
//! drained.

use serde_json::Value;

use crate::domain::check::{Check, Finding, Kind as CheckKind};

/// A PodDisruptionBudget that covers the replicas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budget {
    /// Its name.
    pub name: String,
    /// How many replicas must stay: a number or a percentage.
    pub min_available: Value,
    /// How many replicas may be missing: a number or a percentage.
    pub max_unavailable: Value,
}

impl Budget {
    /// Returns how many of this many replicas it allows to be evicted at a time. A percentage is always
    /// rounded up, as in Kubernetes, even where that allows one more eviction.
    fn allows(&self, replicas: usize) -> usize {
        if let Some(stay) = super::share(&self.min_available, replicas, true) {
            return replicas.saturating_sub(stay);
        }
        super::share(&self.max_unavailable, replicas, true).unwrap_or_default()
    }
}

/// Checks the budgets that cover the replicas.
pub fn check_disruption(covering: &[Budget], replicas: usize) -> Check {
    let says = |result, message: String| Check::new(CheckKind::Disruption, result, message);
    let of = |budget: &Budget| format!("poddisruptionbudget.policy/{}", budget.name);
    match covering {
        [] => says(
            Finding::Pass,
            "No budget covers the replicas; any number of them may be evicted.".to_owned(),
        ),
        [_, _, ..] => {
            let names: Vec<_> = covering.iter().map(|budget| budget.name.as_str()).collect();
            let message = format!(
                "{} budgets cover the replicas ({}), and then Kubernetes evicts none: nodes cannot be drained. Delete all but one.",
                names.len(),
                names.join(", ")
            );
            says(Finding::Warn, message)
        }
        [budget] if replicas == 0 => {
            says(Finding::Pass, "There is no replica to evict.".to_owned()).of(of(budget))
        }
        [budget] => match budget.allows(replicas) {
            0 => {
                let (asks, value) = if budget.min_available.is_null() {
                    ("max_unavailable", &budget.max_unavailable)
                } else {
                    ("min_available", &budget.min_available)
                };
                let message = format!(
                    "Budget {} with {asks} {value} lets none of {replicas} replicas be evicted: nodes that run them cannot be drained. Change the budget, or run more replicas.",
                    budget.name
                );
                says(Finding::Warn, message).of(of(budget))
            }
            _ if replicas == 1 => says(
                Finding::Pass,
                "The only replica may be evicted; the app is down until it runs elsewhere.".to_owned(),
            )
            .of(of(budget)),
            n => says(Finding::Pass, format!("{n} of {replicas} replicas may be evicted at a time."))
                .of(of(budget)),
        },
    }
}
