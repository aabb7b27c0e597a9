//! Where the gradient from above is stopped: 0·∞ in backward.

use super::{Activation, Kind};

impl Activation {
    /// Whether the activation is made of pieces, each a polynomial: no exponential, no root. A derivative of 0 is then exact
    /// (chosen with the piece, not rounded to 0), and it stops what comes from above: [`Activation::passed`]. And the slope is
    /// cheap enough to be computed again at each load of a tile.
    pub fn is_piecewise(&self) -> bool {
        self.row().from_bit || matches!(self.kind, Kind::ReluSquared | Kind::Hardswish)
    }

    /// `upstream` times a derivative of this activation, as every backward multiplies them.
    ///
    /// Where the activation is made of pieces and the derivative is 0, the result is 0, also for an infinite upstream, which is
    /// what PyTorch gives by selecting; a NaN stays NaN. Elsewhere it is the product: 0·∞ is NaN.
    pub fn passed(&self, upstream: f64, derivative: f64) -> f64 {
        let stopped = self.is_piecewise() && derivative == 0.0 && !upstream.is_nan();
        if stopped { 0.0 } else { upstream * derivative }
    }
}
