//! The derivatives are the derivatives of the very function that forward computes: slope, second and third derivative and the derivatives by
//! α against extrapolated differences of the f64 mathematics, for random activations, parameters and z, extremes included.

use std::{cell::RefCell, collections::HashMap};

use elbow::activation::{Activation, Quantity};
use proptest::{prop_assert, test_runner::TestCaseResult};

use crate::common::{activation_and_z, for_every_row, narrowest, size};

/// Relative to the terms of the derivative. PyTorch's gradcheck allows 1e-3, and 1e-5 absolute.
const TOLERANCE: f64 = 1e-7;

/// A derivative by differences.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    value: f64,
    /// What rounding of the function's values may have moved it by.
    noise: f64,
}

/// Ridders' method: central differences with halved steps, extrapolated to step 0; of all the entry whose neighbours agree
/// best. `f` gives a value and the size of its terms at a step, or nothing where no step may go.
fn derivative(f: impl Fn(f64) -> Option<(f64, f64)>, first: f64, levels: usize) -> Option<Estimate> {
    let mut best: Option<(f64, Estimate)> = None;
    let mut before: Vec<f64> = Vec::new();
    for level in 0..levels {
        let h = first / (1u64 << level) as f64;
        let ((above, above_size), (below, below_size)) = (f(h)?, f(-h)?);
        let noise = (32.0 * f64::EPSILON * above_size.max(below_size) + 1e-300) / h;
        let mut row = vec![(above - below) / (2.0 * h)];
        let mut power = 1.0;
        for (j, old) in before.iter().enumerate() {
            power *= 4.0;
            let value = (power * row[j] - old) / (power - 1.0);
            let error = (value - row[j]).abs().max((value - old).abs()) + noise;
            row.push(value);
            if best.is_none_or(|(least, _)| error < least) {
                best = Some((error, Estimate { value, noise }));
            }
        }
        before = row;
    }
    best.map(|(_, estimate)| estimate)
}

/// A quantity and the size of its terms; nothing where it is beyond f64 (celu with α < 0).
fn finite(activation: &Activation, quantity: Quantity, z: f64) -> Option<(f64, f64)> {
    let pair = (activation.evaluate(quantity, z), size(activation, quantity, z));
    (pair.0.is_finite() && pair.1.is_finite()).then_some(pair)
}

/// ∂quantity/∂z; nothing at a kink.
fn by_z(activation: &Activation, quantity: Quantity, z: f64) -> Option<Estimate> {
    let to_kink = activation.kinks().iter().map(|kink| (kink.at - z).abs()).fold(f64::INFINITY, f64::min);
    // All that bends does so around 0, on one of its scales, or at a kink: no wider step could miss it.
    let first = (0.25 * z.abs().max(narrowest(activation))).min(0.5 * to_kink);
    // Powers of two: z is an f32, so that z ± h is exact.
    let first = first.log2().floor().exp2();
    (to_kink > 0.0).then(|| derivative(|h| finite(activation, quantity, z + h), first, 24))?
}

/// ∂quantity/∂α; nothing if a kink passes z. α is f32: the steps are powers of two that it can take exactly.
fn by_alpha(activation: &Activation, quantity: Quantity, z: f64) -> Option<Estimate> {
    let alpha = f64::from(activation.params()[0]);
    let moved = |h: f64| {
        let stepped = (alpha + h) as f32;
        let exact = f64::from(stepped) - alpha == h && activation.row().parameters[0].domain.contains(stepped);
        exact.then(|| activation.with_alpha(stepped))
    };
    let sides = |activation: &Activation| activation.kinks().iter().map(|kink| kink.at < z).collect::<Vec<_>>();
    let size = if alpha == 0.0 { 1f64.min(1.0 / z.abs()) } else { alpha.abs() };
    let mut first = 0.25 * size.log2().floor().exp2();
    // 15 halvings of a quarter of α and its own 8 bits are within the 24 of f32.
    let mut levels = 15;
    while [first, -first].into_iter().any(|h| moved(h).is_none_or(|other| sides(&other) != sides(activation))) {
        (first, levels) = (0.5 * first, levels - 1);
        if levels < 6 {
            return None;
        }
    }
    derivative(|h| finite(&moved(h)?, quantity, z), first, levels)
}

/// How many derivatives were checked, and how many of them agreed without any allowance for noise.
#[derive(Default)]
struct Tally(RefCell<HashMap<(&'static str, Quantity), [u32; 2]>>);

impl Tally {
    /// One derivative against its estimate.
    fn check(&self, activation: &Activation, quantity: Quantity, z: f64, by: Option<Estimate>) -> TestCaseResult {
        let (Some(Estimate { value, noise }), Some((exact, size))) = (by, finite(activation, quantity, z)) else {
            return Ok(());
        };
        let (error, allowed) = ((value - exact).abs(), TOLERANCE * size);
        prop_assert!(
            // Below, f64 itself loses digits on the way.
            error <= allowed + noise + 1e-280,
            "{activation} {quantity:?} at {z:e} is {exact:e}, by differences {value:e} ± {noise:e}"
        );
        let mut counts = self.0.borrow_mut();
        let [all, sharp] = counts.entry((activation.name(), quantity)).or_default();
        *all += 1;
        *sharp += u32::from(error <= allowed);
        Ok(())
    }

    /// If noise had to be allowed for in most cases, they would show nothing.
    fn finish(self) {
        let counts = self.0.into_inner();
        let mut dull = Vec::new();
        for ((name, quantity), [all, sharp]) in &counts {
            println!(
                "{name} {quantity:?}: {sharp} of {all} within {TOLERANCE:e} of the terms, the others within noise"
            );
            if 3 * all > 4 * sharp {
                dull.push((name, quantity));
            }
        }
        assert!(dull.is_empty(), "{dull:?}");
    }
}

#[test]
fn derivatives_by_z() {
    let tally = Tally::default();
    for_every_row(2_000, activation_and_z, |(activation, z)| {
        for (of, derivative) in [
            (Quantity::Value, Quantity::Slope),
            (Quantity::Slope, Quantity::SecondDerivative),
            (Quantity::SecondDerivative, Quantity::ThirdDerivative),
        ] {
            tally.check(&activation, derivative, z, by_z(&activation, of, z))?;
        }
        if activation.has_alpha() {
            for (of, derivative) in [
                (Quantity::AlphaSlope, Quantity::MixedDerivative),
                (Quantity::MixedDerivative, Quantity::MixedThirdDerivative),
            ] {
                tally.check(&activation, derivative, z, by_z(&activation, of, z))?;
            }
        }
        Ok(())
    });
    tally.finish();
}

#[test]
fn derivatives_by_alpha() {
    let tally = Tally::default();
    for_every_row(2_000, activation_and_z, |(activation, z)| {
        if activation.has_alpha() {
            for (of, derivative) in [
                (Quantity::Value, Quantity::AlphaSlope),
                (Quantity::Slope, Quantity::MixedDerivative),
                (Quantity::SecondDerivative, Quantity::MixedThirdDerivative),
                (Quantity::AlphaSlope, Quantity::SecondAlphaDerivative),
            ] {
                tally.check(&activation, derivative, z, by_alpha(&activation, of, z))?;
            }
        }
        Ok(())
    });
    tally.finish();
}
