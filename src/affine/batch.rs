//! Batches: with w `[E, N, K]` there are E layers, and every operand begins with E. Shapes are checked by taking the first layer alone.

use super::{Forward, Statistics};
use crate::{
    error::{Error, Result},
    operand::Operand,
    operands::{Gradient, view, wrong_shape},
    view::View,
};

/// The number of layers in a batch.
#[derive(Clone, Copy)]
pub(super) struct Batch(pub(super) usize);

impl Batch {
    /// A batch if w has three dimensions.
    fn of(w: View<'_>) -> Option<Self> {
        match *w.shape {
            [layers, _, _] => Some(Batch(layers)),
            _ => None,
        }
    }

    /// The first layer's part of an operand.
    pub(super) fn one<'a>(self, operand: Operand, view: View<'a>) -> Result<View<'a>> {
        match view.shape.split_first() {
            Some((&layers, rest)) if layers == self.0 && !rest.is_empty() => Ok(view.first_layer()),
            _ => Err(wrong_shape(operand, format!("[{}, ..], because w is that of {} layers", self.0, self.0), view)),
        }
    }

    pub(super) fn optional<'a>(self, operand: Operand, view: Option<View<'a>>) -> Result<Option<View<'a>>> {
        view.map(|view| self.one(operand, view)).transpose()
    }

    pub(super) fn gradient<'a>(self, operand: Operand, gradient: Option<Gradient<'a>>) -> Result<Option<Gradient<'a>>> {
        gradient.map(|g| Ok(Gradient { view: self.one(operand, g.view)?, ..g })).transpose()
    }

    /// One α for each layer is `[E]`; one for each channel is `[E, N]`.
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

/// Whether this weight is that of a batch.
pub(super) fn is(w: View<'_>) -> bool {
    Batch::of(w).is_some()
}

/// The number of layers: 1 without a batch.
pub(super) fn count(batch: Option<Batch>) -> usize {
    batch.map_or(1, |batch| batch.0)
}

/// An error about the shape of one layer, worded for a batch.
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
    /// Of a batch its size and its first layer as a call of its own; else this call.
    pub(super) fn one(&self) -> Result<(Option<Batch>, Self)> {
        let Some(batch) = Batch::of(self.w) else { return Ok((None, *self)) };
        Ok((Some(batch), self.one_of(batch)?))
    }

    pub(super) fn one_of(&self, batch: Batch) -> Result<Self> {
        Ok(Forward {
            x: batch.one(Operand::X, self.x)?,
            w: batch.one(Operand::W, self.w)?,
            front: self.front.map(|front| front.one_of(batch)).transpose()?,
            b: batch.optional(Operand::B, self.b)?,
            w_up: batch.optional(Operand::WUp, self.w_up)?,
            b_up: batch.optional(Operand::BUp, self.b_up)?,
            alpha: batch.alpha(Operand::Alpha, self.alpha)?,
            residual: batch.optional(Operand::Residual, self.residual)?,
            row_weight: batch.optional(Operand::RowWeight, self.row_weight)?,
            dropout_state: batch.optional(Operand::DropoutState, self.dropout_state)?,
            statistics: Statistics {
                channels: batch.optional(Operand::ChannelStatistics, self.statistics.channels)?,
                rows: batch.optional(Operand::RowStatistics, self.statistics.rows)?,
                around: batch.optional(Operand::Around, self.statistics.around)?,
                firing: batch.optional(Operand::Firing, self.statistics.firing)?,
                negative_mass: batch.optional(Operand::NegativeMass, self.statistics.negative_mass)?,
            },
            y: batch.one(Operand::Y, self.y)?,
            save_to: batch.optional(Operand::Saved, self.save_to)?,
            ..*self
        })
    }
}
