//! Layers side by side: w `[E, N, K]` means E layers, and every operand then begins with E. The shapes are judged as those of
//! one layer.

use super::{Backward, ChainBelow, Forward};
use crate::{
    error::{Error, Result},
    gpu::record::View,
    operands::{Gradient, view, wrong_shape},
    request::Operand,
};

/// How many layers a call is for.
#[derive(Clone, Copy)]
pub(super) struct Batch(pub(super) usize);

impl Batch {
    /// w (or dw, where there is no w) has a dimension more than one layer's.
    fn of(w: Option<View<'_>>) -> Option<Self> {
        match w?.shape {
            &[entries, _, _] => Some(Batch(entries)),
            _ => None,
        }
    }

    /// The part of one layer.
    fn one<'a>(self, operand: Operand, view: View<'a>) -> Result<View<'a>> {
        match view.shape.split_first() {
            Some((&entries, rest)) if entries == self.0 && !rest.is_empty() => Ok(view.reshaped(rest)),
            _ => Err(wrong_shape(operand, format!("[{}, ..]: w is that of {} layers", self.0, self.0), view)),
        }
    }

    fn optional<'a>(self, operand: Operand, view: Option<View<'a>>) -> Result<Option<View<'a>>> {
        view.map(|view| self.one(operand, view)).transpose()
    }

    fn gradient<'a>(self, operand: Operand, gradient: Option<Gradient<'a>>) -> Result<Option<Gradient<'a>>> {
        gradient.map(|g| Ok(Gradient { view: self.one(operand, g.view)?, ..g })).transpose()
    }

    /// α of a whole layer is `[E]`: one number each.
    fn alpha<'a>(self, operand: Operand, alpha: Option<View<'a>>) -> Result<Option<View<'a>>> {
        match alpha {
            Some(alpha) if alpha.shape == [self.0] => Ok(Some(alpha.reshaped(&[1]))),
            alpha => self.optional(operand, alpha),
        }
    }

    fn dalpha<'a>(self, operand: Operand, dalpha: Option<Gradient<'a>>) -> Result<Option<Gradient<'a>>> {
        let one = self.alpha(operand, view(&dalpha))?;
        Ok(dalpha.zip(one).map(|(g, view)| Gradient { view, ..g }))
    }
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
        let Some(batch) = Batch::of(Some(self.w)) else { return Ok((None, *self)) };
        let one = Forward {
            x: batch.one(Operand::X, self.x)?,
            w: batch.one(Operand::W, self.w)?,
            b: batch.optional(Operand::B, self.b)?,
            alpha: batch.alpha(Operand::Alpha, self.alpha)?,
            residual: batch.optional(Operand::Residual, self.residual)?,
            y: batch.one(Operand::Y, self.y)?,
            save_to: batch.optional(Operand::Saved, self.save_to)?,
            ..*self
        };
        Ok((Some(batch), one))
    }
}

impl<'a> Backward<'a> {
    /// The first of the layers, alone.
    pub(super) fn one(&self) -> Result<(Option<Batch>, Self)> {
        let Some(batch) = Batch::of(self.w.or(view(&self.dw))) else { return Ok((None, *self)) };
        let below = |below: ChainBelow<'a>| -> Result<ChainBelow<'a>> {
            Ok(ChainBelow {
                saved_from: batch.optional(Operand::SavedBelow, below.saved_from)?,
                alpha: batch.alpha(Operand::AlphaBelow, below.alpha)?,
                db: batch.gradient(Operand::DbBelow, below.db)?,
                dalpha: batch.dalpha(Operand::DalphaBelow, below.dalpha)?,
                ..below
            })
        };
        let one = Backward {
            dy: batch.one(Operand::Dy, self.dy)?,
            x: batch.optional(Operand::X, self.x)?,
            w: batch.optional(Operand::W, self.w)?,
            b: batch.optional(Operand::B, self.b)?,
            alpha: batch.alpha(Operand::Alpha, self.alpha)?,
            saved_from: batch.optional(Operand::Saved, self.saved_from)?,
            dx: batch.gradient(Operand::Dx, self.dx)?,
            dw: batch.gradient(Operand::Dw, self.dw)?,
            db: batch.gradient(Operand::Db, self.db)?,
            dalpha: batch.dalpha(Operand::Dalpha, self.dalpha)?,
            dresidual: batch.gradient(Operand::Dresidual, self.dresidual)?,
            below: self.below.map(below).transpose()?,
            ..*self
        };
        Ok((Some(batch), one))
    }
}
