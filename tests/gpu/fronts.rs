//! Fronts: what x goes through before the product, computed at each load or by a pass, forward and backward, with every norm; batches; statistics that do
//! not cancel; mistakes.

use elbow::{
    Activation, Checks, Dtype, Gpu, Jet, Norm, Saved, Tensor, View,
    affine::{Forward, Front},
    cpu::{ForwardInputs, FrontInputs, reference},
    plan::{Form, Pin, TILES},
    request::{self, AffineRequest, BackwardRequest},
};
use elbow_verify::{Spec, points};

use crate::common::{Numbers, as_a_gpu, checks, full, gpu, passes};

fn spec(text: &str) -> Spec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What a layer with a front can have, with integers: no norm.
const EXACT: [&str; 5] = [
    "front=relu/constant/yes/yes/no/no saved=z dx=set dw=add db=set dscale=set dshift=add",
    "front=prelu/channel/yes/no/no/no saved=none dx=add dw=set db=add dscale=add dfront_alpha=set gap=4",
    "front=leaky_relu(0.5)/layer/no/yes/no/no layout=in_out saved=mask dx=no dw=set db=no bias=no dshift=set dfront_alpha=add",
    "front=identity/constant/yes/no/no/no saved=z dx=set dw=no db=no dscale=set dtype=bf16 gap=1 row_weight=yes drow_weight=set",
    "front=relu6/constant/no/no/no/no residual=after skip=yes saved=y dx=set dw=set db=set gate=no",
];

/// The same with norms, and real numbers.
const REAL: [&str; 8] = [
    "front=relu/constant/yes/yes/yes/batch saved=z dx=set dw=set db=set dscale=set dshift=set",
    "front=identity/constant/yes/yes/no/layer saved=none dx=add dw=add db=set dscale=add dshift=add gap=4",
    "front=gelu/constant/yes/no/no/rms,epsilon=0.001 gate=stacked saved=z dx=set dw=set db=set dscale=set",
    "front=prelu/channel/no/yes/yes/running layout=in_out saved=y dx=set dw=set db=set dshift=set dfront_alpha=set",
    "front=celu/layer/no/no/no/batch residual=after skip=yes saved=none dx=set dw=set db=no dfront_alpha=set gap=1",
    "front=silu/constant/yes/yes/no/layer,epsilon=0.1 dtype=f16 saved=z dx=set dw=no db=no dscale=set dshift=no dropout=0.5",
    "front=relu/constant/yes/yes/no/rms gate=apart saved=none dx=set dw=set dw_up=add db=set db_up=set dscale=set dshift=set",
    "front=relu/constant/no/no/no/rms residual=before dresidual=set skip=yes dtype=bf16 saved=z dx=set dw=set db=set",
];

const SIZES: [[usize; 3]; 6] = [[1, 1, 1], [3, 5, 3], [17, 31, 36], [33, 36, 16], [66, 64, 65], [9, 132, 8]];

fn all(gpu: &Gpu, tile: usize, strategy: &str, asked: &str, data: &str) {
    if !TILES[tile].fits(&gpu.caps(), Form::Nt) {
        return;
    }
    let text = format!("m=1 n=1 k=1 activation=leaky_relu(0.5) {asked} tile={tile} strategy={strategy} data={data}");
    let spec = Spec { misalign: tile % 2, ..spec(&text) };
    passes(gpu, &SIZES.map(|[m, n, k]| spec.sized(m, n, k)));
}

/// Every choice on a tile of a software adapter or of a GPU, computed at each load or by a pass.
fn on_both_roads(asked: &[&str], data: &str) {
    let ways: [(&Gpu, usize, &str); 4] =
        [(gpu(), 0, "prologue"), (as_a_gpu(), 21, "prologue"), (gpu(), 0, "two_pass"), (as_a_gpu(), 3, "two_pass")];
    let (ways, step) = match (full(), checks()) {
        (true, _) => (&ways[..], 1),
        (_, Checks::Trusted) => (&ways[..3], 3),
        _ => (&ways[..1], 3),
    };
    for (i, &(gpu, tile, strategy)) in ways.iter().enumerate() {
        for (_, asked) in asked.iter().enumerate().filter(|(j, _)| (i + j) % step == 0) {
            all(gpu, tile, strategy, asked, data);
        }
    }
}

