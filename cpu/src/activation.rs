//! The activations over slices of f32: a vectorised loop for each activation and derivative.

mod functions;
mod math;

use std::marker::PhantomData;

use elbow::activation::{Activation, Kind, Quantity, rows};
use functions::*;
use pulp::{Arch, Simd, WithSimd};

/// α for the elements of a slice.
#[derive(Debug, Clone, Copy)]
pub enum Alpha<'a> {
    /// The same for all elements.
    One(f32),
    /// One for each element, as many as z has.
    Each(&'a [f32]),
}

/// `out[i]` = exp(`z[i]` − top) for z up to top, of the exact difference: what the subtraction rounds away goes into the exponential.
pub(crate) fn exponentials(z: &[f32], top: f32, out: &mut [f32]) {
    /// Below this it is 0 in f32.
    const FAR: f32 = -160.0;
    Arch::new().dispatch(|| {
        for (out, &z) in out.iter_mut().zip(z) {
            let d = z - top;
            let low = math::select(z.abs() >= top.abs(), (z - d) - top, z - (d + top));
            let far = d < FAR;
            let e = math::exp(math::select(far, FAR, d), math::select(far, 0.0, low));
            *out = e.times(e.m);
        }
    });
}

/// `out[i]` = f(`z[i]`; α), where f is `quantity` of `activation`, for as many elements as the shortest slice has.
///
/// Accuracy on all finite f32: within the ulp of the activation's row ([`elbow::activation::Row::ulp`]). NaN gives NaN, ±inf the limit.
///
/// ```
/// use elbow::{Activation, activation::Quantity};
/// use elbow_cpu::{Alpha, evaluate};
/// let mut slopes = [0.0; 3];
/// evaluate(&Activation::RELU, Quantity::Slope, Alpha::One(0.0), &[-1.0, 0.0, 2.0], &mut slopes);
/// assert_eq!(slopes, [0.0, 0.0, 1.0]);
/// ```
pub fn evaluate(activation: &Activation, quantity: Quantity, alpha: Alpha<'_>, z: &[f32], out: &mut [f32]) {
    let all_of = match (activation.kind(), alpha, quantity) {
        // SiLU is swish with α = 1, where the product αz needs no second part.
        (Kind::Swish, Alpha::One(1.0), Quantity::Value | Quantity::Slope) => run::<Silu>,
        (kind, ..) => LOOPS[kind as usize].1,
    };
    all_of(activation, quantity, alpha, z, out);
}

/// [`evaluate`] for one activation.
type Loop = fn(&Activation, Quantity, Alpha<'_>, &[f32], &mut [f32]);

/// A loop for each row of elbow's table, in its order. If a row has none, the crate does not compile.
static LOOPS: [(Kind, Loop); rows().len()] = [
    (Kind::Identity, run::<Identity>),
    (Kind::Relu, run::<Relu>),
    (Kind::LeakyRelu, run::<LeakyRelu>),
    (Kind::Prelu, run::<LeakyRelu>),
    (Kind::ClippedRelu, run::<ClippedRelu>),
    (Kind::Relu6, run::<Relu6>),
    (Kind::Hardtanh, run::<Hardtanh>),
    (Kind::ReluSquared, run::<ReluSquared>),
    (Kind::ThresholdedRelu, run::<ThresholdedRelu>),
    (Kind::Threshold, run::<Threshold>),
    (Kind::Elu, run::<Elu>),
    (Kind::Celu, run::<Celu>),
    (Kind::Selu, run::<Selu>),
    (Kind::Softplus, run::<Softplus>),
    (Kind::Squareplus, run::<Squareplus>),
    (Kind::GeluErf, run::<GeluErf>),
    (Kind::GeluTanh, run::<GeluTanh>),
    (Kind::QuickGelu, run::<QuickGelu>),
    (Kind::Silu, run::<Silu>),
    (Kind::Swish, run::<Swish>),
    (Kind::Mish, run::<Mish>),
    (Kind::Hardswish, run::<Hardswish>),
    (Kind::Hardsigmoid, run::<Hardsigmoid>),
    (Kind::HardsigmoidAffine, run::<HardsigmoidAffine>),
    (Kind::Sigmoid, run::<Sigmoid>),
    (Kind::Logsigmoid, run::<Logsigmoid>),
    (Kind::Tanh, run::<Tanh>),
    (Kind::Softsign, run::<Softsign>),
    (Kind::Tanhshrink, run::<Tanhshrink>),
    (Kind::Softshrink, run::<Softshrink>),
    (Kind::Hardshrink, run::<Hardshrink>),
];

const _: () = {
    let mut row = 0;
    while row < LOOPS.len() {
        assert!(LOOPS[row].0 as usize == row, "the loops are in the order of the table");
        row += 1;
    }
};

fn run<F: Functions>(activation: &Activation, quantity: Quantity, alpha: Alpha<'_>, z: &[f32], out: &mut [f32]) {
    let [first, s] = activation.params();
    let alpha = if F::HAS_ALPHA { alpha } else { Alpha::One(first) };
    match quantity {
        Quantity::Value => map(Value::<F>(PhantomData), alpha, s, z, out),
        Quantity::Slope => map(Slope::<F>(PhantomData), alpha, s, z, out),
        Quantity::SecondDerivative => map(SecondDerivative::<F>(PhantomData), alpha, s, z, out),
        Quantity::AlphaSlope => map(AlphaSlope::<F>(PhantomData), alpha, s, z, out),
        Quantity::MixedDerivative => map(MixedDerivative::<F>(PhantomData), alpha, s, z, out),
        Quantity::ThirdDerivative => map(ThirdDerivative::<F>(PhantomData), alpha, s, z, out),
        Quantity::MixedThirdDerivative | Quantity::SecondAlphaDerivative => exact(activation, quantity, alpha, z, out),
    }
}

/// By the f64 mathematics, element by element: for what only jets and second derivatives with a learnable α compute.
fn exact(activation: &Activation, quantity: Quantity, alpha: Alpha<'_>, z: &[f32], out: &mut [f32]) {
    let at = |a: f32, z: f32| activation.with_alpha(a).evaluate(quantity, f64::from(z)) as f32;
    match alpha {
        Alpha::One(a) => out.iter_mut().zip(z).for_each(|(out, &z)| *out = at(a, z)),
        Alpha::Each(alpha) => out.iter_mut().zip(z).zip(alpha).for_each(|((out, &z), &a)| *out = at(a, z)),
    }
}

/// A function of one element. A trait and not a closure, because a method can be `inline(always)`: a function that is not inlined into
/// the loop is compiled without the machine's vector instructions.
trait Pointwise {
    /// Up to this |z| [`Pointwise::near`] gives the same bits with fewer instructions; 0 if there is no such function.
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
    SecondDerivative => act_dzz, 0.0, act_dzz;
    ThirdDerivative => act_dzzz, 0.0, act_dzzz;
    AlphaSlope => act_da, 0.0, act_da;
    MixedDerivative => act_dzda, 0.0, act_dzda;
}

/// Elements that take the near or the far function together: few enough to stay in the first-level cache between test and loop.
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
                    // Not `all`: it stops early, and so is not compiled to vector code.
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
