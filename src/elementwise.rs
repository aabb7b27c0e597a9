//! The activations alone, on a tensor: y = act(x; α), backward and double backward. Gated units, y = act(gate) ⊙ up ([`Gated`]). And
//! [`copy`], between views of any strides and types.
//!
//! ```no_run
//! use elbow::{Gpu, elementwise::Forward};
//! let gpu = Gpu::new()?;
//! // PReLU of an image [batch, channels, height, width], one slope for each channel.
//! let (x, y) = (gpu.zeros(&[8, 16, 28, 28])?, gpu.zeros(&[8, 16, 28, 28])?);
//! let (dy, dx, dalpha) = (gpu.zeros(&[8, 16, 28, 28])?, gpu.zeros(&[8, 16, 28, 28])?, gpu.zeros(&[16, 1, 1])?);
//! let slopes = gpu.upload(&[0.25; 16], &[16, 1, 1])?;
//! let layer = Forward::new("prelu".parse()?, &x, &y).alpha(&slopes);
//! gpu.submit_pass(|pass| {
//!     layer.record(&gpu, &mut *pass)?;
//!     layer.backward(&dy).dx(&dx).dalpha(&dalpha).record(&gpu, &mut *pass)
//! })?;
//! # Ok::<(), elbow::Error>(())
//! ```

mod dropped;
mod gated;

pub use self::{
    dropped::{Dropped, dropout},
    gated::{Gated, GatedBackward},
};
use crate::{
    activation::{Activation, Quantity},
    error::{Error, Result},
    gpu::{Gpu, copy, operands::Operands},
    operand::Operand,
    operands::{Gradient, alpha_source, expect_like, recorded, view, want},
    plan::{self, ElementwiseBackward, ElementwiseDouble, ElementwiseForward, Plan},
    request::AlphaSource,
    setters::setters,
    shape,
    storage::Storage,
    view::View,
};

/// y = act(x; α), x `[..]`.
///
/// α is one number, `[1]`, or one for each index of one dimension of x, in the shape that broadcasts to x: `[N]` for the last dimension,
/// `[C, 1, 1]` for the channels of `[B, C, H, W]`. y may be the very memory of x.
///
/// ```no_run
/// use elbow::{Activation, Gpu, elementwise::Forward};
/// let gpu = Gpu::new()?;
/// let (x, y) = (gpu.upload(&[-1.0, 0.0, 2.0], &[3])?, gpu.zeros(&[3])?);
/// gpu.submit(|encoder| Forward::new(Activation::RELU, &x, &y).record(&gpu, encoder))?;
/// assert_eq!(gpu.download(&y)?, [0.0, 0.0, 2.0]);
/// # Ok::<(), elbow::Error>(())
/// ```
///
/// With [`Forward::quantity`], y is a derivative of act at x instead: `.quantity(Quantity::ThirdDerivative)`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Forward<'a> {
    /// act; its own α counts where `alpha` is None.
    pub activation: Activation,
    /// Input, of any shape.
    pub x: View<'a>,
    /// Learnable α, in f32.
    pub alpha: Option<View<'a>>,
    /// Output, shaped as x.
    pub y: View<'a>,
    /// What y is: act(x), or one of its derivatives there. Only the value has a backward call.
    pub quantity: Quantity,
}

setters!(Forward<'a> {
    activation: Activation,
    x: impl Into<View<'a>>,
    alpha: impl Into<Option<View<'a>>>,
    y: impl Into<View<'a>>,
    quantity: Quantity,
});

/// dx = dy ⊙ act'(x; α), dα = Σ dy ⊙ ∂act/∂α: the gradients of a [`Forward`], made by [`Forward::backward`]. dx may be the very memory of
/// dy.
///
/// ```no_run
/// use elbow::{Activation, Gpu, elementwise::Forward};
/// let gpu = Gpu::new()?;
/// let (x, y) = (gpu.zeros(&[8, 16])?, gpu.zeros(&[8, 16])?);
/// let (dy, dx) = (gpu.zeros(&[8, 16])?, gpu.zeros(&[8, 16])?);
/// gpu.submit(|encoder| Forward::new(Activation::SILU, &x, &y).backward(&dy).dx(&dx).record(&gpu, encoder))?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is recorded yet"]
pub struct Backward<'a> {
    forward: Forward<'a>,
    dy: View<'a>,
    dx: Option<Gradient<'a>>,
    dalpha: Option<Gradient<'a>>,
}

