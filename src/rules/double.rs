//! The rules of a double backward, and what it needs: each operand is read where one of the wanted gradients depends on it.

use super::{Resolved, check_want};
use crate::{
    error::{Error, Result},
    operand::Operand,
    request::{AffineRequest, AlphaSource, DoubleBackwardRequest, ResidualAt, Saved},
};

impl DoubleBackwardRequest {
    /// Checks all rules and replaces [`Saved::Auto`]. An error names the operand or the combination that breaks a rule.
    ///
    /// ```
    /// use elbow::{Activation, Operand, Want, request::{AffineRequest, DoubleBackwardRequest, Returning, SecondGradients}};
    /// let layer = AffineRequest::new(32, 10, 64, Activation::RELU);
    /// let wants = SecondGradients::default().w(Want::Overwrite);
    /// let penalty = DoubleBackwardRequest::new(layer, Returning::default().x(true), wants).resolve()?;
    /// // A ReLU does not bend: dW2 = dzᵀ·ddx.
    /// assert!(penalty.reads(Operand::Ddx) && penalty.reads(Operand::Dy) && !penalty.reads(Operand::X));
    /// assert!(penalty.needs_dz() && penalty.reads_kept() && !penalty.bends() && !penalty.needs_tangent());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn resolve(&self) -> Result<Resolved<DoubleBackwardRequest>> {
        let DoubleBackwardRequest { affine, returning, gradients: wants } = *self;
        self.check()?;
        let needs_z = !affine.activation.is_flat() || returning.alpha || wants.alpha.wanted();
        let saved = match affine.activation.needs_nothing() {
            true => Saved::None,
            false => affine.resolve_saved(needs_z)?,
        };
        Ok(Resolved(DoubleBackwardRequest { affine: AffineRequest { saved, ..affine }, ..*self }))
    }

    /// Checks all rules but what is kept.
    pub(crate) fn check(&self) -> Result<()> {
        let DoubleBackwardRequest { affine, returning, gradients: wants } = *self;
        affine.check_sizes()?;
        for (there, what, why) in [
            (affine.jet.is_some(), "jets", "its rows are derivatives already"),
            (affine.dropout.is_some(), "dropout", "multiply dy and ddy by its factors instead"),
            (affine.front.is_some(), "a front", "take the double backward of the layer without it"),
            (affine.gate.is_some(), "a gate", "its activation is a product of two functions"),
            (affine.row_weight, "row weight", "multiply dy and ddy by it instead"),
        ] {
            if there {
                let what = format!("a double backward of a layer with {what}");
                return Err(Error::Unsupported { what, why: why.into() });
            }
        }
        let learnable = affine.alpha != AlphaSource::Constant;
        check_want(Operand::Dalpha2, wants.alpha, Operand::Alpha, learnable)?;
        check_given(Operand::Ddalpha, returning.alpha, "alpha", learnable)?;
        let residual = affine.residual == Some(ResidualAt::BeforeActivation);
        let what = "residual before the activation (the gradient of one after it is dy: add ddresidual to ddy)";
        check_given(Operand::Ddresidual, returning.residual, what, residual)?;
        check_given(Operand::Dresidual2, wants.residual.wanted(), what, residual)
    }

    /// Whether act'' may be other than 0.
    fn curves(&self) -> bool {
        !self.affine.activation.is_flat() && !self.affine.activation.needs_nothing()
    }

    /// Whether anything comes back.
    fn moves(&self) -> bool {
        self.returning.moves_z() || self.returning.alpha
    }
}

fn check_given(operand: Operand, given: bool, of: &str, there: bool) -> Result<()> {
    match given && !there {
        true => Err(Error::Operand {
            operand,
            expected: format!("none, because the layer has no {of}"),
            got: "an operand".into(),
        }),
        false => Ok(()),
    }
}

/// What the wanted gradients depend on.
impl Resolved<DoubleBackwardRequest> {
    /// Whether the gradient for z may be other than 0.
    pub fn bends(&self) -> bool {
        (self.returning.moves_z() && self.curves()) || self.returning.alpha
    }

    /// Whether the change of z is needed.
    pub fn needs_tangent(&self) -> bool {
        let wants = self.gradients;
        self.returning.moves_z() && (wants.dy.wanted() || (self.curves() && wants.need_dz2()) || wants.alpha.wanted())
    }

    /// Whether dz itself is needed: a product of dW meets the gradient that comes back to dx, or the other way round.
    pub fn needs_dz(&self) -> bool {
        let DoubleBackwardRequest { returning, gradients: wants, .. } = **self;
        (wants.x.wanted() && returning.w) || (wants.w.wanted() && returning.x)
    }

    /// Whether the gradient for z is needed, and may be other than 0.
    pub(crate) fn needs_dz2(&self) -> bool {
        self.bends() && self.gradients.need_dz2()
    }

    /// Whether z, or what was kept in its place, is needed.
    pub fn reads_kept(&self) -> bool {
        let of_moves = self.moves() && (self.gradients.dy.wanted() || self.gradients.alpha.wanted());
        !self.affine.activation.needs_nothing() && (of_moves || self.needs_dz() || self.needs_dz2())
    }

    /// Whether the call reads an operand. [`DoubleBackwardRequest::resolve`] has an example.
    pub fn reads(&self, operand: Operand) -> bool {
        let DoubleBackwardRequest { affine, returning, gradients: wants } = **self;
        let again = self.reads_kept() && affine.saved == Saved::None;
        let (tangent, bends) = (self.needs_tangent(), self.bends());
        let of_alpha = self.moves() && wants.alpha.wanted();
        match operand {
            Operand::X => again || (tangent && returning.w) || (wants.w.wanted() && bends),
            Operand::W => again || (tangent && returning.x) || (wants.x.wanted() && bends),
            Operand::B => again && affine.bias,
            Operand::Residual => again && affine.residual == Some(ResidualAt::BeforeActivation),
            Operand::Alpha => self.reads_kept() && affine.alpha != AlphaSource::Constant,
            Operand::Saved => self.reads_kept() && !again,
            Operand::Dy => self.needs_dz() || self.needs_dz2() || of_alpha,
            Operand::Ddx => returning.x && (tangent || wants.w.wanted()),
            Operand::Ddw => returning.w && (tangent || wants.x.wanted()),
            Operand::Ddb => returning.b && tangent,
            Operand::Ddresidual => returning.residual && tangent,
            Operand::Ddalpha => returning.alpha && (wants.dy.wanted() || wants.need_dz2() || wants.alpha.wanted()),
            _ => false,
        }
    }
}
