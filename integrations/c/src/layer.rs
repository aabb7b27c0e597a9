//! A layer as C states it, and what elbow makes of it.

use std::ffi::c_char;

use elbow_rs::{
    Activation, Gate, Gpu, Gradient, Operand, ResidualAt, Saved, View, WeightLayout,
    affine::{Backward, Forward},
};

use crate::{
    pointer::text,
    status::Failure,
    tensor::{elbow_tensor, needed, operand},
};

/// What forward keeps for backward.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing: backward computes z again from x, w and b.
    None = 0,
    /// z, in the tensor kept, `[.., N]`. Always enough.
    Z = 1,
    /// y itself: enough where y determines the slope, as in ReLU.
    Y = 2,
    /// One bit an element, in the tensor kept, U32 `[.., (N + 31) / 32]`: enough where the slope has two values.
    Mask = 3,
}

/// How the weights of a gated layer, y = act(gate) * up, lie.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gating {
    /// The layer is not gated.
    None = 0,
    /// w `[2N, K]`, b `[2N]`: N rows of the gate, then N of up.
    Stacked = 1,
    /// w `[2N, K]`, b `[2N]`: rows of gate and up in turn.
    Interleaved = 2,
    /// w, b of the gate; w_up, b_up of up.
    Apart = 3,
}

/// A layer, y = row_weight * act(x W^T + b; alpha) + residual. A field that is left out is 0 or NULL: none, or the default. Of what is NULL, x, w, y and
/// activation are errors, the others are left out.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct elbow_layer {
    /// As text: "relu", "gelu", "gelu_tanh", "leaky_relu(0.01)", "prelu", "silu", ... The README has the table.
    pub activation: *const c_char,
    /// Input `[.., K]`; leading dimensions flatten to rows.
    pub x: *const elbow_tensor,
    /// Weight `[N, K]`, as PyTorch's; or `[K, N]` if in_out.
    pub w: *const elbow_tensor,
    /// Bias `[N]`.
    pub b: *const elbow_tensor,
    /// Learnable parameter of the activation, `[1]` or `[N]`: the slope of a PReLU.
    pub alpha: *const elbow_tensor,
    /// Added after the activation, or before it if residual_before, `[.., N]`.
    pub residual: *const elbow_tensor,
    /// A factor for each row, `[..]`.
    pub row_weight: *const elbow_tensor,
    /// Weight of up, if gating is ELBOW_GATING_APART.
    pub w_up: *const elbow_tensor,
    /// Bias of up, if there is a b.
    pub b_up: *const elbow_tensor,
    /// Output `[.., N]`.
    pub y: *const elbow_tensor,
    /// z or the mask, as keep says.
    pub kept: *const elbow_tensor,
    /// One of elbow_kept.
    pub keep: u32,
    /// One of elbow_gating.
    pub gating: u32,
    /// Limit of gate and up, if not 0: the gate is capped, up clamped to both sides and 1 added, as in gpt-oss.
    pub gate_limit: f32,
    /// Whether w is `[K, N]`.
    pub in_out: bool,
    /// Whether the residual is a part of z.
    pub residual_before: bool,
}

/// The gradients that are wanted: each is written unless it is NULL.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct elbow_gradients {
    /// Shaped as x.
    pub dx: *const elbow_tensor,
    /// Shaped as w.
    pub dw: *const elbow_tensor,
    /// `[N]`; `[2N]` of a gated layer with one weight.
    pub db: *const elbow_tensor,
    /// Shaped as alpha.
    pub dalpha: *const elbow_tensor,
    /// Shaped as the residual.
    pub dresidual: *const elbow_tensor,
    /// Shaped as row_weight.
    pub drow_weight: *const elbow_tensor,
    /// Shaped as w_up.
    pub dw_up: *const elbow_tensor,
    /// Shaped as b_up.
    pub db_up: *const elbow_tensor,
    /// Whether all of them are added to what the tensors hold.
    pub accumulate: bool,
}

