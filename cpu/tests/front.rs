//! Layers with a front against the f64 reference: every norm, with scale and shift or without, every activation and α, with gates, dropouts, row weights
//! and residuals around them; statistics that would cancel; integers to the last bit; NaN; threads; mistakes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of a #[test] function")]

use elbow::{
    Activation, AlphaSource, Dropout, Gate, Norm, Operand, ResidualAt, Saved, Want, WeightLayout,
    activation::rows,
    cpu::{ForwardInputs, FrontInputs, reference},
    request::{AffineRequest, BackwardRequest, Below, Front, Gradients},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardOutputs, SavedIn, SavedOut, Workspace, backward, forward};

const STATE: [u32; 4] = Dropout::state(1, 2, 3);

struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32) / (1u32 << 23) as f32 - 1.0
    }

    fn vec(&mut self, length: usize, integers: bool) -> Vec<f32> {
        (0..length).map(|_| if integers { (self.next() * 4.0).round() } else { self.next() * 2.0 }).collect()
    }

    /// One of these, at random.
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[((f64::from(self.next()) + 1.0) / 2.0 * choices.len() as f64) as usize]
    }
}

fn source(numbers: &mut Numbers, activation: &Activation) -> AlphaSource {
    match activation.has_alpha() {
        true => numbers.of(&[AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel]),
        false => AlphaSource::Constant,
    }
}

/// A layer with this front and this activation behind it, the rest at random. Two thirds can have what goes around them.
fn request(numbers: &mut Numbers, [m, n, k]: [usize; 3], front: Front, activation: Activation) -> BackwardRequest {
    let bools = [true, false];
    let wants = [Want::Overwrite, Want::Accumulate, Want::No, Want::Overwrite];
    let gate = numbers.of(&[None, None, Some(Gate::stacked()), Some(Gate::interleaved().up_first())]);
    let (after, before) = (Some(ResidualAt::AfterActivation), Some(ResidualAt::BeforeActivation));
    let residual = numbers.of(&[None, after, before]).filter(|at| gate.is_none() || Some(*at) == after);
    let from_dz = gate.is_none() && residual != after && numbers.of(&[true, false, false, false]);
    let layer = AffineRequest::new(m, n, k, activation)
        .front(front)
        .layout(numbers.of(&[WeightLayout::OutIn, WeightLayout::InOut]))
        .saved(if numbers.of(&bools) { Saved::Z } else { Saved::None })
        .bias(numbers.of(&bools))
        .alpha(source(numbers, &activation))
        .gate(gate)
        .residual(residual)
        .row_weight(numbers.of(&bools) && !from_dz)
        .dropout(if from_dz { None } else { numbers.of(&[None, None, Some(Dropout::new(0.25).unwrap())]) });
    let mut want = |there: bool| if there { numbers.of(&wants) } else { Want::No };
    let gradients = Gradients::default()
        .x(want(true))
        .w(want(true))
        .b(want(layer.bias))
        .alpha(want(layer.alpha != AlphaSource::Constant && !from_dz))
        .residual(want(residual.is_some()))
        .row_weight(want(layer.row_weight))
        .scale(want(front.scale))
        .shift(want(front.shift))
        .front_alpha(want(front.alpha != AlphaSource::Constant));
    let skip = residual.is_some() && n == k && gradients.x.wanted();
    BackwardRequest::new(layer, gradients).upstream_is_dz(from_dz).skip(skip)
}

fn front(numbers: &mut Numbers, norm: Option<Norm>, activation: Activation) -> Front {
    let bools = [true, false];
    let running = norm.is_some_and(|norm| norm.is_running() || (norm.is_batch() && numbers.of(&bools)));
    let alpha = source(numbers, &activation);
    Front::new(activation).norm(norm).scale(numbers.of(&bools)).shift(numbers.of(&bools)).alpha(alpha).running(running)
}

