//! A double backward as plain facts.

use super::{AffineRequest, Want};
use crate::setters::setters;

/// Which gradients come back to the gradients of a layer, in a double backward; none by default.
///
/// ```
/// use elbow::request::Returning;
/// let returning = Returning::default().x(true); // a gradient penalty: a loss of dx
/// assert!(returning.moves_z() && !Returning::default().alpha(true).moves_z());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Returning {
    /// To dx.
    pub x: bool,
    /// To dW.
    pub w: bool,
    /// To db.
    pub b: bool,
    /// To dα.
    pub alpha: bool,
    /// To the gradient of a residual that joins before the activation.
    pub residual: bool,
}

setters!(const Returning { x: bool, w: bool, b: bool, alpha: bool, residual: bool });

impl Returning {
    /// Whether z changes along them: all but the one to dα.
    pub const fn moves_z(&self) -> bool {
        self.x || self.w || self.b || self.residual
    }
}

/// Which gradients of a double backward are wanted; none by default.
///
/// ```
/// use elbow::{Want, request::SecondGradients};
/// let wants = SecondGradients::default().dy(Want::Overwrite).w(Want::Accumulate);
/// assert!(wants.need_dz2() && !SecondGradients::default().dy(Want::Overwrite).need_dz2());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct SecondGradients {
    /// For dy.
    pub dy: Want,
    /// For x.
    pub x: Want,
    /// For W.
    pub w: Want,
    /// For b.
    pub b: Want,
    /// For α.
    pub alpha: Want,
    /// For a residual that joins before the activation.
    pub residual: Want,
}

setters!(const SecondGradients { dy: Want, x: Want, w: Want, b: Want, alpha: Want, residual: Want });

impl SecondGradients {
    /// Whether one of them is made from the gradient for z.
    pub const fn need_dz2(&self) -> bool {
        self.x.wanted() || self.w.wanted() || self.b.wanted() || self.residual.wanted()
    }
}

/// A double backward: the layer, which gradients come back to its gradients, and which are wanted.
///
/// ```
/// use elbow::{Activation, Want, request::{AffineRequest, DoubleBackwardRequest, Returning, SecondGradients}};
/// let layer = AffineRequest::new(32, 10, 64, Activation::SILU);
/// let wants = SecondGradients::default().w(Want::Overwrite);
/// assert!(DoubleBackwardRequest::new(layer, Returning::default().x(true), wants).resolve().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DoubleBackwardRequest {
    /// The layer.
    pub affine: AffineRequest,
    /// Which gradients come back.
    pub returning: Returning,
    /// Which gradients are wanted.
    pub gradients: SecondGradients,
}

impl DoubleBackwardRequest {
    /// Of a layer without jets and row weights.
    pub const fn new(affine: AffineRequest, returning: Returning, gradients: SecondGradients) -> Self {
        DoubleBackwardRequest { affine, returning, gradients }
    }
}

setters!(DoubleBackwardRequest { affine: AffineRequest, returning: Returning, gradients: SecondGradients });
