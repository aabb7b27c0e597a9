//! The fused layer on the device: y = act(x·Wᵀ + b; α), and its gradients; a residual after or before the activation, a factor for each
//! row, statistics on the way.
//!
//! Shapes: x `[.., K]` (leading dimensions flatten to M rows), w `[N, K]` or `[K, N]`, b `[N]`, alpha `[1]` or `[N]` (`[1, N]` is as good),
//! residual and y `[.., N]`. Everything is recorded into the caller's encoder or pass; nothing is submitted.
//!
//! Many layers of one shape are one call: w `[E, N, K]` (or `[E, K, N]`) says that there are E of them, each with operands of
//! its own, and every operand begins with E: x `[E, .., K]`, b `[E, N]`, alpha `[E]` or `[E, N]`, residual and y `[E, .., N]`, what was
//! saved, and the gradients. Each layer gets the bits that a call of its own would give it, where that call's operands are
//! aligned as the batch's are.
//!
//! A layer is stated once, as a [`Forward`]; [`Forward::backward`] makes its [`Backward`].

mod backward;
mod batch;

pub use self::backward::Backward;
use self::batch::Batch;
pub use crate::operands::Gradient;
use crate::{
    activation::Activation,
    dtype::Dtype,
    error::{Error, Result},
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    operands::{
        alpha_source, expect_row_numbers, expect_rows, expect_saved, expect_shape, expect_vector, recorded, weight_n,
    },
    plan::{self, Pin, Plan},
    request::{self, AffineRequest, ResidualAt, Saved, Statistic, WeightLayout},
    rules::Resolved,
    setters::setters,
    shape,
    storage::Storage,
    view::View,
};

/// Statistics of z and y that forward leaves on its way, without another pass over memory: the five of [`Statistic`], for each channel
/// (over the rows) or for each row (over the channels).
///
/// ```no_run
/// # use elbow::{Activation, Gpu, Statistic, affine::{Forward, Statistics}};
/// # let gpu = Gpu::new()?;
/// # let (x, w, y) = (gpu.zeros(&[64, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[64, 4])?);
/// let channels = gpu.zeros(&[5, 4])?;
/// let statistics = Statistics::default().channels(&channels);
/// let layer = Forward::new(Activation::RELU, &x, &w, &y).statistics(statistics);
/// gpu.submit(|encoder| layer.record(&gpu, encoder))?;
/// let dead = &gpu.download(&channels)?[Statistic::NotPositive as usize * 4..][..4];
/// println!("share of z <= 0 of each unit: {dead:?}");
/// # Ok::<(), elbow::Error>(())
/// ```
///
/// A variance is the mean of squares less the square of the mean, both of v − c: its error is about 2⁻²² times
/// variance + (mean − c)². c is 0, or for channels what `around` holds.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Statistics<'a> {
    /// Those of each channel, `[5, N]`.
    pub channels: Option<View<'a>>,
    /// Those of each row, `[5, M]`.
    pub rows: Option<View<'a>>,
    /// Numbers near the means of z and of y in each channel, `[2, N]`: those of the step before, say. They matter where a mean is far
    /// larger than the deviation from it, as in a saturated unit.
    pub around: Option<View<'a>>,
}

setters!(Statistics<'a> {
    channels: impl Into<Option<View<'a>>>,
    rows: impl Into<Option<View<'a>>>,
    around: impl Into<Option<View<'a>>>,
});

/// A layer: its operands and its choices. It is recorded as the forward call, and it is what backward is made from
/// ([`Forward::backward`]), also where forward ran elsewhere: what backward does not read may be [`View::absent`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Forward<'a> {
    /// The activation.
    pub activation: Activation,
    /// How w lies.
    pub layout: WeightLayout,
    /// What is kept for backward.
    pub saved: Saved,
    /// Input `[.., K]`.
    pub x: View<'a>,
    /// Weight.
    pub w: View<'a>,
    /// Bias `[N]`.
    pub b: Option<View<'a>>,
    /// Learnable α: `[1]` or `[N]`. Without it the activation's own number counts.
    pub alpha: Option<View<'a>>,
    /// Added after the activation, or before it, `[.., N]`; may be the memory of y.
    pub residual: Option<View<'a>>,
    /// Where the residual is added.
    pub residual_at: ResidualAt,
    /// A factor of each row of act(z), shaped as the leading dimensions of y: `[..]`.
    pub row_weight: Option<View<'a>>,
    /// Output `[.., N]`.
    pub y: View<'a>,
    /// Where z (`[.., N]`) or the mask (`[.., ⌈N/32⌉]`, [`Dtype::U32`]) goes, and where backward finds it:
    /// [`Forward::saved_shape`] says whether the choice calls for one.
    pub save_to: Option<View<'a>>,
    /// Where statistics of z and y go.
    pub statistics: Statistics<'a>,
    /// Choices taken away from the plan, and from that of backward.
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
    row_weight: impl Into<Option<View<'a>>>,
    y: impl Into<View<'a>>,
    save_to: impl Into<Option<View<'a>>>,
    statistics: Statistics<'a>,
    pin: Pin,
});

