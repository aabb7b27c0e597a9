//! What a layer must be, looked at once: sizes, α, what forward keeps, which gradients go together. What has passed is [`Resolved`], and
//! is all that plans are made from.

use std::ops::Deref;

use crate::{
    activation::Activation,
    error::{Error, Result},
    operand::Operand,
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, ResidualAt, Saved, Want},
    shape,
    storage::Storage,
};

/// A request that keeps all rules, and leaves no choice of what is saved open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resolved<T>(T);

impl<T> Deref for Resolved<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl AffineRequest {
    /// With [`Saved::Auto`] resolved; an error names what breaks a rule.
    pub fn resolve(&self) -> Result<Resolved<AffineRequest>> {
        self.check_sizes()?;
        Ok(Resolved(AffineRequest { saved: self.resolve_saved(false)?, ..*self }))
    }

    /// Which choice `Saved::Auto` stands for; or an error if the choice is not enough for a right gradient.
    /// `needs_z` says whether a gradient will be wanted that needs z itself ([`Gradients::need_z`](crate::request::Gradients::need_z)).
    pub fn resolve_saved(&self, needs_z: bool) -> Result<Saved> {
        let learnable = self.alpha != AlphaSource::Constant;
        let (more, y) = (self.y_has_more(), self.storage.of(Operand::Y));
        let enough = |saved, needs_z| self.activation.saved_is_enough(saved, learnable, needs_z, more, y);
        match self.saved {
            Saved::Auto => {
                // Forward does not know which gradients will be asked for; what is learnable will want its own, from z.
                let needs_z = needs_z || learnable || self.row_weight;
                let cheapest = if self.activation.needs_nothing() && !needs_z {
                    Saved::None
                } else if enough(Saved::Y, needs_z).is_ok() && self.activation.slope_of_y_is_accurate() {
                    Saved::Y
                } else if enough(Saved::Mask, needs_z).is_ok() {
                    Saved::Mask
                } else {
                    Saved::Z
                };
                Ok(cheapest)
            }
            saved => enough(saved, needs_z).map(|()| saved),
        }
    }

    /// Elements of each operand below 2³², and K·N, M·N, M·K too; no operand that lies in memory as it can't.
    pub fn check_sizes(&self) -> Result<()> {
        self.storage.check()?;
        shape::elements(Operand::X, &[self.m, self.k])?;
        shape::elements(Operand::W, &[self.n, self.k])?;
        shape::elements(Operand::Y, &[self.m, self.n])?;
        for (operand, dim) in [(Operand::X, self.m), (Operand::Y, self.n), (Operand::W, self.k)] {
            shape::elements(operand, &[dim])?;
        }
        check_alpha(Operand::Alpha, self.activation, self.alpha)
    }
}

/// Only some activations have an α to learn.
pub(crate) fn check_alpha(operand: Operand, activation: Activation, alpha: AlphaSource) -> Result<()> {
    match alpha {
        AlphaSource::PerLayer | AlphaSource::PerChannel if !activation.has_alpha() => Err(Error::Operand {
            operand,
            expected: format!("no alpha: {activation} has no learnable parameter"),
            got: "an alpha operand".into(),
        }),
        _ => Ok(()),
    }
}

/// A gradient that is wanted of an operand that is not there.
pub(crate) fn check_want(operand: Operand, want: Want, of: Operand, there: bool) -> Result<()> {
    match want.wanted() && !there {
        true => Err(Error::Operand {
            operand,
            expected: format!("no gradient: the layer has no {of}"),
            got: format!("{operand} wanted"),
        }),
        false => Ok(()),
    }
}