/// Forward and backward against the reference.
fn check(request: &BackwardRequest, seed: u64, integers: bool, workspace: &mut Workspace) {
    let affine = &request.affine;
    let AffineRequest { m, n, k, .. } = *affine;
    let (width, front) = (affine.outputs(), affine.front.unwrap());
    let mut numbers = Numbers(seed);
    let [x, w, b, residual, weight, dy, scale, shift] =
        [m * k, width * k, width, m * n, m, m * n, k, k].map(|length| numbers.vec(length, integers));
    let running = [numbers.vec(k, integers), numbers.vec(k, integers).iter().map(|v| v.abs()).collect()].concat();
    let count = |source, channels| if source == AlphaSource::PerChannel { channels } else { 1 };
    let [alpha, front_alpha] = [(affine.alpha, n), (front.alpha, k)].map(|(source, channels)| -> Vec<f32> {
        let numbers = numbers.vec(count(source, channels), integers);
        numbers.iter().map(|a| a.abs() / 4.0 + 0.25).collect()
    });
    let learns = |source| source != AlphaSource::Constant;
    let of_front = FrontInputs::default()
        .scale(front.scale.then_some(&scale))
        .shift(front.shift.then_some(&shift))
        .alpha(learns(front.alpha).then_some(&front_alpha));
    let with_running = of_front.running_moments(front.running.then_some(&running));
    let inputs = ForwardInputs::new(&x, &w)
        .b(affine.bias.then_some(&b))
        .alpha(learns(affine.alpha).then_some(&alpha))
        .residual(affine.residual.map(|_| &residual[..]))
        .row_weight(affine.row_weight.then_some(&weight))
        .dropout_state(affine.dropout.map(|_| STATE));
    let judge = reference::forward(affine, inputs.front(with_running)).unwrap();
    let (mut y, mut z) = (vec![f32::NAN; m * n], vec![f32::NAN; m * width]);
    let mut moments = vec![f32::NAN; judge.moments.len()];
    let follows = front.running && front.norm.is_some_and(|norm| norm.is_batch());
    let mut moved = running.clone();
    let outputs = ForwardOutputs {
        y: &mut y,
        saved: if affine.saved == Saved::Z { SavedOut::Z(&mut z) } else { SavedOut::None },
        moments: front.norm.is_some().then_some(&mut moments[..]),
        running_moments: follows.then_some(&mut moved[..]),
    };
    let given = if follows { of_front } else { with_running };
    forward(affine, inputs.front(given), outputs).unwrap();
    let AffineRequest { activation, gate, residual: at, dropout, .. } = affine;
    let BackwardRequest { upstream_is_dz, skip, gradients, .. } = request;
    let what = format!(
        "{m}x{n}x{k} {activation} {front:?} {gate:?} {at:?} {dropout:?} dz {upstream_is_dz} skip {skip} {gradients:?}"
    );
    let close = |name: &str, got: &[f32], want: &[f64], terms: &dyn Fn(usize) -> f64, start: f64| {
        assert_eq!(got.len(), want.len(), "{name} of {what}");
        for (i, (&got, want)) in got.iter().zip(want).enumerate() {
            let terms = terms(i) + want.abs() + start;
            // Integers and quarters of them, as long as f32 has them all.
            let allowed = if integers && terms < 65536.0 { 0.0 } else { 4e-6 * (terms + 1.0) };
            let error = (f64::from(got) - want - start).abs();
            assert!(error <= allowed, "{name}[{i}] is {got}, expected {} ± {allowed:e}, of {what}", want + start);
        }
    };
    let most = judge.z_terms.iter().copied().fold(1.0, f64::max);
    // A gated unit is a product of two.
    let most = if gate.is_some() { most * most } else { most };
    if m * k > 0 {
        close("moments", &moments, &judge.moments, &|_| 0.0, 0.0);
    }
    if follows && m * k > 0 {
        close("running_moments", &moved, &judge.running_moments, &|_| 0.0, 0.0);
    }
    if affine.saved == Saved::Z {
        close("z", &z, &judge.z, &|i| judge.z_terms[i], 0.0);
    }
    close("y", &y, &judge.y, &|_| most, 0.0);

    let kept = (affine.saved == Saved::Z).then_some(&z[..]);
    let state = inputs.dropout_state.filter(|_| !request.upstream_is_dz);
    let given = reference::BackwardInputs::new(&x, &w, &dy)
        .b(inputs.b)
        .alpha(inputs.alpha)
        .row_weight(inputs.row_weight)
        .residual(inputs.residual)
        .dropout_state(state)
        .front(with_running)
        .z(kept);
    let back = reference::backward(request, given).unwrap();
    let wants = request.gradients;
    let start = |want| if want == Want::Accumulate { 3.0 } else { f32::NAN };
    let [mut dx, mut dw, mut db, mut dalpha, mut dresidual, mut dweight, mut dscale, mut dshift, mut dfront_alpha] = [
        (wants.x, m * k),
        (wants.w, width * k),
        (wants.b, width),
        (wants.alpha, alpha.len()),
        (wants.residual, m * n),
        (wants.row_weight, m),
        (wants.scale, k),
        (wants.shift, k),
        (wants.front_alpha, front_alpha.len()),
    ]
    .map(|(want, length)| vec![start(want); length]);
    let outputs = BackwardOutputs {
        dx: Some(&mut dx),
        dw: Some(&mut dw),
        db: Some(&mut db),
        dalpha: Some(&mut dalpha),
        dresidual: Some(&mut dresidual),
        drow_weight: Some(&mut dweight),
        dscale: Some(&mut dscale),
        dshift: Some(&mut dshift),
        dfront_alpha: Some(&mut dfront_alpha),
        ..BackwardOutputs::default()
    };
    // Only what is read: all else would be missed.
    let resolved = request.resolve().unwrap();
    let inputs = BackwardInputs {
        x: if resolved.reads(Operand::X) { &x } else { &[] },
        w: if resolved.reads(Operand::W) { &w } else { &[] },
        b: inputs.b,
        alpha: inputs.alpha,
        dy: &dy,
        residual: inputs.residual,
        row_weight: inputs.row_weight,
        dropout_state: state,
        saved: kept.map_or(SavedIn::None, SavedIn::Z),
        front: of_front,
        moments: resolved.reads(Operand::Moments).then_some(&moments[..]),
        ..BackwardInputs::default()
    };
    backward(request, inputs, outputs, workspace).unwrap();
    for (name, want, got, judge) in [
        ("dx", wants.x, &dx, &back.dx),
        ("dw", wants.w, &dw, &back.dw),
        ("db", wants.b, &db, &back.db),
        ("dalpha", wants.alpha, &dalpha, &back.dalpha),
        ("dresidual", wants.residual, &dresidual, &back.dresidual),
        ("drow_weight", wants.row_weight, &dweight, &back.drow_weight),
        ("dscale", wants.scale, &dscale, &back.dscale),
        ("dshift", wants.shift, &dshift, &back.dshift),
        ("dfront_alpha", wants.front_alpha, &dfront_alpha, &back.dfront_alpha),
    ] {
        match want {
            Want::No => assert!(got.iter().all(|v| v.is_nan()), "{name}, which is not wanted, of {what}"),
            Want::Overwrite => close(name, got, &judge.value, &|i| judge.terms[i] + most, 0.0),
            Want::Accumulate => close(name, got, &judge.value, &|i| judge.terms[i] + most, 3.0),
        }
    }
}