impl<'a> Forward<'a> {
    /// y = act(x·Wᵀ), nothing kept (`Saved::Y`, or `Saved::None`: backward recomputes): set what else there is.
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
            row_weight: None,
            y: y.into(),
            save_to: None,
            statistics: Statistics::default(),
            pin: Pin::default(),
        }
    }

    /// The request that the operands' shapes make, in a batch that of one layer, with `Saved::Auto` resolved: what backward
    /// will read. An error names the operand that does not fit.
    pub fn request(&self) -> Result<AffineRequest> {
        self.resolve(&self.operands()).map(|(_, request)| *request)
    }

    /// What `save_to` must be, for `gpu.zeros_of(dtype, &shape)`: z in the type of y, or the mask. None if nothing is kept
    /// beside y. (z may be stored in another type than y.)
    ///
    /// ```no_run
    /// # use elbow::{Activation, Gpu, Saved, affine::Forward};
    /// # let gpu = Gpu::new()?;
    /// # let (x, w, y) = (gpu.zeros(&[2, 3])?, gpu.zeros(&[4, 3])?, gpu.zeros(&[2, 4])?);
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
            Saved::Z => (request.n, self.y.dtype),
            Saved::Mask => (request.n.div_ceil(32), Dtype::U32),
            Saved::Auto | Saved::Y | Saved::None => return Ok(None),
        };
        let mut shape = self.y.shape.to_vec();
        shape.pop();
        shape.push(columns);
        Ok(Some((shape, dtype)))
    }

    /// The number of layers and the request of each.
    fn resolve(&self, operands: &Operands<'a>) -> Result<(Option<Batch>, Resolved<AffineRequest>)> {
        let (batch, one) = self.one()?;
        let storage = operands.storage(batch.is_some())?;
        let resolve = || {
            let request = one.facts(storage)?.resolve()?;
            expect_saved(one.save_to, request.saved, request.m, request.n)?;
            Ok(request)
        };
        Ok((batch, resolve().map_err(|error| batch::said_of_each(batch, error))?))
    }

    /// Of one layer: what the shapes of its operands make; everything but where the kept goes.
    fn facts(&self, storage: Storage) -> Result<AffineRequest> {
        let (m, k) = shape::rows_and_columns(Operand::X, &self.x.shape)?;
        let n = weight_n(self.w, self.layout, k)?;
        expect_rows(Operand::Y, self.y, m, n)?;
        expect_vector(Operand::B, self.b, n)?;
        if let Some(residual) = self.residual {
            expect_rows(Operand::Residual, residual, m, n)?;
        }
        expect_row_numbers(Operand::RowWeight, self.row_weight, m)?;
        let Statistics { channels, rows, around } = self.statistics;
        let five = Statistic::ALL.len();
        for (operand, view, shape) in [
            (Operand::ChannelStatistics, channels, [five, n]),
            (Operand::RowStatistics, rows, [five, m]),
            (Operand::Around, around, [2, n]),
        ] {
            expect_shape(operand, view, &shape)?;
        }
        if let (Some(_), None) = (around, channels) {
            let expected = "statistics of channels: these are numbers that their variances are summed around".into();
            return Err(Error::Operand { operand: Operand::Around, expected, got: "none".into() });
        }
        Ok(AffineRequest {
            m,
            n,
            k,
            layout: self.layout,
            activation: self.activation,
            alpha: alpha_source(Operand::Alpha, self.alpha, n)?,
            bias: self.b.is_some(),
            residual: self.residual.map(|_| self.residual_at),
            row_weight: self.row_weight.is_some(),
            statistics: request::Statistics {
                channels: channels.is_some(),
                rows: rows.is_some(),
                around: around.is_some(),
            },
            saved: self.saved,
            storage,
        })
    }

    /// Of one layer whose forward has run: it is settled what it kept, and where.
    fn facts_behind(&self, storage: Storage) -> Result<AffineRequest> {
        let mut request = self.facts(storage)?;
        request.saved = request.resolve_saved(false)?;
        expect_saved(self.save_to, request.saved, request.m, request.n)?;
        Ok(request)
    }

    /// Where backward finds what was kept.
    fn kept(&self, saved: Saved) -> Option<View<'a>> {
        if saved == Saved::Y { Some(self.y) } else { self.save_to }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.x).add(Operand::W, self.w).add(Operand::B, self.b);
        operands.add(Operand::Alpha, self.alpha).add(Operand::Residual, self.residual);
        operands.add(Operand::RowWeight, self.row_weight);
        operands.add(Operand::Y, self.y).add(Operand::Saved, self.save_to);
        let Statistics { channels, rows, around } = self.statistics;
        operands.add(Operand::ChannelStatistics, channels).add(Operand::RowStatistics, rows);
        operands.add(Operand::Around, around);
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
