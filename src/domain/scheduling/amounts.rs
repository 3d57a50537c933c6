//! Amounts of resources and their arithmetic. Knows neither pods nor nodes.

use std::collections::BTreeMap;

use crate::domain::quantity;

/// Amounts of resources: CPU in thousandths of a core, everything else in the base unit of Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a core.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of ephemeral storage.
    pub storage: i64,
    /// Extended resources and huge pages, by name.
    pub others: BTreeMap<String, i64>,
}

// === impl Amounts ===

impl Amounts {
    /// Reads quantities by name. A text that is not a quantity counts as 0.
    pub fn read<'a>(quantities: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let mut amounts = Self::default();
        for (name, text) in quantities {
            let of = |parts| quantity::ceil_quantity(text, parts).unwrap_or_default();
            match name.as_str() {
                "cpu" => amounts.cpu = of(1000),
                "memory" => amounts.memory = of(1),
                "ephemeral-storage" => amounts.storage = of(1),
                _ => {
                    amounts.others.insert(name.clone(), of(1));
                }
            }
        }
        amounts
    }

    /// Adds the other amounts `times` times; a negative number subtracts.
    pub fn add(&mut self, other: &Self, times: i64) {
        let sum = |a: &mut i64, b: i64| *a = a.saturating_add(b.saturating_mul(times));
        sum(&mut self.cpu, other.cpu);
        sum(&mut self.memory, other.memory);
        sum(&mut self.storage, other.storage);
        for (name, amount) in &other.others {
            sum(self.others.entry(name.clone()).or_default(), *amount);
        }
    }

    /// Takes the larger amount of each resource.
    pub fn max(&mut self, other: &Self) {
        self.cpu = self.cpu.max(other.cpu);
        self.memory = self.memory.max(other.memory);
        self.storage = self.storage.max(other.storage);
        for (name, amount) in &other.others {
            let own = self.others.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }

    /// Returns every resource with its amount.
    pub fn entries(&self) -> impl Iterator<Item = (&str, i64)> {
        let named = [("cpu", self.cpu), ("memory", self.memory), ("ephemeral-storage", self.storage)];
        named.into_iter().chain(self.others.iter().map(|(name, amount)| (name.as_str(), *amount)))
    }

    /// Returns the amount of one resource.
    pub fn of(&self, resource: &str) -> i64 {
        match resource {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.storage,
            other => self.others.get(other).copied().unwrap_or_default(),
        }
    }
}
