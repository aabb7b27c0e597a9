//! Equations between activations and within one, on both implementations: in f64 to a few of its own ulp, in f32 to the tolerances
//! of the rows.

use elbow::activation::{Activation, Kind, Quantity};
use proptest::prelude::*;

use crate::common::{activation, defaults, for_every_activation, inputs, on_baseline, parsed, size, ulp};

/// How often a quantity is a derivative by z.
fn order(quantity: Quantity) -> i32 {
    match quantity {
        Quantity::Value | Quantity::AlphaSlope | Quantity::SecondAlphaDerivative => 0,
        Quantity::Slope | Quantity::MixedDerivative => 1,
        Quantity::SecondDerivative | Quantity::MixedThirdDerivative => 2,
        Quantity::ThirdDerivative => 3,
    }
}

/// What the two halves of a function have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Symmetry {
    /// f(z) - f(-z) = z: z times a gate whose two halves make 1.
    Gate,
    /// f(z) + f(-z) = 0
    Odd,
    /// f(z) + f(-z) = 1
    Complement,
}

impl Symmetry {
    const ALL: [Symmetry; 3] = [Symmetry::Gate, Symmetry::Odd, Symmetry::Complement];

    /// The sign s and the right side of q(z) + s q(-z): that of the function, differentiated.
    fn of(self, quantity: Quantity, z: f64) -> (f64, f64) {
        let sign = if self == Symmetry::Gate { -1.0 } else { 1.0 };
        let right = match (self, quantity) {
            (Symmetry::Gate, Quantity::Value) => z,
            (Symmetry::Gate, Quantity::Slope) | (Symmetry::Complement, Quantity::Value) => 1.0,
            _ => 0.0,
        };
        (sign * (-1f64).powi(order(quantity)), right)
    }

    /// Which of them an activation has.
    fn claimed(activation: &Activation) -> Option<Symmetry> {
        let [a, b] = activation.params();
        match activation.kind() {
            Kind::Relu | Kind::Squareplus | Kind::GeluErf | Kind::GeluTanh => Some(Symmetry::Gate),
            Kind::QuickGelu | Kind::Silu | Kind::Swish | Kind::Hardswish | Kind::Logsigmoid => Some(Symmetry::Gate),
            Kind::Softplus if b == f32::INFINITY => Some(Symmetry::Gate),
            Kind::Identity | Kind::Tanh | Kind::Softsign | Kind::Tanhshrink => Some(Symmetry::Odd),
            Kind::Softshrink | Kind::Hardshrink => Some(Symmetry::Odd),
            Kind::Hardtanh if a == -b => Some(Symmetry::Odd),
            Kind::Sigmoid | Kind::Hardsigmoid => Some(Symmetry::Complement),
            Kind::HardsigmoidAffine if b == 0.5 => Some(Symmetry::Complement),
            _ => None,
        }
    }
}

fn at_kink(activation: &Activation, z: f64) -> bool {
    activation.kinks().iter().any(|kink| kink.at.abs() == z.abs())
}

/// By how much an activation misses the symmetry, in f64, over numbers of ordinary size.
fn missed(activation: &Activation, symmetry: Symmetry) -> f64 {
    let miss = |z: f64| {
        let (sign, right) = symmetry.of(Quantity::Value, z);
        (activation.value(z) + sign * activation.value(-z) - right).abs()
    };
    (1..400).map(|i| miss(f64::from(i) / 37.0)).fold(0.0, f64::max)
}

#[test]
fn the_symmetries_that_are_claimed_are_those_there_are() {
    for activation in defaults() {
        for symmetry in Symmetry::ALL {
            let holds = missed(&activation, symmetry) < 1e-9;
            assert_eq!(holds, Symmetry::claimed(&activation) == Some(symmetry), "{activation} {symmetry:?}");
        }
    }
}

