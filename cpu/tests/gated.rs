//! Gated layers against the f64 reference: every activation, order, limit, layout, α, what is kept and what is added to; integers to the last
//! bit; mistakes.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside of a #[test] function")]

use elbow::{
    Activation, AlphaSource, Gate, ResidualAt, Saved, Want, WeightLayout,
    activation::rows,
    cpu::{ForwardInputs, reference},
    request::{AffineRequest, BackwardRequest, Below, Gradients},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardOutputs, SavedIn, SavedOut, Workspace, backward, forward};

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32) / (1u32 << 23) as f32 - 1.0
    }

    fn vec(&mut self, length: usize, integers: bool) -> Vec<f32> {
        (0..length).map(|_| if integers { (self.next() * 4.0).round() } else { self.next() * 2.0 }).collect()
    }
}

fn check(request: &AffineRequest, want: Want, seed: u64, integers: bool) {
    let AffineRequest { m, n, k, .. } = *request;
    let (width, of_w) = (request.outputs(), request.outputs_of_w());
    let mut numbers = Numbers(seed);
    let [x, w, b, residual, weight, dy] =
        [m * k, of_w * k, of_w, m * n, m, m * n].map(|length| numbers.vec(length, integers));
    let [w_up, b_up] = [n * k, n].map(|length| numbers.vec(length, integers));
    let apart = request.is_apart();
    let of_up = [apart.then_some(&w_up[..]), (apart && request.bias).then_some(&b_up[..])];
    let alphas = if request.alpha == AlphaSource::PerChannel { n } else { 1 };
    let alpha: Vec<f32> = numbers.vec(alphas, integers).iter().map(|a| a.abs() / 4.0 + 0.25).collect();
    let learns = request.alpha != AlphaSource::Constant;
    let inputs = ForwardInputs::new(&x, &w)
        .b(request.bias.then_some(&b))
        .alpha(learns.then_some(&alpha))
        .residual(request.residual.map(|_| &residual[..]))
        .row_weight(request.row_weight.then_some(&weight))
        .w_up(of_up[0])
        .b_up(of_up[1]);
    let judge = reference::forward(request, inputs).unwrap();
    let (mut y, mut z) = (vec![f32::NAN; m * n], vec![f32::NAN; m * width]);
    let saved = if request.saved == Saved::Z { SavedOut::Z(&mut z) } else { SavedOut::None };
    forward(request, inputs, ForwardOutputs { y: &mut y, saved, ..Default::default() }).unwrap();
    let what = format!("{} {} {m}x{n}x{k} {:?} {want:?}", request.activation, request.gate.unwrap(), request.saved);
    let close = |name: &str, got: &[f32], want: &[f64], terms: &dyn Fn(usize) -> f64, start: f64| {
        assert_eq!(got.len(), want.len(), "{what} {name}");
        for (i, (&got, want)) in got.iter().zip(want).enumerate() {
            let allowed = if integers { 0.0 } else { 2e-5 * (terms(i) + want.abs() + start + 1.0) };
            let error = (f64::from(got) - want - start).abs();
            assert!(error <= allowed, "{what}: {name}[{i}] is {got}, expected {} ± {allowed:e}", want + start);
        }
    };
    let of_z = |i: usize| judge.z_terms[i];
    let most = judge.z_terms.iter().copied().fold(0.0, f64::max);
    if request.saved == Saved::Z {
        close("z", &z, &judge.z, &of_z, 0.0);
    }
    close("y", &y, &judge.y, &|_| most * most, 0.0);

    let there = |there: bool| if there { want } else { Want::No };
    let gradients =
        Gradients::default().x(want).w(want).b(want).alpha(there(learns)).residual(there(request.residual.is_some()));
    let gradients = gradients.w_up(there(apart)).b_up(there(apart));
    let backward_request = BackwardRequest::new(*request, gradients.row_weight(there(request.row_weight)));
    let kept = (request.saved == Saved::Z).then_some(&z[..]);
    let given = reference::BackwardInputs::new(&x, &w, &dy)
        .b(request.bias.then_some(&b))
        .alpha(learns.then_some(&alpha))
        .row_weight(request.row_weight.then_some(&weight))
        .w_up(of_up[0])
        .b_up(of_up[1])
        .z(kept);
    let back = reference::backward(&backward_request, given).unwrap();
    let start = if want == Want::Accumulate { 3.0 } else { f32::NAN };
    let [mut dx, mut dw, mut db, mut dalpha, mut dresidual, mut dweight] =
        [m * k, of_w * k, of_w, alphas, m * n, m].map(|length| vec![start; length]);
    let [mut dw_up, mut db_up] = [n * k, n].map(|length| vec![start; length]);
    let inputs = BackwardInputs {
        x: &x,
        w: &w,
        b: request.bias.then_some(&b[..]),
        alpha: learns.then_some(&alpha[..]),
        dy: &dy,
        row_weight: request.row_weight.then_some(&weight[..]),
        saved: kept.map_or(SavedIn::None, SavedIn::Z),
        w_up: of_up[0],
        b_up: of_up[1],
        ..BackwardInputs::default()
    };
    let outputs = BackwardOutputs {
        dx: Some(&mut dx),
        dw: Some(&mut dw),
        db: Some(&mut db),
        dalpha: learns.then_some(&mut dalpha[..]),
        dresidual: request.residual.is_some().then_some(&mut dresidual[..]),
        drow_weight: request.row_weight.then_some(&mut dweight[..]),
        dw_up: apart.then_some(&mut dw_up[..]),
        db_up: apart.then_some(&mut db_up[..]),
        ..BackwardOutputs::default()
    };
    backward(&backward_request, inputs, outputs, &mut Workspace::new()).unwrap();
    let start = if want == Want::Accumulate { 3.0 } else { 0.0 };
    let of = |name, got: &[f32], judge: &reference::Gradient| {
        close(name, got, &judge.value, &|i| judge.terms[i] + most * most, start)
    };
    of("dx", &dx, &back.dx);
    of("dw", &dw, &back.dw);
    of("db", &db, &back.db);
    if apart {
        of("dw_up", &dw_up, &back.dw_up);
        of("db_up", &db_up, &back.db_up);
    }
    if learns {
        of("dalpha", &dalpha, &back.dalpha);
    }
    if request.residual.is_some() {
        of("dresidual", &dresidual, &back.dresidual);
    }
    if request.row_weight {
        of("drow_weight", &dweight, &back.drow_weight);
    }
}

