//! α is data where it is learnable, and may be anything: the reference says what the mathematics says, the baseline what the
//! reference does.

use elbow::activation::{Activation, Kind, Quantity, rows};

use crate::common::{on_baseline, parsed, size, ulp};

/// Inside of some domain and outside of each.
const ALPHAS: [f32; 13] =
    [f32::NEG_INFINITY, -2.0, -1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0, 3.0, 1e10, f32::INFINITY, f32::NAN];

/// Special values, and both sides of all that bends at these αs.
fn inputs() -> Vec<f32> {
    let both =
        [0.0, f32::INFINITY, 1e-30, 1e-3, 0.1, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 7.5, 30.0, 100.0, 1000.0, 1e5, 1e30];
    both.into_iter().flat_map(|z| [z, -z]).chain([f32::NAN]).collect()
}

fn learnable() -> impl Iterator<Item = Activation> {
    let rows = rows().iter().filter(|row| row.learnable).map(|row| Activation::new(row.kind, &[]).unwrap());
    rows.chain([parsed("softplus(1,20)")])
}

#[test]
fn the_baseline_agrees_with_the_reference_for_every_alpha() {
    let mut failures = Vec::new();
    let z = inputs();
    for activation in learnable().flat_map(|row| ALPHAS.map(|alpha| row.with_alpha(alpha))) {
        for quantity in Quantity::ALL {
            for (&z, got) in z.iter().zip(on_baseline(&activation, quantity, &z)) {
                let expected = activation.evaluate(quantity, f64::from(z));
                let size = size(&activation, quantity, f64::from(z));
                let bound = (activation.row().tolerance(quantity) + 1.0) * ulp(size);
                let close = (f64::from(got) - expected).abs() <= bound;
                if !(close || got == expected as f32 || (got.is_nan() && expected.is_nan())) {
                    let (name, alpha) = (activation.name(), activation.params()[0]);
                    failures.push(format!("{name}, alpha {alpha}: {quantity:?}({z}) is {got}, not {expected}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Value, the three derivatives by z, the derivatives of the first three by α, and the second by α; checked to the six digits that are written.
type Jet = [f64; 8];

#[track_caller]
fn expect(kind: Kind, alpha: f32, z: f64, expected: Jet) {
    let activation = Activation::new(kind, &[]).unwrap().with_alpha(alpha);
    let got = activation.evaluate_all(z).0;
    let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 5e-6 * b.abs();
    assert!(got.iter().zip(&expected).all(same), "{kind:?}, alpha {alpha}, z {z}: {got:?}, not {expected:?}");
}

/// What docs/numerics.md says of each row.
#[test]
fn what_the_rows_say_outside_of_their_domains() {
    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;
    let nothing = [NAN; 8];

    for kind in [Kind::LeakyRelu, Kind::Prelu] {
        expect(kind, -2.0, -3.0, [6.0, -2.0, 0.0, 0.0, -3.0, 1.0, 0.0, 0.0]);
        expect(kind, 0.0, -INF, [0.0, 0.0, 0.0, 0.0, -INF, 1.0, 0.0, 0.0]);
        expect(kind, f32::INFINITY, -3.0, [-INF, INF, 0.0, 0.0, -3.0, 1.0, 0.0, 0.0]);
        expect(kind, f32::INFINITY, 0.0, [NAN, INF, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        expect(kind, f32::NAN, -3.0, [NAN, NAN, 0.0, 0.0, -3.0, 1.0, 0.0, 0.0]);
        expect(kind, f32::NAN, 3.0, [3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
    for z in [-3.0, 0.0, 0.5, INF] {
        expect(Kind::ClippedRelu, -2.0, z, [-2.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        expect(Kind::ClippedRelu, f32::NEG_INFINITY, z, [-INF, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
        expect(Kind::ClippedRelu, f32::NAN, z, nothing);
        expect(Kind::Softshrink, f32::NAN, z, nothing);
        expect(Kind::Squareplus, f32::NAN, z, nothing);
        expect(Kind::Softplus, f32::NAN, z, nothing);
        expect(Kind::Swish, f32::NAN, z, nothing);
        expect(Kind::Squareplus, f32::INFINITY, z, [INF, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        expect(Kind::Squareplus, f32::NEG_INFINITY, z, nothing);
    }
    expect(Kind::ClippedRelu, f32::INFINITY, 5.0, [5.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    expect(Kind::ClippedRelu, 0.0, 5.0, [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);

    expect(Kind::Elu, -2.0, -1.0, [1.264241, -0.735759, -0.735759, -0.735759, -0.632121, 0.367879, 0.367879, 0.0]);
    expect(Kind::Elu, f32::INFINITY, -1000.0, [-INF, INF, INF, INF, -1.0, 0.0, 0.0, 0.0]);
    expect(Kind::Elu, f32::NEG_INFINITY, 0.0, [NAN, -INF, -INF, -INF, 0.0, 1.0, 1.0, 0.0]);
    expect(Kind::Elu, f32::NAN, -1.0, [NAN, NAN, NAN, NAN, -0.632121, 0.367879, 0.367879, 0.0]);

    expect(
        Kind::Celu,
        -1.0,
        -2.0,
        [-6.389056, 7.389056, -7.389056, 7.389056, -8.389056, 14.778112, -22.167168, -29.556224],
    );
    for alpha in [f32::INFINITY, f32::NEG_INFINITY] {
        for z in [-INF, -5.0, 0.0] {
            expect(Kind::Celu, alpha, z, [z, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        }
    }
    for alpha in [0.0, -0.0, f32::NAN] {
        for z in [-INF, -5.0, 0.0] {
            expect(Kind::Celu, alpha, z, nothing);
        }
        expect(Kind::Celu, alpha, 5.0, [5.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    expect(
        Kind::Softplus,
        -1.0,
        -2.0,
        [-2.126928, 0.880797, -0.104994, -0.0799625, -0.365334, -0.209987, -0.0549314, -1.150642],
    );
    expect(
        Kind::Softplus,
        -1.0,
        0.5,
        [-0.474077, 0.377541, -0.235004, 0.0575568, -0.662847, 0.117502, 0.2062253, -1.384450],
    );
    for beta in [0.0, -0.0] {
        expect(Kind::Softplus, beta, 2.0, [NAN, 0.5, 0.0, 0.0, -INF, 0.5, 0.25, NAN]);
        expect(Kind::Softplus, beta, INF, [NAN, 0.5, 0.0, 0.0, -INF, INF, 0.25, NAN]);
    }
    expect(Kind::Softplus, f32::INFINITY, 2.0, [2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    expect(Kind::Softplus, f32::NEG_INFINITY, 2.0, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    expect(Kind::Softplus, f32::NEG_INFINITY, -2.0, [-2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    expect(Kind::Swish, f32::INFINITY, 2.0, [2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    expect(Kind::Swish, f32::INFINITY, -INF, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    for kind in [Kind::Softplus, Kind::Swish] {
        expect(kind, f32::INFINITY, 0.0, [0.0, NAN, NAN, NAN, 0.0, 0.0, NAN, 0.0]);
    }

    // A root where z² >= -b.
    expect(
        Kind::Squareplus,
        -1.0,
        2.0,
        [1.866025, 1.077350, -0.096225, 0.192450, 0.144338, -0.096225, 0.144338, -0.0240563],
    );
    expect(
        Kind::Squareplus,
        -1.0,
        -2.0,
        [-0.133975, -0.077350, -0.096225, -0.192450, 0.144338, 0.096225, 0.144338, -0.0240563],
    );
    expect(Kind::Squareplus, -1.0, 1.0, [0.5, INF, -INF, INF, INF, -INF, INF, -INF]);
    expect(Kind::Squareplus, -1.0, 0.5, nothing);
    expect(Kind::Squareplus, 0.0, -2.0, [0.0, 0.0, 0.0, 0.0, 0.125, 0.0625, 0.0625, -0.015625]);
    expect(Kind::Squareplus, 0.0, 0.0, [0.0, NAN, NAN, NAN, INF, NAN, NAN, -INF]);

    // The formula as it stands: the first condition that holds.
    expect(Kind::Softshrink, -1.0, -0.5, [0.5, 1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0]);
    expect(Kind::Softshrink, -1.0, -3.0, [-4.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
    expect(Kind::Softshrink, f32::INFINITY, INF, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

/// A bit cannot say NaN, but the slope that it stands for can.
#[test]
fn a_mask_of_a_nan_alpha() {
    for (name, clear, set) in
        [("prelu", f64::NAN, 1.0), ("clipped_relu", f64::NAN, f64::NAN), ("softshrink", f64::NAN, f64::NAN)]
    {
        let activation = parsed(name).with_alpha(f32::NAN);
        for (bit, expected) in [(false, clear), (true, set)] {
            let got = activation.slope_of_bit(bit);
            assert!(got == expected || (got.is_nan() && expected.is_nan()), "{name} {bit}: {got}");
        }
    }
}
