//! The fused layer on the device, y = act(x·Wᵀ + b; α), and its gradients. Optional: a residual after or before the activation, a
//! factor for each row, and statistics of z and y.
//!
//! Shapes: x `[.., K]` (leading dimensions flatten to M rows), w `[N, K]` or `[K, N]`, b `[N]`, alpha `[1]` or `[N]` (`[1, N]` too),
//! residual and y `[.., N]`. Everything is recorded into the caller's encoder or pass; nothing is submitted.
//!
//! A batch, many layers of one shape, is one call: with w `[E, N, K]` (or `[E, K, N]`) there are E layers, and every operand begins
//! with E: x `[E, .., K]`, b `[E, N]`, alpha `[E]` or `[E, N]`, residual and y `[E, .., N]`, what was saved, and the gradients. Each
//! layer gets the same bits as in a call of its own, if the operands of both are aligned alike.
//!
//! ```no_run
//! use elbow::{Activation, Gpu, affine::Forward};
//! let gpu = Gpu::new()?;
//! // Eight layers 64 -> 10, for 32 rows each; all of them read one x.
//! let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[8, 10, 64])?, gpu.zeros(&[8, 32, 10])?);
//! let layers = Forward::new(Activation::RELU, x.view().expanded(8)?, &w, &y);
//! gpu.submit(|encoder| layers.record(&gpu, encoder))?;
//! # Ok::<(), elbow::Error>(())
//! ```
//!
//! A layer is stated once, as a [`Forward`]; [`Forward::backward`] makes its [`Backward`], and [`Forward::double_backward`] its
//! [`DoubleBackward`], for losses that depend on gradients. What has a gradient of its own is asked for by name, in a chain that of the
//! layer below too:
//!
//! ```no_run
//! use elbow::{Activation, Gpu, Saved, Strategy, affine::Forward};
//! let gpu = Gpu::new()?;
//! let (x, w, z, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[32, 10])?, gpu.zeros(&[32, 10])?);
//! let (slopes, factors) = (gpu.upload(&[0.25; 10], &[10])?, gpu.upload(&[1.0; 32], &[32])?);
//! let (dy, dw, dslopes, dfactors) = (gpu.zeros(&[32, 10])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[10])?, gpu.zeros(&[32])?);
//! // A slope for each channel, a factor for each row.
//! let layer = Forward::new(Activation::prelu(0.25)?, &x, &w, &y).alpha(&slopes).row_weight(&factors);
//! let layer = layer.saved(Saved::Z).save_to(&z);
//! let backward = layer.backward(&dy).dw(&dw).dalpha(&dslopes).drow_weight(&dfactors).strategy(Strategy::TwoPass);
//! gpu.submit(|encoder| backward.record(&gpu, encoder))?;
//! // The same two, made on the way by the layer above.
//! let (w2, y2, dy2, dz) = (gpu.zeros(&[3, 10])?, gpu.zeros(&[32, 3])?, gpu.zeros(&[32, 3])?, gpu.zeros(&[32, 10])?);
//! let above = Forward::new(Activation::IDENTITY, &y, &w2, &y2).backward(&dy2).dx(&dz).below(&layer);
//! gpu.submit(|encoder| above.dalpha_below(&dslopes).drow_weight_below(&dfactors).record(&gpu, encoder))?;
//! # Ok::<(), elbow::Error>(())
//! ```

mod backward;
mod batch;
mod double;
mod front;

use self::batch::Batch;
pub use self::{backward::Backward, double::DoubleBackward, front::Front};
pub use crate::operands::Gradient;
use crate::{
    activation::Activation,
    dropout::Dropout,
    dtype::Dtype,
    error::{Error, Result},
    gate::Gate,
    gpu::{Gpu, operands::Operands},
    jet::Jet,
    operand::Operand,
    operands::{
        alpha_source, expect_dropout_state, expect_row_numbers, expect_rows, expect_saved, expect_shape, expect_vector,
        recorded, weight_n, wrong_shape,
    },
    plan::{self, Pin, Plan},
    request::{self, AffineRequest, ResidualAt, Saved, Statistic, WeightLayout},
    rules::Resolved,
    setters::setters,
    shape,
    storage::Storage,
    view::View,
};

