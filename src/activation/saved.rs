//! What forward must keep so that backward finds the right slope.

use super::{Activation, Kind};
use crate::{
    dtype::Float,
    error::{Error, Result},
    request::Saved,
};

impl Activation {
    /// Ok if backward gives the right gradient from what was saved; else [`Error::Unsupported`] that says what would do.
    ///
    /// `learnable`: α is an operand, so its sign is not known. `needs_z`: the gradient of α or of a row weight is wanted. `y_has_more`:
    /// y is more than act(z), with a residual or a row weight. `y`: the type in which y is stored.
    pub fn saved_is_enough(
        &self,
        saved: Saved,
        learnable: bool,
        needs_z: bool,
        y_has_more: bool,
        y: Float,
    ) -> Result<()> {
        let why = match saved {
            Saved::Auto | Saved::Z | Saved::None => return Ok(()),
            Saved::Y | Saved::Mask if needs_z => "the gradient of alpha, or of a row weight, needs z".to_owned(),
            Saved::Y | Saved::Mask if self.needs_nothing() => return Ok(()),
            Saved::Y if y_has_more => {
                "y holds a residual or a row weight too, so it does not give the slope".to_owned()
            }
            Saved::Y => match self.y_is_not_enough(learnable, y) {
                None => return Ok(()),
                Some(why) => why,
            },
            Saved::Mask if self.row().from_bit => return Ok(()),
            Saved::Mask => format!("the slope of {self} takes more than two values"),
        };
        let mut would_do = vec!["z", "none (z is computed again)"];
        if !needs_z && !y_has_more && self.y_is_not_enough(learnable, y).is_none() {
            would_do.push("y");
        }
        if !needs_z && self.row().from_bit {
            would_do.push("mask");
        }
        Err(Error::Unsupported {
            what: format!("backward of {self} from saved {saved}"),
            why: format!("{why}; enough would be: {}", would_do.join(", ")),
        })
    }

    /// Why y does not determine the slope; None if it does.
    fn y_is_not_enough(&self, learnable: bool, y: Float) -> Option<String> {
        if !self.row().from_y {
            return Some(format!("y does not determine the slope of {self}"));
        }
        if self.is_clipped() && y != Float::F32 {
            return Some(format!(
                "{y} rounds y to the bounds of {self}, or the bounds themselves, so that it does not say on which side z was"
            ));
        }
        // Of these, y determines the slope only while alpha has the right sign.
        let (expected, holds) = match self.kind {
            Kind::LeakyRelu | Kind::Prelu => (">= 0", self.params[0] >= 0.0),
            Kind::Elu | Kind::Celu => ("> 0", self.params[0] > 0.0),
            Kind::Softplus if self.params[1] != f32::INFINITY => {
                return Some("with a threshold, y does not say on which side of it z was".into());
            }
            Kind::Softplus | Kind::Squareplus => ("> 0", self.params[0] > 0.0),
            _ => return None,
        };
        if learnable {
            Some(format!("y determines the slope only for alpha {expected}, and a learnable alpha may become anything"))
        } else if holds {
            None
        } else {
            Some(format!("y determines the slope only for alpha {expected}"))
        }
    }

    /// Whether y stays at a bound that z may cross: a y that was rounded when it was stored may lie on the other side of the
    /// bound than z, or on it. (The bound 0 of the ReLU family is a number of every type.)
    fn is_clipped(&self) -> bool {
        matches!(self.kind, Kind::ClippedRelu | Kind::Relu6 | Kind::Hardtanh)
    }

    /// Whether the slope is a constant (identity): backward needs nothing saved.
    pub fn needs_nothing(&self) -> bool {
        self.kind == Kind::Identity
    }

    /// Whether the slope computed from y is as accurate as from z: relative accuracy everywhere, and where y was rounded when
    /// it was stored, an error of that size. False for the saturating rows (elu: y + α, sigmoid: y (1 - y), ...), whose slope
    /// from y cancels and is accurate only in absolute terms.
    pub fn slope_of_y_is_accurate(&self) -> bool {
        let cancels =
            matches!(self.kind, Kind::Elu | Kind::Celu | Kind::Selu | Kind::Sigmoid | Kind::Tanh | Kind::Softsign);
        self.row().from_y && !cancels
    }
}
