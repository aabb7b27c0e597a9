//! The CPU baseline against the f64 reference: every activation, both weight layouts, everything that can be saved, odd
//! shapes, chains, long sums, threads. Random requests, the accuracy of its functions, NaN: tests/cpu_properties of elbow.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of a #[test] function")]

use elbow::{
    Float, Operand,
    activation::{Activation, Quantity, rows},
    cpu::reference,
    error::Error,
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, Gradients, ResidualAt, Saved, Want, WeightLayout},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, Elementwise, ForwardInputs, ForwardOutputs, SavedIn, SavedOut, Workspace,
    elementwise,
};

const EPS: f64 = 1.0 / (1u64 << 24) as f64;

/// Spacing of f32 at |v|, at least the smallest subnormal.
fn ulp(v: f64) -> f64 {
    let exponent = if v == 0.0 { -126 } else { v.abs().log2().floor().clamp(-126.0, 127.0) as i32 };
    2f64.powi(exponent - 23)
}

fn activations() -> Vec<Activation> {
    let texts = [
        "leaky_relu(0.01)",
        "leaky_relu(-0.5)",
        "prelu(0.25)",
        "clipped_relu(1)",
        "hardtanh(-1,1)",
        "hardtanh(-0.25,2)",
        "thresholded_relu(1)",
        "threshold(0.1,20)",
        "elu(0.5)",
        "elu(2)",
        "celu(0.5)",
        "celu(2)",
        "celu(-1.5)",
        "softplus(1)",
        "softplus(2)",
        "softplus(0.3)",
        "softplus(1,20)",
        "squareplus(4)",
        "squareplus(0.1)",
        "swish(0.5)",
        "swish(2)",
        "swish(-1)",
        "swish(10)",
        "swish(0)",
        "swish(0.013)",
        "hardsigmoid(0.2,0.5)",
        "softshrink(0.5)",
        "hardshrink(0.5)",
    ];
    let parsed = texts.iter().map(|text| text.parse::<Activation>().unwrap_or_else(|e| panic!("{text}: {e}")));
    let plain = rows().iter().filter_map(|row| row.name.parse().ok());
    plain.chain(parsed).collect()
}

/// Deterministic numbers in [-1, 1).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32) / (1u32 << 23) as f32 - 1.0
    }

    fn vec(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.next()).collect()
    }

    fn integers(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| (self.next() * 8.0).round()).collect()
    }
}

/// A request with its operands.
struct Case {
    request: AffineRequest,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    alpha: Vec<f32>,
    residual: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(request: AffineRequest, fill: impl Fn(&mut Numbers, usize) -> Vec<f32>) -> Self {
        let mut numbers = Numbers((request.m * 131 + request.n * 17 + request.k) as u64);
        let (m, n, k) = (request.m, request.n, request.k);
        let [a, _] = request.activation.params();
        let alpha = match request.alpha {
            AlphaSource::Constant => vec![],
            AlphaSource::PerLayer => vec![a],
            AlphaSource::PerChannel => (0..n).map(|i| a * (1.0 + (i % 7) as f32 * 0.125)).collect(),
        };
        let mut next = |length| fill(&mut numbers, length);
        Case { x: next(m * k), w: next(n * k), b: next(n), residual: next(m * n), dy: next(m * n), alpha, request }
    }

    fn alpha(&self) -> Option<&[f32]> {
        (self.request.alpha != AlphaSource::Constant).then_some(self.alpha.as_slice())
    }

    fn row_weight(&self) -> Option<&[f32]> {
        self.request.row_weight.then(|| &self.dy[..self.request.m])
    }

