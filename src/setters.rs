//! The structs that users fill in are made by `new` (or `default`), and a method of the same name sets each field: so a later version
//! can add a field without breaking code that makes them.

/// Writes a method for each field, which returns the struct with that field set; `const` where no type is converted.
macro_rules! setters {
    (const $of:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        impl $of {$(
            #[doc = concat!("Sets [`", stringify!($field), "`](#structfield.", stringify!($field), ").")]
            #[must_use]
            pub const fn $field(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )+}
    };
    ($of:ident $(<$life:lifetime>)? { $($field:ident: $type:ty),+ $(,)? }) => {
        impl $(<$life>)? $of $(<$life>)? {$(
            #[doc = concat!("Sets [`", stringify!($field), "`](#structfield.", stringify!($field), ").")]
            #[must_use]
            #[allow(clippy::useless_conversion, reason = "`into` converts nothing where the field is not an operand")]
            pub fn $field(mut self, $field: $type) -> Self {
                self.$field = $field.into();
                self
            }
        )+}
    };
}
pub(crate) use setters;