#[test]
fn both_halves_agree_with_the_symmetry() {
    let z = inputs(2_000_003, 1_000);
    let negated: Vec<f32> = z.iter().map(|z| -z).collect();
    for_every_activation(16, activation, |activation| {
        let Some(symmetry) = Symmetry::claimed(&activation) else { return Ok(()) };
        for quantity in Quantity::ALL {
            let tolerance = activation.row().tolerance(quantity);
            let (f, g) = (on_baseline(&activation, quantity, &z), on_baseline(&activation, quantity, &negated));
            for ((&z, f), g) in z.iter().zip(f).zip(g).filter(|((z, _), _)| !at_kink(&activation, f64::from(**z))) {
                let z = f64::from(z);
                let (sign, right) = symmetry.of(quantity, z);
                let exact = activation.evaluate(quantity, z) + sign * activation.evaluate(quantity, -z);
                let sizes = [size(&activation, quantity, z), size(&activation, quantity, -z)];
                let allowed = 8.0 * f64::EPSILON * (sizes[0] + sizes[1] + right.abs()) + 1e-300;
                prop_assert!(
                    (exact - right).abs() <= allowed,
                    "{activation} {quantity:?} at ±{z:e}: {exact:e} not {right:e}"
                );
                let got = f64::from(f) + sign * f64::from(g);
                let allowed = tolerance * (ulp(sizes[0]) + ulp(sizes[1]));
                // Beyond f32 there is only infinity.
                let beyond = sizes[0].max(sizes[1]) >= f64::from(f32::MAX);
                prop_assert!(
                    beyond || (got - right).abs() <= allowed,
                    "{activation} {quantity:?} at ±{z:e}: {f:e}, {g:e}, in f32"
                );
            }
        }
        Ok(())
    });
}

/// f(z) = scale · g(stretch · z) + offset
struct Link(&'static str, &'static str, f64, f64, f64);

/// Stretches are powers of two, so that f32 takes them exactly.
const LINKS: &[Link] = &[
    Link("leaky_relu(1)", "identity", 1.0, 1.0, 0.0),
    Link("leaky_relu(0)", "relu", 1.0, 1.0, 0.0),
    Link("leaky_relu(-1)", "leaky_relu(-1)", 1.0, -1.0, 0.0),
    Link("prelu(0.3)", "leaky_relu(0.3)", 1.0, 1.0, 0.0),
    Link("prelu(2)", "prelu(0.5)", -2.0, -1.0, 0.0),
    Link("clipped_relu(6)", "relu6", 1.0, 1.0, 0.0),
    Link("clipped_relu(3.4028235e38)", "relu", 1.0, 1.0, 0.0),
    Link("hardtanh(0,6)", "relu6", 1.0, 1.0, 0.0),
    Link("hardtanh(-2,2)", "hardtanh(-1,1)", 2.0, 0.5, 0.0),
    Link("thresholded_relu(0)", "relu", 1.0, 1.0, 0.0),
    Link("threshold(0,0)", "relu", 1.0, 1.0, 0.0),
    Link("threshold(0.7,0)", "thresholded_relu(0.7)", 1.0, 1.0, 0.0),
    Link("softshrink(0)", "identity", 1.0, 1.0, 0.0),
    Link("hardshrink(0)", "identity", 1.0, 1.0, 0.0),
    Link("elu(1)", "celu(1)", 1.0, 1.0, 0.0),
    Link("elu(0)", "relu", 1.0, 1.0, 0.0),
    Link("celu(2)", "elu(1)", 2.0, 0.5, 0.0),
    Link("swish(0)", "identity", 0.5, 1.0, 0.0),
    Link("swish(1)", "silu", 1.0, 1.0, 0.0),
    Link("swish(1.702)", "quick_gelu", 1.0, 1.0, 0.0),
    Link("swish(4)", "silu", 0.25, 4.0, 0.0),
    Link("swish(-1)", "silu", -1.0, -1.0, 0.0),
    Link("softplus(8)", "softplus(1)", 0.125, 8.0, 0.0),
    Link("softplus(1,3e38)", "softplus(1)", 1.0, 1.0, 0.0),
    Link("logsigmoid", "softplus(1)", -1.0, -1.0, 0.0),
    Link("squareplus(16)", "squareplus(4)", 2.0, 0.5, 0.0),
    Link("hardsigmoid(1,0)", "hardtanh(0,1)", 1.0, 1.0, 0.0),
    Link("tanh", "sigmoid", 2.0, 2.0, -1.0),
];

