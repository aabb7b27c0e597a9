//! The gradients of a layer, made from its forward call, so that what both must agree on is stated once.

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

/// The gradients of a [`Forward`], made by [`Forward::backward`].
///
/// ```text
/// dz = dy ⊙ act'(z; α)    dx = dz·W    dW = dzᵀ·x    db = Σ_rows dz    dα = Σ dy ⊙ ∂act/∂α    dresidual = dy
/// ```
///
/// With a row weight s, dz and dα have `s[m]`·dy in the place of dy, and ds = Σ_columns dy ⊙ act(z). A residual before the activation has
/// the gradient dz.
///
/// Only the gradients that are set are computed; each is overwritten, or added to ([`Gradient::accumulate`]):
///
/// ```no_run
/// use elbow::{Activation, Gpu, Saved, affine::{Forward, Gradient}};
/// let gpu = Gpu::new()?;
/// let (x, w, b, y) = (gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[4])?, gpu.zeros(&[2, 4])?);
/// let (dy, dx, dw, db) = (gpu.zeros(&[2, 4])?, gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[4])?);
/// let layer = Forward::new(Activation::RELU, &x, &w, &y).b(&b).saved(Saved::Y);
/// gpu.submit_pass(|pass| {
///     layer.record(&gpu, &mut *pass)?;
///     layer.backward(&dy).dx(&dx).dw(Gradient::accumulate(&dw)).db(&db).record(&gpu, &mut *pass)
/// })?;
/// # Ok::<(), elbow::Error>(())
/// ```
///
/// It reads, when it runs, x for dW, w for dx, z, y or the mask for the slope, and x, w and b if nothing was kept. No other operand of
/// forward needs to be in memory any more ([`View::absent`]).
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
    pub(super) dscale: Option<Gradient<'a>>,
    pub(super) dshift: Option<Gradient<'a>>,
    pub(super) dfront_alpha: Option<Gradient<'a>>,
    pub(super) dw_up: Option<Gradient<'a>>,
    pub(super) db_up: Option<Gradient<'a>>,
    pub(super) skip: bool,
    pub(super) below: Option<Forward<'a>>,
    pub(super) db_below: Option<Gradient<'a>>,
    pub(super) dalpha_below: Option<Gradient<'a>>,
    pub(super) drow_weight_below: Option<Gradient<'a>>,
}

impl<'a> Forward<'a> {
    /// The backward call of this layer for an upstream gradient dy `[.., N]`; set the gradients that are wanted.
    ///
    /// Forward need not have been recorded by elbow. A host that runs backward later states the layer as it was, with the operands that
    /// it has kept:
    ///
    /// ```no_run
    /// use elbow::{Activation, Dtype, Gpu, Saved, View, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, w, z) = (gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[2, 4])?);
    /// let (dy, dx, dw) = (gpu.zeros(&[2, 4])?, gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?);
    /// // Forward had y and a residual; neither is in memory any more.
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
            dscale: None,
            dshift: None,
            dfront_alpha: None,
            dw_up: None,
            db_up: None,
            skip: false,
            below: None,
            db_below: None,
            dalpha_below: None,
            drow_weight_below: None,
        }
    }

    /// [`Forward::backward`] from dz `[.., N]` instead of dy, as [`Backward::below`] leaves it: no slope is applied.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, w, y) = (gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[2, 4])?);
    /// let (dz, dw) = (gpu.zeros(&[2, 4])?, gpu.zeros(&[4, 3])?);
    /// let layer = Forward::new(Activation::RELU, &x, &w, &y);
    /// gpu.submit(|encoder| layer.backward_from_dz(&dz).dw(&dw).record(&gpu, encoder))?; // dW = dzᵀ·x
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn backward_from_dz(&self, dz: impl Into<View<'a>>) -> Backward<'a> {
        Backward { dy_is_dz: true, ..self.backward(dz) }
    }
}

