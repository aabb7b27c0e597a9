//! NaN and infinity in the functions, on both CPU implementations: NaN in is NaN out in every quantity, infinity is the limit.

use elbow::activation::{Activation, Quantity};

use proptest::prop_assert;

use crate::common::{for_every_activation, on_baseline, ordinary};

#[test]
fn nan_is_nan_in_every_quantity() {
    let nans = [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffc0_dead)];
    for_every_activation(32, ordinary, |activation| {
        for quantity in Quantity::ALL {
            prop_assert!(activation.evaluate(quantity, f64::NAN).is_nan(), "{activation} {quantity:?} in f64");
            let got = on_baseline(&activation, quantity, &nans);
            prop_assert!(got.iter().all(|got| got.is_nan()), "{activation} {quantity:?} in f32: {got:?}");
            // A learnable α that became NaN shows in the same places on both implementations.
            let (spoilt, z) = (activation.with_alpha(f32::NAN), [-20.0, -1.5, -0.1, 0.1, 1.5, 20.0]);
            for (z, got) in z.into_iter().zip(on_baseline(&spoilt, quantity, &z)) {
                let exact = spoilt.evaluate(quantity, f64::from(z));
                let same = !activation.has_alpha() || got.is_nan() == exact.is_nan();
                prop_assert!(same, "{activation} with α NaN, {quantity:?} at {z}: {got} in f32, {exact} in f64");
            }
        }
        Ok(())
    });
}

/// What the quantity tends to: the value far out if it has settled, infinity if it still grows, 0 if it still falls.
fn limit(activation: &Activation, quantity: Quantity, sign: f64) -> f64 {
    let [far, farther] = [2f64.powi(300), 2f64.powi(500)].map(|t| activation.evaluate(quantity, sign * t));
    if far == farther {
        far
    } else if farther.abs() > far.abs() {
        f64::INFINITY.copysign(farther)
    } else {
        0.0
    }
}

#[test]
fn infinity_is_the_limit() {
    for_every_activation(32, ordinary, |activation| {
        for quantity in Quantity::ALL {
            for sign in [1.0, -1.0] {
                let (limit, at) = (limit(&activation, quantity, sign), sign * f64::INFINITY);
                let exact = activation.evaluate(quantity, at);
                let allowed = 4.0 * f64::EPSILON * limit.abs();
                let right = exact == limit || (exact - limit).abs() <= allowed;
                prop_assert!(right, "{activation} {quantity:?} at {at}: {exact}, tends to {limit}");
                let got = on_baseline(&activation, quantity, &[at as f32])[0];
                let right = got == limit as f32 || (f64::from(got) - limit).abs() <= limit.abs() * 1e-6;
                prop_assert!(right, "{activation} {quantity:?} at {at}: {got} in f32, tends to {limit}");
            }
        }
        Ok(())
    });
}