#[test]
fn one_activation_is_another_one_stretched() {
    // Subnormal numbers cannot be halved.
    let normal = |z: &f32| *z == 0.0 || (1e-30..1e37).contains(&z.abs());
    let z: Vec<f32> = inputs(1_000_003, 2_000).into_iter().filter(normal).collect();
    for &Link(f_text, g_text, scale, stretch, offset) in LINKS {
        let (f, g) = (parsed(f_text), parsed(g_text));
        let stretched: Vec<f32> = z.iter().map(|z| z * stretch as f32).collect();
        for quantity in Quantity::ALL.into_iter().filter(|quantity| !quantity.is_by_alpha()) {
            let scale = scale * stretch.powi(order(quantity));
            let offset = if quantity == Quantity::Value { offset } else { 0.0 };
            let [ours, others] = [(&f, &z), (&g, &stretched)].map(|(a, z)| on_baseline(a, quantity, z));
            for (i, (&z, &u)) in z.iter().zip(&stretched).enumerate() {
                let (z, u) = (f64::from(z), f64::from(u));
                if at_kink(&f, z) || at_kink(&g, u) {
                    continue;
                }
                let sizes = [size(&f, quantity, z), scale.abs() * size(&g, quantity, u) + offset.abs()];
                let (left, right) = (f.evaluate(quantity, z), scale * g.evaluate(quantity, u) + offset);
                let allowed = 8.0 * f64::EPSILON * (sizes[0] + sizes[1]) + 1e-300;
                assert!((left - right).abs() <= allowed, "{f} {quantity:?} at {z:e} is {left:e}, by {g} {right:e}");
                let (left, right) = (f64::from(ours[i]), scale * f64::from(others[i]) + offset);
                // What g lost as a subnormal number is scaled too.
                let theirs = ulp(sizes[1]).max(scale.abs() * ulp(size(&g, quantity, u)));
                let allowed = f.row().tolerance(quantity) * ulp(sizes[0]) + g.row().tolerance(quantity) * theirs;
                assert!(
                    (left - right).abs() <= allowed,
                    "{f} {quantity:?} at {z:e} is {left:e}, by {g} {right:e}, f32"
                );
            }
        }
    }
}

#[test]
fn one_activation_is_made_of_others() {
    type Made = fn(&dyn Fn(&str, f64) -> f64, f64) -> f64;
    let made: &[(&str, Made)] = &[
        ("relu_squared", |of, z| of("relu", z) * of("relu", z)),
        ("silu", |of, z| z * of("sigmoid", z)),
        ("quick_gelu", |of, z| z * of("sigmoid", f64::from(1.702f32) * z)),
        ("hardswish", |of, z| z * of("hardsigmoid", z)),
        ("mish", |of, z| z * of("tanh", of("softplus", z))),
        ("tanhshrink", |of, z| z - of("tanh", z)),
        ("softshrink(0.5)", |of, z| z - of("hardtanh(-0.5,0.5)", z)),
        ("selu", |of, z| if z > 0.0 { 1.0507009873554805 * z } else { 1.7580993408473768 * of("elu", z) }),
        ("gelu_tanh", |of, z| {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (z + 0.044715 * z * z * z);
            z * 0.5 * (1.0 + of("tanh", u))
        }),
        ("gelu_erf", |_, z| z * 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2)),
        ("softsign", |_, z| z / (1.0 + z.abs())),
    ];
    for (text, by) in made {
        let f = parsed(text);
        for i in -4_000..=4_000 {
            let z = f64::from(i) / 250.0;
            let (left, right) = (f.value(z), by(&|text, z| parsed(text).value(z), z));
            // What makes a function up may cancel where the function itself does not.
            assert!((left - right).abs() <= 1e-14 * (1.0 + z.abs()), "{f} at {z}: {left:e}, of its parts {right:e}");
        }
    }
}

/// How far a soft ReLU of this α is from the hard one, and the z where it is that far.
fn softness(activation: &Activation) -> Option<(f64, f64)> {
    let alpha = f64::from(activation.params()[0]);
    match activation.kind() {
        Kind::Softplus if activation.params()[1] == f32::INFINITY => Some((std::f64::consts::LN_2 / alpha, 0.0)),
        Kind::Squareplus => Some((alpha.sqrt() / 2.0, 0.0)),
        // max t σ(-t) = W(1/e), at t = 1 + W(1/e).
        Kind::Swish if alpha > 0.0 => Some((0.278_464_542_761_074 / alpha, 1.278_464_542_761_074 / alpha)),
        _ => None,
    }
}