/// The gradients to compute: a tensor or a view is overwritten, [`Gradient::accumulate`] adds to it.
impl<'a> Backward<'a> {
    /// dx `[.., K]`; with [`Backward::below`] it receives dz of the layer below.
    pub fn dx(self, dx: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dx: dx.into(), ..self }
    }

    /// dW, shaped as w.
    pub fn dw(self, dw: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dw: dw.into(), ..self }
    }

    /// db `[N]`: the sum of dz over the rows, also where the layer has no b.
    pub fn db(self, db: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { db: db.into(), ..self }
    }

    /// dα, shaped as the layer's alpha, which must be an operand.
    pub fn dalpha(self, dalpha: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dalpha: dalpha.into(), ..self }
    }

    /// dresidual `[.., N]`: dy, or dz where the residual joins before the activation. In a call without dx and dW it may be the very memory of dy.
    pub fn dresidual(self, dresidual: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dresidual: dresidual.into(), ..self }
    }

    /// d(row_weight) `[..]`: the sum of dy ⊙ act(z) over each row.
    pub fn drow_weight(self, drow_weight: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { drow_weight: drow_weight.into(), ..self }
    }

    /// The gradient of the scale of the layer's [`Front`](super::Front), `[K]`.
    pub fn dscale(self, dscale: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dscale: dscale.into(), ..self }
    }

    /// The gradient of its shift, `[K]`.
    pub fn dshift(self, dshift: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dshift: dshift.into(), ..self }
    }

    /// The gradient of its α, shaped as that.
    pub fn dfront_alpha(self, dfront_alpha: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dfront_alpha: dfront_alpha.into(), ..self }
    }

    /// dW of up, shaped as its weight, of a layer whose gate is apart ([`Forward::w_up`]); dw is then the gate's alone.
    pub fn dw_up(self, dw_up: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dw_up: dw_up.into(), ..self }
    }

    /// db `[N]` of up, of a layer whose gate is apart; db is then the gate's alone.
    pub fn db_up(self, db_up: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { db_up: db_up.into(), ..self }
    }

    /// The layer's residual is x itself, as in a residual block: dx = dz·W + dy, or dz·W + dz where the residual joins before the activation. What goes
    /// around the layer is added where the product is finished.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, Saved, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, w, z, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[64, 64])?, gpu.zeros(&[32, 64])?, gpu.zeros(&[32, 64])?);
    /// let (dy, dx, dw) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[32, 64])?, gpu.zeros(&[64, 64])?);
    /// let block = Forward::new(Activation::SILU, &x, &w, &y).residual(&x).saved(Saved::Z).save_to(&z); // y = x + silu(x·Wᵀ)
    /// gpu.submit_pass(|pass| {
    ///     block.record(&gpu, &mut *pass)?;
    ///     block.backward(&dy).skip().dx(&dx).dw(&dw).record(&gpu, pass)
    /// })?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn skip(self) -> Self {
        Backward { skip: true, ..self }
    }

    /// Chain: `below` is the layer whose y is this layer's x. Its slope is applied in the epilogue of the dx product, so that dx receives
    /// dz of the layer below, ready for its [`Forward::backward_from_dz`]. db and dα of the layer below are summed on the way.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, Saved, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, w1, b1, y1) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[16, 64])?, gpu.zeros(&[16])?, gpu.zeros(&[32, 16])?);
    /// let (w2, y2) = (gpu.zeros(&[10, 16])?, gpu.zeros(&[32, 10])?);
    /// let (dy2, dw2, dz1) = (gpu.zeros(&[32, 10])?, gpu.zeros(&[10, 16])?, gpu.zeros(&[32, 16])?);
    /// let (dw1, db1) = (gpu.zeros(&[16, 64])?, gpu.zeros(&[16])?);
    /// let first = Forward::new(Activation::RELU, &x, &w1, &y1).b(&b1).saved(Saved::Y);
    /// let second = Forward::new(Activation::IDENTITY, &y1, &w2, &y2);
    /// gpu.submit_pass(|pass| {
    ///     first.record(&gpu, &mut *pass)?;
    ///     second.record(&gpu, &mut *pass)?;
    ///     second.backward(&dy2).dw(&dw2).dx(&dz1).below(&first).db_below(&db1).record(&gpu, &mut *pass)?;
    ///     first.backward_from_dz(&dz1).dw(&dw1).record(&gpu, &mut *pass)
    /// })?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
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

    /// How dz reaches the products: [`Strategy::Auto`], the plan chooses, unless it is set here or in the layer's pin.
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.layer.pin.strategy = strategy;
        self
    }
}

