//! Texts that many rows share, each stored once. For example, ten thousand pods are in few namespaces and on
//! few nodes.

use std::{collections::HashSet, sync::Arc};

/// The texts in use.
#[derive(Default)]
pub(super) struct Interner {
    known: HashSet<Arc<str>>,
    /// Number of texts at which the next sweep of unused texts happens.
    sweep_at: usize,
}

/// Number of texts from which unused ones are swept.
const SWEEP: usize = 1024;

// === impl Interner ===

impl Interner {
    /// Replaces this text by the stored copy.
    pub(super) fn intern(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.known.get(text) {
            *text = known.clone();
            return;
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = (self.known.len() * 2).max(SWEEP);
        }
        self.known.insert(text.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_unused_ones_go() {
        let mut texts = Interner::default();
        let mut kept: Arc<str> = "a".into();
        texts.intern(&mut kept);
        let mut same: Arc<str> = "a".into();
        texts.intern(&mut same);
        assert!(Arc::ptr_eq(&kept, &same));
        for i in 0..10 * SWEEP {
            texts.intern(&mut i.to_string().into());
        }
        assert!(texts.known.len() <= 2 * SWEEP && texts.known.contains("a"), "{}", texts.known.len());
    }
}
