//! Layers side by side: w `[E, N, K]` means E layers, and every operand then begins with E. The shapes are judged as those of
//! one layer.

use super::{Forward, Statistics};
use crate::{
    error::{Error, Result},
    operand::Operand,
    operands::{Gradient, view, wrong_shape},
    view::View,
};

/// How many layers a call is for.
#[derive(Clone, Copy)]
pub(super) struct Batch(pub(super) usize);

impl Batch {
    /// w has a dimension more than one layer's.
    fn of(w: View<'_>) -> Option<Self> {
        match *w.shape {
            [layers, _, _] => Some(Batch(layers)),
            _ => None,
        }
    }

    /// The part of one layer.
    pub(super) fn one<'a>(self, operand: Operand, view: View<'a>) -> Result<View<'a>> {
        match view.shape.split_first() {
            Some((&layers, rest)) if layers == self.0 && !rest.is_empty() => Ok(view.first_layer()),
            _ => Err(wrong_shape(operand, format!("[{}, ..]: w is that of {} layers", self.0, self.0), view)),
        }
    }

    pub(super) fn optional<'a>(self, operand: Operand, view: Option<View<'a>>) -> Result<Option<View<'a>>> {
        view.map(|view| self.one(operand, view)).transpose()
    }

    pub(super) fn gradient<'a>(self, operand: Operand, gradient: Option<Gradient<'a>>) -> Result<Option<Gradient<'a>>> {
        gradient.map(|g| Ok(Gradient { view: self.one(operand, g.view)?, ..g })).transpose()
    }

    /// α of a whole layer is `[E]`: one number each.
    pub(super) fn alpha<'a>(self, operand: Operand, alpha: Option<View<'a>>) -> Result<Option<View<'a>>> {
        match alpha {
            Some(alpha) if alpha.shape == [self.0] => Ok(Some(alpha.first_layer().reshaped(&[1])?)),
            alpha => self.optional(operand, alpha),
        }
    }

    pub(super) fn dalpha<'a>(self, operand: Operand, dalpha: Option<Gradient<'a>>) -> Result<Option<Gradient<'a>>> {
        let one = self.alpha(operand, view(&dalpha))?;
        Ok(dalpha.zip(one).map(|(g, view)| Gradient { view, ..g }))
    }
}

/// How many layers that is.
pub(super) fn count(batch: Option<Batch>) -> usize {
    batch.map_or(1, |batch| batch.0)
}

/// A shape that does not fit one layer, said of each.
pub(super) fn said_of_each(batch: Option<Batch>, error: Error) -> Error {
    match (batch, error) {
        (Some(Batch(layers)), Error::Shape { operand, expected, got }) => Error::Shape {
            operand,
            expected: format!("{expected} for each of {layers} layers"),
            got: format!("{got} for each"),
        },
        (_, error) => error,
    }
}

impl<'a> Forward<'a> {
    /// The first of the layers, alone.
    pub(super) fn one(&self) -> Result<(Option<Batch>, Self)> {
        let Some(batch) = Batch::of(self.w) else { return Ok((None, *self)) };
        Ok((Some(batch), self.one_of(batch)?))
    }

    pub(super) fn one_of(&self, batch: Batch) -> Result<Self> {
        Ok(Forward {
            x: batch.one(Operand::X, self.x)?,
            w: batch.one(Operand::W, self.w)?,
            b: batch.optional(Operand::B, self.b)?,
            alpha: batch.alpha(Operand::Alpha, self.alpha)?,
            residual: batch.optional(Operand::Residual, self.residual)?,
            row_weight: batch.optional(Operand::RowWeight, self.row_weight)?,
            statistics: Statistics {
                channels: batch.optional(Operand::ChannelStatistics, self.statistics.channels)?,
                rows: batch.optional(Operand::RowStatistics, self.statistics.rows)?,
                around: batch.optional(Operand::Around, self.statistics.around)?,
            },
            y: batch.one(Operand::Y, self.y)?,
            save_to: batch.optional(Operand::Saved, self.save_to)?,
            ..*self
        })
    }
}
