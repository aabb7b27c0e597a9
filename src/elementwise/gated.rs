//! Gated units, y = act(gate) ⊙ up, on tensors that are there already.

use super::{along, expect_shape, in_rows};
use crate::{
    activation::Activation,
    error::{Error, Result},
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    operands::{Gradient, expect_like, recorded, view, want},
    plan::{self, ElementwiseForward, GatedBackward as Request, Plan},
    setters::setters,
    shape,
    storage::Storage,
    view::View,
};

/// y = act(gate; α) ⊙ up: GLU (sigmoid), ReGLU (ReLU), GEGLU (GELU), SwiGLU (SiLU), the bilinear unit (identity), and any other activation.
/// [`Activation::of_gated_unit`] knows them by name. Source: Shazeer 2020, GLU Variants Improve Transformer.
///
/// gate, up and y have one shape, `[..]`; α is that of [`elementwise::Forward`](super::Forward). gate and up may be halves of one tensor, as
/// one product with both weights leaves them; y may be the very memory of gate.
///
/// ```no_run
/// use elbow::{Activation, Gpu, affine, elementwise::Gated};
/// let gpu = Gpu::new()?;
/// // SwiGLU, 64 -> 256: [Wg; Wu] is [512, 64].
/// let (x, w, z, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[512, 64])?, gpu.zeros(&[32, 512])?, gpu.zeros(&[32, 256])?);
/// let (gate, up) = (z.view().slice(1, 0..256)?, z.view().slice(1, 256..512)?);
/// gpu.submit_pass(|pass| {
///     affine::Forward::new(Activation::IDENTITY, &x, &w, &z).record(&gpu, &mut *pass)?;
///     Gated::new(Activation::of_gated_unit("swiglu")?, gate, up, &y).record(&gpu, &mut *pass)
/// })?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Gated<'a> {
    /// act; its own α counts where `alpha` is None.
    pub activation: Activation,
    /// What goes through the activation, of any shape.
    pub gate: View<'a>,
    /// What the gate lets through, shaped as gate.
    pub up: View<'a>,
    /// Learnable α, in f32.
    pub alpha: Option<View<'a>>,
    /// Output, shaped as gate.
    pub y: View<'a>,
}

setters!(Gated<'a> {
    activation: Activation,
    gate: impl Into<View<'a>>,
    up: impl Into<View<'a>>,
    alpha: impl Into<Option<View<'a>>>,
    y: impl Into<View<'a>>,
});

/// dgate = dy ⊙ up ⊙ act'(gate), dup = dy ⊙ act(gate), dα = Σ dy ⊙ up ⊙ ∂act/∂α: the gradients of a [`Gated`], made by [`Gated::backward`].
/// They may be halves of one tensor, from which one call gives the gradients of both weights.
///
/// ```no_run
/// use elbow::{Activation, Gpu, View, affine, elementwise::Gated};
/// let gpu = Gpu::new()?;
/// let (x, w, z, dy) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[512, 64])?, gpu.zeros(&[32, 512])?, gpu.zeros(&[32, 256])?);
/// let (dz, dx, dw) = (gpu.zeros(&[32, 512])?, gpu.zeros(&[32, 64])?, gpu.zeros(&[512, 64])?);
/// let gone = View::absent(&[32, 256], elbow::Dtype::F32);
/// let unit = Gated::new(Activation::SILU, z.view().slice(1, 0..256)?, z.view().slice(1, 256..512)?, gone);
/// let (dgate, dup) = (dz.view().slice(1, 0..256)?, dz.view().slice(1, 256..512)?);
/// gpu.submit_pass(|pass| {
///     unit.backward(&dy).dgate(dgate).dup(dup).record(&gpu, &mut *pass)?;
///     affine::Forward::new(Activation::IDENTITY, &x, &w, &z).backward(&dz).dx(&dx).dw(&dw).record(&gpu, &mut *pass)
/// })?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is recorded yet"]
pub struct GatedBackward<'a> {
    unit: Gated<'a>,
    dy: View<'a>,
    dgate: Option<Gradient<'a>>,
    dup: Option<Gradient<'a>>,
    dalpha: Option<Gradient<'a>>,
}

