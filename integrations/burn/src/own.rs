//! Layers in Burn's own operators, for its backends on a CPU that elbow has no kernels for: a product, a bias, and the activation from what Burn has, with gradients by
//! Burn's autodiff.
//!
//! Each activation keeps what elbow's kernels promise: the slope at a kink is that of the side where elbow has it, NaN stays NaN, and at ±∞ there is the limit. What
//! one side of a choice would make of the other side's numbers (∞, and ∞·0 in its gradient) is kept from it.

use std::sync::Once;

use burn::tensor::{
    Bool, Tensor,
    activation::{log_sigmoid, relu, sigmoid},
    module::linear,
};
use elbow::{Activation, Error, Result, activation::Kind};

/// The operands of a layer, as they were given.
pub(crate) struct Operands<const D: usize> {
    pub(crate) x: Tensor<D>,
    pub(crate) w: Tensor<2>,
    pub(crate) b: Option<Tensor<1>>,
    pub(crate) alpha: Option<Tensor<1>>,
    pub(crate) w_up: Option<Tensor<2>>,
    pub(crate) b_up: Option<Tensor<1>>,
}

/// y.
pub(crate) fn forward<const D: usize>(activation: Activation, operands: Operands<D>) -> Result<Tensor<D>> {
    static SAID: Once = Once::new();
    let Operands { x, w, b, alpha, w_up, b_up } = operands;
    SAID.call_once(|| {
        log::warn!("elbow has no kernels for {:?}: layers run on Burn's own operators there", x.device())
    });
    let up = w_up.map(|w_up| affine(x.clone(), w_up, b_up));
    let y = act(activation, affine(x, w, b), alpha)?;
    Ok(match up {
        Some(up) => y * up,
        None => y,
    })
}

/// x·w + b.
fn affine<const D: usize>(x: Tensor<D>, w: Tensor<2>, b: Option<Tensor<1>>) -> Tensor<D> {
    if x.shape().num_elements() > 0 && w.shape().num_elements() > 0 {
        return linear(x, w, b);
    }
    // Not every backend of Burn multiplies matrices of nothing. A product without terms is 0, and so are these sums; their gradients have the right shapes.
    let mut y = x.shape();
    y[D - 1] = w.dims()[1];
    let z = x.sum_dim(D - 1).expand(y.clone()) + w.sum_dim(0).squeeze_dim::<1>(0).expand(y.clone());
    match b {
        Some(b) => z + b.expand(y),
        None => z,
    }
}

