//! The gradients of a layer, made from its forward call: what both must agree on is stated once.

use super::{
    Forward,
    batch::{self, Batch},
};
use crate::{
    error::{Error, Result},
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    operands::{
        Gradient, expect_like, expect_row_numbers, expect_rows, expect_vector, recorded, view, want, weight_shape,
        wrong_shape,
    },
    plan::{self, Plan},
    request::{AffineRequest, BackwardRequest, Below, Gradients, Strategy},
    rules::Resolved,
    storage::Storage,
    view::View,
};

/// One backward call: the gradients of a [`Forward`], of which it has the layer and what was kept.
///
/// ```text
/// dz = dy ⊙ act'(z; α)    dx = dz·W    dW = dzᵀ·x    db = Σ_rows dz    dα = Σ dy ⊙ ∂act/∂α    dresidual = dy
/// ```
///
/// With a row weight s, `s[m]`·dy stands for dy in dz and dα, and ds = Σ_columns dy ⊙ act(z). Of a residual that joins before the
/// activation the gradient is dz.
///
/// Only the gradients that are named are computed; each is overwritten, or added to ([`Gradient::accumulate`]):
///
/// ```no_run
/// # use elbow::{Activation, Gpu, Saved, affine::{Forward, Gradient}};
/// # let gpu = Gpu::new()?;
/// # let (x, w, b, y) = (gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[4])?, gpu.zeros(&[2, 4])?);
/// # let (dy, dx, dw, db) = (gpu.zeros(&[2, 4])?, gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[4])?);
/// let layer = Forward::new(Activation::RELU, &x, &w, &y).b(&b).saved(Saved::Y);
/// gpu.submit_pass(|pass| {
///     layer.record(&gpu, &mut *pass)?;
///     layer.backward(&dy).dx(&dx).dw(Gradient::accumulate(&dw)).db(&db).record(&gpu, &mut *pass)
/// })?;
/// # Ok::<(), elbow::Error>(())
/// ```
///
/// It reads what forward read and kept, as it is then: x for dW, w for dx, z, y or the mask for the slope, and x, w and b
/// where nothing was kept. Nothing else of the layer needs to be in memory any more ([`View::absent`]).
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is recorded yet"]
pub struct Backward<'a> {
    pub(super) layer: Forward<'a>,
    pub(super) dy: View<'a>,
    pub(super) dy_is_dz: bool,
    pub(super) dx: Option<Gradient<'a>>,
    pub(super) dw: Option<Gradient<'a>>,
    pub(super) db: Option<Gradient<'a>>,
    pub(super) dalpha: Option<Gradient<'a>>,
    pub(super) dresidual: Option<Gradient<'a>>,
    pub(super) drow_weight: Option<Gradient<'a>>,
    pub(super) below: Option<Forward<'a>>,
    pub(super) db_below: Option<Gradient<'a>>,
    pub(super) dalpha_below: Option<Gradient<'a>>,
    pub(super) drow_weight_below: Option<Gradient<'a>>,
}

impl<'a> Forward<'a> {
    /// The backward call of this layer for an upstream gradient `[.., N]`; add the gradients that are wanted.
    ///
    /// Forward need not have been recorded by elbow. A host that comes back to a layer later states it as it was, with what it
    /// has kept:
    ///
    /// ```no_run
    /// # use elbow::{Activation, Dtype, Gpu, Saved, View, affine::Forward};
    /// # let gpu = Gpu::new()?;
    /// # let (x, w, z) = (gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[2, 4])?);
    /// # let (dy, dx, dw) = (gpu.zeros(&[2, 4])?, gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?);
    /// // y and the residual are gone; the layer had them.
    /// let gone = View::absent(&[2, 4], Dtype::F32);
    /// let layer = Forward::new(Activation::SILU, &x, &w, gone).saved(Saved::Z).save_to(&z).residual(gone);
    /// gpu.submit(|encoder| layer.backward(&dy).dx(&dx).dw(&dw).record(&gpu, encoder))?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn backward(&self, dy: impl Into<View<'a>>) -> Backward<'a> {
        Backward {
            layer: *self,
            dy: dy.into(),
            dy_is_dz: false,
            dx: None,
            dw: None,
            db: None,
            dalpha: None,
            dresidual: None,
            drow_weight: None,
            below: None,
            db_below: None,
            dalpha_below: None,
            drow_weight_below: None,
        }
    }

    /// The same from the gradient with respect to z, as a chain leaves it ([`Backward::below`]): no slope is applied.
    pub fn backward_from_dz(&self, dz: impl Into<View<'a>>) -> Backward<'a> {
        Backward { dy_is_dz: true, ..self.backward(dz) }
    }
}

