//! The activations over slices of f32: one vectorised loop for each activation and each derivative.

mod functions;
mod math;

use functions::Functions;
use pulp::{Arch, Simd, WithSimd};

use crate::activation::{Activation, Kind, Quantity};

/// α for a run of elements.
#[derive(Debug, Clone, Copy)]
pub enum Alpha<'a> {
    /// The same for all.
    One(f32),
    /// One for each element.
    Each(&'a [f32]),
}

impl<'a> Alpha<'a> {
    /// The part for elements `range`.
    pub(super) fn part(self, range: std::ops::Range<usize>) -> Alpha<'a> {
        match self {
            Alpha::One(a) => Alpha::One(a),
            Alpha::Each(a) => Alpha::Each(&a[range]),
        }
    }
}

/// out[i] = f(z[i]; α), where f is `quantity` of `activation`. The shortest of the slices says how many.
///
/// Accuracy: within the table of the documentation on all finite f32; NaN gives NaN, ±inf the limit.
pub fn evaluate(activation: &Activation, quantity: Quantity, alpha: Alpha<'_>, z: &[f32], out: &mut [f32]) {
    let [first, s] = activation.params();
    // SiLU is swish at 1: the split product of the general one is not needed.
    if let (Kind::Swish, Alpha::One(1.0), Quantity::Value | Quantity::Slope) = (activation.kind(), alpha, quantity) {
        return run::<functions::Silu>(quantity, alpha, s, z, out);
    }
    macro_rules! table {
        ($($kind:ident => $functions:ident),* $(,)?) => {
            match activation.kind() {
                $(Kind::$kind => {
                    let alpha = if functions::$functions::HAS_ALPHA { alpha } else { Alpha::One(first) };
                    run::<functions::$functions>(quantity, alpha, s, z, out)
                })*
            }
        };
    }
    table! {
        Identity => Identity,
        Relu => Relu,
        LeakyRelu => LeakyRelu,
        Prelu => LeakyRelu,
        ClippedRelu => ClippedRelu,
        Relu6 => Relu6,
        Hardtanh => Hardtanh,
        ReluSquared => ReluSquared,
        ThresholdedRelu => ThresholdedRelu,
        Threshold => Threshold,
        Elu => Elu,
        Celu => Celu,
        Selu => Selu,
        Softplus => Softplus,
        Squareplus => Squareplus,
        GeluErf => GeluErf,
        GeluTanh => GeluTanh,
        QuickGelu => QuickGelu,
        Silu => Silu,
        Swish => Swish,
        Mish => Mish,
        Hardswish => Hardswish,
        Hardsigmoid => Hardsigmoid,
        HardsigmoidAffine => HardsigmoidAffine,
        Sigmoid => Sigmoid,
        Logsigmoid => Logsigmoid,
        Tanh => Tanh,
        Softsign => Softsign,
        Tanhshrink => Tanhshrink,
        Softshrink => Softshrink,
        Hardshrink => Hardshrink,
    }
}

fn run<F: Functions>(quantity: Quantity, alpha: Alpha<'_>, s: f32, z: &[f32], out: &mut [f32]) {
    match quantity {
        Quantity::Value => map(F::act, alpha, s, z, out),
        Quantity::Slope => map(F::act_dz, alpha, s, z, out),
        Quantity::Curvature => map(F::act_dzz, alpha, s, z, out),
        Quantity::AlphaSlope => map(F::act_da, alpha, s, z, out),
        Quantity::AlphaCurvature => map(F::act_dzda, alpha, s, z, out),
    }
}

fn map(f: impl Fn(f32, f32, f32) -> f32, alpha: Alpha<'_>, s: f32, z: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(Map { f, alpha, s, z, out });
}

/// The loop, compiled once for each instruction set: the closure is inlined into it and vectorised.
struct Map<'a, F> {
    f: F,
    alpha: Alpha<'a>,
    s: f32,
    z: &'a [f32],
    out: &'a mut [f32],
}

impl<F: Fn(f32, f32, f32) -> f32> WithSimd for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Map { f, alpha, s, z, out } = self;
        match alpha {
            Alpha::One(a) => {
                for (out, &z) in out.iter_mut().zip(z) {
                    *out = f(z, a, s);
                }
            }
            Alpha::Each(alpha) => {
                for ((out, &z), &a) in out.iter_mut().zip(z).zip(alpha) {
                    *out = f(z, a, s);
                }
            }
        }
    }
}