/// act(z; α).
fn act<const D: usize>(activation: Activation, z: Tensor<D>, alpha: Option<Tensor<1>>) -> Result<Tensor<D>> {
    let [number, second] = activation.params();
    let (shape, device) = (z.shape(), z.device());
    let a = || match &alpha {
        Some(alpha) => alpha.clone().expand(shape.clone()),
        None => Tensor::full(shape.clone(), number, &device),
    };
    let filled = |z: &Tensor<D>, mask: Tensor<D, Bool>, value: f32| z.clone().mask_fill(mask, value);
    Ok(match activation.kind() {
        Kind::Identity => z,
        Kind::Relu => relu(z),
        Kind::LeakyRelu | Kind::Prelu => (z.clone() * a()).mask_where(z.clone().greater_scalar(0), z),
        Kind::ClippedRelu => relu(z.clone()).mask_where(z.greater_equal(a()), a()),
        Kind::Relu6 => between(z, 0.0, 6.0),
        Kind::Hardtanh => between(z, number, second),
        Kind::ReluSquared => relu(z.clone()) * relu(z),
        Kind::ThresholdedRelu => filled(&z, z.clone().lower_equal_scalar(number), 0.0),
        Kind::Threshold => filled(&z, z.clone().lower_equal_scalar(number), second),
        Kind::Elu => (expm1_below(z.clone()) * a()).mask_where(z.clone().greater_scalar(0), z),
        Kind::Celu => (expm1_below_by(z.clone(), a()) * a()).mask_where(z.clone().greater_scalar(0), z),
        Kind::Selu => {
            let below = expm1_below(z.clone()) * 1.673_263_242_354_377_2;
            below.mask_where(z.clone().greater_scalar(0), z) * 1.050_700_987_355_480_5
        }
        Kind::Softplus => softplus(z.clone(), a(), second),
        Kind::Squareplus => squareplus(z.clone(), a()),
        Kind::GeluErf => {
            let z = to_zero_below(z, 14.0);
            z.clone() * ((z * std::f64::consts::FRAC_1_SQRT_2).erf() + 1) * 0.5
        }
        Kind::GeluTanh => {
            let z = to_zero_below(z, 14.0);
            let cube = z.clone() * z.clone() * z.clone();
            let inner = (z.clone() + cube * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
            z * (inner.tanh() + 1) * 0.5
        }
        Kind::QuickGelu => swish(z.clone(), z * 1.702),
        Kind::Silu => swish(z.clone(), z),
        Kind::Swish => swish(z.clone(), z.clone() * a()),
        Kind::Mish => {
            let z = to_zero_below(z, 104.0);
            z.clone() * softplus(z.clone(), z.ones_like(), f32::INFINITY).tanh()
        }
        Kind::Hardswish => {
            let (below, above) = (z.clone().lower_equal_scalar(-3), z.clone().greater_equal_scalar(3));
            let inside = filled(&z, below.clone(), 0.0).mask_fill(above.clone(), 0);
            let y = inside.clone() * (inside + 3) / 6;
            y.mask_fill(below, 0).mask_where(above, z)
        }
        Kind::Hardsigmoid => between((z + 3) / 6, 0.0, 1.0),
        Kind::HardsigmoidAffine => between(z * number + second, 0.0, 1.0),
        Kind::Sigmoid => sigmoid(z),
        Kind::Logsigmoid => -softplus(-z.clone(), z.ones_like(), f32::INFINITY),
        Kind::Tanh => z.tanh(),
        // Where |z| is so large the quotient is ±1 to the last bit, and where it is ∞ it would be ∞/∞.
        Kind::Softsign => {
            let far = z.clone().abs().greater_scalar(1e9);
            let near = filled(&z, far.clone(), 0.0);
            (near.clone() / (near.abs() + 1)).mask_where(far, z.sign())
        }
        Kind::Tanhshrink => z.clone() - z.tanh(),
        Kind::Softshrink => {
            let inside = z.clone().abs().lower_equal(a());
            (z.clone() - z.clone().sign() * a()).mask_fill(inside, 0)
        }
        // λ has no slope, which is a gradient of 0 and not none.
        Kind::Hardshrink => filled(&z, z.clone().abs().lower_equal(a()), 0.0) + a().mul_scalar(0),
        _ => {
            let what = format!("{activation} on {device:?}");
            let why =
                "elbow has no kernels for the device, and does not know the activation in Burn's operators".into();
            return Err(Error::Unsupported { what, why });
        }
    })
}

/// min(max(z, low), high), flat at both.
fn between<const D: usize>(z: Tensor<D>, low: f32, high: f32) -> Tensor<D> {
    let (below, above) = (z.clone().lower_equal_scalar(low), z.clone().greater_equal_scalar(high));
    z.mask_fill(above, high).mask_fill(below, low)
}

/// z where it is above -limit, and 0 below: for functions that have come to 0 there, z times something that has.
fn to_zero_below<const D: usize>(z: Tensor<D>, limit: f32) -> Tensor<D> {
    let below = z.clone().lower_scalar(-limit);
    z.mask_fill(below, 0)
}

/// exp(z) - 1 where z is below 0, and 0 elsewhere.
fn expm1_below<const D: usize>(z: Tensor<D>) -> Tensor<D> {
    let above = z.clone().greater_scalar(0);
    z.mask_fill(above, 0).exp() - 1
}

/// exp(z/a) - 1 where z is below 0, and 0 elsewhere.
fn expm1_below_by<const D: usize>(z: Tensor<D>, a: Tensor<D>) -> Tensor<D> {
    let above = z.clone().greater_scalar(0);
    (z.mask_fill(above, 0) / a).exp() - 1
}

/// z sigmoid(u), for u = βz.
fn swish<const D: usize>(z: Tensor<D>, u: Tensor<D>) -> Tensor<D> {
    let gone = u.clone().lower_scalar(-104);
    z.mask_fill(gone.clone(), 0) * sigmoid(u.mask_fill(gone, 0))
}

/// log(1 + exp(βz))/β, and z where βz is above the threshold; from 88 on both are one number.
fn softplus<const D: usize>(z: Tensor<D>, beta: Tensor<D>, threshold: f32) -> Tensor<D> {
    let u = z.clone() * beta.clone();
    let above = u.clone().greater_scalar(threshold.min(88.0));
    (-log_sigmoid(-u.mask_fill(above.clone(), 0)) / beta).mask_where(above, z)
}

/// (z + √(z² + b))/2; where z is below 0 the sum would cancel, and is b/2 over the difference.
fn squareplus<const D: usize>(z: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    let root = (z.clone() * z.clone() + b.clone()).sqrt();
    let below = z.clone().lower_scalar(0);
    let negative = z.clone().mask_fill(below.clone().bool_not(), 0);
    ((z + root.clone()) * 0.5).mask_where(below, b * 0.5 / (root - negative))
}
