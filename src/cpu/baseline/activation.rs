//! The activations over slices of f32: one vectorised loop for each activation and each derivative.

mod functions;
mod math;

use std::marker::PhantomData;

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

/// `out[i]` = f(`z[i]`; α), where f is `quantity` of `activation`. The shortest of the slices says how many.
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
        Quantity::Value => map(Value::<F>(PhantomData), alpha, s, z, out),
        Quantity::Slope => map(Slope::<F>(PhantomData), alpha, s, z, out),
        Quantity::Curvature => map(Curvature::<F>(PhantomData), alpha, s, z, out),
        Quantity::AlphaSlope => map(AlphaSlope::<F>(PhantomData), alpha, s, z, out),
        Quantity::AlphaCurvature => map(AlphaCurvature::<F>(PhantomData), alpha, s, z, out),
    }
}

/// A function of one element. A trait and not a closure, because only a method can be told to be always inlined: outside
/// of the loop it would be compiled without the vector instructions of the machine.
trait Pointwise {
    /// |z| up to which [`Pointwise::near`] is the same, with fewer instructions; 0 if nowhere.
    const NEAR: f32;
    fn at(&self, z: f32, a: f32, s: f32) -> f32;
    fn near(&self, z: f32, a: f32, s: f32) -> f32;
}

macro_rules! pointwise {
    ($($name:ident => $function:ident, $near:expr, $near_function:ident;)*) => {$(
        struct $name<F>(PhantomData<F>);
        impl<F: Functions> Pointwise for $name<F> {
            const NEAR: f32 = $near;
            #[inline(always)]
            fn at(&self, z: f32, a: f32, s: f32) -> f32 {
                F::$function(z, a, s)
            }
            #[inline(always)]
            fn near(&self, z: f32, a: f32, s: f32) -> f32 {
                F::$near_function(z, a, s)
            }
        }
    )*};
}
pointwise! {
    Value => act, F::NEAR, act_near;
    Slope => act_dz, F::NEAR, act_dz_near;
    Curvature => act_dzz, 0.0, act_dzz;
    AlphaSlope => act_da, 0.0, act_da;
    AlphaCurvature => act_dzda, 0.0, act_dzda;
}

/// Elements that are asked together whether they are near: they stay in the first-level cache for the answer.
const NEIGHBOURS: usize = 512;

fn map(f: impl Pointwise, alpha: Alpha<'_>, s: f32, z: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(Map { f, alpha, s, z, out });
}

/// The loop, compiled once for each instruction set, with the function inlined into it.
struct Map<'a, F> {
    f: F,
    alpha: Alpha<'a>,
    s: f32,
    z: &'a [f32],
    out: &'a mut [f32],
}

impl<F: Pointwise> WithSimd for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) {
        let Map { f, alpha, s, z, out } = self;
        match alpha {
            Alpha::One(a) if F::NEAR > 0.0 => {
                for (out, z) in out.chunks_mut(NEIGHBOURS).zip(z.chunks(NEIGHBOURS)) {
                    // Not `all`, which would stop early and not be vector code.
                    if z.iter().fold(true, |near, z| near & (z.abs() <= F::NEAR)) {
                        for (out, &z) in out.iter_mut().zip(z) {
                            *out = f.near(z, a, s);
                        }
                    } else {
                        for (out, &z) in out.iter_mut().zip(z) {
                            *out = f.at(z, a, s);
                        }
                    }
                }
            }
            Alpha::One(a) => {
                for (out, &z) in out.iter_mut().zip(z) {
                    *out = f.at(z, a, s);
                }
            }
            Alpha::Each(alpha) => {
                for ((out, &z), &a) in out.iter_mut().zip(z).zip(alpha) {
                    *out = f.at(z, a, s);
                }
            }
        }
    }
}