impl<'a> Gated<'a> {
    /// With the activation's own α; [`Gated::alpha`] makes it learnable.
    pub fn new(
        activation: Activation,
        gate: impl Into<View<'a>>,
        up: impl Into<View<'a>>,
        y: impl Into<View<'a>>,
    ) -> Self {
        Gated { activation, gate: gate.into(), up: up.into(), alpha: None, y: y.into() }
    }

    /// The backward call for an upstream gradient dy, shaped as gate; set the gradients that are wanted. It reads gate for dgate, dup and dα,
    /// up for dgate and dα; y is not read, and may be [`View::absent`].
    pub fn backward(&self, dy: impl Into<View<'a>>) -> GatedBackward<'a> {
        GatedBackward { unit: *self, dy: dy.into(), dgate: None, dup: None, dalpha: None }
    }

    fn facts(&self, in_place: bool, storage: Storage) -> Result<ElementwiseForward> {
        shape::elements(Operand::Gate, &self.gate.shape)?;
        let (alpha, [rows, channels], inner) = along(self.gate, self.alpha)?;
        for (operand, view) in [(Operand::Up, self.up), (Operand::Y, self.y)] {
            expect_shape(operand, Some(view), self.gate, "gate")?;
        }
        Ok(ElementwiseForward { rows, channels, inner, activation: self.activation, alpha, in_place, storage })
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let mut operands = Operands::default();
        operands.add(Operand::Gate, self.gate).add(Operand::Up, self.up).add(Operand::Alpha, self.alpha);
        operands.add(Operand::Y, self.y).in_place(Operand::Y, Operand::Gate);
        let request = self.facts(self.gate.same_memory(&self.y), operands.storage(false)?)?;
        in_rows(&request, self.gate, &operands)?;
        Ok((plan::gated_forward(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

impl<'a> GatedBackward<'a> {
    /// dgate, shaped as gate.
    pub fn dgate(self, dgate: impl Into<Option<Gradient<'a>>>) -> Self {
        GatedBackward { dgate: dgate.into(), ..self }
    }

    /// dup, shaped as gate.
    pub fn dup(self, dup: impl Into<Option<Gradient<'a>>>) -> Self {
        GatedBackward { dup: dup.into(), ..self }
    }

    /// dα, shaped as alpha.
    pub fn dalpha(self, dalpha: impl Into<Option<Gradient<'a>>>) -> Self {
        GatedBackward { dalpha: dalpha.into(), ..self }
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let Gated { gate, up, alpha, .. } = self.unit;
        if gate.same_memory(&self.unit.y) {
            let expected = "a gate that forward has not overwritten".into();
            return Err(Error::Operand { operand: Operand::Gate, expected, got: "the memory of y".into() });
        }
        let mut operands = Operands::default();
        operands.add(Operand::Gate, gate).add(Operand::Alpha, alpha).add(Operand::Dy, self.dy);
        if self.dgate.is_some() || self.dalpha.is_some() {
            operands.add(Operand::Up, up);
        }
        operands.add(Operand::Dgate, view(&self.dgate)).add(Operand::Dup, view(&self.dup));
        operands.add(Operand::Dalpha, view(&self.dalpha));
        let forward = self.unit.facts(false, operands.storage(false)?)?;
        for (operand, view) in
            [(Operand::Dy, Some(self.dy)), (Operand::Dgate, view(&self.dgate)), (Operand::Dup, view(&self.dup))]
        {
            expect_shape(operand, view, gate, "gate")?;
        }
        expect_like(Operand::Dalpha, view(&self.dalpha), alpha)?;
        in_rows(&forward, gate, &operands)?;
        let request = Request { forward, dgate: want(&self.dgate), dup: want(&self.dup), dalpha: want(&self.dalpha) };
        Ok((plan::gated_backward(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

recorded!(Gated, GatedBackward);
