//! Numbers that carry a bound of their error along, through the operations of a kernel in f32.

use elbow::{Activation, activation::Quantity};

use crate::{bound::off, ulp::ulp_of};

/// A number, and a bound of the error that it has in f32; infinite where f32 overflows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Near {
    pub(crate) value: f64,
    pub(crate) off: f64,
}

impl Near {
    /// A number without an error.
    pub(crate) fn exact(value: f64) -> Self {
        Near { value, off: 0.0 }
    }

    pub(crate) const NOTHING: Near = Near { value: 0.0, off: 0.0 };

    /// An error that has been computed, and that of rounding the result.
    pub(crate) fn rounded(value: f64, off: f64) -> Self {
        let off = off + ulp_of(value) + f64::from(f32::MIN_POSITIVE);
        let overflows = value.is_nan() || value.abs() > f64::from(f32::MAX) || !off.is_finite();
        Near { value, off: if overflows { f64::INFINITY } else { off } }
    }

    pub(crate) fn plus(self, other: Near) -> Self {
        Near::rounded(self.value + other.value, self.off + other.off)
    }

    pub(crate) fn times(self, other: Near) -> Self {
        let (a, b) = (self.value, other.value);
        let value = if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
        Near::rounded(value, a.abs() * other.off + b.abs() * self.off + self.off * other.off)
    }

    pub(crate) fn scaled(self, factor: f64) -> Self {
        self.times(Near { value: factor, off: 0.0 })
    }
}

pub(crate) fn sum(terms: impl IntoIterator<Item = Near>) -> Near {
    terms.into_iter().fold(Near::NOTHING, Near::plus)
}

/// A quantity of the activation at a z that is not exact.
pub(crate) fn at(activation: &Activation, quantity: Quantity, z: Near) -> Near {
    let value = activation.evaluate(quantity, z.value);
    Near::rounded(value, off(activation, quantity, z.value, z.off))
}
