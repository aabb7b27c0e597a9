//! Dropout against the f64 reference: integers to the last bit, in the layer, the layer below and gated layers, on one thread and on several;
//! mistakes.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of a #[test] function")]

use elbow::{
    Activation, Dropout, Gate, ResidualAt, Saved, Want, WeightLayout,
    cpu::{ForwardInputs, reference},
    request::{AffineRequest, BackwardRequest, Below, Gradients},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardOutputs, SavedIn, SavedOut, Workspace, backward, forward};

fn integers(seed: u64, length: usize) -> Vec<f32> {
    (0..length as u64).map(|i| ((seed + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 % 9.0 - 4.0).collect()
}

fn exact(got: &[f32], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(f64::from(*got), *want, "{what}[{i}]");
    }
}

fn check(layer: AffineRequest, below: Option<Below>, what: &str) {
    let AffineRequest { m, n, k, .. } = layer;
    let width = layer.outputs();
    let [x, w, b, dy, z_below] =
        [(1, m * k), (2, width * k), (3, width), (4, m * n), (5, m * k)].map(|(seed, length)| integers(seed, length));
    let [residual, weight] = [(6, m * n), (7, m)].map(|(seed, length)| integers(seed, length));
    let [state, state_below] = [0, 1].map(|number| Dropout::state(99, 3, number));
    let inputs = ForwardInputs::new(&x, &w)
        .b(Some(&b))
        .residual(layer.residual.map(|_| &residual[..]))
        .row_weight(layer.row_weight.then_some(&weight[..]))
        .dropout_state(layer.dropout.map(|_| state));
    let judge = reference::forward(&layer, inputs).unwrap();
    let (mut y, mut z) = (vec![f32::NAN; m * n], vec![f32::NAN; m * width]);
    forward(&layer, inputs, ForwardOutputs { y: &mut y, saved: SavedOut::Z(&mut z), ..Default::default() }).unwrap();
    exact(&y, &judge.y, &format!("{what}: y"));
    if let (Some(dropout), None) = (layer.dropout, layer.residual) {
        let left_out = (0..y.len()).filter(|&i| dropout.factor(state, i as u32) == 0.0).all(|i| y[i] == 0.0);
        assert!(left_out && y.iter().any(|&y| y != 0.0), "{what}");
    }
    let want = Want::Overwrite;
    let there = |there: bool| if there { want } else { Want::No };
    let gradients = Gradients::default().x(want).w(want).b(want).residual(there(layer.residual.is_some()));
    let request = BackwardRequest::new(layer, gradients.row_weight(there(layer.row_weight))).below(below);
    let below_dropout = below.and_then(|below| below.dropout);
    let given = reference::BackwardInputs::new(&x, &w, &dy)
        .b(Some(&b))
        .z(Some(&z))
        .row_weight(layer.row_weight.then_some(&weight[..]))
        .dropout_state(layer.dropout.map(|_| state))
        .z_below(below.map(|_| &z_below[..]))
        .dropout_state_below(below_dropout.map(|_| state_below));
    let back = reference::backward(&request, given).unwrap();
    let [mut dx, mut dw, mut db, mut dresidual, mut dweight, mut db_below] =
        [m * k, width * k, width, m * n, m, k].map(|length| vec![f32::NAN; length]);
    let inputs = BackwardInputs {
        x: &x,
        w: &w,
        dy: &dy,
        saved: SavedIn::Z(&z),
        row_weight: layer.row_weight.then_some(&weight[..]),
        dropout_state: layer.dropout.map(|_| state),
        saved_below: if below.is_some() { SavedIn::Z(&z_below) } else { SavedIn::None },
        dropout_state_below: below_dropout.map(|_| state_below),
        ..BackwardInputs::default()
    };
    let outputs = BackwardOutputs {
        dx: Some(&mut dx),
        dw: Some(&mut dw),
        db: Some(&mut db),
        dresidual: layer.residual.is_some().then_some(&mut dresidual[..]),
        drow_weight: layer.row_weight.then_some(&mut dweight[..]),
        db_below: below.is_some().then_some(&mut db_below[..]),
        ..BackwardOutputs::default()
    };
    backward(&request, inputs, outputs, &mut Workspace::new()).unwrap();
    exact(&dx, if below.is_some() { &back.dz_below.value } else { &back.dx.value }, &format!("{what}: dx"));
    exact(&dw, &back.dw.value, &format!("{what}: dw"));
    exact(&db, &back.db.value, &format!("{what}: db"));
    if layer.residual.is_some() {
        exact(&dresidual, &back.dresidual.value, &format!("{what}: dresidual"));
    }
    if layer.row_weight {
        exact(&dweight, &back.drow_weight.value, &format!("{what}: drow_weight"));
    }
    if below.is_some() {
        exact(&db_below, &back.db_below.value, &format!("{what}: db_below"));
    }
}

#[test]
fn integers_to_the_last_bit() {
    let dropout = Dropout::new(0.5).unwrap();
    let below = Below::new(Activation::RELU, Saved::Z).dropout(dropout).db(Want::Overwrite);
    for [m, n, k] in [[1, 1, 1], [3, 5, 7], [9, 33, 16], [70, 130, 20], [5, 1500, 3]] {
        let layer = AffineRequest::new(m, n, k, "leaky_relu(0.5)".parse().unwrap()).saved(Saved::Z).dropout(dropout);
        let what = |kind: &str| format!("{kind} {m}x{n}x{k}");
        check(layer, None, &what("plain"));
        check(
            layer.layout(WeightLayout::InOut).row_weight(true).residual(ResidualAt::AfterActivation),
            None,
            &what("more"),
        );
        check(
            layer.residual(ResidualAt::BeforeActivation).activation(Activation::IDENTITY),
            Some(below),
            &what("chain"),
        );
        check(layer.dropout(None), Some(below), &what("below alone"));
        check(layer.gate(Gate::interleaved().up_first()).row_weight(true), None, &what("gated"));
    }
}

#[test]
fn a_state_is_there_if_and_only_if_there_is_a_dropout() {
    let layer = AffineRequest::new(1, 1, 1, Activation::RELU).bias(false).saved(Saved::None);
    let mut y = [5.0];
    let mut said = |layer: &AffineRequest, state| {
        let inputs = ForwardInputs::new(&[1.0], &[1.0]).dropout_state(state);
        let result = forward(layer, inputs, ForwardOutputs { y: &mut y, saved: SavedOut::None, ..Default::default() });
        assert_eq!(y, [5.0]);
        result.unwrap_err().to_string()
    };
    assert!(said(&layer, Some([0; 4])).starts_with("dropout_state: expected none"));
    assert!(said(&layer.dropout(Dropout::new(0.5).unwrap()), None).starts_with("dropout_state: expected seed"));
}
