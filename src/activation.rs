//! The activations: one table.

use crate::{error::Result, request::Saved};
use std::{fmt, str::FromStr};

/// An activation with its parameters: a plain value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Activation {
    kind: Kind,
    params: [f32; 2],
}

/// Which row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// y = x
    Identity,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        "identity"
    }
    pub(crate) fn wgsl(self) -> &'static str {
        ""
    }
}
pub(crate) fn shared_wgsl(_name: &str) -> Option<&'static str> {
    None
}

#[expect(unused_variables, clippy::unimplemented, reason = "signatures only; the table replaces this file")]
impl Activation {
    /// y = x
    pub const IDENTITY: Activation = Activation { kind: Kind::Identity, params: [0.0, 0.0] };
    /// Which row.
    pub const fn kind(&self) -> Kind {
        self.kind
    }
    /// The row's name.
    pub fn name(&self) -> &'static str {
        unimplemented!()
    }
    /// `[α, second parameter]`, as the shaders see them.
    pub const fn params(&self) -> [f32; 2] {
        self.params
    }
    /// The same activation with another α (unchecked: what a learnable α may become on the device).
    pub const fn with_alpha(self, alpha: f32) -> Self {
        Activation { kind: self.kind, params: [alpha, self.params[1]] }
    }
    /// Whether α can be learnable.
    pub fn has_alpha(&self) -> bool {
        unimplemented!()
    }
    /// act(z), f64.
    pub fn value(&self, z: f64) -> f64 {
        unimplemented!()
    }
    /// act'(z).
    pub fn slope(&self, z: f64) -> f64 {
        unimplemented!()
    }
    /// act''(z).
    pub fn curvature(&self, z: f64) -> f64 {
        unimplemented!()
    }
    /// ∂act/∂α.
    pub fn alpha_slope(&self, z: f64) -> f64 {
        unimplemented!()
    }
    /// ∂²act/∂z∂α.
    pub fn alpha_curvature(&self, z: f64) -> f64 {
        unimplemented!()
    }
    /// act' from y = act(z), where the row allows it.
    pub fn slope_of_y(&self, y: f64) -> f64 {
        unimplemented!()
    }
    /// The mask's bit.
    pub fn bit(&self, z: f64) -> bool {
        unimplemented!()
    }
    /// act' from the mask's bit.
    pub fn slope_of_bit(&self, bit: bool) -> f64 {
        unimplemented!()
    }
    /// Ok if backward gives the right gradient from what was saved; else `Error::Unsupported` that says what would do.
    pub fn saved_is_enough(&self, saved: Saved, learnable: bool, dalpha: bool, residual: bool) -> Result<()> {
        unimplemented!()
    }
    /// Whether the slope is a constant (identity): backward needs nothing saved.
    pub fn needs_nothing(&self) -> bool {
        unimplemented!()
    }
    /// Whether the slope computed from y is as accurate as from z.
    pub fn slope_of_y_is_accurate(&self) -> bool {
        unimplemented!()
    }
    /// Whether the slope is cheap enough to be computed again at each load of a tile.
    pub fn slope_is_cheap(&self) -> bool {
        unimplemented!()
    }
    /// The WGSL text of act, act_dz, ...
    pub(crate) fn wgsl(&self) -> &'static str {
        unimplemented!()
    }
    /// max |act'|.
    pub fn lipschitz(&self) -> f64 {
        unimplemented!()
    }
}
impl fmt::Display for Activation {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
impl FromStr for Activation {
    type Err = crate::error::Error;
    fn from_str(_s: &str) -> Result<Self> {
        Ok(Self::IDENTITY)
    }
}