fn gates() -> Vec<Gate> {
    let orders = [Gate::stacked(), Gate::interleaved(), Gate::apart()].into_iter().flat_map(|g| [g, g.up_first()]);
    orders.flat_map(|gate| [gate, gate.limited(2.0).unwrap()]).collect()
}

/// A request by number: its choices in turn.
fn request(i: usize, [m, n, k]: [usize; 3], activation: Activation) -> (AffineRequest, Want) {
    let gates = gates();
    let layer = AffineRequest::new(m, n, k, activation)
        .gate(gates[i % gates.len()])
        .layout([WeightLayout::OutIn, WeightLayout::InOut][i / 2 % 2])
        .saved([Saved::Z, Saved::None][i / 3 % 2])
        .bias(!i.is_multiple_of(3))
        .residual(i.is_multiple_of(4).then_some(ResidualAt::AfterActivation))
        .row_weight(i % 5 < 2);
    let source = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel][i / 5 % 3];
    let layer = if activation.has_alpha() { layer.alpha(source) } else { layer };
    (layer, [Want::Overwrite, Want::Accumulate][i / 7 % 2])
}

#[test]
fn integers_to_the_last_bit() {
    let activation: Activation = "leaky_relu(0.5)".parse().unwrap();
    let sizes = [[1, 1, 1], [3, 5, 2], [9, 33, 17], [70, 300, 5], [0, 3, 2], [3, 0, 2], [2, 3, 0], [33, 40, 64]];
    for i in 0..120 {
        let (layer, want) = request(i, sizes[i % sizes.len()], activation);
        check(&layer, want, i as u64, true);
    }
}

#[test]
fn every_activation() {
    for (i, row) in rows().iter().enumerate() {
        let Ok(activation) = row.name.parse::<Activation>() else { continue };
        for j in [0, 17, 41] {
            let (layer, want) = request(i + j, [13, 21, 24], activation);
            check(&layer, want, (i + j) as u64, false);
        }
    }
}

#[test]
fn nan_and_infinity_keep_the_contract() {
    let layer = AffineRequest::new(1, 4, 1, Activation::RELU).bias(false).saved(Saved::Z);
    let layer = layer.gate(Gate::stacked().limited(7.0).unwrap());
    // gate: NaN, 9, -inf, 1; up: 1, NaN, 3, inf.
    let w = [f32::NAN, 9.0, f32::NEG_INFINITY, 1.0, 1.0, f32::NAN, 3.0, f32::INFINITY];
    let (mut y, mut z) = ([0.0; 4], [0.0; 8]);
    let outputs = ForwardOutputs { y: &mut y, saved: SavedOut::Z(&mut z), ..Default::default() };
    forward(&layer, ForwardInputs::new(&[1.0], &w), outputs).unwrap();
    assert!(y[0].is_nan() && y[1].is_nan() && y[2..] == [0.0, 8.0], "{y:?}");
    let request = BackwardRequest::new(layer, Gradients::default().b(Want::Overwrite));
    let mut db = [0.0; 8];
    let inputs =
        BackwardInputs { dy: &[1.0, 1.0, f32::INFINITY, 1.0], saved: SavedIn::Z(&z), ..BackwardInputs::default() };
    let outputs = BackwardOutputs { db: Some(&mut db), ..BackwardOutputs::default() };
    backward(&request, inputs, outputs, &mut Workspace::new()).unwrap();
    let judge =
        reference::backward(&request, reference::BackwardInputs::new(&[1.0], &w, inputs.dy).z(Some(&z))).unwrap();
    for (i, (got, want)) in db.iter().zip(&judge.db.value).enumerate() {
        assert!(
            f64::from(*got) == *want || (got.is_nan() && want.is_nan()),
            "db[{i}] is {got}, expected {want}: {db:?}"
        );
    }
}

