//! Calls and choices are structs that grow: they are made by `new` (or `default`) and told the rest by methods, one for each
//! field, so that a new field breaks nobody.

/// A method for each field, which takes the struct and gives it back with that field set; `const` where no type is converted.
macro_rules! setters {
    (const $of:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        impl $of {$(
            #[doc = concat!("With this [`", stringify!($field), "`](#structfield.", stringify!($field), ").")]
            #[must_use]
            pub const fn $field(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )+}
    };
    ($of:ident $(<$life:lifetime>)? { $($field:ident: $type:ty),+ $(,)? }) => {
        impl $(<$life>)? $of $(<$life>)? {$(
            #[doc = concat!("With this [`", stringify!($field), "`](#structfield.", stringify!($field), ").")]
            #[must_use]
            #[allow(clippy::useless_conversion, reason = "of a field that is no operand `into` is the identity")]
            pub fn $field(mut self, $field: $type) -> Self {
                self.$field = $field.into();
                self
            }
        )+}
    };
}
pub(crate) use setters;