/// Statistics of z and y that forward writes without another pass over memory: the five of [`Statistic`], for each channel (over the
/// rows) or for each row (over the channels).
///
/// ```no_run
/// use elbow::{Activation, Gpu, Statistic, affine::{Forward, Statistics}};
/// let gpu = Gpu::new()?;
/// let (x, w, y) = (gpu.zeros(&[64, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[64, 4])?);
/// let channels = gpu.zeros(&[5, 4])?;
/// let statistics = Statistics::default().channels(&channels);
/// let layer = Forward::new(Activation::RELU, &x, &w, &y).statistics(statistics);
/// gpu.submit(|encoder| layer.record(&gpu, encoder))?;
/// let dead = &gpu.download(&channels)?[Statistic::NotPositive as usize * 4..][..4];
/// println!("share of z <= 0 of each unit: {dead:?}");
/// # Ok::<(), elbow::Error>(())
/// ```
///
/// A variance is the mean of (v − c)² less the square of the mean of v − c; its error is about 2⁻²² · (variance + (mean − c)²). c is 0,
/// or, for channels, the number in `around`.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Statistics<'a> {
    /// Receives those of each channel, `[5, N]`.
    pub channels: Option<View<'a>>,
    /// Receives those of each row, `[5, M]`.
    pub rows: Option<View<'a>>,
    /// c: numbers near the means of z and of y in each channel, `[2, N]`, for instance those of the previous step. They matter where a
    /// mean is far larger than the standard deviation, as in a saturated unit.
    pub around: Option<View<'a>>,
    /// In how many rows each channel fires, z > 0 (or is NaN): this call's number is added, `[N]`. A unit with 0 over a window of batches is dead. f32: counts are
    /// exact up to 2²⁴ rows. Zeros begin a window.
    pub firing: Option<View<'a>>,
    /// The sum of max(−z, 0) of each channel: this call's is added, `[N]`. What the negative side of a PReLU or a leaky ReLU has to carry.
    pub negative_mass: Option<View<'a>>,
}

setters!(Statistics<'a> {
    channels: impl Into<Option<View<'a>>>,
    rows: impl Into<Option<View<'a>>>,
    around: impl Into<Option<View<'a>>>,
    firing: impl Into<Option<View<'a>>>,
    negative_mass: impl Into<Option<View<'a>>>,
});

/// One layer: its operands and its choices.
///
/// ```text
/// z = x·Wᵀ + b (+ residual)        y = row_weight ⊙ act(z; α) (+ residual)
/// ```
///
/// It is recorded as the forward call, and backward is made from it ([`Forward::backward`]), also where forward ran elsewhere: an
/// operand that backward does not read may then be [`View::absent`].
///
/// ```no_run
/// use elbow::{Activation, Gpu, Saved, affine::Forward};
/// let gpu = Gpu::new()?;
/// let (x, w, b) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[10])?);
/// let (y, z) = (gpu.zeros(&[32, 10])?, gpu.zeros(&[32, 10])?);
/// let layer = Forward::new(Activation::GELU_ERF, &x, &w, &y).b(&b).saved(Saved::Z).save_to(&z);
/// gpu.submit(|encoder| layer.record(&gpu, encoder))?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Forward<'a> {
    /// act; its own α counts where `alpha` is None.
    pub activation: Activation,
    /// Whether w is `[N, K]` (the default) or `[K, N]`.
    pub layout: WeightLayout,
    /// What is kept for backward; [`Saved::None`] after `new`.
    pub saved: Saved,
    /// Input `[.., K]`, M rows.
    pub x: View<'a>,
    /// Weight `[N, K]` or `[K, N]`; three dimensions are a batch.
    pub w: View<'a>,
    /// Bias `[N]`.
    pub b: Option<View<'a>>,
    /// Learnable α: `[1]` or `[N]`. Without it the activation's own number counts.
    pub alpha: Option<View<'a>>,
    /// Added after the activation or before it, `[.., N]`; may be the very memory of y.
    pub residual: Option<View<'a>>,
    /// Whether the residual is added to act(z) (the default) or is a part of z.
    pub residual_at: ResidualAt,
    /// What x goes through before it is multiplied: a norm, a scale and a shift, an activation.
    pub front: Option<Front<'a>>,
    /// A factor for each row of act(z), M elements, shaped as the leading dimensions of y: `[..]`.
    pub row_weight: Option<View<'a>>,
    /// Whether the rows are groups that carry derivatives along ([`Jet`]); x, y, z and the residual are then `[.., 4, ·]` or `[.., 8, ·]`,
    /// or have so many rows. b joins the first row of each group alone, and db is summed over those.
    pub jet: Option<Jet>,
    /// Makes a gated layer of it, y = act(gate; α) ⊙ up (+ residual): w is then `[2N, K]` (or `[K, 2N]`), b `[2N]` and z `[.., 2N]`, with the gate and
    /// what it lets through of each unit where the [`Gate`] says.
    pub gate: Option<Gate>,
    /// With [`Gate::apart`] the weight of up, shaped as w, which is the gate's alone.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gate, Gpu, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, gate, up, bias, up_bias) =
    ///     (gpu.zeros(&[32, 64])?, gpu.zeros(&[256, 64])?, gpu.zeros(&[256, 64])?, gpu.zeros(&[256])?, gpu.zeros(&[256])?);
    /// let (y, dy, dup, dup_bias) = (gpu.zeros(&[32, 256])?, gpu.zeros(&[32, 256])?, gpu.zeros(&[256, 64])?, gpu.zeros(&[256])?);
    /// let layer = Forward::new(Activation::SILU, &x, &gate, &y).gate(Gate::apart()).w_up(&up).b(&bias).b_up(&up_bias);
    /// let backward = layer.backward(&dy).dw_up(&dup).db_up(&dup_bias);
    /// gpu.submit(|encoder| backward.record(&gpu, encoder))?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub w_up: Option<View<'a>>,
    /// The bias of up, `[N]`: there if and only if `b` is, which is the gate's alone.
    pub b_up: Option<View<'a>>,
    /// Leaves elements of row_weight ⊙ act(z) out, before a residual is added to it; needs `dropout_state`.
    pub dropout: Option<Dropout>,
    /// [`Dropout::state`], u32 `[4]`, read when the call runs: a call that is prepared once can have another mask in every step.
    pub dropout_state: Option<View<'a>>,
    /// Output `[.., N]`.
    pub y: View<'a>,
    /// z (`[.., N]`) or the mask (`[.., ⌈N/32⌉]`, [`Dtype::U32`]): written by forward, read by backward. [`Forward::saved_shape`] says
    /// whether `saved` needs one.
    pub save_to: Option<View<'a>>,
    /// Statistics of z and y to write; none after `new`.
    pub statistics: Statistics<'a>,
    /// Choices that the plan of forward, and of backward, must follow.
    pub pin: Pin,
}

