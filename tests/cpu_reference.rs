//! The judge is judged: tiny cases by hand, two layers in a chain against central differences, errors. Every gradient of
//! random requests against differences: tests/cpu_properties/layer.rs.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of a #[test] function")]

use elbow::{
    Operand,
    activation::Activation,
    cpu::{Elementwise, ForwardInputs, reference},
    error::Error,
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, Gradients, Saved, Want, WeightLayout},
};

fn backward_of(affine: AffineRequest) -> BackwardRequest {
    BackwardRequest::new(affine, Gradients::default())
}

#[test]
fn by_hand() {
    // x = [1 2; 3 -1], W = [1 1; 2 -1; 0 -3], b = [0.5 0 -1].
    let x = [1.0, 2.0, 3.0, -1.0];
    let b = [0.5, 0.0, -1.0];
    let leaky = Activation::leaky_relu(0.25).unwrap();
    for (layout, w) in [
        (WeightLayout::OutIn, [1.0, 1.0, 2.0, -1.0, 0.0, -3.0]),
        (WeightLayout::InOut, [1.0, 2.0, 0.0, 1.0, -1.0, -3.0]),
    ] {
        let request = AffineRequest::new(2, 3, 2, leaky).layout(layout).alpha(AlphaSource::PerLayer);
        let alpha = [0.5];
        let inputs = ForwardInputs::new(&x, &w).b(Some(&b)).alpha(Some(&alpha));
        let out = reference::forward(&request, inputs).unwrap();
        assert_eq!(out.z, [3.5, 0.0, -7.0, 2.5, 7.0, 2.0]);
        assert_eq!(out.z_terms, [3.5, 4.0, 7.0, 4.5, 7.0, 4.0]);
        assert_eq!(out.y, [3.5, 0.0, -3.5, 2.5, 7.0, 2.0]);

        let dy = [1.0, 2.0, -4.0, 1.0, 0.0, 3.0];
        let inputs = reference::BackwardInputs::new(&x, &w, &dy).b(Some(&b)).alpha(Some(&alpha));
        let out = reference::backward(&backward_of(request), inputs).unwrap();
        // leaky'(0) is the slope.
        assert_eq!(out.dz.value, [1.0, 1.0, -2.0, 1.0, 0.0, 3.0]);
        assert_eq!(out.db.value, [2.0, 1.0, 1.0]);
        assert_eq!(out.db.terms, [2.0, 1.0, 5.0]);
        // dx = dz·W
        assert_eq!(out.dx.value, [3.0, 6.0, 1.0, -8.0]);
        assert_eq!(out.dx.terms, [3.0, 8.0, 1.0, 10.0]);
        // dW = dzᵀ·x: rows [1·1+1·3, 1·2-1·1], [1, 2], [-2+9, -4-3].
        let dw = match layout {
            WeightLayout::OutIn => [4.0, 1.0, 1.0, 2.0, 7.0, -7.0],
            WeightLayout::InOut => [4.0, 1.0, 7.0, 1.0, 2.0, -7.0],
        };
        assert_eq!(out.dw.value, dw);
        // dα: z where z <= 0: 2·0 + (-4)·(-7).
        assert_eq!(out.dalpha.value, [28.0]);
        assert_eq!(out.dresidual.value, dy.map(f64::from));
    }
}

#[test]
fn elementwise_by_hand() {
    let prelu = Activation::prelu(0.25).unwrap();
    let request = Elementwise::new(2, 2, prelu).alpha(AlphaSource::PerChannel);
    let (x, alpha) = ([-2.0, -4.0, 3.0, -1.0], [0.5, 2.0]);
    let (dy, ddx) = ([1.0, 1.0, 5.0, 3.0], [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(reference::elementwise::forward(&request, &x, Some(&alpha)).unwrap(), [-1.0, -8.0, 3.0, -2.0]);
    let out = reference::elementwise::backward(&request, &x, Some(&alpha), &dy).unwrap();
    assert_eq!(out.dx, [0.5, 2.0, 5.0, 6.0]);
    assert_eq!(out.dalpha.value, [-2.0, -7.0]);
    let out = reference::elementwise::double_backward(&request, &x, Some(&alpha), &dy, &ddx).unwrap();
    assert_eq!(out.ddy, [0.5, 4.0, 3.0, 8.0]);
    assert_eq!(out.dx2, [0.0; 4]);
    assert_eq!(out.dalpha2.value, [1.0, 14.0]);
}

#[test]
fn zero_sizes_and_nan() {
    for (m, n, k) in [(0, 2, 3), (2, 0, 3), (2, 3, 0)] {
        let request = AffineRequest::new(m, n, k, Activation::SILU).bias(false);
        let (x, w, dy) = (vec![1.0; m * k], vec![1.0; n * k], vec![1.0; m * n]);
        let out = reference::forward(&request, ForwardInputs::new(&x, &w)).unwrap();
        assert_eq!(out.y, vec![0.0; m * n]);
        let inputs = reference::BackwardInputs::new(&x, &w, &dy);
        let out = reference::backward(&backward_of(request), inputs).unwrap();
        assert_eq!((out.dx.value, out.dw.value), (vec![0.0; m * k], vec![0.0; n * k]));
    }
    let request = AffineRequest::new(2, 1, 1, Activation::RELU).bias(false);
    let inputs = ForwardInputs::new(&[f32::NAN, 1.0], &[1.0]);
    let out = reference::forward(&request, inputs).unwrap();
    assert!(out.y[0].is_nan() && out.y[1] == 1.0);
}

#[test]
fn wrong_lengths_are_named() {
    let request = AffineRequest::new(2, 3, 4, Activation::RELU);
    let (x, w, b) = ([0.0; 8], [0.0; 12], [0.0; 3]);
    let right = ForwardInputs::new(&x, &w).b(Some(&b));
    let named = |inputs| match reference::forward(&request, inputs) {
        Err(Error::Shape { operand, .. }) => operand,
        other => panic!("{other:?}"),
    };
    assert_eq!(named(right.x(&x[1..])), Operand::X);
    assert_eq!(named(right.w(&w[1..])), Operand::W);
    assert_eq!(named(right.b(Some(&b[1..]))), Operand::B);
}

/// Numbers that are multiples of 1/64, so that a step of 1/4096 in f32 is exact.
fn numbers(length: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 57) as f32 - 64.0) / 64.0 + 1.0 / 256.0
    };
    (0..length).map(|_| next()).collect()
}

