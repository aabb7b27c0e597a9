//! Which results are right at a point, on a device that keeps subnormal numbers and on one that flushes them: the contract of
//! `docs/numerics.md`.

use elbow::{Activation, Gpu, activation::Quantity};

use crate::ulp::ulps;

/// The least normal number.
const LEAST: f64 = f32::MIN_POSITIVE as f64;
/// The unit in the last place of subnormals and of the least normal numbers.
const UNIT: f64 = LEAST * f32::EPSILON as f64;

/// Judges the numbers of one device.
///
/// A device that keeps subnormals must give the result within the tolerance of the row. A device that flushes them in some operations may
/// or may not do so at each point. Then the result at z is right, and for a subnormal z also that at +0 or −0; and 0 is right where such a
/// result is below 2⁻¹²⁶, or so little above it that the tolerance reaches below. No other number is right.
///
/// ```
/// use elbow::{Activation, activation::Quantity};
/// use elbow_verify::Judge;
/// let ulps = |judge: Judge| judge.ulps(&Activation::RELU, Quantity::Value, 1e-40, 0.0); // a subnormal z, and 0 for it
/// assert!(ulps(Judge::FLUSHING) == 0.0 && ulps(Judge::KEEPING) > 1000.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judge {
    flushes: bool,
}

impl Judge {
    /// For a device that keeps subnormals.
    pub const KEEPING: Judge = Judge { flushes: false };
    /// For a device that flushes them in all or in some operations.
    pub const FLUSHING: Judge = Judge { flushes: true };

    /// The judge for a device, by [`Gpu::subnormals_async`].
    pub async fn of_async(gpu: &Gpu) -> elbow::Result<Judge> {
        Ok(if gpu.subnormals_async().await?.are_kept() { Judge::KEEPING } else { Judge::FLUSHING })
    }

    /// The distance of `got` from the nearest right result of this quantity at z, in ulp of the sum of the terms, to be compared with the
    /// row's tolerance. Infinite if only one of the two is NaN.
    pub fn ulps(self, activation: &Activation, quantity: Quantity, z: f32, got: f32) -> f64 {
        let expected = activation.evaluate(quantity, f64::from(z));
        self.ulps_from(activation, quantity, z, (expected, activation.terms(quantity, f64::from(z))), got)
    }