fn norms() -> [Option<Norm>; 5] {
    let of = |norm: Norm| Some(norm.epsilon(0.25).unwrap().momentum(0.3).unwrap());
    [None, of(Norm::batch()), of(Norm::running()), of(Norm::layer()), of(Norm::rms())]
}

const SIZES: [[usize; 3]; 12] = [
    [1, 1, 1],
    [3, 5, 2],
    [9, 33, 17],
    [17, 17, 17],
    [33, 40, 40],
    [300, 9, 9],
    [70, 20, 300],
    [5, 3, 1100],
    [1100, 40, 40],
    [0, 3, 2],
    [3, 0, 2],
    [2, 3, 0],
];

#[test]
fn integers_to_the_last_bit() {
    let activations: [Activation; 3] = ["leaky_relu(0.5)", "relu", "identity"].map(|text| text.parse().unwrap());
    let mut workspace = Workspace::new();
    for seed in 0..300 {
        let mut numbers = Numbers(seed);
        let activation = numbers.of(&activations);
        let front = front(&mut numbers, None, activation);
        // A quarter of the elements left out makes thirds.
        let mut request = request(&mut numbers, SIZES[seed as usize % SIZES.len()], front, activations[0]);
        request.affine.dropout = request.affine.dropout.map(|_| Dropout::new(0.5).unwrap());
        check(&request, seed, true, &mut workspace);
    }
}