/// The gradients of a [`Backward`], made by [`Backward::backward`]. ddx is the gradient that comes back to dx:
///
/// ```text
/// ddy = ddx ⊙ act'(x)        dx2 = ddx ⊙ dy ⊙ act''(x)        dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α
/// ```
///
/// ```no_run
/// use elbow::{Activation, Gpu, elementwise::Forward};
/// let gpu = Gpu::new()?;
/// let (x, y, dy) = (gpu.zeros(&[8, 16])?, gpu.zeros(&[8, 16])?, gpu.zeros(&[8, 16])?);
/// let (ddx, ddy, dx2) = (gpu.zeros(&[8, 16])?, gpu.zeros(&[8, 16])?, gpu.zeros(&[8, 16])?);
/// let (beta, dbeta2) = (gpu.upload(&[1.0], &[1])?, gpu.zeros(&[1])?);
/// let double = Forward::new(Activation::swish(1.0)?, &x, &y).alpha(&beta).backward(&dy).backward(&ddx);
/// gpu.submit(|encoder| double.ddy(&ddy).dx2(&dx2).dalpha2(&dbeta2).record(&gpu, encoder))?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is recorded yet"]
pub struct DoubleBackward<'a> {
    backward: Backward<'a>,
    ddx: View<'a>,
    ddy: Option<Gradient<'a>>,
    dx2: Option<Gradient<'a>>,
    dalpha2: Option<Gradient<'a>>,
}

fn expect_shape(operand: Operand, view: Option<View<'_>>, x: View<'_>, name: &str) -> Result<()> {
    match view {
        Some(view) if view.shape != x.shape => Err(Error::Shape {
            operand,
            expected: format!("{:?}, the shape of {name}", x.shape),
            got: format!("{:?}", view.shape),
        }),
        _ => Ok(()),
    }
}

impl<'a> Forward<'a> {
    /// y = act(x), with the activation's own α; [`Forward::alpha`] makes it learnable.
    pub fn new(activation: Activation, x: impl Into<View<'a>>, y: impl Into<View<'a>>) -> Self {
        Forward { activation, x: x.into(), alpha: None, y: y.into(), quantity: Quantity::Value }
    }

    /// The backward call for an upstream gradient dy, shaped as x; set the gradients that are wanted. It reads x, so forward must not
    /// have overwritten it with y; y itself is not read, and may be [`View::absent`].
    pub fn backward(&self, dy: impl Into<View<'a>>) -> Backward<'a> {
        Backward { forward: *self, dy: dy.into(), dx: None, dalpha: None }
    }

    fn facts(&self, in_place: bool, storage: Storage) -> Result<ElementwiseForward> {
        shape::elements(Operand::X, &self.x.shape)?;
        let (alpha, [rows, channels], inner) = along(self.x, self.alpha)?;
        expect_shape(Operand::Y, Some(self.y), self.x, "x")?;
        Ok(ElementwiseForward { rows, channels, inner, activation: self.activation, alpha, in_place, storage })
    }

    /// The request of backward: x must not have been overwritten by y.
    fn facts_behind(&self, in_place: bool, storage: Storage) -> Result<ElementwiseForward> {
        if self.quantity != Quantity::Value {
            return Err(Error::Unsupported {
                what: format!("backward of {}", self.quantity.wgsl_name()),
                why: "an elementwise backward is that of the value".into(),
            });
        }
        if self.x.same_memory(&self.y) && !self.activation.needs_nothing() {
            let expected = "an x that forward has not overwritten".into();
            return Err(Error::Operand { operand: Operand::X, expected, got: "the memory of y".into() });
        }
        self.facts(in_place, storage)
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.x).add(Operand::Alpha, self.alpha).add(Operand::Y, self.y);
        operands.in_place(Operand::Y, Operand::X);
        operands
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let operands = self.operands();
        let request = self.facts(self.x.same_memory(&self.y), operands.storage(false)?)?;
        in_rows(&request, self.x, &operands)?;
        Ok((plan::elementwise_quantity(&request, self.quantity, operands.aligned(), &gpu.caps())?, operands))
    }
}

