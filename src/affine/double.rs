//! The second derivative of a layer: gradients of its gradients, made from its forward call.

use super::{
    Forward,
    batch::{self, Batch},
};
use crate::{
    error::Result,
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    operands::{Gradient, expect_like, expect_rows, expect_shape, expect_vector, recorded, view, want, weight_shape},
    plan::{self, Plan},
    request::{DoubleBackwardRequest, Returning, SecondGradients},
    rules::Resolved,
    storage::Storage,
    view::View,
};

/// The double backward of a [`Forward`], made by [`Forward::double_backward`]: a loss may depend on the gradients dx, dW, db and dα, and what
/// comes back to them (ddx, ddW, ddb, ddα; each may be left out) has gradients for dy, x, W, b and α.
///
/// ```text
/// ż = ddx·Wᵀ + x·ddWᵀ + ddb               the change of z along them
/// ddy = ż ⊙ act'(z) + ddα ∂act/∂α
/// dz2 = dy ⊙ (ż ⊙ act''(z) + ddα ∂²act/∂z∂α)
/// dx2 = dz2·W + dz·ddW                     dW2 = dz2ᵀ·x + dzᵀ·ddx        dz = dy ⊙ act'(z)
/// db2 = Σ_rows dz2                         dα2 = Σ dy ⊙ (ż ⊙ ∂²act/∂z∂α + ddα ∂²act/∂α²)
/// ```
///
/// These are only what the double backward adds: the gradients that a loss has by y itself are those of [`Backward`](super::Backward), and
/// both add up ([`Gradient::accumulate`]). With ddα per layer it counts for all channels. A residual before the activation is a part of z: what
/// comes back to its gradient joins ż, and its own gradient is dz2. One after the activation has none of second order: what comes back to its
/// gradient, which is dy, is added to ddy by the caller.
///
/// A penalty on the gradient, or a force: the loss depends on dx, and dW2 trains the layer.
///
/// ```no_run
/// use elbow::{Activation, Gpu, Saved, affine::{Forward, Gradient}};
/// let gpu = Gpu::new()?;
/// let (x, w, b, y) = (gpu.zeros(&[32, 3])?, gpu.zeros(&[64, 3])?, gpu.zeros(&[64])?, gpu.zeros(&[32, 64])?);
/// let (z, dy, dx) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[32, 64])?, gpu.zeros(&[32, 3])?);
/// let (ddx, ddy, dw, db) = (gpu.zeros(&[32, 3])?, gpu.zeros(&[32, 64])?, gpu.zeros(&[64, 3])?, gpu.zeros(&[64])?);
/// let layer = Forward::new(Activation::SILU, &x, &w, &y).b(&b).saved(Saved::Z).save_to(&z);
/// gpu.submit_pass(|pass| {
///     layer.record(&gpu, &mut *pass)?;
///     layer.backward(&dy).dx(&dx).record(&gpu, &mut *pass)?;
///     // .. the host makes ddx, the gradient of its loss by dx ..
///     let second = layer.double_backward(&dy).ddx(&ddx).ddy(&ddy).dw2(Gradient::accumulate(&dw)).db2(&db);
///     second.record(&gpu, &mut *pass)
/// })?;
/// # Ok::<(), elbow::Error>(())
/// ```
///
/// It reads, when it runs, dy, x and w, z or what was kept in its place (x, w and b if nothing was), and what comes back; but nothing that the
/// wanted gradients do not depend on: of ReLU and its like, whose second derivative is 0, neither x nor z for dW2, and the mask is enough.
/// Jets and row weights have no double backward.
///
/// All that there is, for a layer with a learnable α and a residual before its activation:
///
/// ```no_run
/// use elbow::{Activation, Gpu, ResidualAt, affine::Forward};
/// let gpu = Gpu::new()?;
/// let rows = || gpu.zeros(&[32, 64]);
/// let (w, b, alpha) = (gpu.zeros(&[64, 64])?, gpu.zeros(&[64])?, gpu.upload(&[1.0], &[1])?);
/// let (x, residual, y, dy) = (rows()?, rows()?, rows()?, rows()?);
/// let layer = Forward::new(Activation::swish(1.0)?, &x, &w, &y).b(&b).alpha(&alpha);
/// let layer = layer.residual(&residual).residual_at(ResidualAt::BeforeActivation);
/// // What comes back to the gradients of x, W, b, α and the residual ..
/// let (ddx, ddw, ddb, ddalpha, ddr) = (rows()?, gpu.zeros(&[64, 64])?, gpu.zeros(&[64])?, gpu.zeros(&[1])?, rows()?);
/// let second = layer.double_backward(&dy).ddx(&ddx).ddw(&ddw).ddb(&ddb).ddalpha(&ddalpha).ddresidual(&ddr);
/// // .. and what it adds to those of dy, x, α and the residual.
/// let (ddy, dx2, dalpha2, dr2) = (rows()?, rows()?, gpu.zeros(&[1])?, rows()?);
/// let second = second.ddy(&ddy).dx2(&dx2).dalpha2(&dalpha2).dresidual2(&dr2);
/// gpu.submit(|encoder| second.record(&gpu, encoder))?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is recorded yet"]
pub struct DoubleBackward<'a> {
    layer: Forward<'a>,
    dy: View<'a>,
    ddx: Option<View<'a>>,
    ddw: Option<View<'a>>,
    ddb: Option<View<'a>>,
    ddalpha: Option<View<'a>>,
    ddresidual: Option<View<'a>>,
    ddy: Option<Gradient<'a>>,
    dx2: Option<Gradient<'a>>,
    dw2: Option<Gradient<'a>>,
    db2: Option<Gradient<'a>>,
    dalpha2: Option<Gradient<'a>>,
    dresidual2: Option<Gradient<'a>>,
}

