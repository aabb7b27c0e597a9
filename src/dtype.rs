//! Element types: one row and one WGSL prelude each.

/// The type in which operands are stored. Sums are always accumulated in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE single precision; never replaced by tf32 or f16 on the way.
    #[default]
    F32,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            Dtype::F32 => 4,
        }
    }

    /// The WGSL prelude: what `elem` and `elem4` are.
    pub(crate) const fn prelude(self) -> &'static str {
        match self {
            Dtype::F32 => include_str!("../shaders/dtype/f32.wgsl"),
        }
    }
}