#[test]
fn every_norm_and_activation() {
    let mut workspace = Workspace::new();
    let mut seed = 0;
    for row in rows() {
        let Ok(activation) = row.name.parse::<Activation>() else { continue };
        // Steps: there is no slope that rounding could not turn into another.
        if !activation.lipschitz().is_finite() {
            continue;
        }
        for norm in norms() {
            for behind in [Activation::IDENTITY, Activation::TANH, Activation::prelu(0.25).unwrap()] {
                seed += 1;
                let mut numbers = Numbers(seed);
                let front = front(&mut numbers, norm, activation);
                let request = request(&mut numbers, SIZES[seed as usize % SIZES.len()], front, behind);
                check(&request, seed, false, &mut workspace);
            }
        }
    }
}

/// Columns, or rows, whose mean is up to two million times their deviation: in f32 their squares would have no digit of the variance.
#[test]
fn statistics_do_not_cancel() {
    let (m, k) = (200, 70);
    let mut numbers = Numbers(7);
    let deviations = numbers.vec(m * k, false);
    for (norm, offset) in
        [(Norm::batch(), 3000.0), (Norm::layer(), 3000.0), (Norm::batch(), -2e6), (Norm::layer(), 2e6)]
    {
        let x: Vec<f32> = deviations.iter().map(|deviation| offset + deviation).collect();
        let layer = AffineRequest::new(m, k, k, Activation::IDENTITY).bias(false);
        let layer = layer.front(Front::new(Activation::IDENTITY).norm(norm));
        let one: Vec<f32> = (0..k * k).map(|i| f32::from(u8::from(i / k == i % k))).collect();
        let inputs = ForwardInputs::new(&x, &one);
        let judge = reference::forward(&layer, inputs).unwrap();
        let (mut y, mut moments) = (vec![f32::NAN; m * k], vec![f32::NAN; judge.moments.len()]);
        let outputs = ForwardOutputs { y: &mut y, moments: Some(&mut moments), ..Default::default() };
        forward(&layer, inputs, outputs).unwrap();
        let lines = moments.len() / 2;
        for i in 0..lines {
            assert_eq!(moments[i], judge.moments[i] as f32, "{norm} mean {i}");
            let [got, want] = [f64::from(moments[lines + i]), judge.moments[lines + i]];
            assert!((got / want - 1.0).abs() < 1e-6, "{norm} inverse {i} is {got}, expected {want}");
        }
        // What is left is the rounding of the mean.
        let allowed = 1e-6 + f64::from(offset.abs()) / f64::from(1 << 24) * judge.moments[lines];
        let worst = y.iter().zip(&judge.y).map(|(got, want)| (f64::from(*got) - want).abs()).fold(0.0, f64::max);
        assert!(worst <= 2.0 * allowed, "{norm} of numbers around {offset}: off by {worst:e}, allowed {allowed:e}");
    }
}