/// The wanted gradients: a tensor or a view is overwritten.
impl<'a> Backward<'a> {
    /// dx `[.., K]`; in a chain it receives dz of the layer below.
    pub fn dx(self, dx: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dx: dx.into(), ..self }
    }

    /// dW, shaped as w.
    pub fn dw(self, dw: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dw: dw.into(), ..self }
    }

    /// db `[N]`: the sum of dz over the rows, whether there is a b or not.
    pub fn db(self, db: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { db: db.into(), ..self }
    }

    /// dα, shaped as alpha.
    pub fn dalpha(self, dalpha: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dalpha: dalpha.into(), ..self }
    }

    /// dresidual `[.., N]`: dy, or dz where the residual joins before the activation.
    pub fn dresidual(self, dresidual: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dresidual: dresidual.into(), ..self }
    }

    /// d(row_weight) `[..]`: the sum of dy ⊙ act(z) over each row.
    pub fn drow_weight(self, drow_weight: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { drow_weight: drow_weight.into(), ..self }
    }

    /// Chain: the layer whose y is this layer's x. Its slope is applied in the epilogue of the dx product, so that dx receives
    /// its dz, for its [`Forward::backward_from_dz`]; its db and dα are reduced from the same tiles.
    pub fn below(self, below: &Forward<'a>) -> Self {
        Backward { below: Some(*below), ..self }
    }

    /// db `[K]` of the layer below.
    pub fn db_below(self, db: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { db_below: db.into(), ..self }
    }

    /// dα of the layer below, shaped as its alpha.
    pub fn dalpha_below(self, dalpha: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dalpha_below: dalpha.into(), ..self }
    }

    /// d(row_weight) of the layer below, `[..]`.
    pub fn drow_weight_below(self, drow_weight: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { drow_weight_below: drow_weight.into(), ..self }
    }

    /// Which strategy; the plan chooses unless it is said here or in the layer's pin.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.layer.pin.strategy = strategy;
        self
    }
}

impl<'a> Backward<'a> {
    /// The request that the operands' shapes make, in a batch that of one layer.
    pub fn request(&self) -> Result<BackwardRequest> {
        self.facts().map(|(_, request, _)| request)
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let (batch, request, operands) = self.resolve()?;
        let (batch, aligned) = (batch::count(batch), operands.aligned());
        Ok((plan::backward_batch(batch, &request, aligned, &gpu.caps(), &self.layer.pin)?, operands))
    }

    /// The number of layers, what is left to compute of each, and on what.
    fn resolve(&self) -> Result<(Option<Batch>, Resolved<BackwardRequest>, Operands<'a>)> {
        let (batch, request, mut operands) = self.facts()?;
        let request = request.resolve().map_err(|error| batch::said_of_each(batch, error))?;
        operands.retain(|operand| self.writes(operand) || request.reads(operand));
        Ok((batch, request, operands))
    }

    /// What the shapes of the operands make, and all operands that there are.
    fn facts(&self) -> Result<(Option<Batch>, BackwardRequest, Operands<'a>)> {
        let (batch, one) = self.one()?;
        let of_each = |error| batch::said_of_each(batch, error);
        let storage = self.layer.operands().storage(batch.is_some())?;
        let mut request = one.facts_of_one(storage).map_err(of_each)?;
        let operands = self.operands(&request);
        request.affine.storage = operands.storage_beside(storage, batch.is_some())?;
        Ok((batch, request, operands))
    }

    /// Of one layer.
    fn facts_of_one(&self, storage: Storage) -> Result<BackwardRequest> {
        let affine = self.layer.facts_behind(storage)?;
        let AffineRequest { m, n, k, layout, .. } = affine;
        expect_rows(Operand::Dy, self.dy, m, n)?;
        if let Some(dx) = view(&self.dx) {
            expect_rows(Operand::Dx, dx, m, k)?;
        }
        match view(&self.dw) {
            Some(dw) if dw.shape != weight_shape(layout, n, k) => {
                return Err(wrong_shape(Operand::Dw, format!("{:?}, the shape of w", self.layer.w.shape), dw));
            }
            _ => {}
        }
        expect_vector(Operand::Db, view(&self.db), n)?;
        expect_like(Operand::Dalpha, view(&self.dalpha), self.layer.alpha)?;
        if let Some(dresidual) = view(&self.dresidual) {
            expect_rows(Operand::Dresidual, dresidual, m, n)?;
        }
        expect_row_numbers(Operand::DrowWeight, view(&self.drow_weight), m)?;
        let gradients = Gradients {
            x: want(&self.dx),
            w: want(&self.dw),
            b: want(&self.db),
            alpha: want(&self.dalpha),
            residual: want(&self.dresidual),
            row_weight: want(&self.drow_weight),
        };
        Ok(BackwardRequest { affine, gradients, upstream_is_dz: self.dy_is_dz, below: self.below_facts(m, k)? })
    }