impl<'a> Forward<'a> {
    /// The double backward of this layer for the upstream gradient dy `[.., N]` that its backward had: set what comes back to the gradients, and
    /// which gradients are wanted. Neither forward nor backward need have been recorded by elbow.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, w, y) = (gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[2, 4])?);
    /// let (dy, ddx, dw2) = (gpu.zeros(&[2, 4])?, gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?);
    /// let layer = Forward::new(Activation::TANH, &x, &w, &y);
    /// gpu.submit(|encoder| layer.double_backward(&dy).ddx(&ddx).dw2(&dw2).record(&gpu, encoder))?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn double_backward(&self, dy: impl Into<View<'a>>) -> DoubleBackward<'a> {
        DoubleBackward {
            layer: *self,
            dy: dy.into(),
            ddx: None,
            ddw: None,
            ddb: None,
            ddalpha: None,
            ddresidual: None,
            ddy: None,
            dx2: None,
            dw2: None,
            db2: None,
            dalpha2: None,
            dresidual2: None,
        }
    }
}

/// What comes back to the gradients; each left out counts as 0.
impl<'a> DoubleBackward<'a> {
    /// To dx, `[.., K]`.
    pub fn ddx(self, ddx: impl Into<Option<View<'a>>>) -> Self {
        DoubleBackward { ddx: ddx.into(), ..self }
    }

    /// To dW, shaped as w.
    pub fn ddw(self, ddw: impl Into<Option<View<'a>>>) -> Self {
        DoubleBackward { ddw: ddw.into(), ..self }
    }

    /// To db, `[N]`.
    pub fn ddb(self, ddb: impl Into<Option<View<'a>>>) -> Self {
        DoubleBackward { ddb: ddb.into(), ..self }
    }

    /// To dα, shaped as the layer's alpha, in f32.
    pub fn ddalpha(self, ddalpha: impl Into<Option<View<'a>>>) -> Self {
        DoubleBackward { ddalpha: ddalpha.into(), ..self }
    }

