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

/// dx = dy ⊙ act'(x; α), dα = Σ dy ⊙ ∂act/∂α, of a [`Forward`] ([`Forward::backward`]). dx may be the memory of dy.
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is recorded yet"]
pub struct Backward<'a> {
    forward: Forward<'a>,
    dy: View<'a>,
    dx: Option<Gradient<'a>>,
    dalpha: Option<Gradient<'a>>,
}

/// The backward of a [`Backward`] ([`Backward::backward`]): given the cotangent ddx of dx,
/// ddy = ddx ⊙ act'(x), dx2 = ddx ⊙ dy ⊙ act''(x), dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α.
#[derive(Debug, Clone, Copy)]
#[must_use = "nothing is recorded yet"]
pub struct DoubleBackward<'a> {
    backward: Backward<'a>,
    ddx: View<'a>,
    ddy: Option<Gradient<'a>>,
    dx2: Option<Gradient<'a>>,
    dalpha2: Option<Gradient<'a>>,
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

    /// The backward call for an upstream gradient shaped as x; add the gradients that are wanted. It reads x, so forward must not
    /// have written y over it; y itself is not read, and may be [`View::absent`].
    pub fn backward(&self, dy: impl Into<View<'a>>) -> Backward<'a> {
        Backward { forward: *self, dy: dy.into(), dx: None, dalpha: None }
    }

    fn facts(&self, in_place: bool, storage: Storage) -> Result<ElementwiseForward> {
        shape::elements(Operand::X, &self.x.shape)?;
        // A tensor of no dimensions is one number.
        let (rows, channels) =
            if self.x.shape.is_empty() { (1, 1) } else { shape::rows_and_columns(Operand::X, &self.x.shape)? };
        let alpha = alpha_source(Operand::Alpha, self.alpha, channels)?;
        expect_shape(Operand::Y, Some(self.y), self.x)?;
        Ok(ElementwiseForward { rows, channels, activation: self.activation, alpha, in_place, storage })
    }

    /// What backward asks of it: that x is still there.
    fn facts_behind(&self, in_place: bool, storage: Storage) -> Result<ElementwiseForward> {
        if self.x.same_memory(&self.y) && !self.activation.needs_nothing() {
            let expected = "x as it was before forward".into();
            return Err(Error::Operand {
                operand: Operand::X,
                expected,
                got: "the memory of y, written over it".into(),
            });
        }
        self.facts(in_place, storage)
    }

    fn operands(&self) -> Operands<'a> {
        let mut operands = Operands::default();
        operands.add(Operand::X, self.x).add(Operand::Alpha, self.alpha).add(Operand::Y, self.y);
        operands.in_place(Operand::Y, Operand::X);
        operands
    }

    /// What will run.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let request = self.facts(self.x.same_memory(&self.y), self.operands().storage())?;
        plan::elementwise_forward(&request, self.operands().aligned(), &gpu.caps())
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

    /// The backward call of this one for a cotangent of dx, shaped as x; add the gradients that are wanted. This one need not have
    /// been recorded.
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

    /// What will run.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let in_place = self.dx.is_some_and(|dx| dx.view.same_memory(&self.dy));
        let forward = self.forward.facts_behind(in_place, self.operands().storage())?;
        expect_shape(Operand::Dy, Some(self.dy), self.forward.x)?;
        expect_shape(Operand::Dx, view(&self.dx), self.forward.x)?;
        expect_like(Operand::Dalpha, view(&self.dalpha), self.forward.alpha)?;
        let request = ElementwiseBackward { forward, dx: want(&self.dx), dalpha: want(&self.dalpha) };
        plan::elementwise_backward(&request, self.operands().aligned(), &gpu.caps())
    }
}

impl<'a> DoubleBackward<'a> {
    /// The gradient for dy, shaped as x.
    pub fn ddy(self, ddy: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { ddy: ddy.into(), ..self }
    }

    /// The gradient for x.
    pub fn dx2(self, dx2: impl Into<Option<Gradient<'a>>>) -> Self {
        DoubleBackward { dx2: dx2.into(), ..self }
    }

    /// The gradient for α, shaped as alpha.
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

    /// What will run.
    pub fn plan(&self, gpu: &Gpu) -> Result<Plan> {
        let Backward { forward: call, dy, .. } = self.backward;
        let forward = call.facts_behind(false, self.operands().storage())?;
        for (operand, view) in [
            (Operand::Dy, Some(dy)),
            (Operand::Ddx, Some(self.ddx)),
            (Operand::Ddy, view(&self.ddy)),
            (Operand::Dx2, view(&self.dx2)),
        ] {
            expect_shape(operand, view, call.x)?;
        }
        expect_like(Operand::Dalpha2, view(&self.dalpha2), call.alpha)?;
        let request =
            ElementwiseDouble { forward, ddy: want(&self.ddy), dx2: want(&self.dx2), dalpha2: want(&self.dalpha2) };
        plan::elementwise_double(&request, self.operands().aligned(), &gpu.caps())
    }
}

recorded!(Forward, Backward, DoubleBackward);
