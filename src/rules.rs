//! The rules that a layer must keep, checked in one place: sizes, α, what forward keeps, which gradients go together. A request that has
//! passed is [`Resolved`], and plans are made from these alone.

mod double;

use std::ops::Deref;

use crate::{
    activation::Activation,
    error::{Error, Result},
    operand::Operand,
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, Front, Gradients, ResidualAt, Saved, Want},
    shape,
    storage::Storage,
};

/// A request that has passed all rules, with [`Saved::Auto`] replaced by the choice that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resolved<T>(T);

impl<T> Deref for Resolved<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl AffineRequest {
    /// Checks all rules and replaces [`Saved::Auto`]. An error names the operand or the combination that breaks a rule.
    ///
    /// ```
    /// use elbow::{Activation, Saved, request::AffineRequest};
    /// assert_eq!(AffineRequest::new(32, 10, 64, Activation::RELU).resolve()?.saved, Saved::Y);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn resolve(&self) -> Result<Resolved<AffineRequest>> {
        self.check_sizes()?;
        Ok(Resolved(AffineRequest { saved: self.resolve_saved(false)?, ..*self }))
    }

    /// The choice that is kept: the cheapest sufficient one for `Saved::Auto`; an error if another choice is not enough for right
    /// gradients. `needs_z`: a gradient will be wanted that needs z itself ([`Gradients::need_z`](crate::request::Gradients::need_z)).
    ///
    /// ```
    /// use elbow::{Activation, Saved, request::AffineRequest};
    /// let layer = AffineRequest::new(32, 10, 64, Activation::SILU);
    /// assert_eq!(layer.resolve_saved(false)?, Saved::Z);
    /// assert!(layer.saved(Saved::Mask).resolve_saved(false).is_err());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn resolve_saved(&self, needs_z: bool) -> Result<Saved> {
        let learnable = self.alpha != AlphaSource::Constant;
        let (more, y) = (self.y_has_more(), self.storage.of(Operand::Y));
        let enough = |saved, needs_z| self.activation.saved_is_enough(saved, learnable, needs_z, more, y);
        match self.saved {
            // The derivatives that jets need are those of z.
            // Both gradients of a gated unit need both parts of z.
            Saved::Auto if self.gate.is_some() => Ok(Saved::Z),
            saved @ (Saved::Y | Saved::Mask) if self.gate.is_some() => Err(Error::Unsupported {
                what: format!("backward of a gated layer from saved {saved}"),
                why: "it needs gate and up; enough would be: z, none (z is computed again)".into(),
            }),
            Saved::Auto if self.jet.is_some() => {
                Ok(if self.activation.needs_nothing() { Saved::None } else { Saved::Z })
            }
            saved @ (Saved::Y | Saved::Mask) if self.jet.is_some() => Err(Error::Unsupported {
                what: format!("backward of jets from saved {saved}"),
                why: "second and third derivatives need z; enough would be: z, none (z is computed again)".into(),
            }),
            Saved::Auto => {
                // Forward does not know which gradients will be wanted: it assumes those of a learnable α and of a row weight.
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

    /// Checks that every operand has fewer than 2³² elements, types and strides that are possible, and that α is learnable if it is an
    /// operand.
    ///
    /// ```
    /// use elbow::{Activation, request::AffineRequest};
    /// assert!(AffineRequest::new(1 << 20, 1 << 20, 1, Activation::RELU).check_sizes().is_err());
    /// ```
    pub fn check_sizes(&self) -> Result<()> {
        self.storage.check()?;
        shape::elements(Operand::X, &[self.m, self.k])?;
        let outputs = self.outputs();
        shape::elements(Operand::W, &[outputs, self.k])?;
        shape::elements(Operand::Y, &[self.m, outputs])?;
        for (operand, dim) in [(Operand::X, self.m), (Operand::Y, outputs), (Operand::W, self.k)] {
            shape::elements(operand, &[dim])?;
        }
        self.check_jet()?;
        self.check_gate()?;
        self.check_front()?;
        check_alpha(Operand::Alpha, self.activation, self.alpha)
    }

    /// Checks that a front has what its norm needs, and is before rows that stand for themselves.
    fn check_front(&self) -> Result<()> {
        let Some(front) = &self.front else { return Ok(()) };
        if self.jet.is_some() {
            return Err(Error::Unsupported {
                what: "a front before a layer with jets".into(),
                why: "the rows of a group are derivatives of its first row: state the activation as that of the layer before".into(),
            });
        }
        let needed = front.norm.is_some_and(|norm| norm.is_running());
        let usable = needed || front.norm.is_some_and(|norm| norm.is_batch());
        let expected = match front.running {
            false if needed => {
                "[2, K], mean and variance of earlier batches, for the norm is that of running statistics"
            }
            true if !usable => "none, for the layer has no norm of columns in front of it",
            _ => return check_alpha(Operand::FrontAlpha, front.activation, front.alpha),
        };
        let got = if front.running { "an operand" } else { "none" };
        Err(Error::Operand { operand: Operand::RunningMoments, expected: expected.into(), got: got.into() })
    }

    /// Checks that a gated layer has nothing that is made of one z.
    fn check_gate(&self) -> Result<()> {
        let before = self.residual == Some(ResidualAt::BeforeActivation);
        let others = [
            (self.jet.is_some(), "jets"),
            (self.statistics.any(), "statistics"),
            (before, "a residual before the activation"),
        ];
        match others.iter().find(|(there, _)| *there && self.gate.is_some()) {
            None => Ok(()),
            Some((_, what)) => Err(Error::Unsupported {
                what: format!("a gated layer with {what}"),
                why: "a unit has two numbers before the activation, gate and up".into(),
            }),
        }
    }

    /// Checks that jets have whole groups of rows, nothing that acts on rows alone, and an activation with a second derivative.
    fn check_jet(&self) -> Result<()> {
        let Some(jet) = self.jet else { return Ok(()) };
        let members = jet.members();
        if !self.m.is_multiple_of(members) {
            return Err(Error::Shape {
                operand: Operand::X,
                expected: format!("groups of {members} rows (value, {} tangents, operator)", jet.tangents()),
                got: format!("{} rows", self.m),
            });
        }
        let others = [
            (self.row_weight, "row weight"),
            (self.dropout.is_some(), "dropout"),
            (self.statistics.any(), "statistics"),
        ];
        for (there, what) in others {
            if there {
                return Err(Error::Unsupported {
                    what: format!("a layer with jets and {what}"),
                    why: "the rows of a group are derivatives of its first row".into(),
                });
            }
        }
        if self.activation.is_flat() && !jet.is_first_order() && !jet.allows_flat() {
            return Err(Error::Unsupported {
                what: format!("a second-order operator through {}", self.activation),
                why: "its second derivative is zero almost everywhere: the residual would not see the network; \
                      Jet::even_if_flat allows it"
                    .into(),
            });
        }
        Ok(())
    }
}

/// An error if α is an operand but the activation has no learnable α.
pub(crate) fn check_alpha(operand: Operand, activation: Activation, alpha: AlphaSource) -> Result<()> {
    match alpha {
        AlphaSource::PerLayer | AlphaSource::PerChannel if !activation.has_alpha() => Err(Error::Operand {
            operand,
            expected: format!("no alpha, because {activation} has no learnable parameter"),
            got: "an alpha operand".into(),
        }),
        _ => Ok(()),
    }
}

/// An error if the gradient of an operand is wanted that the layer does not have.
pub(crate) fn check_want(operand: Operand, want: Want, of: Operand, there: bool) -> Result<()> {
    match want.wanted() && !there {
        true => Err(Error::Operand {
            operand,
            expected: format!("no gradient, because the layer has no {of}"),
            got: format!("{operand} wanted"),
        }),
        false => Ok(()),
    }
}

impl BackwardRequest {
    /// Checks all rules and replaces [`Saved::Auto`]. If dz is given, the layer becomes linear, because its slope has been applied already.
    /// An error names the operand or the combination that breaks a rule.
    ///
    /// ```
    /// use elbow::{Activation, Operand, Want, request::{AffineRequest, BackwardRequest, Gradients}};
    /// let layer = AffineRequest::new(32, 10, 64, Activation::RELU);
    /// let dw = BackwardRequest::new(layer, Gradients::default().w(Want::Overwrite)).resolve()?;
    /// assert!(dw.reads(Operand::X) && dw.reads(Operand::Saved) && !dw.reads(Operand::W));
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn resolve(&self) -> Result<Resolved<BackwardRequest>> {
        let BackwardRequest { affine, gradients: wants, upstream_is_dz, .. } = *self;
        affine.check_sizes()?;
        check_want(Operand::Dalpha, wants.alpha, Operand::Alpha, affine.alpha != AlphaSource::Constant)?;
        check_want(Operand::DrowWeight, wants.row_weight, Operand::RowWeight, affine.row_weight)?;
        let front = affine.front.unwrap_or(Front::new(Activation::IDENTITY));
        let learnable = front.alpha != AlphaSource::Constant;
        check_want(Operand::Dscale, wants.scale, Operand::Scale, front.scale)?;
        check_want(Operand::Dshift, wants.shift, Operand::Shift, front.shift)?;
        check_want(Operand::DfrontAlpha, wants.front_alpha, Operand::FrontAlpha, learnable)?;
        if affine.front.is_some() && self.below.is_some() {
            return Err(Error::Unsupported {
                what: "a chain over a layer with a front".into(),
                why: "dx has to come back through the front first: take dx, and the layer below's own backward".into(),
            });
        }
        check_want(Operand::DwUp, wants.w_up, Operand::WUp, affine.is_apart())?;
        check_want(Operand::DbUp, wants.b_up, Operand::WUp, affine.is_apart())?;
        if upstream_is_dz && affine.gate.is_some() {
            return Err(Error::Unsupported {
                what: "a backward of a gated layer that starts from dz".into(),
                why: "dz is that of the linear layer of all 2N outputs: state that one".into(),
            });
        }
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
                        what: format!("{operand} in a backward that starts from dz"),
                        why: "it is made from dy: ask the call that wrote dz for it".into(),
                    });
                }
            }
        }
        self.check_skip()?;
        self.check_in_place()?;
        let mut affine = match upstream_is_dz {
            true => AffineRequest {
                activation: Activation::IDENTITY,
                alpha: AlphaSource::Constant,
                row_weight: false,
                dropout: None,
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

    /// Checks that what goes around the layer has the shape of x, and is there.
    fn check_skip(&self) -> Result<()> {
        let AffineRequest { n, k, residual, jet, .. } = self.affine;
        let after = residual == Some(ResidualAt::AfterActivation);
        let why = match residual {
            _ if !self.skip => return Ok(()),
            None => "the layer has no residual".to_owned(),
            Some(_) if n != k => format!("x has {k} columns, the residual {n}"),
            Some(_) if !self.gradients.x.wanted() => "it is a part of dx, which is not wanted".into(),
            Some(_) if after && self.upstream_is_dz => {
                "it is dy, and the call starts from dz: ask the call that wrote dz".into()
            }
            Some(_) if jet.is_some() && self.below.is_some() => "a chain of jets takes its dy from one product".into(),
            Some(_) => return Ok(()),
        };
        Err(Error::Unsupported { what: "a gradient of x around the layer (skip)".into(), why })
    }

    /// Checks that nothing reads dy where d(residual) has replaced it.
    fn check_in_place(&self) -> Result<()> {
        let Gradients { w, w_up, .. } = self.gradients;
        let read = self.gradients.need_dx() || w.wanted() || w_up.wanted();
        match self.in_place && (read || self.gradients.residual != Want::Overwrite) {
            false => Ok(()),
            true => Err(Error::Unsupported {
                what: "dresidual in the memory of dy beside dx or dw, or added to".into(),
                why: "they read dy too: give dresidual memory of its own".into(),
            }),
        }
    }

    fn resolve_below(&self, below: Below) -> Result<Below> {
        if self.gradients.x != Want::Overwrite {
            return Err(Error::Unsupported {
                what: "a chain without dx, or one that accumulates into it".into(),
                why: "dx receives dz of the layer below and is overwritten: ask for x: Want::Overwrite".into(),
            });
        }
        let learnable = below.alpha != AlphaSource::Constant;
        check_want(Operand::DalphaBelow, below.dalpha, Operand::AlphaBelow, learnable)?;
        check_want(Operand::DrowWeightBelow, below.drow_weight, Operand::RowWeightBelow, below.row_weight)?;
        check_alpha(Operand::AlphaBelow, below.activation, below.alpha)?;
        let groups = [self.affine.jet, below.jet].map(|jet| jet.map_or(1, |jet| jet.members()));
        if groups[0] != groups[1] {
            return Err(Error::Unsupported {
                what: format!("a chain of layers with groups of {} and of {} rows", groups[0], groups[1]),
                why: "every row of dx is a row of the layer below".into(),
            });
        }
        // The layer below as a request: its N is the K of this layer.
        let AffineRequest { m, k, storage, .. } = self.affine;
        let layer = AffineRequest {
            alpha: below.alpha,
            saved: below.saved,
            row_weight: below.row_weight,
            dropout: below.dropout,
            jet: below.jet,
            storage: Storage::default().with(Operand::Y, storage.of(Operand::SavedBelow)),
            ..AffineRequest::new(m, k, 0, below.activation)
        };
        layer.check_jet()?;
        let saved = layer.resolve_saved(below.dalpha.wanted() || below.drow_weight.wanted())?;
        if saved == Saved::None && (!below.activation.needs_nothing() || below.drow_weight.wanted()) {
            return Err(Error::Unsupported {
                what: "a chain over a layer that saved nothing".into(),
                why: "z of the layer below cannot be computed again without its x, w and b: save z, y or the mask"
                    .into(),
            });
        }
        Ok(Below { saved, ..below })
    }
}

impl Resolved<BackwardRequest> {
    /// Whether these gradients read an operand: x for dW, w for dx, what was kept, α and the row weight for the slope; and where nothing
    /// was kept, x, w, b and a residual before the activation, to compute z again. [`BackwardRequest::resolve`] has an example.
    pub fn reads(&self, operand: Operand) -> bool {
        let (affine, wants) = (&self.affine, &self.gradients);
        let slope = !affine.is_linear() && self.needs_dz();
        let again = self.reads_kept() && affine.saved == Saved::None;
        match operand {
            Operand::X => again || wants.w.wanted() || wants.w_up.wanted() || self.reads_way(),
            Operand::W => again || wants.need_dx(),
            Operand::WUp => affine.is_apart() && (again || wants.need_dx()),
            Operand::B => again && affine.bias,
            Operand::BUp => again && affine.bias && affine.is_apart(),
            Operand::Residual => again && affine.residual == Some(ResidualAt::BeforeActivation),
            Operand::Alpha => self.reads_kept() && affine.alpha != AlphaSource::Constant,
            Operand::RowWeight => slope && affine.row_weight,
            Operand::DropoutState => (slope || self.gradients.need_z()) && affine.dropout.is_some(),
            Operand::DropoutStateBelow => self.below.is_some_and(|below| below.dropout.is_some()),
            Operand::Saved => self.reads_kept() && !again,
            Operand::SavedBelow => self.below.is_some_and(|below| below.saved != Saved::None),
            Operand::AlphaBelow => self.below.is_some_and(|below| below.alpha != AlphaSource::Constant),
            Operand::RowWeightBelow => self.below.is_some_and(|below| below.row_weight),
            Operand::Dy => true,
            _ => affine.front.is_some_and(|front| self.reads_of_front(&front, operand, again)),
        }
    }

    /// Whether they read an operand of the front: what makes the product's x again, and what brings its gradient back.
    fn reads_of_front(&self, front: &Front, operand: Operand, again: bool) -> bool {
        let wants = &self.gradients;
        let forward = again || wants.w.wanted() || wants.w_up.wanted();
        let bends = !front.activation.needs_nothing() || wants.front_alpha.wanted();
        let back = wants.need_dx() && bends;
        match operand {
            Operand::Scale => front.scale && (forward || back || wants.x.wanted()),
            Operand::Shift => front.shift && (forward || back),
            Operand::FrontAlpha => front.alpha != AlphaSource::Constant && (forward || back),
            Operand::Moments => front.norm.is_some() && (forward || self.reads_way() || wants.x.wanted()),
            _ => false,
        }
    }

    /// Whether the way back through the front needs x.
    fn reads_way(&self) -> bool {
        let wants = &self.gradients;
        self.affine.front.is_some_and(|front| {
            let bends = !front.activation.needs_nothing() && wants.need_dx();
            bends
                || wants.scale.wanted()
                || wants.front_alpha.wanted()
                || (front.moving().is_some() && wants.x.wanted())
        })
    }

    /// Whether these gradients need z or what was kept in its place.
    pub(crate) fn reads_kept(&self) -> bool {
        let bends = !self.affine.activation.needs_nothing() || self.affine.gate.is_some();
        self.gradients.need_z() || (self.needs_dz() && bends)
    }

    /// Whether one of these gradients is made from dz.
    fn needs_dz(&self) -> bool {
        let Gradients { w, b, alpha, residual, w_up, b_up, .. } = self.gradients;
        let residual = residual.wanted() && self.affine.residual == Some(ResidualAt::BeforeActivation);
        residual || self.gradients.need_dx() || [w, b, alpha, w_up, b_up].iter().any(|want| want.wanted())
    }
}