#[test]
fn mistakes_are_told_and_nothing_is_written() {
    let layer = AffineRequest::new(1, 1, 1, Activation::SILU).bias(false).gate(Gate::stacked());
    let inputs = ForwardInputs::new(&[1.0], &[1.0, 2.0]);
    let mut y = [5.0];
    let mut said = |layer: AffineRequest, inputs, saved: SavedOut<'_>| {
        let error =
            forward(&layer, inputs, ForwardOutputs { y: &mut y, saved, ..Default::default() }).unwrap_err().to_string();
        assert_eq!(y, [5.0]);
        error
    };
    assert!(said(layer, ForwardInputs::new(&[1.0], &[1.0]), SavedOut::None).starts_with("w: expected 2 elements"));
    assert!(said(layer.saved(Saved::Y), inputs, SavedOut::None).contains("gated layer"));
    assert!(said(layer.saved(Saved::Z), inputs, SavedOut::None).starts_with("saved: expected"));
    assert!(said(layer.saved(Saved::Z), inputs, SavedOut::Z(&mut [0.0])).starts_with("saved: expected 2 elements"));
    let request =
        BackwardRequest::new(layer.saved(Saved::Z), Gradients::default().x(Want::Overwrite).b(Want::Overwrite));
    let (mut dx, mut db) = ([5.0], [5.0]);
    let mut said = |request: &BackwardRequest, saved: SavedIn<'_>, short: bool| {
        let inputs = BackwardInputs { w: &[1.0, 2.0], dy: &[1.0], saved, ..BackwardInputs::default() };
        let outputs = BackwardOutputs {
            dx: Some(&mut dx),
            db: Some(&mut db[..usize::from(!short)]),
            ..BackwardOutputs::default()
        };
        let error = backward(request, inputs, outputs, &mut Workspace::new()).unwrap_err().to_string();
        assert_eq!((dx, db), ([5.0], [5.0]));
        error
    };
    assert!(said(&request, SavedIn::Z(&[1.0, 2.0]), true).starts_with("db: expected 2 elements"));
    assert!(said(&request, SavedIn::Y(&[1.0]), false).contains("gated layer"));
    let below = Below::new(Activation::RELU, Saved::Z);
    assert!(said(&request.below(below), SavedIn::Z(&[1.0, 2.0]), false).contains("chain from a gated layer"));
    // The gate's weight is 1, that of up is missing, given too short, or given for a gate that has one weight.
    let apart = layer.gate(Gate::apart());
    let one = ForwardInputs::new(&[1.0], &[1.0]);
    let mut said = |layer: AffineRequest, inputs| {
        let outputs = ForwardOutputs { y: &mut y, ..Default::default() };
        forward(&layer.saved(Saved::None), inputs, outputs).unwrap_err().to_string()
    };
    assert!(said(apart, one).starts_with("w_up: expected an operand"));
    assert!(said(apart, one.w_up(Some(&[]))).starts_with("w_up: expected 1 elements"));
    assert!(said(apart, one.w_up(Some(&[1.0])).b_up(Some(&[1.0]))).starts_with("b_up: expected none"));
    assert!(said(layer, inputs.w_up(Some(&[1.0]))).starts_with("w_up: expected none"));
    let wants = Gradients::default().x(Want::Overwrite).w_up(Want::Overwrite);
    let saved = SavedIn::Z(&[1.0, 2.0]);
    let inputs = BackwardInputs { x: &[1.0], w: &[1.0], dy: &[1.0], saved, ..BackwardInputs::default() };
    let mut dw_up = [0.0];
    let mut said = |wants, inputs, dw_up: Option<&mut [f32; 1]>| {
        let dw_up = dw_up.map(|dw_up| &mut dw_up[..]);
        let outputs = BackwardOutputs { dx: Some(&mut dx), dw_up, ..BackwardOutputs::default() };
        let request = BackwardRequest::new(apart.saved(Saved::Z), wants);
        backward(&request, inputs, outputs, &mut Workspace::new()).unwrap_err().to_string()
    };
    let with_w_up = BackwardInputs { w_up: Some(&[1.0]), ..inputs };
    assert!(said(wants, inputs, Some(&mut dw_up)).starts_with("w_up: expected an operand"));
    assert!(said(wants, with_w_up, None).starts_with("dw_up: expected 1 elements"));
    assert_eq!((y, dx), ([5.0], [5.0]));
}