impl<'a> Backward<'a> {
    /// The shapes and choices as plain facts; of a batch, those of one layer. An error names the operand that does not fit.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, Want, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, w, y) = (gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[2, 4])?);
    /// let (dy, dx) = (gpu.zeros(&[2, 4])?, gpu.zeros(&[2, 3])?);
    /// let request = Forward::new(Activation::RELU, &x, &w, &y).backward(&dy).dx(&dx).request()?;
    /// assert_eq!((request.gradients.x, request.gradients.w), (Want::Overwrite, Want::No));
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn request(&self) -> Result<BackwardRequest> {
        self.facts().map(|(_, request, _)| request)
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let (batch, request, operands) = self.resolve()?;
        let (batch, aligned) = (batch::count(batch), operands.aligned());
        Ok((plan::backward_batch(batch, &request, aligned, &gpu.caps(), &self.layer.pin)?, operands))
    }

    /// The number of layers, if it is a batch, the checked request of one layer, and the operands that it reads or writes.
    fn resolve(&self) -> Result<(Option<Batch>, Resolved<BackwardRequest>, Operands<'a>)> {
        let (batch, request, mut operands) = self.facts()?;
        let request = request.resolve().map_err(|error| batch::said_of_each(batch, error))?;
        operands.retain(|operand| self.writes(operand) || request.reads(operand));
        Ok((batch, request, operands))
    }

    /// The request before it is checked, and all operands, those that turn out not to be needed among them.
    fn facts(&self) -> Result<(Option<Batch>, BackwardRequest, Operands<'a>)> {
        let (batch, one) = self.one()?;
        let of_each = |error| batch::said_of_each(batch, error);
        let storage = self.layer.operands().storage(batch.is_some())?;
        let mut request = one.facts_of_one(storage).map_err(of_each)?;
        let operands = self.operands(&request);
        request.affine.storage = operands.storage_beside(storage, batch.is_some())?;
        Ok((batch, request, operands))
    }

