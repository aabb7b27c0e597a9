//! The layer below in a chain: its slope, and the gradients of its bias, α and row weight.

use elbow::{
    Jet, Operand,
    cpu::operands,
    dtype::Float,
    error::{Error, Result},
    request::{AlphaSource, Below, Saved, Want},
};

use crate::{
    affine::{BackwardInputs, learnable},
    jet,
    left::Left,
    outputs::{gradient, put},
    pass::{Channels, Descend},
    saved::SavedIn,
    slopes::Slopes,
};

/// The layer below with its operands, checked.
pub(crate) struct BelowParts<'i, 'o> {
    channels: Channels<'i>,
    saved: SavedIn<'i>,
    unit: bool,
    db: Option<(&'o mut [f32], Want)>,
    dalpha: Option<(&'o mut [f32], Want)>,
    row_weight: Option<&'i [f32]>,
    drow_weight: Option<(&'o mut [f32], Want)>,
    dropout: Option<Left>,
    rows: usize,
    jet: Option<Jet>,
}

/// db, dα and d(row_weight) of the layer below.
type BelowOutputs<'o> = (Option<&'o mut [f32]>, Option<&'o mut [f32]>, Option<&'o mut [f32]>);

impl<'i, 'o> BelowParts<'i, 'o> {
    pub(crate) fn new(
        below: &Below,
        inputs: &BackwardInputs<'i>,
        (db, dalpha, drow_weight): BelowOutputs<'o>,
        m: usize,
        k: usize,
    ) -> Result<Self> {
        let alpha = operands::alpha(Operand::AlphaBelow, inputs.alpha_below, below.alpha, k)?;
        if below.dalpha.wanted() {
            learnable(Operand::DalphaBelow, below.alpha)?;
        }
        let row_weight = operands::optional(Operand::RowWeightBelow, inputs.row_weight_below, below.row_weight, &[m])?;
        if below.drow_weight.wanted() && !below.row_weight {
            return Err(Error::Operand {
                operand: Operand::DrowWeightBelow,
                expected: "none, because the layer below has no row weight".into(),
                got: "a gradient".into(),
            });
        }
        let state = operands::dropout_state(Operand::DropoutStateBelow, inputs.dropout_state_below, below.dropout)?;
        let needs_z = below.dalpha.wanted() || below.drow_weight.wanted();
        let unit = below.activation.needs_nothing() && !needs_z;
        let given = inputs.saved_below.kind();
        if !unit && given == Saved::None {
            return Err(Error::Operand {
                operand: Operand::SavedBelow,
                expected: "z, y or the mask of the layer below".into(),
                got: "none".into(),
            });
        }
        let learnable = below.alpha != AlphaSource::Constant;
        jet::enough(below.jet, given)?;
        let more = below.row_weight || below.dropout.is_some();
        below.activation.saved_is_enough(given, learnable, needs_z, more, Float::F32)?;
        Ok(BelowParts {
            channels: Channels::new(below.activation, below.alpha, alpha, k),
            saved: inputs.saved_below.checked(Operand::SavedBelow, m, k)?,
            unit,
            db: gradient(Operand::DbBelow, db, below.db, &[k])?,
            dalpha: gradient(Operand::DalphaBelow, dalpha, below.dalpha, &[operands::alpha_length(below.alpha, k)])?,
            row_weight,
            drow_weight: gradient(Operand::DrowWeightBelow, drow_weight, below.drow_weight, &[m])?,
            dropout: Left::new(below.dropout, state),
            rows: m,
            jet: below.jet,
        })
    }

    /// Turns dx, in place, into dz of the layer below, and sums its gradients.
    pub(crate) fn descend(self, dx: &mut [f32], partials: &mut Vec<f64>) {
        let BelowParts { channels, saved, unit, db, dalpha, row_weight, drow_weight, dropout, rows, jet } = self;
        let slopes = if unit { Slopes::Unit } else { Slopes::Saved(saved) };
        let descend = Descend {
            channels,
            slopes,
            dy: None,
            db: db.is_some(),
            dalpha: dalpha.is_some(),
            row_weight,
            dropout,
            jet,
        };
        let mut row_sums = vec![0.0; if drow_weight.is_some() { rows } else { 0 }];
        let (db_sums, dalpha_sums) = descend.all(dx, partials, &mut row_sums);
        put(db, db_sums);
        put(dalpha, dalpha_sums);
        put(drow_weight, &row_sums);
    }
}