impl<'a> Backward<'a> {
    /// dx, shaped as x.
    pub fn dx(self, dx: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dx: dx.into(), ..self }
    }

    /// dα, shaped as alpha.
    pub fn dalpha(self, dalpha: impl Into<Option<Gradient<'a>>>) -> Self {
        Backward { dalpha: dalpha.into(), ..self }
    }

    /// The double backward call for the gradient ddx that comes back to dx, shaped as x; set the gradients that are wanted. This call
    /// itself need not be recorded.
    pub fn backward(&self, ddx: impl Into<View<'a>>) -> DoubleBackward<'a> {
        DoubleBackward { backward: *self, ddx: ddx.into(), ddy: None, dx2: None, dalpha2: None }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.forward.x).add(Operand::Alpha, self.forward.alpha).add(Operand::Dy, self.dy);
        operands.add(Operand::Dx, view(&self.dx)).add(Operand::Dalpha, view(&self.dalpha));
        operands.in_place(Operand::Dx, Operand::Dy);
        operands
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let operands = self.operands();
        let in_place = self.dx.is_some_and(|dx| dx.view.same_memory(&self.dy));
        let forward = self.forward.facts_behind(in_place, operands.storage(false)?)?;
        expect_shape(Operand::Dy, Some(self.dy), self.forward.x, "x")?;
        expect_shape(Operand::Dx, view(&self.dx), self.forward.x, "x")?;
        expect_like(Operand::Dalpha, view(&self.dalpha), self.forward.alpha)?;
        in_rows(&forward, self.forward.x, &operands)?;
        let request = ElementwiseBackward { forward, dx: want(&self.dx), dalpha: want(&self.dalpha) };
        Ok((plan::elementwise_backward(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

impl<'a> DoubleBackward<'a> {
    /// ddy = ddx ⊙ act'(x), shaped as x.
    pub fn ddy(self, ddy: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { ddy: ddy.into(), ..self }
    }

    /// dx2 = ddx ⊙ dy ⊙ act''(x), shaped as x: what double backward adds to the gradient of x.
    pub fn dx2(self, dx2: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { dx2: dx2.into(), ..self }
    }

    /// dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α, shaped as alpha.
    pub fn dalpha2(self, dalpha2: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { dalpha2: dalpha2.into(), ..self }
    }

    fn operands(&self) -> Operands<'a> {
        let Backward { forward, dy, .. } = self.backward;
        let mut operands = Operands::default();
        operands.add(Operand::X, forward.x).add(Operand::Alpha, forward.alpha);
        operands.add(Operand::Dy, dy).add(Operand::Ddx, self.ddx);
        operands.add(Operand::Ddy, view(&self.ddy)).add(Operand::Dx2, view(&self.dx2));
        operands.add(Operand::Dalpha2, view(&self.dalpha2));
        operands
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let operands = self.operands();
        let Backward { forward: call, dy, .. } = self.backward;
        let forward = call.facts_behind(false, operands.storage(false)?)?;
        for (operand, view) in [
            (Operand::Dy, Some(dy)),
            (Operand::Ddx, Some(self.ddx)),
            (Operand::Ddy, view(&self.ddy)),
            (Operand::Dx2, view(&self.dx2)),
        ] {
            expect_shape(operand, view, call.x, "x")?;
        }
        expect_like(Operand::Dalpha2, view(&self.dalpha2), call.alpha)?;
        in_rows(&forward, call.x, &operands)?;
        let request =
            ElementwiseDouble { forward, ddy: want(&self.ddy), dx2: want(&self.dx2), dalpha2: want(&self.dalpha2) };
        Ok((plan::elementwise_double(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

/// A copy from one view to another of the same shape, made by [`copy`].
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is recorded yet"]
pub struct Copy<'a> {
    from: View<'a>,
    to: View<'a>,
}

/// `to[i, j, ..] = from[i, j, ..]`, whatever the strides of the two: it transposes, packs a slice, writes a broadcast out.
///
/// Numbers are converted between f32, f16 and bf16, rounded to the nearest; u32 words are copied to words alone. [`Error::Shape`] if the
/// shapes differ, [`Error::Alias`] if the two overlap in memory.
///
/// ```no_run
/// use elbow::{Float, Gpu, elementwise};
/// let gpu = Gpu::new()?;
/// let (w, w_turned) = (gpu.zeros(&[64, 32])?, gpu.zeros_of(Float::F16, &[32, 64])?);
/// // W [N, K] in f32 as [K, N] in f16.
/// gpu.submit(|encoder| elementwise::copy(w.view().transposed(0, 1)?, &w_turned).record(&gpu, encoder))?;
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn copy<'a>(from: impl Into<View<'a>>, to: impl Into<View<'a>>) -> Copy<'a> {
    Copy { from: from.into(), to: to.into() }
}

impl<'a> Copy<'a> {
    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        copy::planned(gpu, self.from, self.to)
    }
}

recorded!(Forward, Backward, DoubleBackward, Copy);

/// Where α comes from, and x as `[rows, channels]` with `inner` elements for each channel. The channels are the dimension of x along which
/// α runs, else the last one; then there is no `inner`.
fn along(x: View<'_>, alpha: Option<View<'_>>) -> Result<(AlphaSource, [usize; 2], Option<usize>)> {
    let dims: &[usize] = &x.shape;
    // A tensor without dimensions is one number.
    let Some((&last, leading)) = dims.split_last() else { return Ok((alpha_of(alpha, 1, &[1])?, [1, 1], None)) };
    let whole = [leading.iter().product(), last];
    let Some(given) = alpha else { return Ok((AlphaSource::Constant, whole, None)) };
    // The only dimension of α that is not 1, counted from the last one.
    let mut long = given.shape.iter().rev().enumerate().filter(|(_, dim)| **dim != 1);
    match (long.next(), long.next()) {
        (Some((behind, &channels)), None) if dims.iter().rev().nth(behind) == Some(&channels) => {
            let at = dims.len() - 1 - behind;
            let inner = (behind > 0).then(|| dims[at + 1..].iter().product());
            Ok((AlphaSource::PerChannel, [dims[..at].iter().product(), channels], inner))
        }
        _ => Ok((alpha_of(alpha, last, dims)?, whole, None)),
    }
}

/// α as one number; an error that lists the shapes that α may have.
fn alpha_of(alpha: Option<View<'_>>, last: usize, x: &[usize]) -> Result<AlphaSource> {
    match alpha_source(Operand::Alpha, alpha, 1) {
        Ok(AlphaSource::PerChannel) => Ok(AlphaSource::PerLayer),
        Ok(source) => Ok(source),
        Err(_) => {
            let expected = format!("[1], [{last}], or one dimension of {x:?} followed by ones, as it broadcasts");
            let got = alpha.map_or("none".into(), |alpha| format!("{:?}", alpha.shape));
            Err(Error::Shape { operand: Operand::Alpha, expected, got })
        }
    }
}

/// If α runs along another dimension than the last, gaps are possible only after the `inner` elements of each channel.
fn in_rows(request: &ElementwiseForward, x: View<'_>, operands: &Operands<'_>) -> Result<()> {
    match request.inner.is_none() || x.shape.last().copied() == request.inner {
        true => Ok(()),
        false => operands.contiguous().map(drop),
    }
}
