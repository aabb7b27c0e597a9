//! The shape of the functions: no step the wrong way between neighbouring floats, the Lipschitz constant reached and not
//! passed, kinks where they are declared and nowhere else.

use proptest::prop_assert;

use crate::common::{
    activation, defaults, for_every_activation, full, narrowest, on_baseline, ordinary, parsed, scales, size, ulp,
};
use elbow::activation::{Activation, Kind, Kink, Quantity};

/// f32 in its order: the float with this number, 0 being 0.
fn float(number: i32) -> f32 {
    if number < 0 { -f32::from_bits(number.unsigned_abs()) } else { f32::from_bits(number as u32) }
}

fn number(z: f32) -> i32 {
    let magnitude = z.abs().to_bits() as i32;
    if z < 0.0 { -magnitude } else { magnitude }
}

/// Runs of 4,096 neighbouring floats: 16 over all finite ones, 48 where functions bend, one around 0 and each kink.
fn windows(activation: &Activation, seed: u32) -> Vec<Vec<f32>> {
    const LENGTH: i32 = 4_096;
    let (least, most) = (2f32.powi(-6).to_bits(), 128f32.to_bits());
    let mut middles: Vec<i32> = activation.kinks().iter().map(|kink| number(kink.at as f32)).collect();
    middles.push(0);
    for i in 0..64u32 {
        // The golden ratio spreads them evenly.
        let spread = f64::from((i + 64 * seed).wrapping_mul(2_654_435_769)) / 2f64.powi(32);
        let (from, to) = if i % 4 == 0 { (0, f32::MAX.to_bits() - LENGTH as u32) } else { (least, most) };
        let magnitude = f64::from(from) + spread * f64::from(to - from);
        middles.push(if i % 8 < 4 { magnitude as i32 } else { -(magnitude as i32) });
    }
    middles.into_iter().map(|middle| (middle - LENGTH / 2..middle + LENGTH / 2).map(float).collect()).collect()
}

#[test]
fn no_step_the_wrong_way() {
    let others =
        ["swish(0.3)", "swish(-2)", "softplus(3.7)", "softplus(1,20)", "squareplus(0.1)", "elu(1.3)", "celu(0.7)"];
    for activation in defaults().chain(others.map(parsed)) {
        let tolerance = activation.row().tolerance(Quantity::Value);
        let mut worst = (0.0, f32::NAN);
        for seed in 0..if full() { 64 } else { 1 } {
            for z in windows(&activation, seed) {
                let exact: Vec<f64> = z.iter().map(|z| activation.value(f64::from(*z))).collect();
                let got = on_baseline(&activation, Quantity::Value, &z);
                for i in 1..z.len() {
                    let (exact, got) = ([exact[i - 1], exact[i]], [got[i - 1], got[i]].map(f64::from));
                    let wrong_way = if exact[1] >= exact[0] { got[0] - got[1] } else { got[1] - got[0] };
                    let step = wrong_way / ulp(size(&activation, Quantity::Value, f64::from(z[i])));
                    if step > worst.0 {
                        worst = (step, z[i]);
                    }
                }
            }
        }
        println!("{activation}: {} ulp the wrong way at {:e}, allowed {tolerance}", worst.0, worst.1);
        assert!(worst.0 <= tolerance, "{activation}: {} ulp the wrong way at {:e}", worst.0, worst.1);
    }
}

/// Points on all scales of an activation: where it bends, around its kinks and between them.
fn places(activation: &Activation) -> Vec<f64> {
    let kinks: Vec<f64> = activation.kinks().iter().map(|kink| kink.at).collect();
    let mut places: Vec<f64> = kinks.windows(2).map(|pair| 0.5 * (pair[0] + pair[1])).collect();
    for scale in scales(activation) {
        places.extend((-800..=800).map(|i| f64::from(i) * 0.0125 * scale));
        places.extend([-1e6, -40.0, -20.0, 20.0, 40.0, 1e6].map(|u| u * scale));
    }
    for kink in kinks {
        let near = if kink == 0.0 { 1e-100 } else { 1e-12 * kink.abs() };
        places.extend([kink - near, kink, kink + near]);
    }
    places.sort_by(f64::total_cmp);
    places.dedup();
    places
}

#[test]
fn lipschitz_is_reached_and_not_passed() {
    for_every_activation(24, activation, |activation| {
        let lipschitz = activation.lipschitz();
        let places = places(&activation);
        let steepest = places.iter().map(|&z| activation.slope(z).abs()).fold(0.0, f64::max);
        // Over neighbours, and over the whole way between points that lie far apart.
        let pairs = (1..places.len()).map(|i| (places[i - 1], places[i]));
        let pairs = pairs.chain((0..places.len()).map(|i| (places[i], places[i * 7919 % places.len()])));
        let mut steepest_chord: f64 = 0.0;
        for (u, v) in pairs.filter(|(u, v)| u != v) {
            let (f, g) = (activation.value(u), activation.value(v));
            // A threshold of softplus so high that f32 does not show its jump counts as none.
            let unseen = if activation.kind() == Kind::Softplus { 2f64.powi(-25) } else { 0.0 };
            let slack = (8.0 * f64::EPSILON + unseen) * (f.abs() + g.abs()) + 1e-300;
            let rise = ((f - g).abs() - slack).max(0.0);
            let run = (u - v).abs() + 2.0 * f64::EPSILON * (u.abs() + v.abs());
            prop_assert!(rise <= lipschitz * run, "{activation}: from {u:e} to {v:e} by {rise:e}");
            steepest_chord = steepest_chord.max(rise / run);
        }
        if lipschitz.is_finite() {
            // The ramp of a hardsigmoid with a huge offset lies between two numbers of f64.
            let hidden = activation.kind() == Kind::HardsigmoidAffine && activation.params()[1].abs() > 1e9;
            prop_assert!(steepest <= lipschitz * (1.0 + 1e-14), "{activation}: {steepest} > {lipschitz}");
            prop_assert!(hidden || steepest >= lipschitz * (1.0 - 1e-4), "{activation}: {steepest} < {lipschitz}");
        } else {
            let most = steepest.max(steepest_chord).max(activation.slope(1e6).abs());
            prop_assert!(most > 1e4, "{activation}: no steeper than {most}");
        }
        Ok(())
    });
}

