//! Dropout of a tensor.

use super::{along, expect_shape, in_rows};
use crate::{
    activation::Activation,
    dropout::Dropout,
    error::Result,
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    operands::{expect_dropout_state, recorded},
    plan::{self, ElementwiseForward, Plan},
    setters::setters,
    shape,
    view::View,
};

/// y = x / (1 − p), or 0 where the element is left out ([`Dropout`]); made by [`dropout`].
///
/// x and y have one shape, `[..]`, and y may be the very memory of x. Backward is the same call on dy: dx = dy / (1 − p), or 0.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Dropped<'a> {
    /// How many elements are left out.
    pub dropout: Dropout,
    /// Which: [`Dropout::state`], u32 `[4]`, read when the call runs.
    pub state: View<'a>,
    /// Input of any shape.
    pub x: View<'a>,
    /// Output, shaped as x.
    pub y: View<'a>,
}

setters!(Dropped<'a> {
    dropout: Dropout,
    state: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
});

/// Leaves elements of a tensor out, and scales the others.
///
/// ```no_run
/// use elbow::{Dropout, Gpu, elementwise};
/// let gpu = Gpu::new()?;
/// let (x, y, dy, dx) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[32, 64])?, gpu.zeros(&[32, 64])?, gpu.zeros(&[32, 64])?);
/// let state = gpu.upload_words(&Dropout::state(7, 0, 0), &[4])?;
/// let dropout = Dropout::new(0.1)?;
/// gpu.submit_pass(|pass| {
///     elementwise::dropout(dropout, &state, &x, &y).record(&gpu, &mut *pass)?;
///     elementwise::dropout(dropout, &state, &dy, &dx).record(&gpu, pass) // backward: the same mask
/// })?;
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn dropout<'a>(
    dropout: Dropout,
    state: impl Into<View<'a>>,
    x: impl Into<View<'a>>,
    y: impl Into<View<'a>>,
) -> Dropped<'a> {
    Dropped { dropout, state: state.into(), x: x.into(), y: y.into() }
}

impl<'a> Dropped<'a> {
    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let Dropped { dropout, state, x, y } = *self;
        let mut operands = Operands::default();
        operands.add(Operand::X, x).add(Operand::Y, y).in_place(Operand::Y, Operand::X);
        shape::elements(Operand::X, &x.shape)?;
        let (alpha, [rows, channels], inner) = along(x, None)?;
        expect_shape(Operand::Y, Some(y), x, "x")?;
        expect_dropout_state(Some(dropout), Some(state))?;
        let storage = operands.storage(false)?;
        let activation = Activation::IDENTITY;
        let in_place = x.same_memory(&y);
        let request = ElementwiseForward { rows, channels, inner, activation, alpha, in_place, storage };
        in_rows(&request, x, &operands)?;
        let aligned = operands.aligned();
        operands.add(Operand::DropoutState, state);
        Ok((plan::elementwise_dropout(&request, dropout, aligned, &gpu.caps())?, operands))
    }
}

recorded!(Dropped);
