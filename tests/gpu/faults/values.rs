//! Numbers 22 to 33: NaN, infinities, overflow, subnormals, kinks and tails; forward and backward, alone and in a layer.

use elbow::{Activation, Gpu, Saved, Tensor, activation::Quantity, affine::Forward, elementwise};

use super::{good, pin};
use crate::common::{gpu, judge};

/// Two slopes, two kinks, two exponentials, one cubic in a tanh.
const ACTIVATIONS: [&str; 5] = ["relu", "relu6", "elu", "softplus", "gelu_tanh"];

/// The values of an activation and its slopes at x, by the operators.
fn alone(gpu: &Gpu, activation: Activation, x: &[f32]) -> [Vec<f32>; 2] {
    let tensor = gpu.upload(x, &[x.len()]).unwrap();
    let ones = gpu.upload(&vec![1.0; x.len()], &[x.len()]).unwrap();
    let (y, dx) = (gpu.zeros(&[x.len()]).unwrap(), gpu.zeros(&[x.len()]).unwrap());
    gpu.submit_pass(|pass| {
        let forward = elementwise::Forward::new(activation, &tensor, &y);
        forward.record(gpu, &mut *pass)?;
        forward.backward(&ones).dx(&dx).record(gpu, pass)
    })
    .unwrap();
    [gpu.download(&y).unwrap(), gpu.download(&dx).unwrap()]
}

/// y, dx and dW of a layer, z saved, dy all ones.
fn layer(gpu: &Gpu, activation: Activation, [x, w]: [&Tensor; 2], b: Option<&Tensor>) -> [Vec<f32>; 3] {
    let (m, n) = (x.shape()[0], w.shape()[0]);
    let [y, z] = std::array::from_fn(|_| gpu.zeros(&[m, n]).unwrap());
    let (dx, dw) = (gpu.zeros(x.shape()).unwrap(), gpu.zeros(w.shape()).unwrap());
    let dy = gpu.upload(&vec![1.0; m * n], &[m, n]).unwrap();
    gpu.submit_pass(|pass| {
        let forward =
            Forward::new(activation, x, w, &y).b(b.map(Tensor::view)).saved(Saved::Z).save_to(z.view()).pin(pin());
        forward.record(gpu, &mut *pass)?;
        forward.backward(&dy).dx(&dx).dw(&dw).record(gpu, pass)
    })
    .unwrap();
    [&y, &dx, &dw].map(|t| gpu.download(t).unwrap())
}

/// The value to the tolerance of the activation's row.
fn check(activation: Activation, quantity: Quantity, z: f32, got: f32, failures: &mut Vec<String>) {
    if judge().ulps(&activation, quantity, z, got) > activation.row().tolerance(quantity) {
        let expected = activation.evaluate(quantity, f64::from(z));
        failures.push(format!("{activation}: {quantity:?}({z:e}) = {got:e}, expected {expected:e}"));
    }
}