/// (f(+h) - f(-h))/2h with the error h²: what is compared is 1e-6 of the terms.
fn differentiate(values: &[f32], index: usize, loss: impl Fn(&[f32]) -> f64) -> f64 {
    const STEP: f32 = 1.0 / 4096.0;
    let at = |step: f32| {
        let mut moved = values.to_vec();
        moved[index] += step;
        loss(&moved)
    };
    // Five points: the error is of order h⁴.
    let h = f64::from(STEP);
    (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP))) / (12.0 * h)
}

#[track_caller]
fn agree(what: &str, gradient: &reference::Gradient, numeric: impl Fn(usize) -> f64) {
    for (i, value) in gradient.value.iter().enumerate() {
        let numeric = numeric(i);
        assert!((value - numeric).abs() <= 1e-6 * (1.0 + gradient.terms[i]), "{what}[{i}]: {value} not {numeric}");
    }
}

/// Smooth where it is tested: jumps of the function itself have no derivative to find.
fn smooth() -> Vec<Activation> {
    let parsed = ["leaky_relu(0.25)", "elu(0.5)", "celu(2)", "softplus(2)", "squareplus(1)", "swish(1.5)", "swish(-1)"];
    let plain = ["gelu_erf", "gelu_tanh", "silu", "mish", "tanh", "sigmoid", "relu", "tanhshrink", "logsigmoid"];
    parsed.iter().chain(&plain).map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_chain_is_two_layers() {
    // Layer below: x = act(u·Vᵀ + c; α), then y = x·Wᵀ. u is one feature wide, so that db and dz show in c.
    let (m, n, k) = (3, 2, 4);
    for activation in smooth().into_iter().filter(Activation::has_alpha) {
        let lower = AffineRequest::new(m, k, 1, activation).alpha(AlphaSource::PerChannel);
        let (u, v, c, w, dy) = (numbers(m, 5), numbers(k, 6), numbers(k, 7), numbers(n * k, 8), numbers(m * n, 9));
        let alpha: Vec<f32> = (0..k).map(|i| activation.params()[0] + i as f32 / 4.0).collect();
        let loss = |c: &[f32], alpha: &[f32]| -> f64 {
            let inputs = ForwardInputs::new(&u, &v).b(Some(c)).alpha(Some(alpha));
            let x = reference::forward(&lower, inputs).unwrap().y;
            let mut sum = 0.0;
            for row in 0..m {
                for column in 0..n {
                    let dot: f64 = (0..k).map(|i| x[row * k + i] * f64::from(w[column * k + i])).sum();
                    sum += dot * f64::from(dy[row * n + column]);
                }
            }
            sum
        };
        let inputs = ForwardInputs::new(&u, &v).b(Some(&c)).alpha(Some(&alpha));
        let z_below: Vec<f32> = reference::forward(&lower, inputs).unwrap().z.iter().map(|&z| z as f32).collect();
        let request =
            backward_of(AffineRequest::new(m, n, k, Activation::RELU).bias(false)).upstream_is_dz(true).below(
                Below::new(activation, Saved::Z)
                    .alpha(AlphaSource::PerChannel)
                    .db(Want::Overwrite)
                    .dalpha(Want::Overwrite),
            );
        let x = vec![0.0; m * k];
        let inputs = reference::BackwardInputs::new(&x, &w, &dy).z_below(Some(&z_below)).alpha_below(Some(&alpha));
        let out = reference::backward(&request, inputs).unwrap();
        agree("db_below", &out.db_below, |i| differentiate(&c, i, |c| loss(c, &alpha)));
        agree("dalpha_below", &out.dalpha_below, |i| differentiate(&alpha, i, |alpha| loss(&c, alpha)));
    }
}