#[test]
fn soft_relus_are_as_far_from_relu_as_their_alpha_says_and_no_farther() {
    let z = inputs(4_000_037, 1_000);
    for_every_activation(24, activation, |activation| {
        let Some((farthest, at)) = softness(&activation) else { return Ok(()) };
        let tolerance = activation.row().tolerance(Quantity::Value);
        let distance = |z: f64| (activation.value(z) - z.max(0.0)).abs();
        let reached = distance(at);
        prop_assert!(
            (reached - farthest).abs() <= 1e-14 * farthest,
            "{activation} at {at:e}: {reached:e}, not {farthest:e}"
        );
        for (&z, y) in z.iter().zip(on_baseline(&activation, Quantity::Value, &z)) {
            let z = f64::from(z);
            let slack = 4.0 * f64::EPSILON * (z.abs() + farthest);
            prop_assert!(distance(z) <= farthest + slack, "{activation} at {z:e}: {:e}", distance(z));
            let clearly_off = z.abs() > 1e-6 * farthest && at == 0.0;
            prop_assert!(!clearly_off || distance(z) < farthest, "{activation} at {z:e} is as far as at {at:e}");
            let got = (f64::from(y) - z.max(0.0)).abs();
            let slack = tolerance * ulp(size(&activation, Quantity::Value, z));
            let beyond = activation.value(z) >= f64::from(f32::MAX);
            prop_assert!(beyond || got <= farthest + slack, "{activation} at {z:e}: {got:e} in f32");
        }
        Ok(())
    });
}

#[test]
fn a_projection_changes_nothing_the_second_time() {
    const PROJECTIONS: [Kind; 6] =
        [Kind::Identity, Kind::Relu, Kind::ClippedRelu, Kind::Relu6, Kind::Hardtanh, Kind::Hardshrink];
    let z = inputs(1_000_003, 2_000);
    for activation in defaults() {
        let once = on_baseline(&activation, Quantity::Value, &z);
        let twice = on_baseline(&activation, Quantity::Value, &once);
        let idempotent = once.iter().zip(&twice).all(|(once, twice)| once == twice);
        // A threshold of 1 maps to {0} and z > 1; one of 0.5 with the value 0.5 to 0.5 and z > 0.5.
        let threshold = matches!(activation.kind(), Kind::ThresholdedRelu | Kind::Threshold);
        assert_eq!(idempotent, PROJECTIONS.contains(&activation.kind()) || threshold, "{activation}");
        let exact = |z: &f32| activation.value(activation.value(f64::from(*z))) == activation.value(f64::from(*z));
        assert!(!idempotent || z.iter().all(exact), "{activation}");
    }
    for_every_activation(24, activation, |activation| {
        if PROJECTIONS.contains(&activation.kind()) {
            let once = on_baseline(&activation, Quantity::Value, &z);
            prop_assert_eq!(&on_baseline(&activation, Quantity::Value, &once), &once, "{}", activation);
        }
        Ok(())
    });
}

/// Elements are computed many at a time, near 0 with fewer instructions: a NaN among them sends the others the long way.
#[test]
fn neighbours_change_no_bit() {
    for activation in defaults() {
        for quantity in [Quantity::Value, Quantity::Slope] {
            for reach in [1e-30, 1.0, 9.0, 12.0, 80.0] {
                let near: Vec<f32> = (-20_000..=20_000).map(|i| reach * i as f32 / 20_000.0).collect();
                let among_far: Vec<f32> =
                    near.iter().enumerate().map(|(i, &z)| if i % 64 == 0 { f32::NAN } else { z }).collect();
                let [alone, among] = [&near, &among_far].map(|z| on_baseline(&activation, quantity, z));
                for (i, (alone, among)) in alone.iter().zip(&among).enumerate().filter(|(i, _)| i % 64 != 0) {
                    let same = alone.to_bits() == among.to_bits();
                    assert!(same, "{activation} {quantity:?} at {}: {alone} and {among}", near[i]);
                }
            }
        }
    }
}