#[test]
fn integers_without_a_norm() {
    on_both_roads(&EXACT, "integers");
}

#[test]
fn numbers_behind_a_norm() {
    on_both_roads(&REAL, "normal");
}

#[test]
fn every_activation() {
    let mut specs = Vec::new();
    for (seed, activation) in (0..).zip(points::defaults()) {
        let road = ["prologue", "two_pass"][seed as usize % 2];
        let alpha = if activation.has_alpha() { "channel" } else { "constant" };
        let wants = if activation.has_alpha() { "dfront_alpha=set" } else { "" };
        let text = format!(
            "m=1 n=1 k=1 activation=identity strategy={road} front=relu/constant/yes/yes/no/no dw=no db=no dscale=set {wants}"
        );
        let mut spec = Spec { seed, ..spec(&text) };
        let alpha = alpha.parse().unwrap();
        spec.forward.front = spec.forward.front.map(|front| front.activation(activation).alpha(alpha));
        specs.push(spec.sized(9, 12, 20));
    }
    passes(gpu(), &specs);
}

fn absent(shape: &[usize]) -> View<'static> {
    View::absent(shape, Dtype::F32)
}

/// Norm, activation and product: three dispatches for a norm of columns, two for one of rows, one without. A pass makes one more; and so does
/// a device that does not bind all operands at once.
#[test]
fn dispatches() {
    let gpu = gpu();
    let pin = |strategy| Pin::default().tile(0).splits(1).strategy(strategy);
    let (prologue, pass) = (pin(elbow::Strategy::Prologue), pin(elbow::Strategy::TwoPass));
    let (norms, counts) =
        ([None, Some(Norm::batch()), Some(Norm::running()), Some(Norm::layer()), Some(Norm::rms())], [1, 3, 2, 2, 2]);
    for (norm, count) in norms.into_iter().zip(counts) {
        let of_rows = norm.is_some_and(|norm| norm.of_rows());
        let moments = norm.map(|_| absent(&[2, if of_rows { 32 } else { 64 }]));
        let running = norm.filter(Norm::is_running).map(|_| absent(&[2, 64]));
        let front = Front::new(Activation::RELU).norm(norm).moments(moments).running_moments(running);
        let front = front.scale(absent(&[64])).shift(absent(&[64]));
        let layer = Forward::new(Activation::IDENTITY, absent(&[32, 64]), absent(&[64, 64]), absent(&[32, 64]));
        let dispatches = |pin| layer.front(front).pin(pin).plan(gpu).unwrap().dispatches.len();
        assert_eq!((dispatches(prologue), dispatches(pass)), (count, count + 1), "{norm:?}");
    }
}

/// A column far from 0 keeps its variance: shifted sums do not cancel. The batch's last digits decide, x has no more.
#[test]
fn a_mean_far_from_0_costs_no_variance() {
    let gpu = gpu();
    let (m, k) = (300, 8);
    let x: Vec<f32> = (0..m * k).map(|i| 4096.0 + ((i * 37) % 64) as f32 / 64.0).collect();
    let up = |values: &[f32], shape: &[usize]| gpu.upload(values, shape).unwrap();
    let x_ = up(&x, &[m, k]);
    let (w, y) = (up(&[1.0; 8], &[1, k]), gpu.zeros(&[m, 1]).unwrap());
    for norm in [Norm::batch(), Norm::layer()] {
        let lines = if norm.of_rows() { m } else { k };
        let moments = gpu.zeros(&[2, lines]).unwrap();
        let front = Front::new(Activation::IDENTITY).norm(norm).moments(&moments);
        let layer = Forward::new(Activation::IDENTITY, &x_, &w, &y).front(front);
        gpu.submit(|encoder| layer.record(gpu, encoder)).unwrap();
        let got = gpu.download(&moments).unwrap();
        let request = AffineRequest::new(m, 1, k, Activation::IDENTITY).bias(false);
        let request = request.front(request::Front::new(Activation::IDENTITY).norm(norm));
        let exact = reference::forward(&request, ForwardInputs::new(&x, &[1.0; 8])).unwrap().moments;
        for (i, (got, exact)) in got.iter().zip(&exact).enumerate() {
            let off = (f64::from(*got) - exact).abs() / exact.abs();
            assert!(off < 2e-6, "{norm}: moments[{i}] is {got}, exactly {exact}");
        }
    }
}