    /// The request of one layer from the shapes of its operands.
    fn facts_of_one(&self, storage: Storage) -> Result<BackwardRequest> {
        let affine = self.layer.facts_behind(storage)?;
        let AffineRequest { m, n, k, layout, .. } = affine;
        let outputs = affine.outputs_of_w();
        expect_rows(Operand::Dy, self.dy, m, n)?;
        if let Some(dx) = view(&self.dx) {
            expect_rows(Operand::Dx, dx, m, k)?;
        }
        for (operand, of, dw) in [(Operand::Dw, Operand::W, &self.dw), (Operand::DwUp, Operand::WUp, &self.dw_up)] {
            match view(dw) {
                Some(dw) if dw.shape != weight_shape(layout, outputs, k) => {
                    return Err(wrong_shape(operand, format!("{:?}, the shape of {of}", self.layer.w.shape), dw));
                }
                _ => {}
            }
        }
        expect_vector(Operand::Db, view(&self.db), outputs)?;
        expect_vector(Operand::DbUp, view(&self.db_up), outputs)?;
        expect_like(Operand::Dalpha, view(&self.dalpha), self.layer.alpha)?;
        if let Some(dresidual) = view(&self.dresidual) {
            expect_rows(Operand::Dresidual, dresidual, m, n)?;
        }
        expect_row_numbers(Operand::DrowWeight, view(&self.drow_weight), m)?;
        expect_vector(Operand::Dscale, view(&self.dscale), k)?;
        expect_vector(Operand::Dshift, view(&self.dshift), k)?;
        let alpha_in_front = self.layer.front.and_then(|front| front.alpha);
        expect_like(Operand::DfrontAlpha, view(&self.dfront_alpha), alpha_in_front)?;
        let gradients = Gradients {
            x: want(&self.dx),
            w: want(&self.dw),
            b: want(&self.db),
            alpha: want(&self.dalpha),
            residual: want(&self.dresidual),
            row_weight: want(&self.drow_weight),
            scale: want(&self.dscale),
            shift: want(&self.dshift),
            front_alpha: want(&self.dfront_alpha),
            w_up: want(&self.dw_up),
            b_up: want(&self.db_up),
        };
        if let (true, Some(residual)) = (self.skip, self.layer.residual) {
            let x = self.layer.x;
            if x.buffer.is_some() && residual.buffer.is_some() && !x.same_memory(&residual) {
                let expected = "x itself, for its gradient is a part of dx".into();
                return Err(Error::Operand { operand: Operand::Residual, expected, got: "other memory".into() });
            }
        }
        Ok(BackwardRequest {
            affine,
            gradients,
            upstream_is_dz: self.dy_is_dz,
            below: self.below_facts(m, k)?,
            skip: self.skip,
            in_place: self.in_place(),
        })
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
                    let expected = "no gradient, because the call has no layer below".into();
                    return Err(Error::Operand { operand, expected, got: format!("{operand} wanted") });
                }
            }
            return Ok(None);
        };
        let request =
            below.operands().storage(false).and_then(|storage| below.facts_behind(storage)).map_err(said_of_below)?;
        if request.gate.is_some() {
            return Err(Error::Unsupported {
                what: "a chain over a gated layer".into(),
                why: "its dz has two numbers for each of dx: take dx, and the layer's own backward".into(),
            });
        }
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
            jet: request.jet,
            dropout: request.dropout,
            db: want(&self.db_below),
            dalpha: want(&self.dalpha_below),
            drow_weight: want(&self.drow_weight_below),
        }))
    }

    /// Every gradient that this call can write.
    fn outputs(&self) -> [(Operand, &Option<Gradient<'a>>); 14] {
        [
            (Operand::Dx, &self.dx),
            (Operand::Dw, &self.dw),
            (Operand::Db, &self.db),
            (Operand::Dalpha, &self.dalpha),
            (Operand::Dresidual, &self.dresidual),
            (Operand::DrowWeight, &self.drow_weight),
            (Operand::Dscale, &self.dscale),
            (Operand::Dshift, &self.dshift),
            (Operand::DfrontAlpha, &self.dfront_alpha),
            (Operand::DwUp, &self.dw_up),
            (Operand::DbUp, &self.db_up),
            (Operand::DbBelow, &self.db_below),
            (Operand::DalphaBelow, &self.dalpha_below),
            (Operand::DrowWeightBelow, &self.drow_weight_below),
        ]
    }

    /// Whether dresidual is the very memory of dy.
    fn in_place(&self) -> bool {
        view(&self.dresidual).is_some_and(|dresidual| dresidual.same_memory(&self.dy))
    }

    fn writes(&self, operand: Operand) -> bool {
        self.outputs().iter().any(|(output, _)| *output == operand)
    }

    /// All operands, under the names that this call has for them: alpha of the layer below is `alpha_below`.
    fn operands(&self, request: &BackwardRequest) -> Operands<'a> {
        let layer = &self.layer;
        let mut operands = Operands::default();
        operands.add(Operand::X, layer.x).add(Operand::W, layer.w).add(Operand::B, layer.b);
        operands.add(Operand::WUp, layer.w_up).add(Operand::BUp, layer.b_up);
        operands.add(Operand::Alpha, layer.alpha).add(Operand::Residual, layer.residual);
        operands.add(Operand::DropoutState, layer.dropout_state);
        operands.add(Operand::RowWeight, layer.row_weight).add(Operand::Saved, layer.kept(request.affine.saved));
        if let Some(front) = &layer.front {
            front.operands(&mut operands);
        }
        if let (Some(layer), Some(below)) = (&self.below, &request.below) {
            operands.add(Operand::SavedBelow, layer.kept(below.saved)).add(Operand::AlphaBelow, layer.alpha);
            operands.add(Operand::RowWeightBelow, layer.row_weight);
            operands.add(Operand::DropoutStateBelow, layer.dropout_state);
        }
        operands.add(Operand::Dy, self.dy);
        if self.in_place() {
            operands.in_place(Operand::Dresidual, Operand::Dy);
        }
        for (operand, gradient) in self.outputs() {
            operands.add(operand, view(gradient));
        }
        operands
    }
}

impl<'a> Backward<'a> {
    /// Of a batch its size and its first layer as a call of its own; else this call.
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
            dscale: batch.gradient(Operand::Dscale, self.dscale)?,
            dshift: batch.gradient(Operand::Dshift, self.dshift)?,
            dfront_alpha: batch.dalpha(Operand::DfrontAlpha, self.dfront_alpha)?,
            dw_up: batch.gradient(Operand::DwUp, self.dw_up)?,
            db_up: batch.gradient(Operand::DbUp, self.db_up)?,
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

/// An error about an operand of the layer below, under the name that this call has for it.
pub(super) fn said_of_below(mut error: Error) -> Error {
    if let Error::Shape { operand, .. } | Error::Operand { operand, .. } = &mut error {
        *operand = match *operand {
            Operand::Saved => Operand::SavedBelow,
            Operand::Alpha => Operand::AlphaBelow,
            Operand::RowWeight => Operand::RowWeightBelow,
            Operand::DropoutState => Operand::DropoutStateBelow,
            operand => operand,
        };
    }
    error
}