impl BackwardRequest {
    /// What is left to compute: with dz given the layer is as good as linear, because its own activation has been applied. An error
    /// names what breaks a rule.
    pub fn resolve(&self) -> Result<Resolved<BackwardRequest>> {
        let BackwardRequest { affine, gradients: wants, upstream_is_dz, .. } = *self;
        affine.check_sizes()?;
        check_want(Operand::Dalpha, wants.alpha, Operand::Alpha, affine.alpha != AlphaSource::Constant)?;
        check_want(Operand::DrowWeight, wants.row_weight, Operand::RowWeight, affine.row_weight)?;
        if upstream_is_dz {
            let of_dz = affine.residual == Some(ResidualAt::BeforeActivation);
            let residual = if of_dz { Want::No } else { wants.residual };
            for (operand, want) in [
                (Operand::Dalpha, wants.alpha),
                (Operand::DrowWeight, wants.row_weight),
                (Operand::Dresidual, residual),
            ] {
                if want.wanted() {
                    return Err(Error::Unsupported {
                        what: format!("{operand} from an upstream gradient that is dz already"),
                        why: "it is made from dy, which the call that wrote dz had".into(),
                    });
                }
            }
        }
        let mut affine = match upstream_is_dz {
            true => AffineRequest {
                activation: Activation::IDENTITY,
                alpha: AlphaSource::Constant,
                row_weight: false,
                saved: Saved::None,
                ..affine
            },
            false => affine,
        };
        let needs_z = wants.need_z();
        let nothing = affine.is_linear() && !needs_z;
        affine.saved = if nothing { Saved::None } else { affine.resolve_saved(needs_z)? };
        let below = self.below.map(|below| self.resolve_below(below)).transpose()?;
        Ok(Resolved(BackwardRequest { affine, below, ..*self }))
    }

    fn resolve_below(&self, below: Below) -> Result<Below> {
        if self.gradients.x != Want::Overwrite {
            return Err(Error::Unsupported {
                what: "a chain without dx, or one that accumulates into it".into(),
                why: "the dx operand receives dz of the layer below and is overwritten: ask for x: Want::Overwrite"
                    .into(),
            });
        }
        let learnable = below.alpha != AlphaSource::Constant;
        check_want(Operand::DalphaBelow, below.dalpha, Operand::AlphaBelow, learnable)?;
        check_want(Operand::DrowWeightBelow, below.drow_weight, Operand::RowWeightBelow, below.row_weight)?;
        check_alpha(Operand::AlphaBelow, below.activation, below.alpha)?;
        // As a layer: N is the K of this one, M the same.
        let AffineRequest { m, k, storage, .. } = self.affine;
        let layer = AffineRequest {
            alpha: below.alpha,
            saved: below.saved,
            row_weight: below.row_weight,
            storage: Storage::default().with(Operand::Y, storage.of(Operand::SavedBelow)),
            ..AffineRequest::new(m, k, 0, below.activation)
        };
        let saved = layer.resolve_saved(below.dalpha.wanted() || below.drow_weight.wanted())?;
        if saved == Saved::None && (!below.activation.needs_nothing() || below.drow_weight.wanted()) {
            return Err(Error::Unsupported {
                what: "a chain over a layer that saved nothing".into(),
                why: "this call has no x, w and b of the layer below to compute its z again: save z, y or the mask"
                    .into(),
            });
        }
        Ok(Below { saved, ..below })
    }
}

impl Resolved<BackwardRequest> {
    /// Whether these gradients read an operand of forward: x for dW, w for dx, what was kept, α and the row weight for the slope, and
    /// x, w, b and a residual before the activation where nothing was kept and z is computed again.
    pub fn reads(&self, operand: Operand) -> bool {
        let (affine, wants) = (&self.affine, &self.gradients);
        let slope = !affine.is_linear() && self.needs_dz();
        let again = self.reads_kept() && affine.saved == Saved::None;
        match operand {
            Operand::X => again || wants.w.wanted(),
            Operand::W => again || wants.x.wanted(),
            Operand::B => again && affine.bias,
            Operand::Residual => again && affine.residual == Some(ResidualAt::BeforeActivation),
            Operand::Alpha => self.reads_kept() && affine.alpha != AlphaSource::Constant,
            Operand::RowWeight => slope && affine.row_weight,
            Operand::Saved => self.reads_kept() && !again,
            Operand::SavedBelow => self.below.is_some_and(|below| below.saved != Saved::None),
            Operand::AlphaBelow => self.below.is_some_and(|below| below.alpha != AlphaSource::Constant),
            Operand::RowWeightBelow => self.below.is_some_and(|below| below.row_weight),
            Operand::Dy => true,
            _ => false,
        }
    }

    /// Whether z, or what was kept for it, has a part in them.
    pub(crate) fn reads_kept(&self) -> bool {
        self.gradients.need_z() || (self.needs_dz() && !self.affine.activation.needs_nothing())
    }

    /// Whether a gradient is wanted that is made from dz.
    fn needs_dz(&self) -> bool {
        let crate::request::Gradients { x, w, b, alpha, residual, .. } = self.gradients;
        let residual = residual.wanted() && self.affine.residual == Some(ResidualAt::BeforeActivation);
        residual || [x, w, b, alpha].iter().any(|want| want.wanted())
    }
}
