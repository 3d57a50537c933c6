//! Decides which fields are left out of the stored form of a spec. Knows no field.

/// Returns whether a field has its default value and is left out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