impl elbow_layer {
    /// # Safety
    /// Every pointer is NULL or valid.
    pub(crate) unsafe fn forward<'a>(&self, gpu: &Gpu) -> Result<Forward<'a>, Failure> {
        // SAFETY: the caller's promise.
        let (needs, takes) =
            (|name, tensor| unsafe { needed(gpu, name, tensor) }, |name, tensor| unsafe { operand(gpu, name, tensor) });
        // SAFETY: the caller's promise.
        let activation = activation(unsafe { text("activation", self.activation) }?)?;
        let (x, w, y) = (needs(Operand::X, self.x)?, needs(Operand::W, self.w)?, needs(Operand::Y, self.y)?);
        let layer = Forward::new(activation, x, w, y)
            .b(takes(Operand::B, self.b)?)
            .alpha(takes(Operand::Alpha, self.alpha)?)
            .residual(takes(Operand::Residual, self.residual)?)
            .row_weight(takes(Operand::RowWeight, self.row_weight)?)
            .w_up(takes(Operand::WUp, self.w_up)?)
            .b_up(takes(Operand::BUp, self.b_up)?)
            .save_to(takes(Operand::Saved, self.kept)?)
            .saved(self.saved()?)
            .gate(self.gate()?)
            .layout(if self.in_out { WeightLayout::InOut } else { WeightLayout::OutIn });
        let before = if self.residual_before { ResidualAt::BeforeActivation } else { ResidualAt::AfterActivation };
        Ok(layer.residual_at(before))
    }

    fn saved(&self) -> Result<Saved, Failure> {
        match self.keep {
            0 => Ok(Saved::None),
            1 => Ok(Saved::Z),
            2 => Ok(Saved::Y),
            3 => Ok(Saved::Mask),
            other => Err(Failure::input(format!("keep: expected one of elbow_kept, 0 to 3, got {other}"))),
        }
    }

    fn gate(&self) -> Result<Option<Gate>, Failure> {
        let gate = match self.gating {
            0 if self.gate_limit == 0.0 => return Ok(None),
            0 => return Err(Failure::input("gate_limit: expected 0, for the layer is not gated".to_owned())),
            1 => Gate::stacked(),
            2 => Gate::interleaved(),
            3 => Gate::apart(),
            other => return Err(Failure::input(format!("gating: expected one of elbow_gating, 0 to 3, got {other}"))),
        };
        Ok(Some(if self.gate_limit == 0.0 { gate } else { gate.limited(self.gate_limit)? }))
    }
}

impl elbow_gradients {
    /// # Safety
    /// Every pointer is NULL or valid.
    pub(crate) unsafe fn backward<'a>(
        &self,
        gpu: &Gpu,
        layer: &Forward<'a>,
        dy: View<'a>,
    ) -> Result<Backward<'a>, Failure> {
        let takes = |name, tensor| -> Result<Option<Gradient<'a>>, Failure> {
            // SAFETY: the caller's promise.
            let view = unsafe { operand(gpu, name, tensor) }?;
            Ok(view.map(|view| Gradient { view, accumulate: self.accumulate }))
        };
        let backward = layer
            .backward(dy)
            .dx(takes(Operand::Dx, self.dx)?)
            .dw(takes(Operand::Dw, self.dw)?)
            .db(takes(Operand::Db, self.db)?)
            .dalpha(takes(Operand::Dalpha, self.dalpha)?)
            .dresidual(takes(Operand::Dresidual, self.dresidual)?)
            .drow_weight(takes(Operand::DrowWeight, self.drow_weight)?)
            .dw_up(takes(Operand::DwUp, self.dw_up)?)
            .db_up(takes(Operand::DbUp, self.db_up)?);
        Ok(backward)
    }
}

/// An activation from its text.
pub(crate) fn activation(text: &str) -> Result<Activation, Failure> {
    Ok(text.parse::<Activation>()?)
}
