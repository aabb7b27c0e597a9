//! The activations alone, on a tensor: value, backward, double backward.

use crate::{
    activation::Activation,
    dtype::Storage,
    error::{Error, Result},
    gpu::{
        Gpu,
        record::{Operands, View},
    },
    operands::{Gradient, alpha_source, expect_like, recorded, view, want},
    plan::{self, ElementwiseBackward, ElementwiseDouble, ElementwiseForward, Plan},
    request::Operand,
    shape,
};

/// y = act(x; α), x `[..]`, alpha `[1]` or as long as x's last dimension. y may be the memory of x.
#[derive(Debug, Clone, Copy)]
pub struct Forward<'a> {
    /// The activation.
    pub activation: Activation,
    /// Input.
    pub x: View<'a>,
    /// Learnable α.
    pub alpha: Option<View<'a>>,
    /// Output, shaped as x.
    pub y: View<'a>,
}

/// dx = dy ⊙ act'(x; α), dα = Σ dy ⊙ ∂act/∂α. dx may be the memory of dy.
#[derive(Debug, Clone, Copy)]
pub struct Backward<'a> {
    /// The activation.
    pub activation: Activation,
    /// Input of forward.
    pub x: View<'a>,
    /// Learnable α.
    pub alpha: Option<View<'a>>,
    /// Upstream gradient, shaped as x.
    pub dy: View<'a>,
    /// Gradient of x.
    pub dx: Option<Gradient<'a>>,
    /// Gradient of α.
    pub dalpha: Option<Gradient<'a>>,
}

/// The backward of backward: given the cotangent ddx of dx,
/// ddy = ddx ⊙ act'(x), dx2 = ddx ⊙ dy ⊙ act''(x), dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α.
#[derive(Debug, Clone, Copy)]
pub struct DoubleBackward<'a> {
    /// The activation.
    pub activation: Activation,
    /// Input of forward.
    pub x: View<'a>,
    /// Learnable α.
    pub alpha: Option<View<'a>>,
    /// Upstream gradient of backward.
    pub dy: View<'a>,
    /// Cotangent of dx.
    pub ddx: View<'a>,
    /// Gradient for dy.
    pub ddy: Option<Gradient<'a>>,
    /// Gradient for x.
    pub dx2: Option<Gradient<'a>>,
    /// Gradient for α.
    pub dalpha2: Option<Gradient<'a>>,
}

fn facts(
    activation: Activation,
    x: View<'_>,
    alpha: Option<View<'_>>,
    in_place: bool,
    storage: Storage,
) -> Result<ElementwiseForward> {
    shape::elements(Operand::X, x.shape)?;
    // A tensor of no dimensions is one number.
    let (rows, channels) = if x.shape.is_empty() { (1, 1) } else { shape::rows_and_columns(Operand::X, x.shape)? };
    let alpha = alpha_source(Operand::Alpha, alpha, channels)?;
    Ok(ElementwiseForward { rows, channels, activation, alpha, in_place, storage })
}

fn expect_shape(operand: Operand, view: Option<View<'_>>, x: View<'_>) -> Result<()> {
    match view {
        Some(view) if view.shape != x.shape => Err(Error::Shape {
            operand,
            expected: format!("{:?}, the shape of x", x.shape),
            got: format!("{:?}", view.shape),
        }),
        _ => Ok(()),
    }
}

impl<'a> Forward<'a> {
    /// y = act(x).
    pub fn new(activation: Activation, x: impl Into<View<'a>>, y: impl Into<View<'a>>) -> Self {
        Forward { activation, x: x.into(), alpha: None, y: y.into() }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.x).add(Operand::Alpha, self.alpha).add(Operand::Y, self.y);
        operands.in_place(Operand::Y, Operand::X);
        operands
    }

    /// What will run.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let request =
            facts(self.activation, self.x, self.alpha, self.x.same_memory(&self.y), self.operands().storage())?;
        expect_shape(Operand::Y, Some(self.y), self.x)?;
        plan::elementwise_forward(&request, self.operands().aligned(), &gpu.caps())
    }
}

impl<'a> Backward<'a> {
    /// No gradient wanted yet: set those that are.
    pub fn new(activation: Activation, x: impl Into<View<'a>>, dy: impl Into<View<'a>>) -> Self {
        Backward { activation, x: x.into(), alpha: None, dy: dy.into(), dx: None, dalpha: None }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.x).add(Operand::Alpha, self.alpha).add(Operand::Dy, self.dy);
        operands.add(Operand::Dx, view(&self.dx)).add(Operand::Dalpha, view(&self.dalpha));
        operands.in_place(Operand::Dx, Operand::Dy);
        operands
    }

    /// What will run.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let in_place = self.dx.is_some_and(|dx| dx.view.same_memory(&self.dy));
        let forward = facts(self.activation, self.x, self.alpha, in_place, self.operands().storage())?;
        expect_shape(Operand::Dy, Some(self.dy), self.x)?;
        expect_shape(Operand::Dx, view(&self.dx), self.x)?;
        expect_like(Operand::Dalpha, view(&self.dalpha), self.alpha)?;
        let request = ElementwiseBackward { forward, dx: want(&self.dx), dalpha: want(&self.dalpha) };
        plan::elementwise_backward(&request, self.operands().aligned(), &gpu.caps())
    }
}

impl<'a> DoubleBackward<'a> {
    /// No gradient wanted yet: set those that are.
    pub fn new(
        activation: Activation,
        x: impl Into<View<'a>>,
        dy: impl Into<View<'a>>,
        ddx: impl Into<View<'a>>,
    ) -> Self {
        let (x, dy, ddx) = (x.into(), dy.into(), ddx.into());
        DoubleBackward { activation, x, alpha: None, dy, ddx, ddy: None, dx2: None, dalpha2: None }
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.x).add(Operand::Alpha, self.alpha);
        operands.add(Operand::Dy, self.dy).add(Operand::Ddx, self.ddx);
        operands.add(Operand::Ddy, view(&self.ddy)).add(Operand::Dx2, view(&self.dx2));
        operands.add(Operand::Dalpha2, view(&self.dalpha2));
        operands
    }

    /// What will run.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let forward = facts(self.activation, self.x, self.alpha, false, self.operands().storage())?;
        for (operand, view) in [
            (Operand::Dy, Some(self.dy)),
            (Operand::Ddx, Some(self.ddx)),
            (Operand::Ddy, view(&self.ddy)),
            (Operand::Dx2, view(&self.dx2)),
        ] {
            expect_shape(operand, view, self.x)?;
        }
        expect_like(Operand::Dalpha2, view(&self.dalpha2), self.alpha)?;
        let request =
            ElementwiseDouble { forward, ddy: want(&self.ddy), dx2: want(&self.dx2), dalpha2: want(&self.dalpha2) };
        plan::elementwise_double(&request, self.operands().aligned(), &gpu.caps())
    }
}

recorded!(Forward, Backward, DoubleBackward);