/// Three layers in one call, with the moments and the running statistics of each.
#[test]
fn a_batch_is_its_layers() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(11));
    let [layers, m, n, k] = [3, 9, 6, 8];
    let mut normal = |length: usize| -> Vec<f32> { (0..length).map(|_| numbers.normal()).collect() };
    let (x, w, dy) = (normal(layers * m * k), normal(layers * n * k), normal(layers * m * n));
    let (scale, shift) = (normal(layers * k), normal(layers * k));
    let running: Vec<f32> = normal(layers * 2 * k).iter().map(|v| v.abs()).collect();
    let up = |values: &[f32], shape: &[usize]| gpu.upload(values, shape).unwrap();
    let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
    let (x_, w_, dy_) = (up(&x, &[layers, m, k]), up(&w, &[layers, n, k]), up(&dy, &[layers, m, n]));
    let (scale_, shift_) = (up(&scale, &[layers, k]), up(&shift, &[layers, k]));
    for norm in [Norm::batch(), Norm::layer()] {
        let lines = if norm.of_rows() { m } else { k };
        let (y, moments, dx) = (zeros(&[layers, m, n]), zeros(&[layers, 2, lines]), zeros(&[layers, m, k]));
        let (dscale, dshift) = (zeros(&[layers, k]), zeros(&[layers, k]));
        let running_ = up(&running, &[layers, 2, k]);
        let follows = norm.is_batch().then(|| running_.view());
        let front = Front::new(Activation::TANH).norm(norm).moments(&moments).running_moments(follows);
        let layer = Forward::new(Activation::IDENTITY, &x_, &w_, &y).front(front.scale(&scale_).shift(&shift_));
        gpu.submit_pass(|pass| {
            layer.record(gpu, &mut *pass)?;
            layer.backward(&dy_).dx(&dx).dscale(&dscale).dshift(&dshift).record(gpu, pass)
        })
        .unwrap();
        let down = |tensor: &Tensor| gpu.download(tensor).unwrap();
        let facts = request::Front::new(Activation::TANH).norm(norm).scale(true).shift(true).running(norm.is_batch());
        let request = AffineRequest::new(m, n, k, Activation::IDENTITY).bias(false).front(facts);
        for i in 0..layers {
            let part = |values: &[f32], each: usize| values[i * each..][..each].to_vec();
            let (x, w, dy) = (part(&x, m * k), part(&w, n * k), part(&dy, m * n));
            let (scale, shift, running) = (part(&scale, k), part(&shift, k), part(&running, 2 * k));
            let of_front = FrontInputs::default().scale(Some(&scale)).shift(Some(&shift));
            let of_front = of_front.running_moments(norm.is_batch().then_some(&running[..]));
            let judge = reference::forward(&request, ForwardInputs::new(&x, &w).front(of_front)).unwrap();
            let inputs = reference::BackwardInputs::new(&x, &w, &dy).front(of_front);
            let back = reference::backward(&BackwardRequest::new(request, Default::default()), inputs).unwrap();
            let close = |name: &str, got: &[f32], want: &[f64]| {
                for (got, want) in got.iter().zip(want) {
                    let off = (f64::from(*got) - want).abs();
                    assert!(off < 1e-5 * (1.0 + want.abs()), "{norm}: {name} of layer {i}: {got} for {want}");
                }
            };
            close("y", &part(&down(&y), m * n), &judge.y);
            close("moments", &part(&down(&moments), 2 * lines), &judge.moments);
            if norm.is_batch() {
                close("running moments", &part(&down(&running_), 2 * k), &judge.running_moments);
            }
            close("dx", &part(&down(&dx), m * k), &back.dx.value);
            close("dscale", &part(&down(&dscale), k), &back.dscale.value);
            close("dshift", &part(&down(&dshift), k), &back.dshift.value);
        }
    }
}