    /// To the gradient of a residual before the activation, `[.., N]`.
    pub fn ddresidual(self, ddresidual: impl Into<Option<View<'a>>>) -> Self {
        DoubleBackward { ddresidual: ddresidual.into(), ..self }
    }
}

/// The gradients to compute: a tensor or a view is overwritten, [`Gradient::accumulate`] adds to it.
impl<'a> DoubleBackward<'a> {
    /// For dy, `[.., N]`.
    pub fn ddy(self, ddy: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { ddy: ddy.into(), ..self }
    }

    /// For x, `[.., K]`.
    pub fn dx2(self, dx2: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { dx2: dx2.into(), ..self }
    }

    /// For W, shaped as w, in f32.
    pub fn dw2(self, dw2: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { dw2: dw2.into(), ..self }
    }

    /// For b, `[N]`, in f32; also where the layer has no b.
    pub fn db2(self, db2: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { db2: db2.into(), ..self }
    }

    /// For α, shaped as the layer's alpha, in f32.
    pub fn dalpha2(self, dalpha2: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { dalpha2: dalpha2.into(), ..self }
    }

    /// For a residual before the activation, `[.., N]`.
    pub fn dresidual2(self, dresidual2: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { dresidual2: dresidual2.into(), ..self }
    }
}

impl<'a> DoubleBackward<'a> {
    /// The shapes and choices as plain facts; of a batch, those of one layer. An error names the operand that does not fit.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, Want, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, w, y) = (gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[2, 4])?);
    /// let (dy, ddx, dw2) = (gpu.zeros(&[2, 4])?, gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?);
    /// let request = Forward::new(Activation::TANH, &x, &w, &y).double_backward(&dy).ddx(&ddx).dw2(&dw2).request()?;
    /// assert_eq!((request.returning.x, request.gradients.w), (true, Want::Overwrite));
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn request(&self) -> Result<DoubleBackwardRequest> {
        self.facts().map(|(_, request, _)| request)
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let (batch, request, operands) = self.resolve()?;
        let (batch, aligned) = (batch::count(batch), operands.aligned());
        Ok((plan::double_backward_batch(batch, &request, aligned, &gpu.caps(), &self.layer.pin)?, operands))
    }

    /// The number of layers, if it is a batch, the checked request of one layer, and the operands that it reads or writes.
    fn resolve(&self) -> Result<(Option<Batch>, Resolved<DoubleBackwardRequest>, Operands<'a>)> {
        let (batch, request, mut operands) = self.facts()?;
        let request = request.resolve().map_err(|error| batch::said_of_each(batch, error))?;
        operands.retain(|operand| self.writes(operand) || request.reads(operand));
        Ok((batch, request, operands))
    }

    /// The request before it is checked, and all operands, those that turn out not to be needed among them.
    fn facts(&self) -> Result<(Option<Batch>, DoubleBackwardRequest, Operands<'a>)> {
        let (batch, one) = self.one()?;
        let storage = self.layer.operands().storage(batch.is_some())?;
        let mut request = one.facts_of_one(storage).map_err(|error| batch::said_of_each(batch, error))?;
        let operands = self.operands(&request);
        request.affine.storage = operands.storage_beside(storage, batch.is_some())?;
        Ok((batch, request, operands))
    }

