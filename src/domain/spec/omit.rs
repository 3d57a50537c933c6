//! Which fields the stored form of a spec leaves out. Knows no field.

/// Whether a field is at its default, and so is left out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