    fn inputs(&self) -> ForwardInputs<'_> {
        ForwardInputs::new(&self.x, &self.w)
            .b(self.request.bias.then_some(self.b.as_slice()))
            .alpha(self.alpha())
            .residual(self.request.residual.map(|_| self.residual.as_slice()))
            .row_weight(self.row_weight())
    }

    fn forward(&self, saved: SavedOut<'_>) -> Vec<f32> {
        let mut y = vec![f32::NAN; self.request.m * self.request.n];
        elbow_cpu::forward(&self.request, self.inputs(), ForwardOutputs { y: &mut y, saved, ..Default::default() })
            .unwrap();
        y
    }

    /// y, z and the mask, each from a forward of its own; y must not depend on what is saved.
    fn forward_all(&self) -> (Vec<f32>, Vec<f32>, Vec<u32>) {
        let AffineRequest { m, n, .. } = self.request;
        let y = self.forward(SavedOut::None);
        let mut z = vec![f32::NAN; m * n];
        let with_z = self.forward(SavedOut::Z(&mut z));
        assert!(same_bits(&y, &with_z));
        let mut mask = vec![0xdead_beef; m * n.div_ceil(32)];
        if self.request.activation.row().from_bit {
            assert!(same_bits(&y, &self.forward(SavedOut::Mask(&mut mask))));
        }
        (y, z, mask)
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// Where the activation has no finite Lipschitz constant, z must be exact: integers.
fn fill_for(activation: &Activation) -> impl Fn(&mut Numbers, usize) -> Vec<f32> + use<> {
    let exact = !activation.lipschitz().is_finite();
    move |numbers: &mut Numbers, length| if exact { numbers.integers(length) } else { numbers.vec(length) }
}

fn check_forward(case: &Case) -> (Vec<f32>, Vec<f32>, Vec<u32>) {
    let request = &case.request;
    let (y, z, mask) = case.forward_all();
    let exact = reference::forward(request, case.inputs()).unwrap();
    let lipschitz = request.activation.lipschitz();
    // α per channel is up to 1.75 times the α that the constant was computed for.
    let lipschitz = if lipschitz.is_finite() { lipschitz.max(1.0) * 2.0 } else { 0.0 };
    for i in 0..y.len() {
        let ez = 8.0 * EPS * exact.z_terms[i];
        assert!((f64::from(z[i]) - exact.z[i]).abs() <= ez, "{request:?} z[{i}]: {} not {}", z[i], exact.z[i]);
        let bound =
            lipschitz * ez + (request.activation.row().tolerance(Quantity::Value) + 2.0) * ulp(exact.y[i].abs() + 1.0);
        assert!((f64::from(y[i]) - exact.y[i]).abs() <= bound, "{request:?} y[{i}]: {} not {}", y[i], exact.y[i]);
    }
    if request.activation.row().from_bit {
        for (i, &z) in z.iter().enumerate() {
            let (row, column) = (i / request.n, i % request.n);
            let bit = mask[row * request.n.div_ceil(32) + column / 32] >> (column % 32) & 1 == 1;
            let activation = match request.alpha {
                AlphaSource::PerChannel => request.activation.with_alpha(case.alpha[column]),
                _ => request.activation,
            };
            assert_eq!(activation.slope_of_bit(bit), activation.slope(f64::from(z)), "{request:?} bit {i}");
        }
    }
    (y, z, mask)
}

/// `start` is what the operands hold: 0 with Overwrite would hide nothing, so it is never 0.
fn compare(name: &str, request: &BackwardRequest, got: &[f32], want: Want, exact: &reference::Gradient, slack: f64) {
    assert_eq!(got.len(), exact.value.len(), "{name}");
    for (i, &got) in got.iter().enumerate() {
        let start = if want == Want::Accumulate { 3.0 } else { 0.0 };
        let expected = start + exact.value[i];
        let bound = EPS * (8.0 * (exact.terms[i] + start) + slack) + 1e-44;
        assert!((f64::from(got) - expected).abs() <= bound, "{name}[{i}]: {got} not {expected} in {request:?}");
    }
}

fn check_backward(case: &Case, z: &[f32], saved: SavedIn<'_>, want: Want, workspace: &mut Workspace) {
    let affine = case.request;
    let AffineRequest { m, n, k, .. } = affine;
    let learnable = affine.alpha != AlphaSource::Constant;
    let from_z = matches!(saved, SavedIn::Z(_) | SavedIn::None);
    let gradients = Gradients::default()
        .x(want)
        .w(want)
        .b(want)
        .alpha(if learnable && from_z { want } else { Want::No })
        .residual(if affine.residual.is_some() { want } else { Want::No })
        .row_weight(if affine.row_weight && from_z { want } else { Want::No });
    let request = BackwardRequest::new(affine, gradients);
    let inputs = reference::BackwardInputs::new(&case.x, &case.w, &case.dy)
        .b(affine.bias.then_some(case.b.as_slice()))
        .alpha(case.alpha())
        .z(Some(z))
        .row_weight(case.row_weight());
    let exact = reference::backward(&request, inputs).unwrap();
    let start = |length: usize| vec![if want == Want::Accumulate { 3.0 } else { f32::NAN }; length];
    let [mut dx, mut dw, mut db] = [m * k, n * k, n].map(start);
    let mut dalpha = start(exact.dalpha.value.len());
    let mut dresidual = start(m * n);
    let mut drow_weight = start(m);
    let outputs = BackwardOutputs {
        dx: Some(&mut dx),
        dw: Some(&mut dw),
        db: Some(&mut db),
        dalpha: Some(&mut dalpha),
        dresidual: Some(&mut dresidual),
        drow_weight: Some(&mut drow_weight),
        ..Default::default()
    };
    let inputs = BackwardInputs {
        x: &case.x,
        w: &case.w,
        b: affine.bias.then_some(case.b.as_slice()),
        alpha: case.alpha(),
        dy: &case.dy,
        saved,
        residual: affine.residual.map(|_| case.residual.as_slice()),
        row_weight: case.row_weight(),
        ..Default::default()
    };
    elbow_cpu::backward(&request, inputs, outputs, workspace).unwrap();
    let row = affine.activation.row();
    // The slope's own error; from y, it is absolute: rounding of y, and y - ... cancels.
    let from_y = if matches!(saved, SavedIn::Y(_)) { 64.0 } else { 0.0 };
    let largest = case.dy.iter().chain(&case.x).chain(&case.w).fold(1f32, |a, &b| a.max(b.abs()));
    let scale = f64::from(largest * largest) * 8.0;
    let slack = |terms: usize| (row.tolerance(Quantity::Slope) + from_y) * scale * terms as f64;
    compare("dx", &request, &dx, want, &exact.dx, slack(n));
    compare("dw", &request, &dw, want, &exact.dw, slack(m));
    compare("db", &request, &db, want, &exact.db, slack(m));
    if gradients.alpha.wanted() {
        let tolerance = row.tolerance(Quantity::AlphaSlope);
        compare("dalpha", &request, &dalpha, want, &exact.dalpha, tolerance * scale * (m * n) as f64);
    }
    if affine.residual.is_some() {
        let before = affine.residual == Some(ResidualAt::BeforeActivation);
        compare("dresidual", &request, &dresidual, want, &exact.dresidual, if before { slack(1) } else { 0.0 });
    }
    if gradients.row_weight.wanted() {
        let slack = row.tolerance(Quantity::Value) * scale * n as f64;
        compare("drow_weight", &request, &drow_weight, want, &exact.drow_weight, slack);
    }
}

fn check(request: AffineRequest, workspace: &mut Workspace) {
    let case = Case::new(request, fill_for(&request.activation));
    let (y, z, mask) = check_forward(&case);
    let learnable = request.alpha != AlphaSource::Constant;
    let enough =
        |saved| request.activation.saved_is_enough(saved, learnable, false, request.y_has_more(), Float::F32).is_ok();
    for want in [Want::Overwrite, Want::Accumulate] {
        check_backward(&case, &z, SavedIn::Z(&z), want, workspace);
        check_backward(&case, &z, SavedIn::None, want, workspace);
        if enough(Saved::Y) {
            check_backward(&case, &z, SavedIn::Y(&y), want, workspace);
        }
        if enough(Saved::Mask) {
            check_backward(&case, &z, SavedIn::Mask(&mask), want, workspace);
        }
    }
}

#[test]
fn every_activation_both_layouts_every_alpha() {
    let mut workspace = Workspace::new();
    // celu(-1.5) grows like an exponential: no bound holds for sums.
    for activation in activations().into_iter().filter(|activation| activation.to_string() != "celu(-1.5)") {
        for layout in [WeightLayout::OutIn, WeightLayout::InOut] {
            for alpha in [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel] {
                if alpha != AlphaSource::Constant && !activation.has_alpha() {
                    continue;
                }
                let (after, before) = (ResidualAt::AfterActivation, ResidualAt::BeforeActivation);
                for (residual, row_weight) in
                    [(None, false), (Some(after), false), (Some(before), false), (Some(after), true), (None, true)]
                {
                    let usual = AffineRequest::new(13, 37, 19, activation);
                    check(usual.layout(layout).alpha(alpha).residual(residual).row_weight(row_weight), &mut workspace);
                }
            }
        }
    }
}

#[test]
fn odd_shapes() {
    let mut workspace = Workspace::new();
    let leaky = "leaky_relu(0.25)".parse().unwrap();
    let sizes = [1, 2, 3, 4, 5, 7, 8, 9, 17, 33];
    for m in sizes {
        for n in sizes {
            for k in sizes {
                for layout in [WeightLayout::OutIn, WeightLayout::InOut] {
                    let bias = (m + n + k) % 2 == 0;
                    let request = AffineRequest::new(m, n, k, leaky).layout(layout).bias(bias);
                    check(request, &mut workspace);
                }
            }
        }
    }
    // Beyond one span of columns, one panel of K, one block of rows, and flat enough to split columns.
    let shapes =
        [(3, 1500, 70), (70, 1030, 65), (1, 2000, 1100), (2, 129, 2500), (300, 65, 129), (1025, 3, 33), (5000, 1, 2)];
    for (m, n, k) in shapes {
        for activation in [Activation::GELU_ERF, leaky] {
            for layout in [WeightLayout::OutIn, WeightLayout::InOut] {
                for alpha in [AlphaSource::Constant, AlphaSource::PerChannel] {
                    if alpha == AlphaSource::Constant || activation.has_alpha() {
                        check(AffineRequest::new(m, n, k, activation).layout(layout).alpha(alpha), &mut workspace);
                    }
                }
            }
        }
    }
}

#[test]
fn integers_are_exact() {
    for layout in [WeightLayout::OutIn, WeightLayout::InOut] {
        for (m, n, k) in [(65, 66, 67), (1, 129, 1025), (31, 255, 64), (257, 17, 128)] {
            let request = AffineRequest::new(m, n, k, Activation::RELU).layout(layout);
            let case = Case::new(request, Numbers::integers);
            let y = case.forward(SavedOut::None);
            let exact = reference::forward(&request, case.inputs()).unwrap();
            assert!(y.iter().zip(&exact.y).all(|(&y, &exact)| f64::from(y) == exact), "{request:?}");
        }
    }
}

#[test]
fn zero_sizes() {
    let mut workspace = Workspace::new();
    for (m, n, k) in [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (0, 0, 5), (70, 70, 0)] {
        for layout in [WeightLayout::OutIn, WeightLayout::InOut] {
            for activation in [Activation::RELU, Activation::IDENTITY, Activation::SILU] {
                let request = AffineRequest::new(m, n, k, activation).layout(layout);
                check(request, &mut workspace);
            }
            let learnable = AffineRequest::new(m, n, k, Activation::swish(2.0).unwrap())
                .layout(layout)
                .alpha(AlphaSource::PerLayer);
            check(learnable, &mut workspace);
        }
    }
    let request = AffineRequest::new(2, 3, 0, Activation::RELU);
    let b = [1.0, -1.0, 2.0];
    let mut y = [9.0; 7];
    let inputs = ForwardInputs::new(&[], &[]).b(Some(&b));
    elbow_cpu::forward(&request, inputs, ForwardOutputs { y: &mut y, ..Default::default() }).unwrap();
    assert_eq!(y, [1.0, 0.0, 2.0, 1.0, 0.0, 2.0, 9.0], "K = 0 is act(b), and what lies behind y is untouched");
}

#[test]
fn chains() {
    let mut workspace = Workspace::new();
    for below_activation in activations() {
        for want in [Want::Overwrite, Want::Accumulate] {
            for source in [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel] {
                if source != AlphaSource::Constant && !below_activation.has_alpha() {
                    continue;
                }
                let affine = AffineRequest::new(11, 23, 35, Activation::SILU);
                let case = Case::new(affine, |numbers, length| numbers.vec(length));
                let mut numbers = Numbers(5);
                let z_below: Vec<f32> = numbers.vec(11 * 35).iter().map(|z| z * 3.0).collect();
                let alphas: Vec<f32> =
                    (0..35).map(|i| below_activation.params()[0] * (1.0 + i as f32 / 64.0)).collect();
                let alpha_below = match source {
                    AlphaSource::Constant => None,
                    AlphaSource::PerLayer => Some(&alphas[..1]),
                    AlphaSource::PerChannel => Some(&alphas[..]),
                };
                let dalpha_want = if alpha_below.is_some() { want } else { Want::No };
                let request = BackwardRequest::new(affine, Gradients::default().x(want))
                    .upstream_is_dz(true)
                    .below(Below::new(below_activation, Saved::Z).alpha(source).db(want).dalpha(dalpha_want));
                let exact = reference::backward(
                    &request,
                    reference::BackwardInputs::new(&case.x, &case.w, &case.dy)
                        .b(Some(&case.b))
                        .z_below(Some(&z_below))
                        .alpha_below(alpha_below),
                )
                .unwrap();
                let (mut dx, mut db, mut dalpha) =
                    (vec![3.0; 11 * 35], vec![3.0; 35], vec![3.0; alpha_below.map_or(1, <[f32]>::len)]);
                let inputs = BackwardInputs {
                    w: &case.w,
                    dy: &case.dy,
                    saved_below: SavedIn::Z(&z_below),
                    alpha_below,
                    ..Default::default()
                };
                let outputs = BackwardOutputs {
                    dx: Some(&mut dx),
                    db_below: Some(&mut db),
                    dalpha_below: Some(&mut dalpha),
                    ..Default::default()
                };
                elbow_cpu::backward(&request, inputs, outputs, &mut workspace).unwrap();
                let row = below_activation.row();
                let slack = 200.0 * (row.tolerance(Quantity::Slope) + 1.0);
                compare("dz_below", &request, &dx, want, &exact.dz_below, slack);
                compare("db_below", &request, &db, want, &exact.db_below, slack * 11.0);
                if dalpha_want.wanted() {
                    let slack = 200.0 * (row.tolerance(Quantity::AlphaSlope) + 1.0) * 385.0;
                    compare("dalpha_below", &request, &dalpha, want, &exact.dalpha_below, slack);
                }
            }
        }
    }
}

#[test]
fn elementwise_agrees() {
    for activation in activations() {
        for (rows, channels) in [(0, 3), (3, 0), (1, 1), (7, 5), (40, 1025), (300, 64)] {
            for alpha in [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel] {
                if alpha != AlphaSource::Constant && !activation.has_alpha() {
                    continue;
                }
                let request = Elementwise::new(rows, channels, activation).alpha(alpha);
                let count = rows * channels;
                let mut numbers = Numbers(11);
                let x: Vec<f32> = numbers.vec(count).iter().map(|x| x * 4.0).collect();
                let (dy, ddx) = (numbers.vec(count), numbers.vec(count));
                let alphas: Vec<f32> =
                    (0..channels.max(1)).map(|i| activation.params()[0] * (1.0 + (i % 5) as f32 / 4.0)).collect();
                let alphas = match alpha {
                    AlphaSource::Constant => None,
                    AlphaSource::PerLayer => Some(&alphas[..1]),
                    AlphaSource::PerChannel => Some(&alphas[..channels]),
                };
                let tolerance = |quantity| activation.row().tolerance(quantity) + 2.0;
                let close = |name: &str, got: &[f32], exact: &[f64], tolerance: f64| {
                    for (got, exact) in got.iter().zip(exact) {
                        let bound = tolerance * 2.0 * EPS * (exact.abs() + 4.0);
                        assert!((f64::from(*got) - exact).abs() <= bound, "{request:?} {name}: {got} not {exact}");
                    }
                };
                let mut y = vec![f32::NAN; count];
                elementwise::forward(&request, &x, alphas, &mut y).unwrap();
                close(
                    "y",
                    &y,
                    &reference::elementwise::forward(&request, &x, alphas).unwrap(),
                    tolerance(Quantity::Value),
                );

                let exact = reference::elementwise::backward(&request, &x, alphas, &dy).unwrap();
                let mut dx = vec![f32::NAN; count];
                let mut dalpha = vec![f32::NAN; exact.dalpha.value.len()];
                let wanted = (alpha != AlphaSource::Constant).then_some(dalpha.as_mut_slice());
                elementwise::backward(&request, &x, alphas, &dy, &mut dx, wanted).unwrap();
                close("dx", &dx, &exact.dx, tolerance(Quantity::Slope));
                let sums = |name: &str, got: &[f32], exact: &reference::Gradient, tolerance: f64| {
                    for (i, &got) in got.iter().enumerate() {
                        let bound = EPS * ((8.0 + 2.0 * tolerance) * exact.terms[i] + tolerance * count as f64) + 1e-44;
                        let error = (f64::from(got) - exact.value[i]).abs();
                        assert!(error <= bound, "{request:?} {name}[{i}]: {got} not {}", exact.value[i]);
                    }
                };
                if alpha != AlphaSource::Constant {
                    sums("dalpha", &dalpha, &exact.dalpha, tolerance(Quantity::AlphaSlope));
                }

                let exact = reference::elementwise::double_backward(&request, &x, alphas, &dy, &ddx).unwrap();
                let (mut ddy, mut dx2) = (vec![f32::NAN; count], vec![f32::NAN; count]);
                let outputs = elementwise::DoubleBackwardOutputs {
                    ddy: Some(&mut ddy),
                    dx2: Some(&mut dx2),
                    dalpha2: (alpha != AlphaSource::Constant).then_some(dalpha.as_mut_slice()),
                };
                elementwise::double_backward(&request, &x, alphas, &dy, &ddx, outputs).unwrap();
                close("ddy", &ddy, &exact.ddy, tolerance(Quantity::Slope));
                close("dx2", &dx2, &exact.dx2, tolerance(Quantity::SecondDerivative));
                if alpha != AlphaSource::Constant {
                    sums("dalpha2", &dalpha, &exact.dalpha2, tolerance(Quantity::MixedDerivative));
                }

                let up = &ddx;
                elementwise::gated_forward(&request, &x, up, alphas, &mut y).unwrap();
                let exact = reference::elementwise::gated_forward(&request, &x, up, alphas).unwrap();
                close("gated y", &y, &exact, tolerance(Quantity::Value));
                let exact = reference::elementwise::gated_backward(&request, &x, up, alphas, &dy).unwrap();
                let (mut dgate, mut dup) = (vec![f32::NAN; count], vec![f32::NAN; count]);
                let outputs = elementwise::GatedOutputs {
                    dgate: Some(&mut dgate),
                    dup: Some(&mut dup),
                    dalpha: (alpha != AlphaSource::Constant).then_some(dalpha.as_mut_slice()),
                };
                elementwise::gated_backward(&request, &x, up, alphas, &dy, outputs).unwrap();
                close("dgate", &dgate, &exact.dgate, tolerance(Quantity::Slope));
                close("dup", &dup, &exact.dup, tolerance(Quantity::Value));
                if alpha != AlphaSource::Constant {
                    sums("gated dalpha", &dalpha, &exact.dalpha, tolerance(Quantity::AlphaSlope));
                }
            }
        }
    }
}

#[test]
fn sums_of_many_terms() {
    let count = 1 << 20;
    let mut numbers = Numbers(3);
    let (x, dy) = (numbers.vec(count), numbers.vec(count));
    let activation = Activation::prelu(0.25).unwrap();
    for (rows, channels, alpha) in [(count, 1, AlphaSource::PerLayer), (count / 4, 4, AlphaSource::PerChannel)] {
        let request = Elementwise::new(rows, channels, activation).alpha(alpha);
        let alphas = vec![0.25; channels];
        let exact = reference::elementwise::backward(&request, &x, Some(&alphas), &dy).unwrap();
        let mut dx = vec![0.0; count];
        let mut dalpha = vec![0.0; channels];
        elementwise::backward(&request, &x, Some(&alphas), &dy, &mut dx, Some(&mut dalpha)).unwrap();
        for (i, got) in dalpha.iter().enumerate() {
            let error = (f64::from(*got) - exact.dalpha.value[i]).abs();
            assert!(error <= 8.0 * EPS * exact.dalpha.terms[i], "{got} not {}", exact.dalpha.value[i]);
        }
    }
}

#[test]
fn same_bits_again_and_on_one_thread() {
    let request = AffineRequest::new(150, 70, 90, Activation::swish(1.5).unwrap()).alpha(AlphaSource::PerChannel);
    let case = Case::new(request, |numbers, length| numbers.vec(length));
    let run = || {
        let mut z = vec![0.0; 150 * 70];
        let y = case.forward(SavedOut::Z(&mut z));
        let wants = Gradients::default().x(Want::Overwrite).b(Want::Overwrite).alpha(Want::Overwrite);
        let backward = BackwardRequest::new(request, wants);
        let (mut dx, mut db, mut dalpha) = (vec![0.0; 150 * 90], vec![0.0; 70], vec![0.0; 70]);
        let inputs = BackwardInputs {
            w: &case.w,
            alpha: case.alpha(),
            dy: &case.dy,
            saved: SavedIn::Z(&z),
            ..Default::default()
        };
        let outputs =
            BackwardOutputs { dx: Some(&mut dx), db: Some(&mut db), dalpha: Some(&mut dalpha), ..Default::default() };
        elbow_cpu::backward(&backward, inputs, outputs, &mut Workspace::new()).unwrap();
        [y, db, dalpha].concat().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    };
    let first = run();
    assert_eq!(first, run());
    for threads in [1, 3, 16] {
        let pool = elbow_cpu::rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(first, pool.install(run), "{threads} threads");
    }
}

#[test]
fn wrong_operands_are_named() {
    let request = AffineRequest::new(2, 3, 4, Activation::RELU);
    let case = Case::new(request, |numbers, length| numbers.vec(length));
    let named = |inputs: ForwardInputs<'_>| {
        let mut y = [0.0; 6];
        match elbow_cpu::forward(&request, inputs, ForwardOutputs { y: &mut y, ..Default::default() }) {
            Err(Error::Shape { operand, .. } | Error::Operand { operand, .. }) => operand,
            other => panic!("{other:?}"),
        }
    };
    let right = case.inputs();
    assert_eq!(named(right.x(&case.x[1..])), Operand::X);
    assert_eq!(named(right.w(&case.w[1..])), Operand::W);
    assert_eq!(named(right.b(Some(&case.b[1..]))), Operand::B);
    assert_eq!(named(right.b(None)), Operand::B);
    assert_eq!(named(right.alpha(Some(&[1.0]))), Operand::Alpha);
    assert_eq!(named(right.residual(Some(&case.residual))), Operand::Residual);
    let short = elbow_cpu::forward(&request, right, ForwardOutputs { y: &mut [0.0; 5], ..Default::default() });
    assert!(matches!(short, Err(Error::Shape { operand: Operand::Y, .. })));
}