    /// The request of one layer from the shapes of its operands.
    fn facts_of_one(&self, storage: Storage) -> Result<DoubleBackwardRequest> {
        let affine = self.layer.facts_behind(storage)?;
        let (m, n, k) = (affine.m, affine.n, affine.k);
        for (operand, view, columns) in [
            (Operand::Dy, Some(self.dy), n),
            (Operand::Ddy, view(&self.ddy), n),
            (Operand::Ddx, self.ddx, k),
            (Operand::Dx2, view(&self.dx2), k),
            (Operand::Ddresidual, self.ddresidual, n),
            (Operand::Dresidual2, view(&self.dresidual2), n),
        ] {
            if let Some(view) = view {
                expect_rows(operand, view, m, columns)?;
            }
        }
        let of_w = weight_shape(affine.layout, affine.outputs(), k);
        expect_shape(Operand::Ddw, self.ddw, &of_w)?;
        expect_shape(Operand::Dw2, view(&self.dw2), &of_w)?;
        expect_vector(Operand::Ddb, self.ddb, affine.outputs())?;
        expect_vector(Operand::Db2, view(&self.db2), affine.outputs())?;
        expect_like(Operand::Ddalpha, self.ddalpha, self.layer.alpha)?;
        expect_like(Operand::Dalpha2, view(&self.dalpha2), self.layer.alpha)?;
        let returning = Returning {
            x: self.ddx.is_some(),
            w: self.ddw.is_some(),
            b: self.ddb.is_some(),
            alpha: self.ddalpha.is_some(),
            residual: self.ddresidual.is_some(),
        };
        let gradients = SecondGradients {
            dy: want(&self.ddy),
            x: want(&self.dx2),
            w: want(&self.dw2),
            b: want(&self.db2),
            alpha: want(&self.dalpha2),
            residual: want(&self.dresidual2),
        };
        Ok(DoubleBackwardRequest { affine, returning, gradients })
    }

    /// Every gradient that this call can write.
    fn outputs(&self) -> [(Operand, &Option<Gradient<'a>>); 6] {
        [
            (Operand::Ddy, &self.ddy),
            (Operand::Dx2, &self.dx2),
            (Operand::Dw2, &self.dw2),
            (Operand::Db2, &self.db2),
            (Operand::Dalpha2, &self.dalpha2),
            (Operand::Dresidual2, &self.dresidual2),
        ]
    }

    fn writes(&self, operand: Operand) -> bool {
        self.outputs().iter().any(|(output, _)| *output == operand)
    }

    fn operands(&self, request: &DoubleBackwardRequest) -> Operands<'a> {
        let layer = &self.layer;
        let mut operands = Operands::default();
        operands.add(Operand::X, layer.x).add(Operand::W, layer.w).add(Operand::B, layer.b);
        operands.add(Operand::Alpha, layer.alpha).add(Operand::Residual, layer.residual);
        operands.add(Operand::Saved, layer.kept(request.affine.saved)).add(Operand::Dy, self.dy);
        operands.add(Operand::Ddx, self.ddx).add(Operand::Ddw, self.ddw).add(Operand::Ddb, self.ddb);
        operands.add(Operand::Ddalpha, self.ddalpha).add(Operand::Ddresidual, self.ddresidual);
        for (operand, gradient) in self.outputs() {
            operands.add(operand, view(gradient));
        }
        operands
    }

    /// Of a batch its size and its first layer as a call of its own; else this call.
    fn one(&self) -> Result<(Option<Batch>, Self)> {
        let (Some(batch), layer) = self.layer.one()? else { return Ok((None, *self)) };
        let one = DoubleBackward {
            layer,
            dy: batch.one(Operand::Dy, self.dy)?,
            ddx: batch.optional(Operand::Ddx, self.ddx)?,
            ddw: batch.optional(Operand::Ddw, self.ddw)?,
            ddb: batch.optional(Operand::Ddb, self.ddb)?,
            ddalpha: batch.alpha(Operand::Ddalpha, self.ddalpha)?,
            ddresidual: batch.optional(Operand::Ddresidual, self.ddresidual)?,
            ddy: batch.gradient(Operand::Ddy, self.ddy)?,
            dx2: batch.gradient(Operand::Dx2, self.dx2)?,
            dw2: batch.gradient(Operand::Dw2, self.dw2)?,
            db2: batch.gradient(Operand::Db2, self.db2)?,
            dalpha2: batch.dalpha(Operand::Dalpha2, self.dalpha2)?,
            dresidual2: batch.gradient(Operand::Dresidual2, self.dresidual2)?,
        };
        Ok((Some(batch), one))
    }
}

recorded!(DoubleBackward);
