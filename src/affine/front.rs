//! What x goes through in front of the product: the operands of a [`request::Front`].

use super::batch::Batch;
use crate::{
    activation::Activation,
    error::{Error, Result},
    gpu::operands::Operands,
    norm::Norm,
    operand::Operand,
    operands::{alpha_source, expect_shape, expect_vector},
    request,
    setters::setters,
    view::View,
};

/// A front: x is normalised, scaled and shifted, and goes through an activation, before it is multiplied. What is made of x is not written to
/// memory, where the kernels can compute it as they load.
///
/// ```text
/// u = (x − mean) / √(variance + ε), or x        v = scale ⊙ u + shift        the product's x = act(v; α)
/// ```
///
/// ```no_run
/// use elbow::{Activation, Gpu, Norm, Saved, affine::{Forward, Front}};
/// let gpu = Gpu::new()?;
/// let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[64, 64])?, gpu.zeros(&[32, 64])?);
/// let (gamma, beta, moments) = (gpu.upload(&[1.0; 64], &[64])?, gpu.zeros(&[64])?, gpu.zeros(&[2, 64])?);
/// let (dy, dx, dw) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[32, 64])?, gpu.zeros(&[64, 64])?);
/// let (slope, dgamma, dbeta, dslope) = (gpu.upload(&[0.25], &[1])?, gpu.zeros(&[64])?, gpu.zeros(&[64])?, gpu.zeros(&[1])?);
/// // A pre-activation residual block: y = x + prelu(batch_norm(x))·Wᵀ.
/// let front = Front::new(Activation::prelu(0.25)?).alpha(&slope);
/// let front = front.norm(Norm::batch()).moments(&moments).scale(&gamma).shift(&beta);
/// let block = Forward::new(Activation::IDENTITY, &x, &w, &y).front(front).residual(&x);
/// gpu.submit_pass(|pass| {
///     block.record(&gpu, &mut *pass)?;
///     let backward = block.backward(&dy).skip().dx(&dx).dw(&dw);
///     backward.dscale(&dgamma).dshift(&dbeta).dfront_alpha(&dslope).record(&gpu, pass)
/// })?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Front<'a> {
    /// How x is normalised; not at all after `new`.
    pub norm: Option<Norm>,
    /// Written by forward and read by backward if there is a norm, f32: mean and 1 / √(variance + ε) of each column, `[2, K]`, or of each row,
    /// `[2, M]`.
    pub moments: Option<View<'a>>,
    /// f32 `[2, K]`, mean and variance of each column over earlier batches: moved towards those of this batch by [`Norm::batch`] (the
    /// variance divided by the count less 1), read by [`Norm::running`], which needs it.
    pub running_moments: Option<View<'a>>,
    /// What multiplies each column, `[K]`.
    pub scale: Option<View<'a>>,
    /// What is added to each column, `[K]`.
    pub shift: Option<View<'a>>,
    /// The activation; its own α counts where `alpha` is None.
    pub activation: Activation,
    /// Learnable α: `[1]` or `[K]`.
    pub alpha: Option<View<'a>>,
}

setters!(Front<'a> {
    norm: impl Into<Option<Norm>>,
    moments: impl Into<Option<View<'a>>>,
    running_moments: impl Into<Option<View<'a>>>,
    scale: impl Into<Option<View<'a>>>,
    shift: impl Into<Option<View<'a>>>,
    activation: Activation,
    alpha: impl Into<Option<View<'a>>>,
});

impl<'a> Front<'a> {
    /// The activation alone, with its own α.
    pub const fn new(activation: Activation) -> Self {
        Front { norm: None, moments: None, running_moments: None, scale: None, shift: None, activation, alpha: None }
    }

    /// Of a layer with M rows and K columns; an error names the operand that does not fit.
    pub(super) fn facts(&self, m: usize, k: usize) -> Result<request::Front> {
        let Front { norm, moments, running_moments, scale, shift, activation, alpha } = *self;
        let wanted = norm.map(|norm| [2, if norm.of_rows() { m } else { k }]);
        match (wanted, moments) {
            (Some(shape), Some(_)) => expect_shape(Operand::Moments, moments, &shape)?,
            (None, None) => {}
            (wanted, given) => {
                let expected =
                    wanted.map_or("none, for there is no norm".into(), |shape| format!("{shape:?}, for the norm"));
                let got = given.map_or("none".into(), |view| format!("{:?}", view.shape));
                return Err(Error::Operand { operand: Operand::Moments, expected, got });
            }
        }
        expect_shape(Operand::RunningMoments, running_moments, &[2, k])?;
        expect_vector(Operand::Scale, scale, k)?;
        expect_vector(Operand::Shift, shift, k)?;
        let front = request::Front::new(activation).norm(norm).scale(scale.is_some()).shift(shift.is_some());
        Ok(front.alpha(alpha_source(Operand::FrontAlpha, alpha, k)?).running(running_moments.is_some()))
    }

    /// Adds its operands.
    pub(super) fn operands(&self, operands: &mut Operands<'a>) {
        operands.add(Operand::Moments, self.moments).add(Operand::RunningMoments, self.running_moments);
        operands.add(Operand::Scale, self.scale).add(Operand::Shift, self.shift).add(Operand::FrontAlpha, self.alpha);
    }

    /// The part of the first layer of a batch.
    pub(super) fn one_of(&self, batch: Batch) -> Result<Self> {
        Ok(Front {
            moments: batch.optional(Operand::Moments, self.moments)?,
            running_moments: batch.optional(Operand::RunningMoments, self.running_moments)?,
            scale: batch.optional(Operand::Scale, self.scale)?,
            shift: batch.optional(Operand::Shift, self.shift)?,
            alpha: batch.alpha(Operand::FrontAlpha, self.alpha)?,
            ..*self
        })
    }
}