setters!(Forward<'a> {
    activation: Activation,
    layout: WeightLayout,
    saved: Saved,
    x: impl Into<View<'a>>,
    w: impl Into<View<'a>>,
    b: impl Into<Option<View<'a>>>,
    alpha: impl Into<Option<View<'a>>>,
    residual: impl Into<Option<View<'a>>>,
    residual_at: ResidualAt,
    front: impl Into<Option<Front<'a>>>,
    row_weight: impl Into<Option<View<'a>>>,
    jet: impl Into<Option<Jet>>,
    gate: impl Into<Option<Gate>>,
    w_up: impl Into<Option<View<'a>>>,
    b_up: impl Into<Option<View<'a>>>,
    dropout: impl Into<Option<Dropout>>,
    dropout_state: impl Into<Option<View<'a>>>,
    y: impl Into<View<'a>>,
    save_to: impl Into<Option<View<'a>>>,
    statistics: Statistics<'a>,
    pin: Pin,
});

impl<'a> Forward<'a> {
    /// y = act(x·Wᵀ), with nothing kept for backward (`Saved::None`); everything else is told by the setters.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[32, 10])?);
    /// gpu.submit(|encoder| Forward::new(Activation::RELU, &x, &w, &y).record(&gpu, encoder))?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn new(activation: Activation, x: impl Into<View<'a>>, w: impl Into<View<'a>>, y: impl Into<View<'a>>) -> Self {
        Forward {
            activation,
            layout: WeightLayout::OutIn,
            saved: Saved::None,
            x: x.into(),
            w: w.into(),
            b: None,
            alpha: None,
            residual: None,
            residual_at: ResidualAt::AfterActivation,
            front: None,
            row_weight: None,
            jet: None,
            gate: None,
            w_up: None,
            b_up: None,
            dropout: None,
            dropout_state: None,
            y: y.into(),
            save_to: None,
            statistics: Statistics::default(),
            pin: Pin::default(),
        }
    }

    /// y = act(sum + b; α): bias and activation of a sum that was made elsewhere, such as another library's product, `[.., N]`; y may be sum itself.
    /// Its backward has db, dα and dresidual = dz, the gradient of the sum, which may be the memory of dy.
    ///
    /// It is the layer without inputs (K = 0) whose residual, before the activation, is the sum. [`Error::Shape`] if the sum has no dimension.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, Saved, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (sum, b, dy, db) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[64])?, gpu.zeros(&[32, 64])?, gpu.zeros(&[64])?);
    /// let layer = Forward::of_sum(Activation::RELU, &sum, &sum)?.b(&b).saved(Saved::Y);
    /// gpu.submit_pass(|pass| {
    ///     layer.record(&gpu, &mut *pass)?; // in place
    ///     layer.backward(&dy).db(&db).dresidual(&dy).record(&gpu, pass) // in place
    /// })?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn of_sum(activation: Activation, sum: impl Into<View<'a>>, y: impl Into<View<'a>>) -> Result<Self> {
        let sum = sum.into();
        let (_, n) = shape::rows_and_columns(Operand::Residual, &sum.shape)?;
        let mut rows = sum.shape.to_vec();
        rows.pop();
        rows.push(0);
        let (x, w) = (View::absent(&rows, Dtype::F32), View::absent(&[n, 0], Dtype::F32));
        Ok(Forward::new(activation, x, w, y).residual(sum).residual_at(ResidualAt::BeforeActivation))
    }

    /// The shapes and choices as plain facts, with `Saved::Auto` resolved; of a batch, those of one layer. An error names the operand that
    /// does not fit.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, Saved, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[32, 10])?);
    /// let request = Forward::new(Activation::RELU, &x, &w, &y).saved(Saved::Auto).request()?;
    /// assert_eq!((request.m, request.n, request.k, request.saved), (32, 10, 64, Saved::Y));
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn request(&self) -> Result<AffineRequest> {
        self.resolve(&self.operands()).map(|(_, request)| *request)
    }

    /// Shape and type to allocate for `save_to`: z in the type of y (another float type is allowed too), or the mask. None if nothing
    /// but y is kept.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, Saved, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, w, y) = (gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[2, 4])?);
    /// let layer = Forward::new(Activation::SILU, &x, &w, &y).saved(Saved::Auto);
    /// let kept = layer.saved_shape()?.map(|(shape, dtype)| gpu.zeros_of(dtype, &shape)).transpose()?;
    /// let layer = layer.save_to(kept.as_ref().map(|kept| kept.view()));
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn saved_shape(&self) -> Result<Option<(Vec<usize>, Dtype)>> {
        let (batch, one) = self.one()?;
        let storage = self.operands().storage(batch.is_some())?;
        let resolve = || one.facts(storage)?.resolve();
        let request = resolve().map_err(|error| batch::said_of_each(batch, error))?;
        let (columns, dtype) = match request.saved {
            Saved::Z => (request.outputs(), self.y.dtype),
            Saved::Mask => (request.n.div_ceil(32), Dtype::U32),
            Saved::Auto | Saved::Y | Saved::None => return Ok(None),
        };
        let mut shape = self.y.shape.to_vec();
        shape.pop();
        shape.push(columns);
        Ok(Some((shape, dtype)))
    }

    /// The number of layers, if it is a batch, and the checked request of one layer.
    fn resolve(&self, operands: &Operands<'a>) -> Result<(Option<Batch>, Resolved<AffineRequest>)> {
        let (batch, one) = self.one()?;
        let storage = operands.storage(batch.is_some())?;
        let resolve = || {
            let request = one.facts(storage)?.resolve()?;
            expect_saved(one.save_to, request.saved, request.m, request.outputs())?;
            Ok(request)
        };
        Ok((batch, resolve().map_err(|error| batch::said_of_each(batch, error))?))
    }

    /// The request of one layer, from the shapes of all operands but `save_to`.
    fn facts(&self, storage: Storage) -> Result<AffineRequest> {
        let (m, k) = shape::rows_and_columns(Operand::X, &self.x.shape)?;
        let outputs = weight_n(self.w, self.layout, k)?;
        let n = match self.gate {
            Some(gate) if gate.is_apart() => outputs,
            Some(_) if outputs % 2 == 1 => {
                return Err(wrong_shape(
                    Operand::W,
                    "an even number of outputs: gate and up of each unit".into(),
                    self.w,
                ));
            }
            Some(_) => outputs / 2,
            None => outputs,
        };
        expect_rows(Operand::Y, self.y, m, n)?;
        expect_vector(Operand::B, self.b, outputs)?;
        self.expect_up(outputs)?;
        if let Some(residual) = self.residual {
            expect_rows(Operand::Residual, residual, m, n)?;
        }
        expect_row_numbers(Operand::RowWeight, self.row_weight, m)?;
        expect_dropout_state(self.dropout, self.dropout_state)?;
        let Statistics { channels, rows, around, firing, negative_mass } = self.statistics;
        let count = Statistic::ALL.len();
        for (operand, view, shape) in [
            (Operand::ChannelStatistics, channels, [count, n]),
            (Operand::RowStatistics, rows, [count, m]),
            (Operand::Around, around, [2, n]),
        ] {
            expect_shape(operand, view, &shape)?;
        }
        expect_vector(Operand::Firing, firing, n)?;
        expect_vector(Operand::NegativeMass, negative_mass, n)?;
        if let (Some(_), None) = (around, channels) {
            let expected = "statistics of channels, whose variances are summed around these numbers".into();
            return Err(Error::Operand { operand: Operand::Around, expected, got: "none".into() });
        }
        Ok(AffineRequest {
            m,
            n,
            k,
            layout: self.layout,
            front: self.front.map(|front| front.facts(m, k)).transpose()?,
            activation: self.activation,
            alpha: alpha_source(Operand::Alpha, self.alpha, n)?,
            bias: self.b.is_some(),
            residual: self.residual.map(|_| self.residual_at),
            row_weight: self.row_weight.is_some(),
            jet: self.jet,
            gate: self.gate,
            dropout: self.dropout,
            statistics: request::Statistics {
                channels: channels.is_some(),
                rows: rows.is_some(),
                around: around.is_some(),
                firing: firing.is_some(),
                negative_mass: negative_mass.is_some(),
            },
            saved: self.saved,
            storage,
        })
    }

    /// Checks that weight and bias of what a gate lets through are there if and only if they should be, and shaped as the gate's.
    fn expect_up(&self, n: usize) -> Result<()> {
        let apart = self.gate.is_some_and(|gate| gate.is_apart());
        let refused = |operand, expected: &str, there: bool| {
            let got = if there { format!("{operand}") } else { "none".into() };
            Err(Error::Operand { operand, expected: expected.into(), got })
        };
        match (self.w_up, apart) {
            (None, true) => {
                return refused(Operand::WUp, "the weight of up, shaped as w, for the gate is apart", false);
            }
            (Some(_), false) => return refused(Operand::WUp, "none, for no gate is apart (Gate::apart)", true),
            (Some(w_up), true) if w_up.shape != self.w.shape => {
                return Err(wrong_shape(Operand::WUp, format!("{:?}, the shape of w", self.w.shape), w_up));
            }
            _ => {}
        }
        match (self.b.filter(|_| apart), self.b_up) {
            (Some(_), None) => refused(Operand::BUp, "the bias of up, for the gate has one (b)", false),
            (None, Some(_)) if apart => refused(Operand::BUp, "none, for the gate has no bias (b)", true),
            (None, Some(_)) => refused(Operand::BUp, "none, for no gate is apart (Gate::apart)", true),
            (_, b_up) => expect_vector(Operand::BUp, b_up, n),
        }
    }

    /// The request of one layer whose forward has run: what it kept is there and can no longer be `Auto`.
    fn facts_behind(&self, storage: Storage) -> Result<AffineRequest> {
        let mut request = self.facts(storage)?;
        request.saved = request.resolve_saved(false)?;
        expect_saved(self.save_to, request.saved, request.m, request.outputs())?;
        Ok(request)
    }

    /// The operand in which backward finds what was kept: y itself, or `save_to`.
    fn kept(&self, saved: Saved) -> Option<View<'a>> {
        if saved == Saved::Y { Some(self.y) } else { self.save_to }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.x).add(Operand::W, self.w).add(Operand::B, self.b);
        operands.add(Operand::WUp, self.w_up).add(Operand::BUp, self.b_up);
        operands.add(Operand::Alpha, self.alpha).add(Operand::Residual, self.residual);
        operands.add(Operand::RowWeight, self.row_weight).add(Operand::DropoutState, self.dropout_state);
        operands.add(Operand::Y, self.y).add(Operand::Saved, self.save_to);
        let Statistics { channels, rows, around, firing, negative_mass } = self.statistics;
        operands.add(Operand::ChannelStatistics, channels).add(Operand::RowStatistics, rows);
        operands.add(Operand::Around, around).add(Operand::Firing, firing);
        operands.add(Operand::NegativeMass, negative_mass);
        if let Some(front) = &self.front {
            front.operands(&mut operands);
            let around = front.norm.is_some_and(|norm| norm.is_batch());
            operands.add(Operand::FirstRow, around.then(|| self.x.first_row(batch::is(self.w))));
        }
        operands.in_place(Operand::Y, Operand::Residual);
        operands
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let operands = self.operands();
        let (batch, request) = self.resolve(&operands)?;
        let in_place = self.residual.is_some_and(|r| r.same_memory(&self.y));
        let (batch, aligned) = (batch::count(batch), operands.aligned());
        Ok((plan::forward_batch(batch, &request, aligned, in_place, &gpu.caps(), &self.pin)?, operands))
    }
}

recorded!(Forward);