/// All quantities just left and just right of z.
fn sides(activation: &Activation, z: f64) -> [[f64; 8]; 2] {
    let near = 1e-9 * z.abs().max(narrowest(activation));
    [z - near, z + near].map(|z| Quantity::ALL.map(|quantity| activation.evaluate(quantity, z)))
}

#[test]
fn something_jumps_at_every_declared_kink() {
    for_every_activation(256, ordinary, |activation| {
        for kink in activation.kinks() {
            let [left, right] = sides(&activation, kink.at);
            let jumps = (0..left.len()).any(|i| {
                let largest = left[i].abs().max(right[i].abs());
                (left[i] - right[i]).abs() > 1e-6 * largest.max(if i == 0 { kink.at.abs() } else { 0.0 })
            });
            prop_assert!(jumps, "{activation} at {}: {left:?} {right:?}", kink.at);
            // The slope declared is that of one side: continuous from there.
            let of_a_side =
                [left, right].iter().any(|side| (side[1] - kink.slope).abs() <= 1e-6 * side[1].abs().max(1.0));
            prop_assert!(of_a_side, "{activation} at {}: {} of {left:?} {right:?}", kink.at, kink.slope);
        }
        Ok(())
    });
}

#[test]
fn the_slope_at_a_kink_is_the_declared_one_on_both_implementations() {
    for_every_activation(256, ordinary, |activation| {
        for kink in activation.kinks().iter().filter(|kink| f64::from(kink.at as f32) == kink.at) {
            let exact = activation.slope(kink.at);
            let allowed = 4.0 * f64::EPSILON * kink.slope.abs();
            prop_assert!(
                (exact - kink.slope).abs() <= allowed,
                "{activation} at {}: {exact}, declared {}",
                kink.at,
                kink.slope
            );
            let got = on_baseline(&activation, Quantity::Slope, &[kink.at as f32])[0];
            let allowed = activation.row().tolerance(Quantity::Slope) * ulp(kink.slope);
            prop_assert!(
                got == kink.slope as f32 || (f64::from(got) - kink.slope).abs() <= allowed,
                "{activation} at {}: {got} in f32, declared {}",
                kink.at,
                kink.slope
            );
        }
        Ok(())
    });
}

/// Whether a kink lies at z, or between z and a neighbour: its place may be rounded.
fn has_kink(kinks: &[Kink], from: f64, to: f64) -> bool {
    kinks
        .iter()
        .any(|kink| (from..=to).contains(&kink.at) || [from, to].iter().any(|z| (z / kink.at - 1.0).abs() < 1e-15))
}

#[test]
fn nothing_jumps_elsewhere() {
    for_every_activation(24, activation, |activation| {
        let kinks = activation.kinks();
        for pair in places(&activation).windows(2) {
            let (u, v) = (pair[0], pair[1]);
            let reach = u.abs().max(narrowest(&activation));
            let [left, right] = sides(&activation, u).map(|side| side[2]);
            if !has_kink(&kinks, u - 1e-9 * reach, u + 1e-9 * reach) && left.is_finite() && right.is_finite() {
                let around =
                    [u - 0.25 * reach, u + 0.25 * reach].map(|z| size(&activation, Quantity::SecondDerivative, z));
                let allowed = 1e-4 * left.abs().max(right.abs()) + 1e-6 * around[0].max(around[1]);
                prop_assert!(
                    (left - right).abs() <= allowed,
                    "{activation} SecondDerivative from {left:e} to {right:e} at {u:e}"
                );
            }
            if has_kink(&kinks, u, v) {
                continue;
            }
            // The mean value theorem: a function cannot move by more than its derivative allows.
            let inside = [u, u + 0.25 * (v - u), u + 0.5 * (v - u), u + 0.75 * (v - u), v];
            for (of, derivative) in [(Quantity::Value, Quantity::Slope), (Quantity::Slope, Quantity::SecondDerivative)]
            {
                let steepest = inside.iter().map(|&z| activation.evaluate(derivative, z).abs()).fold(0.0, f64::max);
                let ends = [u, v].map(|z| (activation.evaluate(of, z), size(&activation, of, z)));
                if ends.iter().any(|(value, _)| !value.is_finite()) {
                    continue;
                }
                let moved = (ends[1].0 - ends[0].0).abs();
                let slack = 8.0 * f64::EPSILON * (ends[0].1 + ends[1].1) + 1e-300;
                prop_assert!(
                    moved <= 1.5 * steepest * (v - u) + slack,
                    "{activation} {of:?} moves by {moved:e} from {u:e} to {v:e}"
                );
            }
        }
        Ok(())
    });
}