    /// The layer below, whose y must be the x of this one.
    fn below_facts(&self, m: usize, k: usize) -> Result<Option<Below>> {
        let Some(below) = &self.below else {
            for (operand, gradient) in [
                (Operand::DbBelow, self.db_below),
                (Operand::DalphaBelow, self.dalpha_below),
                (Operand::DrowWeightBelow, self.drow_weight_below),
            ] {
                if gradient.is_some() {
                    let expected = "no gradient: no layer below was given".into();
                    return Err(Error::Operand { operand, expected, got: format!("{operand} wanted") });
                }
            }
            return Ok(None);
        };
        let request =
            below.operands().storage(false).and_then(|storage| below.facts_behind(storage)).map_err(said_of_below)?;
        let (x, y) = (self.layer.x, below.y);
        if (request.m, request.n, y.dtype) != (m, k, x.dtype) {
            let expected = format!("y of the layer below, {:?} of {}", y.shape, y.dtype);
            return Err(Error::Operand { operand: Operand::X, expected, got: format!("{:?} of {}", x.shape, x.dtype) });
        }
        if x.buffer.is_some() && y.buffer.is_some() && !x.same_memory(&y) {
            let expected = "y of the layer below".into();
            return Err(Error::Operand { operand: Operand::X, expected, got: "other memory".into() });
        }
        expect_vector(Operand::DbBelow, view(&self.db_below), k)?;
        expect_like(Operand::DalphaBelow, view(&self.dalpha_below), below.alpha)?;
        expect_row_numbers(Operand::DrowWeightBelow, view(&self.drow_weight_below), m)?;
        Ok(Some(Below {
            activation: request.activation,
            alpha: request.alpha,
            saved: request.saved,
            row_weight: request.row_weight,
            db: want(&self.db_below),
            dalpha: want(&self.dalpha_below),
            drow_weight: want(&self.drow_weight_below),
        }))
    }

    /// The gradients, where they go.
    fn outputs(&self) -> [(Operand, &Option<Gradient<'a>>); 9] {
        [
            (Operand::Dx, &self.dx),
            (Operand::Dw, &self.dw),
            (Operand::Db, &self.db),
            (Operand::Dalpha, &self.dalpha),
            (Operand::Dresidual, &self.dresidual),
            (Operand::DrowWeight, &self.drow_weight),
            (Operand::DbBelow, &self.db_below),
            (Operand::DalphaBelow, &self.dalpha_below),
            (Operand::DrowWeightBelow, &self.drow_weight_below),
        ]
    }

    fn writes(&self, operand: Operand) -> bool {
        self.outputs().iter().any(|(output, _)| *output == operand)
    }

    /// All that there are, by the names that this call has for them.
    fn operands(&self, request: &BackwardRequest) -> Operands<'a> {
        let layer = &self.layer;
        let mut operands = Operands::default();
        operands.add(Operand::X, layer.x).add(Operand::W, layer.w).add(Operand::B, layer.b);
        operands.add(Operand::Alpha, layer.alpha).add(Operand::Residual, layer.residual);
        operands.add(Operand::RowWeight, layer.row_weight).add(Operand::Saved, layer.kept(request.affine.saved));
        if let (Some(layer), Some(below)) = (&self.below, &request.below) {
            operands.add(Operand::SavedBelow, layer.kept(below.saved)).add(Operand::AlphaBelow, layer.alpha);
            operands.add(Operand::RowWeightBelow, layer.row_weight);
        }
        operands.add(Operand::Dy, self.dy);
        for (operand, gradient) in self.outputs() {
            operands.add(operand, view(gradient));
        }
        operands
    }
}

impl<'a> Backward<'a> {
    /// The first of the layers, alone.
    pub(super) fn one(&self) -> Result<(Option<Batch>, Self)> {
        let (Some(batch), layer) = self.layer.one()? else { return Ok((None, *self)) };
        let one = Backward {
            layer,
            dy: batch.one(Operand::Dy, self.dy)?,
            dx: batch.gradient(Operand::Dx, self.dx)?,
            dw: batch.gradient(Operand::Dw, self.dw)?,
            db: batch.gradient(Operand::Db, self.db)?,
            dalpha: batch.dalpha(Operand::Dalpha, self.dalpha)?,
            dresidual: batch.gradient(Operand::Dresidual, self.dresidual)?,
            drow_weight: batch.gradient(Operand::DrowWeight, self.drow_weight)?,
            below: self.below.map(|below| below.one_of(batch)).transpose().map_err(said_of_below)?,
            db_below: batch.gradient(Operand::DbBelow, self.db_below)?,
            dalpha_below: batch.dalpha(Operand::DalphaBelow, self.dalpha_below)?,
            drow_weight_below: batch.gradient(Operand::DrowWeightBelow, self.drow_weight_below)?,
            ..*self
        };
        Ok((Some(batch), one))
    }
}

recorded!(Backward);

/// This call has another name for what it reads of the layer below.
pub(super) fn said_of_below(mut error: Error) -> Error {
    if let Error::Shape { operand, .. } | Error::Operand { operand, .. } = &mut error {
        *operand = match *operand {
            Operand::Saved => Operand::SavedBelow,
            Operand::Alpha => Operand::AlphaBelow,
            Operand::RowWeight => Operand::RowWeightBelow,
            operand => operand,
        };
    }
    error
}