/// 22 NaN. 25 ±inf. 27 the largest numbers. 28 subnormals. 29 -0. 30 the kinks and their neighbours. 31 where exp overflows
/// and where it is no longer normal. 32 1e20, whose cube is infinite. Alone, and in a layer of one weight of 1.
#[test]
fn n22_n25_n27_to_n32_special_values() {
    let gpu = gpu();
    let mut x = vec![f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::INFINITY, f32::MAX];
    x.extend([1e20, 1e13, 104.0, 88.73, 88.72, 1.0, f32::MIN_POSITIVE, 1e-40, 1e-45, 0.0]);
    for kink in [0.0f32, 6.0] {
        x.extend([kink, kink.next_down(), kink.next_up()]);
    }
    x.extend(x.clone().iter().filter(|x| !x.is_nan()).map(|x| -x));
    let one = gpu.upload(&[1.0], &[1, 1]).unwrap();
    let column = gpu.upload(&x, &[x.len(), 1]).unwrap();
    let mut failures = Vec::new();
    for text in ACTIVATIONS {
        let activation: Activation = text.parse().unwrap();
        let [y, dx] = alone(gpu, activation, &x);
        let [layer_y, layer_dx, _] = layer(gpu, activation, [&column, &one], None);
        for (i, &z) in x.iter().enumerate() {
            for (quantity, got) in [(Quantity::Value, [y[i], layer_y[i]]), (Quantity::Slope, [dx[i], layer_dx[i]])] {
                got.into_iter().for_each(|got| check(activation, quantity, z, got, &mut failures));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    good(gpu);
}

/// 23: one NaN in x spoils its row of y and dx. 24: one in w spoils its column of y. 26: inf - inf in the sum is NaN.
/// Everything else is as it was. (tests/gpu/contract.rs has larger ones.)
#[test]
fn n23_n24_n26_where_nan_goes() {
    let gpu = gpu();
    let (m, n, k) = (5, 3, 4);
    let plain = |len: usize| -> Vec<f32> { (0..len).map(|i| 0.25 + (i % 3) as f32).collect() };
    for text in ACTIVATIONS {
        let activation: Activation = text.parse().unwrap();
        let run = |x: &[f32], w: &[f32]| {
            let (x, w) = (gpu.upload(x, &[m, k]).unwrap(), gpu.upload(w, &[n, k]).unwrap());
            layer(gpu, activation, [&x, &w], None)
        };
        let [y, dx, dw] = run(&plain(m * k), &plain(n * k));
        let is_spoilt = |got: &[f32], was: &[f32], spoilt: &dyn Fn(usize) -> bool, what: &str| {
            for (i, (got, was)) in got.iter().zip(was).enumerate() {
                let right = if spoilt(i) { got.is_nan() } else { got.to_bits() == was.to_bits() };
                assert!(right, "{text}: {what}[{i}] = {got}, was {was}");
            }
        };
        let (nan_in_x, infinities_in_x) = ([f32::NAN, 1.0], [f32::INFINITY, f32::NEG_INFINITY]);
        for pair in [nan_in_x, infinities_in_x] {
            let mut x = plain(m * k);
            x[2 * k..2 * k + 2].copy_from_slice(&pair);
            let [spoilt_y, spoilt_dx, spoilt_dw] = run(&x, &plain(n * k));
            is_spoilt(&spoilt_y, &y, &|i| i / n == 2, "y");
            is_spoilt(&spoilt_dx, &dx, &|i| i / k == 2, "dx");
            // Every gradient of a weight sums over the spoilt row.
            is_spoilt(&spoilt_dw, &dw, &|_| true, "dw");
        }
        let mut w = plain(n * k);
        w[k + 3] = f32::NAN;
        let [spoilt_y, ..] = run(&plain(m * k), &w);
        is_spoilt(&spoilt_y, &y, &|i| i % n == 1, "y");
    }
    good(gpu);
}

/// 27: the largest number times two is infinite, and the activation has its limit there. 33: a bias of 1e30 swallows small
/// products; the gradients do not see it.
#[test]
fn n27_n33_overflow_and_a_large_bias() {
    let gpu = gpu();
    let up = |values: &[f32], shape: &[usize]| gpu.upload(values, shape).unwrap();
    let (x, w) = (up(&[f32::MAX, -f32::MAX], &[2, 1]), up(&[2.0], &[1, 1]));
    for (text, y, slope) in [
        ("relu", [f32::INFINITY, 0.0], [1.0, 0.0]),
        ("relu6", [6.0, 0.0], [0.0; 2]),
        ("elu", [f32::INFINITY, -1.0], [1.0, 0.0]),
    ] {
        let [got, dx, _] = layer(gpu, text.parse().unwrap(), [&x, &w], None);
        assert_eq!((&got[..], &dx[..]), (&y[..], &slope.map(|s| 2.0 * s)[..]), "{text}");
    }
    let (x, w, b) = (up(&[0.5, -0.25], &[1, 2]), up(&[2.0, 3.0], &[1, 2]), up(&[1e30], &[1]));
    let [y, dx, dw] = layer(gpu, Activation::RELU, [&x, &w], Some(&b));
    assert_eq!((y, dx, dw), (vec![1e30], vec![2.0, 3.0], vec![0.5, -0.25]));
    good(gpu);
}