/// Backward reads no more than it says: operands that no wanted gradient needs may be gone.
#[test]
fn what_is_not_read_may_be_gone() {
    let gpu = gpu();
    let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
    let [x, w, dy, dx, row] = [&[4, 3], &[5, 3], &[4, 5], &[4, 3], &[1, 3]].map(|shape| zeros(shape));
    let (y, moments) = (absent(&[4, 5]), zeros(&[2, 3]));
    let gone = Front::new(Activation::IDENTITY).scale(absent(&[3])).shift(absent(&[3]));
    let record = |layer: Forward<'_>, of: &dyn Fn(elbow::affine::Backward<'_>) -> elbow::Result<()>| {
        of(layer.backward(&dy)).unwrap();
    };
    let prepared = |backward: elbow::affine::Backward<'_>| backward.prepare(gpu).map(drop);
    let at = |x, front| Forward::new(Activation::IDENTITY, x, &w, y).front(front);
    // dshift = Σ dx' needs neither x nor what was made of it; dx = scale ⊙ dx' needs scale.
    record(at(absent(&[4, 3]), gone), &|backward| prepared(backward.dshift(&row)));
    record(at(x.view(), gone), &|backward| prepared(backward.dscale(&row)));
    let scale = zeros(&[3]);
    record(at(absent(&[4, 3]), gone.scale(&scale)), &|backward| prepared(backward.dx(&dx)));
    // Constants of a norm: dx needs them, and nothing else.
    let running = gone.norm(Norm::running()).moments(&moments).running_moments(absent(&[2, 3])).scale(None);
    record(at(absent(&[4, 3]), running), &|backward| prepared(backward.dx(&dx)));
    // What bends needs its argument.
    let bends = gone.activation(Activation::TANH).scale(&scale);
    let error = at(x.view(), bends).backward(&dy).dx(&dx).prepare(gpu).map(drop).unwrap_err().to_string();
    assert!(error.contains("shift"), "{error}");
}

#[test]
fn mistakes_are_told() {
    let gpu = gpu();
    let layer = Forward::new(Activation::RELU, absent(&[4, 3]), absent(&[5, 3]), absent(&[4, 5]));
    let front = Front::new(Activation::RELU);
    let says = |result: elbow::Result<()>, words: &[&str]| {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let of = |front: Front<'_>| layer.front(front).plan(gpu).map(drop);
    assert!(of(front).is_ok());
    says(of(front.scale(absent(&[5]))), &["scale:", "[3]", "[5]"]);
    says(of(front.shift(absent(&[4, 3]))), &["shift:", "[3]"]);
    says(of(front.alpha(absent(&[3]))), &["front_alpha:", "relu has no learnable parameter"]);
    says(of(front.activation("prelu".parse().unwrap()).alpha(absent(&[5]))), &["front_alpha:", "[1] or [3]"]);
    says(of(front.norm(Norm::layer())), &["moments:", "[2, 4]", "none"]);
    says(of(front.norm(Norm::batch()).moments(absent(&[2, 4]))), &["moments:", "[2, 3]", "[2, 4]"]);
    says(of(front.moments(absent(&[2, 3]))), &["moments:", "there is no norm"]);
    says(of(front.norm(Norm::running()).moments(absent(&[2, 3]))), &["running_moments:", "earlier batches", "none"]);
    let layer_norm = front.norm(Norm::layer()).moments(absent(&[2, 4]));
    says(of(layer_norm.running_moments(absent(&[2, 3]))), &["running_moments:", "no norm of columns"]);
    says(
        layer.activation(Activation::TANH).front(front).jet(Jet::laplacian(2).unwrap()).plan(gpu).map(drop),
        &["front", "jets"],
    );
    let dy = absent(&[4, 5]);
    let back = |front: Front<'static>| layer.front(front).backward(dy);
    says(back(front).dscale(absent(&[3])).plan(gpu).map(drop), &["dscale", "no scale"]);
    says(back(front).dshift(absent(&[3])).plan(gpu).map(drop), &["dshift", "no shift"]);
    says(back(front.scale(absent(&[3]))).dscale(absent(&[5])).plan(gpu).map(drop), &["dscale:", "[3]"]);
    says(back(front).dfront_alpha(absent(&[1])).plan(gpu).map(drop), &["dfront_alpha", "alpha"]);
    let below = Forward::new(Activation::RELU, absent(&[4, 2]), absent(&[3, 2]), absent(&[4, 3])).saved(Saved::Y);
    says(back(front).dx(absent(&[4, 3])).below(&below).plan(gpu).map(drop), &["chain", "front"]);
    says(
        layer.front(front).double_backward(dy).ddx(absent(&[4, 3])).dw2(absent(&[5, 3])).plan(gpu).map(drop),
        &["double backward", "front"],
    );
    says(Norm::layer().epsilon(0.0).map(drop), &["norm", "epsilon", "> 0"]);
}