/// A layer with its front and operands of small random numbers, without anything else.
struct Plain {
    layer: AffineRequest,
    x: Vec<f32>,
    w: Vec<f32>,
    scale: Vec<f32>,
    dy: Vec<f32>,
}

/// y, the moments, dx, dscale, dshift.
type Results = [Vec<f32>; 5];

impl Plain {
    fn new([m, n, k]: [usize; 3], norm: Norm) -> Self {
        let mut numbers = Numbers(3);
        let [x, w, scale, dy] = [m * k, n * k, k, m * n].map(|length| numbers.vec(length, false));
        let front = Front::new(Activation::RELU).norm(norm).scale(true).shift(true);
        let layer = AffineRequest::new(m, n, k, Activation::IDENTITY).bias(false).front(front);
        Plain { layer, x, w, scale, dy }
    }

    fn run(&self) -> Results {
        let AffineRequest { m, n, k, .. } = self.layer;
        let lines = if self.layer.front.unwrap().norm.unwrap().of_rows() { m } else { k };
        let mut results = [m * n, 2 * lines, m * k, k, k].map(|length| vec![f32::NAN; length]);
        let [y, moments, dx, dscale, dshift] = &mut results;
        let front = FrontInputs::default().scale(Some(&self.scale)).shift(Some(&self.scale));
        let outputs = ForwardOutputs { y, moments: Some(moments), ..Default::default() };
        forward(&self.layer, ForwardInputs::new(&self.x, &self.w).front(front), outputs).unwrap();
        let want = Want::Overwrite;
        let request = BackwardRequest::new(self.layer, Gradients::default().x(want).scale(want).shift(want));
        let (x, w, dy) = (&self.x, &self.w, &self.dy);
        let inputs = BackwardInputs { x, w, dy, front, moments: Some(moments), ..Default::default() };
        let outputs =
            BackwardOutputs { dx: Some(dx), dscale: Some(dscale), dshift: Some(dshift), ..Default::default() };
        backward(&request, inputs, outputs, &mut Workspace::new()).unwrap();
        results
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for norm in [Norm::batch(), Norm::layer()] {
        let plain = Plain::new([900, 8, 300], norm);
        let bits = [1, 2, 5].map(|threads| {
            let pool = elbow_cpu::rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            // Products have their own rule.
            let [_, moments, ..] = pool.install(|| plain.run());
            let alone = Plain { layer: plain.layer.n(0), w: vec![], dy: vec![], ..Plain::new([900, 8, 300], norm) };
            let [_, again, dx, dscale, dshift] = pool.install(|| alone.run());
            [moments, again, dx, dscale, dshift].map(|values| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
        });
        assert!(bits[0] == bits[1] && bits[0] == bits[2], "{norm}");
    }
}

#[test]
fn nan_and_infinity_stay_in_their_line() {
    for (norm, spoilt) in [(Norm::batch(), f32::NAN), (Norm::batch(), f32::INFINITY), (Norm::layer(), f32::NAN)] {
        for at in [0, 40 + 3] {
            let mut plain = Plain::new([20, 7, 40], norm);
            plain.x[at] = spoilt;
            // The product would spread it: only this column of W is not 0.
            let column = at % 40;
            plain.w.iter_mut().enumerate().for_each(|(i, w)| *w = f32::from(u8::from(i % 40 != column)));
            let [y, moments, dx, ..] = plain.run();
            let clean = Plain { x: Plain::new([20, 7, 40], norm).x, ..Plain::new([20, 7, 40], norm) };
            let [_, clean, ..] = clean.run();
            let (lines, line) = if norm.of_rows() { (20, at / 40) } else { (40, column) };
            for i in 0..lines {
                assert_eq!(moments[lines + i].is_nan(), i == line, "{norm} {spoilt} inverse of {i}");
                assert!(i == line || moments[i] == clean[i], "{norm} {spoilt} mean of {i}");
            }
            assert_eq!(moments[line].is_nan(), spoilt.is_nan(), "{norm} {spoilt} mean");
            for (i, dx) in dx.iter().enumerate() {
                let of_line = if norm.of_rows() { i / 40 } else { i % 40 } == line;
                assert_eq!(dx.is_nan(), of_line, "{norm} {spoilt} dx[{i}] is {dx}");
            }
            // NaN times 0 is NaN: of columns all of y, of rows that row.
            assert!(y.iter().enumerate().all(|(i, y)| y.is_nan() == (!norm.of_rows() || i / 7 == line)), "{norm} y");
        }
    }
}

/// Behind a front too, weights apart are those of one weight, side by side.
#[test]
fn weights_apart_are_parts_of_one() {
    let (m, n, k, mut numbers) = (9, 5, 7, Numbers(3));
    let [x, w, w_up, b, b_up, dy, scale] =
        [m * k, n * k, n * k, n, n, m * n, k].map(|length| numbers.vec(length, false));
    let front = Front::new(Activation::RELU).norm(Norm::rms()).scale(true);
    let want = Want::Overwrite;
    let run = |gate: Gate, w: &[f32], b: &[f32], up: Option<[&[f32]; 2]>| {
        let layer = AffineRequest::new(m, n, k, Activation::SILU).front(front).gate(gate).saved(Saved::None);
        let of_front = FrontInputs::default().scale(Some(&scale));
        let (mut y, mut moments) = (vec![0.0; m * n], vec![0.0; 2 * m]);
        let inputs = ForwardInputs::new(&x, w).b(Some(b)).front(of_front);
        let inputs = inputs.w_up(up.map(|up| up[0])).b_up(up.map(|up| up[1]));
        let outputs = ForwardOutputs { y: &mut y, moments: Some(&mut moments), ..Default::default() };
        forward(&layer, inputs, outputs).unwrap();
        let gradients = Gradients::default().x(want).w(want).b(want).scale(want);
        let gradients = if up.is_some() { gradients.w_up(want).b_up(want) } else { gradients };
        let inputs = BackwardInputs {
            x: &x,
            w,
            b: Some(b),
            w_up: up.map(|up| up[0]),
            b_up: up.map(|up| up[1]),
            dy: &dy,
            front: of_front,
            moments: Some(&moments),
            ..Default::default()
        };
        let [mut dx, mut dscale, mut dw, mut db] = [m * k, k, w.len(), b.len()].map(|length| vec![0.0; length]);
        let [mut dw_up, mut db_up] = [n * k, n].map(|length| vec![0.0; if up.is_some() { length } else { 0 }]);
        let outputs = BackwardOutputs {
            dx: Some(&mut dx),
            dscale: Some(&mut dscale),
            dw: Some(&mut dw),
            db: Some(&mut db),
            dw_up: up.map(|_| &mut dw_up[..]),
            db_up: up.map(|_| &mut db_up[..]),
            ..Default::default()
        };
        backward(&BackwardRequest::new(layer, gradients), inputs, outputs, &mut Workspace::new()).unwrap();
        [y, dx, dscale, [dw, dw_up].concat(), [db, db_up].concat()]
    };
    let one = run(Gate::stacked(), &[&w[..], &w_up].concat(), &[&b[..], &b_up].concat(), None);
    let apart = run(Gate::apart(), &w, &b, Some([&w_up, &b_up]));
    for (one, apart) in one.iter().flatten().zip(apart.iter().flatten()) {
        assert!((one - apart).abs() <= 1e-5 * (1.0 + one.abs()), "{one} and {apart}");
    }
}

#[test]
fn of_no_rows_there_are_no_statistics() {
    let front = Front::new(Activation::RELU).norm(Norm::batch()).running(true);
    let layer = AffineRequest::new(0, 2, 3, Activation::IDENTITY).bias(false).front(front);
    let (mut moments, mut running) = ([5.0; 6], [6.0; 6]);
    let outputs = ForwardOutputs {
        moments: Some(&mut moments),
        running_moments: Some(&mut running),
        ..ForwardOutputs::default()
    };
    forward(&layer, ForwardInputs::new(&[], &[0.5; 6]), outputs).unwrap();
    assert_eq!((moments, running), ([5.0; 6], [6.0; 6]));
    let want = Want::Overwrite;
    let (mut dw, mut dscale) = ([5.0; 6], [5.0; 3]);
    let layer = layer.front(front.scale(true));
    let inputs = BackwardInputs {
        front: FrontInputs::default().scale(Some(&[1.0; 3])),
        moments: Some(&moments),
        ..BackwardInputs::default()
    };
    let outputs = BackwardOutputs { dw: Some(&mut dw), dscale: Some(&mut dscale), ..Default::default() };
    let request = BackwardRequest::new(layer, Gradients::default().w(want).scale(want));
    let inputs = BackwardInputs { w: &[0.5; 6], ..inputs };
    backward(&request, inputs, outputs, &mut Workspace::new()).unwrap();
    assert_eq!((dw, dscale), ([0.0; 6], [0.0; 3]));
}

#[test]
fn mistakes_are_told_and_nothing_is_written() {
    let front = Front::new(Activation::prelu(0.25).unwrap()).norm(Norm::batch()).scale(true).shift(true);
    let front = front.alpha(AlphaSource::PerChannel).running(true);
    let layer = AffineRequest::new(2, 1, 2, Activation::IDENTITY).bias(false).front(front);
    let good = FrontInputs::default().scale(Some(&[1.0; 2])).shift(Some(&[1.0; 2])).alpha(Some(&[0.5; 2]));
    let said = |layer: AffineRequest, front, moments: Option<usize>, running: Option<usize>, y: usize| {
        let (mut room, mut room_of_moments, mut room_of_running) = ([5.0; 2], [5.0; 4], [5.0; 4]);
        let outputs = ForwardOutputs {
            y: &mut room[..y],
            moments: moments.map(|length| &mut room_of_moments[..length]),
            running_moments: running.map(|length| &mut room_of_running[..length]),
            ..ForwardOutputs::default()
        };
        let inputs = ForwardInputs::new(&[1.0, 2.0, 3.0, 5.0], &[0.5; 2]).front(front);
        let error = forward(&layer, inputs, outputs).unwrap_err().to_string();
        assert_eq!((room, room_of_moments, room_of_running), ([5.0; 2], [5.0; 4], [5.0; 4]), "{error}");
        error
    };
    let of = |front: Front| layer.front(front);
    for (error, expected) in [
        (said(layer, good.scale(None), None, Some(4), 2), "scale: expected an operand of shape [2], got none"),
        (said(layer, good.shift(Some(&[1.0])), None, Some(4), 2), "shift: expected 2 elements"),
        (said(layer, good.alpha(None), None, Some(4), 2), "front_alpha: expected an operand"),
        (said(layer, good, Some(3), Some(4), 2), "moments: expected 4 elements"),
        (said(layer, good, None, Some(3), 2), "running_moments: expected 4 elements"),
        (said(layer, good, None, None, 2), "running_moments: expected an output of shape [2, K]"),
        (said(layer, good.running_moments(Some(&[1.0; 4])), None, Some(4), 2), "running_moments: expected none among"),
        (said(of(front.running(false)), good, None, Some(4), 2), "running_moments: expected no output"),
        (said(of(front.norm(Norm::running())), good, None, None, 2), "running_moments: expected an operand"),
        (
            said(of(front.norm(Norm::layer())), good, None, None, 2),
            "running_moments: expected none, for the layer has no",
        ),
        (said(of(front.norm(None).running(false)), good, Some(4), None, 2), "moments: expected none"),
        (said(layer.front(None), FrontInputs::default(), Some(4), None, 2), "moments: expected none"),
        (said(layer.front(None), FrontInputs::default(), None, Some(4), 2), "running_moments: expected none"),
        (said(layer, good, Some(4), Some(4), 1), "y: expected 2 elements"),
        (said(layer.saved(Saved::Z), good, Some(4), Some(4), 2), "saved: expected an output"),
        (said(layer.alpha(AlphaSource::PerLayer), good, Some(4), Some(4), 2), "alpha: expected no alpha"),
    ] {
        assert!(error.starts_with(expected), "{error}, not {expected}");
    }

    let want = Want::Overwrite;
    let all = Gradients::default().x(want).w(want).scale(want).shift(want).front_alpha(want);
    let request = BackwardRequest::new(layer, all);
    let x = [1.0, 2.0, 3.0, 5.0];
    let inputs = BackwardInputs {
        x: &x,
        w: &[0.5; 2],
        dy: &[1.0; 2],
        front: good,
        moments: Some(&[2.0, 3.5, 1.0, 0.5]),
        ..BackwardInputs::default()
    };
    let said = |request: &BackwardRequest, inputs: BackwardInputs<'_>, missing: &str| {
        let [mut dx, mut dw, mut dscale, mut dshift, mut dalpha] = [(); 5].map(|()| vec![5.0; 4]);
        let outputs = BackwardOutputs {
            dx: (missing != "dx").then_some(&mut dx[..]),
            dw: (missing != "dw").then_some(&mut dw[..]),
            dscale: (missing != "dscale").then_some(&mut dscale[..]),
            dshift: (missing != "dshift").then_some(&mut dshift[..]),
            dfront_alpha: (missing != "dfront_alpha").then_some(&mut dalpha[..]),
            ..BackwardOutputs::default()
        };
        let error = backward(request, inputs, outputs, &mut Workspace::new()).unwrap_err().to_string();
        for values in [&dx, &dw, &dscale, &dshift, &dalpha] {
            assert_eq!(values, &[5.0; 4], "{error}");
        }
        error
    };
    for missing in ["dx", "dw", "dscale", "dshift", "dfront_alpha"] {
        let error = said(&request, inputs, missing);
        assert!(error.starts_with(&format!("{missing}: expected an output")), "{error}");
    }
    let below = Below::new(Activation::RELU, Saved::Z);
    let linear = BackwardRequest::new(layer.front(None), all);
    for (error, expected) in [
        (said(&request, BackwardInputs { x: &x[..3], ..inputs }, ""), "x: expected 4 elements"),
        (said(&request, BackwardInputs { w: &[], ..inputs }, ""), "w: expected 2 elements"),
        (said(&request, BackwardInputs { dy: &[], ..inputs }, ""), "dy: expected 2 elements"),
        (said(&request, BackwardInputs { moments: None, ..inputs }, ""), "moments: expected an operand"),
        (said(&request, BackwardInputs { moments: Some(&x[..3]), ..inputs }, ""), "moments: expected 4 elements"),
        (said(&request, BackwardInputs { front: good.scale(None), ..inputs }, ""), "scale: expected an operand"),
        (said(&request, BackwardInputs { front: good.shift(None), ..inputs }, ""), "shift: expected an operand"),
        (said(&request, BackwardInputs { front: good.alpha(Some(&[])), ..inputs }, ""), "front_alpha: expected 2"),
        (said(&request.below(below), inputs, ""), "a chain over a layer with a front"),
        (said(&request.skip(true), inputs, ""), "a gradient of x around the layer"),
        (said(&linear, inputs, ""), "dscale: expected no gradient"),
    ] {
        assert!(error.contains(expected), "{error}, not {expected}");
    }
    let no_alpha = BackwardRequest::new(layer.front(front.alpha(AlphaSource::Constant)), all);
    assert!(said(&no_alpha, inputs, "").starts_with("dfront_alpha: expected no gradient"));
}
