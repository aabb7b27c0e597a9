//! What forward must keep so that backward can compute the right slope.

use super::{Activation, Kind};
use crate::{
    dtype::Float,
    error::{Error, Result},
    request::Saved,
};

impl Activation {
    /// Ok if backward gives the right gradient from what was saved; else an [`Error::Unsupported`] that lists the choices that are enough.
    ///
    /// `learnable`: α is an operand, so its sign is not known. `needs_z`: the gradient of α or of a row weight is wanted. `y_has_more`:
    /// y is not act(z) alone, but has a residual or a row weight. `y`: the type in which y is stored.
    ///
    /// ```
    /// use elbow::{Activation, Float, Saved};
    /// let enough = |act: Activation| act.saved_is_enough(Saved::Y, false, false, false, Float::F32);
    /// assert!(enough(Activation::RELU).is_ok());
    /// assert!(enough(Activation::SILU).is_err()); // not monotonic: two z have the same y
    /// ```
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
                "y includes a residual or a row weight, so it does not determine the slope".to_owned()
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
                "{y} rounds y, or the bounds of {self}, so that y does not say on which side of a bound z was"
            ));
        }
        // Here y determines the slope only while alpha has the right sign.
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
            Some(format!(
                "y determines the slope only for alpha {expected}, and a learnable alpha may leave that range"
            ))
        } else if holds {
            None
        } else {
            Some(format!("y determines the slope only for alpha {expected}"))
        }
    }

    /// Whether y stops at a bound that a narrow type may round: the stored y may then be on the other side of the bound than z, or on it.
    /// (The bound 0 of the ReLU family is exact in every type.)
    fn is_clipped(&self) -> bool {
        matches!(self.kind, Kind::ClippedRelu | Kind::Relu6 | Kind::Hardtanh)
    }

    /// Whether the slope is a constant (identity), so that backward needs nothing saved.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert!(Activation::IDENTITY.needs_nothing() && !Activation::RELU.needs_nothing());
    /// ```
    pub fn needs_nothing(&self) -> bool {
        self.kind == Kind::Identity
    }

    /// Whether the slope from y is as accurate as from z: with a relative error of the size of y's rounding. False for the saturating
    /// rows (elu: y + α, sigmoid: y (1 - y), ..), where it cancels, so that only its absolute error is small.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert!(Activation::RELU.slope_of_y_is_accurate() && !Activation::SIGMOID.slope_of_y_is_accurate());
    /// ```
    pub fn slope_of_y_is_accurate(&self) -> bool {
        let cancels =
            matches!(self.kind, Kind::Elu | Kind::Celu | Kind::Selu | Kind::Sigmoid | Kind::Tanh | Kind::Softsign);
        self.row().from_y && !cancels
    }
}
