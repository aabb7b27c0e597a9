//! Residual blocks: dx with what goes around the layer is dx and dresidual together, in elbow-cpu and in the reference.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of a #[test] function")]

use elbow::{
    Activation, Gate, ResidualAt, Saved, Want,
    cpu::reference,
    request::{AffineRequest, BackwardRequest, Below, Gradients},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, SavedIn, Workspace, backward};

fn integers(seed: u64, length: usize) -> Vec<f32> {
    (0..length as u64).map(|i| ((seed + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 % 9.0 - 4.0).collect()
}

#[test]
fn dx_has_both_ways() {
    let (after, before) = (ResidualAt::AfterActivation, ResidualAt::BeforeActivation);
    let leaky: Activation = "leaky_relu(0.5)".parse().unwrap();
    let (m, n) = (9, 21);
    let layer = AffineRequest::new(m, n, n, leaky).bias(false).saved(Saved::Z);
    let below = Below::new(Activation::RELU, Saved::Z);
    for (layer, below) in [
        (layer.residual(after), None),
        (layer.residual(before), None),
        (layer.residual(before).activation(Activation::IDENTITY), None),
        (layer.residual(after), Some(below)),
        (layer.residual(after).gate(Gate::stacked()), None),
    ] {
        let width = layer.outputs();
        let [x, w, dy, z, z_below] =
            [(1, m * n), (2, width * n), (3, m * n), (4, m * width), (5, m * n)].map(|(seed, len)| integers(seed, len));
        let request = BackwardRequest::new(layer, Gradients::default().x(Want::Overwrite)).below(below).skip(true);
        let given = reference::BackwardInputs::new(&x, &w, &dy).z(Some(&z)).z_below(below.map(|_| &z_below[..]));
        let judge = reference::backward(&request, given).unwrap();
        let apart = reference::backward(&request.skip(false), given).unwrap();
        for i in 0..m * n {
            assert_eq!(judge.dx.value[i], apart.dx.value[i] + apart.dresidual.value[i]);
        }
        let mut dx = vec![f32::NAN; m * n];
        let saved_below = if below.is_some() { SavedIn::Z(&z_below) } else { SavedIn::None };
        let inputs = BackwardInputs { x: &x, w: &w, dy: &dy, saved: SavedIn::Z(&z), saved_below, ..Default::default() };
        let outputs = BackwardOutputs { dx: Some(&mut dx), ..Default::default() };
        backward(&request, inputs, outputs, &mut Workspace::new()).unwrap();
        let expected = if below.is_some() { &judge.dz_below.value } else { &judge.dx.value };
        assert!(dx.iter().zip(expected).all(|(got, want)| f64::from(*got) == *want), "{:?}", layer.residual);
    }
    let request = BackwardRequest::new(layer, Gradients::default().x(Want::Overwrite)).skip(true);
    let mut dx = [5.0];
    let outputs = BackwardOutputs { dx: Some(&mut dx), ..Default::default() };
    let error = backward(&request, BackwardInputs::default(), outputs, &mut Workspace::new()).unwrap_err();
    assert!(error.to_string().contains("no residual") && dx == [5.0], "{error}");
}