    /// [`Judge::ulps`] for a known value at z and sum of |terms|.
    pub(crate) fn ulps_from(
        self,
        activation: &Activation,
        quantity: Quantity,
        z: f32,
        (expected, terms): (f64, f64),
        got: f32,
    ) -> f64 {
        let at_z = ulps(got, expected, terms);
        if !self.flushes || at_z == 0.0 {
            return at_z;
        }
        let tolerance = activation.row().tolerance(quantity);
        // The largest subnormal is one unit below the least normal number.
        let falls_below = |expected: f64| expected.abs() < LEAST || expected.abs() <= LEAST + (tolerance - 1.0) * UNIT;
        let flushed = |expected: f64| got == 0.0 && falls_below(expected);
        let nearest = |expected, terms| if flushed(expected) { 0.0 } else { ulps(got, expected, terms) };
        let at_z = nearest(expected, terms);
        if !z.is_subnormal() {
            return at_z;
        }
        let at_zero = |z| nearest(activation.evaluate(quantity, z), activation.terms(quantity, z));
        at_z.min(at_zero(0.0)).min(at_zero(-0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{points, ulp::ulp_of};

    /// Subnormals and the neighbours of 2⁻¹²⁶, of either sign.
    fn small() -> Vec<f32> {
        let mut z = vec![1e-45, 1e-42, 1e-40, 5.877_472e-39, f32::MIN_POSITIVE.next_down(), f32::MIN_POSITIVE];
        z.extend([f32::MIN_POSITIVE.next_up(), 1.2e-38, 2.3e-38, 1e-37, 1e-30, 0.0]);
        z.extend(z.clone().iter().map(|z| -z));
        z
    }

    fn accepts(judge: Judge, text: &str, quantity: Quantity, z: f32, got: f32) -> bool {
        let activation: Activation = text.parse().unwrap_or(Activation::IDENTITY);
        judge.ulps(&activation, quantity, z, got) <= activation.row().tolerance(quantity)
    }

    /// The contract by enumeration: all numbers that a device that keeps it can give.
    #[test]
    fn what_an_honest_device_gives_is_right() {
        for activation in points::defaults() {
            for (quantity, z) in Quantity::ALL.into_iter().flat_map(|q| small().into_iter().map(move |z| (q, z))) {
                let right = |z: f32| activation.evaluate(quantity, f64::from(z)) as f32;
                let read_as = if z.is_subnormal() { vec![z, 0.0, -0.0] } else { vec![z] };
                for got in read_as.into_iter().map(right) {
                    for got in [got, if got.is_subnormal() { 0.0 } else { got }] {
                        let ulps = |judge: Judge| judge.ulps(&activation, quantity, z, got);
                        assert_eq!(ulps(Judge::FLUSHING), 0.0, "{activation} {quantity:?} at {z:e}: {got:e}");
                        // Where nothing is flushed, only what is right at z.
                        let unit = ulp_of(activation.terms(quantity, f64::from(z)));
                        let off = (f64::from(got) - activation.evaluate(quantity, f64::from(z))).abs() / unit;
                        let expected = if got == right(z) { 0.0 } else { off };
                        assert_eq!(ulps(Judge::KEEPING), expected, "{activation} {quantity:?} at {z:e}: {got:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_else_is_right() {
        use Quantity::{Slope, Value};
        for judge in [Judge::KEEPING, Judge::FLUSHING] {
            // Halfway between the slopes at z and at 0; the slope of another kink.
            for (text, got) in
                [("relu", 0.5), ("relu", -1.0), ("leaky_relu(0.3)", 0.0), ("prelu", 0.5), ("celu(1)", 0.0)]
            {
                assert!(!accepts(judge, text, Slope, 1e-45, got), "{judge:?}: {text}'(1e-45) = {got}");
                assert!(!accepts(judge, text, Slope, 1e-45, f32::NAN));
            }
            // A value that belongs to another z, subnormal or not.
            for got in [1e-30, 1.1e-38, 2e-40, -1e-40, 1e-45, f32::MIN_POSITIVE, f32::NAN, f32::INFINITY] {
                assert!(!accepts(judge, "relu", Value, 1e-40, got), "{judge:?}: relu(1e-40) = {got:e}");
            }
            // Normal numbers are not flushed, as they are or as a result.
            for z in [-f32::MIN_POSITIVE, 1.2e-38, 1e-37, -1e-37] {
                assert!(!accepts(judge, "identity", Value, z, 0.0), "{judge:?}: {z:e} flushed");
                assert!(!accepts(judge, "leaky_relu(2)", Value, z, 0.0), "{judge:?}: {z:e} flushed");
                assert!(!accepts(judge, "elu(2)", Value, z, 0.0), "{judge:?}: {z:e} flushed");
                assert!(!accepts(judge, "relu", Slope, z.abs(), 0.0), "{judge:?}: relu'({z:e}) = 0");
            }
            assert!(!accepts(judge, "gelu", Value, -1e-30, 0.0) && !accepts(judge, "softplus", Value, 1e-45, 0.0));
            // A slope of its own at z = 0 is that of 0 alone: not of a normal z near it.
            assert!(!accepts(judge, "relu", Slope, 0.0, 1.0) && !accepts(judge, "leaky_relu(0.3)", Slope, -1e-30, 1.0));
        }
    }

    #[test]
    fn flushing_is_right_only_where_the_device_flushes() {
        use Quantity::{AlphaSlope, SecondDerivative, Slope, Value};
        // elu(2) doubles: a z below 2⁻¹²⁶ whose value is above it. gelu halves: a z above, whose value is below, or, within
        // the tolerance of 8 ulp, above.
        let across = 2.0 * f32::MIN_POSITIVE;
        let just_above = f32::from_bits(across.to_bits() + 6);
        for (text, quantity, z, got) in [
            ("identity", Value, 1e-45, 0.0),
            ("relu", Slope, 1e-45, 0.0),
            ("relu_squared", SecondDerivative, 1e-40, 0.0),
            ("elu(2)", Value, -1.175_494e-38, -0.0),
            ("elu(0.5)", Slope, 1e-40, 0.5),
            ("selu", Slope, 1e-40, 1.758_099_3),
            ("leaky_relu(0.3)", Slope, 1e-45, 0.3),
            ("leaky_relu(0.3)", Value, -1.3e-38, 0.0),
            ("prelu", AlphaSlope, -1e-40, 0.0),
            ("softsign", SecondDerivative, 1e-42, 0.0),
            ("gelu", Value, across.next_down(), 0.0),
            ("gelu", Value, just_above, 0.0),
            ("sigmoid", Value, -88.0, 0.0),
        ] {
            assert!(accepts(Judge::FLUSHING, text, quantity, z, got), "{text} {quantity:?} at {z:e}: {got:e}");
            assert!(!accepts(Judge::KEEPING, text, quantity, z, got), "{text} {quantity:?} at {z:e}: {got:e}");
        }
        // Beyond the tolerance it is a normal number that was lost.
        let beyond = f32::from_bits(across.to_bits() + 20);
        assert!(!accepts(Judge::FLUSHING, "gelu", Value, beyond, 0.0));
        assert!(!accepts(Judge::FLUSHING, "sigmoid", Value, -87.0, 0.0));
    }
}
