//! Layers side by side: each against the f64 reference, on integers to the last bit, and against a call of its own; odd
//! sizes and offsets, every kind of operand, as many layers in a dispatch as fit.

use elbow::{
    Activation, AlphaSource, Dtype, Error, Float, Gpu, Operand, ResidualAt, Saved, Strategy, Tensor, View, Want,
    WeightLayout,
    affine::{Forward, Gradient},
    cpu::{
        ForwardInputs,
        reference::{self, BackwardInputs},
    },
    plan::{Pin, TILES},
    request::{AffineRequest, BackwardRequest, Below, Gradients},
};

use crate::{
    common::{Numbers, gpu},
    large::narrow,
};

const CANARY: u32 = 0x7fc5_a5a5;
const UNWRITTEN: u32 = 0x7fc0_dead;
const BEFORE: usize = 4;

/// What is computed, of how many layers.
#[derive(Clone, Copy, Debug)]
struct Spec {
    layers: usize,
    layer: AffineRequest,
    accumulate: bool,
    below: bool,
    pin: Pin,
    misalign: usize,
    real: bool,
}

/// An operand of every layer, in a buffer with canaries at both ends.
struct Held {
    tensor: Tensor,
    words: Vec<u32>,
    first: usize,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Held {
    fn new(gpu: &Gpu, spec: &Spec, shape: &[usize], dtype: Dtype, mut word: impl FnMut() -> u32) -> Self {
        let shape = [&[spec.layers], shape].concat();
        let words: Vec<u32> = (0..shape.iter().product()).map(|_| word()).collect();
        let first = BEFORE + spec.misalign;
        let all = [&vec![CANARY; first][..], &words, &[CANARY; BEFORE]].concat();
        Held { tensor: gpu.upload_words(&all, &[all.len()]).unwrap(), words, first, shape, dtype }
    }

    fn view(&self) -> View<'_> {
        View::new(self.tensor.buffer(), self.first as u64 * 4, &self.shape, self.dtype)
    }

    /// The operand of one layer.
    fn of(&self, layer: usize) -> View<'_> {
        let each = self.words.len() / self.shape[0];
        View::new(self.tensor.buffer(), (self.first + layer * each) as u64 * 4, &self.shape[1..], self.dtype)
    }

    /// What one layer's operand held at first.
    fn values(&self, layer: usize) -> &[f32] {
        let each = self.words.len() / self.shape[0];
        bytemuck::cast_slice(&self.words[layer * each..][..each])
    }

    fn read(&self, gpu: &Gpu) -> Vec<u32> {
        let mut words = gpu.download_words(&self.tensor).unwrap();
        assert!(words[..self.first].iter().chain(&words[words.len() - BEFORE..]).all(|w| *w == CANARY));
        words.drain(..self.first);
        words.truncate(self.words.len());
        words
    }
}

/// x, w, b, alpha, residual, dy, saved_below; y, saved; dx, dw, db, dalpha, dresidual, db_below.
struct Operands {
    inputs: [Held; 7],
    outputs: [Held; 8],
}

const NAMES: [&str; 8] = ["y", "saved", "dx", "dw", "db", "dalpha", "dresidual", "db_below"];

impl Operands {
    fn new(gpu: &Gpu, spec: &Spec) -> Self {
        let AffineRequest { m, n, k, .. } = spec.layer;
        let mut numbers = Numbers::new(5);
        let w = if spec.layer.layout == WeightLayout::OutIn { [n, k] } else { [k, n] };
        let alpha: &[usize] = match spec.layer.alpha {
            AlphaSource::PerChannel => &[n],
            _ => &[],
        };
        let mut number = |reach: i32, scale: f32| match spec.real {
            true => numbers.normal(),
            false => numbers.integer(reach) * scale,
        };
        let shapes: [&[usize]; 7] = [&[m, k], &w, &[n], alpha, &[m, n], &[m, n], &[m, k]];
        let inputs = std::array::from_fn(|i| {
            Held::new(gpu, spec, shapes[i], Dtype::F32, || {
                let value = if i == 3 { number(2, 0.25).abs() + 0.25 } else { number(4, 1.0) };
                value.to_bits()
            })
        });
        let saved: &[usize] = if spec.layer.saved == Saved::Mask { &[m, n.div_ceil(32)] } else { &[m, n] };
        let shapes: [&[usize]; 8] = [&[m, n], saved, &[m, k], &w, &[n], alpha, &[m, n], &[k]];
        let outputs = std::array::from_fn(|i| {
            // dx of a chain is overwritten.
            let added = spec.accumulate && i >= 2 && !(spec.below && i == 2);
            let dtype = if i == 1 && spec.layer.saved == Saved::Mask { Dtype::U32 } else { Dtype::F32 };
            Held::new(gpu, spec, shapes[i], dtype, || if added { number(8, 1.0).to_bits() } else { UNWRITTEN })
        });
        Operands { inputs, outputs }
    }

    /// Forward and backward of every layer in one call each, or of one layer alone.
    fn record(&self, gpu: &Gpu, spec: &Spec, alone: Option<usize>) -> elbow::Result<()> {
        let layer = &spec.layer;
        let view = |held| match alone {
            None => Held::view(held),
            Some(layer) => Held::of(held, layer),
        };
        let alpha_view = |held| match (alone, layer.alpha) {
            (Some(_), AlphaSource::PerLayer) => view(held).reshaped(&[1]).unwrap(),
            _ => view(held),
        };
        let gradient = |held| if spec.accumulate { Gradient::accumulate(held) } else { Gradient::overwrite(held) };
        let [x, w, b, alpha, residual, dy, z_below] = &self.inputs;
        let [y, saved, dx, dw, db, dalpha, dresidual, db_below] = &self.outputs;
        let learnable = layer.alpha != AlphaSource::Constant;
        let alpha = learnable.then(|| alpha_view(alpha));
        let b = layer.bias.then(|| view(b));
        let kept = matches!(layer.saved, Saved::Z | Saved::Mask).then(|| view(saved));
        let forward = Forward::new(layer.activation, view(x), view(w), view(y))
            .layout(layer.layout)
            .saved(layer.saved)
            .b(b)
            .alpha(alpha)
            .residual(layer.residual.map(|_| view(residual)))
            .save_to(kept)
            .pin(spec.pin);
        // Of the layer below only z is at hand: its y is x.
        let (of_one, of_all) = ([[layer.m, 0], [layer.k, 0]], [[spec.layers, layer.m, 0], [spec.layers, layer.k, 0]]);
        let gone = |i: usize| {
            let shape: &[usize] = if alone.is_some() { &of_one[i] } else { &of_all[i] };
            View::absent(shape, Float::F32)
        };
        let below = Forward::new(Activation::RELU, gone(0), gone(1), view(x)).saved(Saved::Z).save_to(view(z_below));
        let mut backward = forward.backward(view(dy)).dw(gradient(view(dw))).db(gradient(view(db)));
        backward = backward.dresidual(gradient(view(dresidual)));
        if learnable {
            backward = backward.dalpha(gradient(alpha_view(dalpha)));
        }
        let backward = match spec.below {
            true => backward.dx(view(dx)).below(&below).db_below(gradient(view(db_below))),
            false => backward.dx(gradient(view(dx))),
        };
        gpu.submit_pass(|pass| {
            forward.record(gpu, &mut *pass)?;
            backward.record(gpu, pass)
        })
    }

    fn read(&self, gpu: &Gpu) -> Vec<Vec<u32>> {
        self.outputs.iter().map(|held| held.read(gpu)).collect()
    }
}

/// What the reference gives for one layer; None where it has nothing to say (what was saved, unless it is z).
fn expected(spec: &Spec, operands: &Operands, layer: usize) -> [Option<Vec<f64>>; 8] {
    let [x, w, b, alpha, residual, dy, z_below] = operands.inputs.each_ref().map(|held| held.values(layer));
    let affine = spec.layer;
    let alpha = (affine.alpha != AlphaSource::Constant).then_some(alpha);
    let (b, residual) = (affine.bias.then_some(b), affine.residual.map(|_| residual));
    let forward = reference::forward(&affine, ForwardInputs::new(x, w).b(b).alpha(alpha).residual(residual)).unwrap();
    let want = Want::Overwrite;
    let below = Below::new(Activation::RELU, Saved::Z).alpha(AlphaSource::Constant).db(want);
    let request = BackwardRequest::new(affine, Gradients::default()).below(spec.below.then_some(below));
    let z_below = spec.below.then_some(z_below);
    let inputs = BackwardInputs::new(x, w, dy).b(b).alpha(alpha).z_below(z_below);
    let backward = reference::backward(&request, inputs).unwrap();
    let dx = if spec.below { backward.dz_below } else { backward.dx };
    let before = |i: usize, values: Vec<f64>| {
        let held = operands.outputs[i].values(layer);
        let start = |i: usize| if held[i].to_bits() == UNWRITTEN { 0.0 } else { f64::from(held[i]) };
        Some(values.iter().enumerate().map(|(i, v)| v + start(i)).collect())
    };
    [
        Some(forward.y),
        (affine.saved == Saved::Z).then_some(forward.z),
        before(2, dx.value),
        before(3, backward.dw.value),
        before(4, backward.db.value),
        if alpha.is_some() { before(5, backward.dalpha.value) } else { None },
        before(6, backward.dresidual.value),
        if spec.below { before(7, backward.db_below.value) } else { None },
    ]
}

fn check(gpu: &Gpu, spec: &Spec) {
    let operands = Operands::new(gpu, spec);
    operands.record(gpu, spec, None).unwrap_or_else(|error| panic!("{spec:?}: {error}"));
    let got = operands.read(gpu);
    for layer in 0..spec.layers {
        for (i, expected) in expected(spec, &operands, layer).into_iter().enumerate() {
            let Some(expected) = expected else { continue };
            let got: &[f32] = bytemuck::cast_slice(&got[i][layer * expected.len()..][..expected.len()]);
            for (at, (&got, expected)) in got.iter().zip(expected).enumerate() {
                assert_eq!(f64::from(got), expected, "{}[{at}] of layer {layer}: {spec:?}", NAMES[i]);
            }
        }
    }
    same_as_alone(gpu, spec, &got);
}

/// The same bits as from a call for each layer.
fn same_as_alone(gpu: &Gpu, spec: &Spec, together: &[Vec<u32>]) {
    let alone = Operands::new(gpu, spec);
    for layer in 0..spec.layers.min(5) {
        alone.record(gpu, spec, Some(layer)).unwrap();
    }
    for ((together, alone), name) in together.iter().zip(alone.read(gpu)).zip(NAMES) {
        let checked = alone.len() / spec.layers.max(1) * spec.layers.min(5);
        assert!(together[..checked] == alone[..checked], "{name}: {spec:?}");
    }
}

/// Every strategy, saved choice, layout, kind of α and epilogue, on integers.
fn specs() -> Vec<Spec> {
    let spec = |activation: &str, saved, layout, strategy| Spec {
        layers: 1,
        layer: AffineRequest::new(1, 1, 1, activation.parse().unwrap()).saved(saved).layout(layout),
        accumulate: false,
        below: false,
        pin: Pin::default().tile(3).splits(1).strategy(strategy),
        misalign: 0,
        real: false,
    };
    let (out_in, in_out) = (WeightLayout::OutIn, WeightLayout::InOut);
    let mut channels = Spec { accumulate: true, ..spec("prelu", Saved::Z, in_out, Strategy::TwoPass) };
    (channels.layer.alpha, channels.layer.residual) = (AlphaSource::PerChannel, Some(ResidualAt::AfterActivation));
    let mut layer = spec("prelu", Saved::Z, out_in, Strategy::Prologue);
    (layer.layer.alpha, layer.layer.bias) = (AlphaSource::PerLayer, false);
    let mut again = spec("leaky_relu(0.5)", Saved::None, out_in, Strategy::TwoPass);
    again.pin.splits = Some(3);
    let mut split = Spec { accumulate: true, ..spec("hardtanh(-8,8)", Saved::Mask, in_out, Strategy::Prologue) };
    split.pin.splits = Some(3);
    let chain = Spec { below: true, ..spec("relu", Saved::Y, out_in, Strategy::Auto) };
    vec![spec("relu", Saved::Mask, out_in, Strategy::TwoPass), channels, layer, again, split, chain]
}

fn sized(spec: Spec, layers: usize, [m, n, k]: [usize; 3], misalign: usize) -> Spec {
    Spec { layers, layer: spec.layer.m(m).n(n).k(k), misalign, ..spec }
}

#[test]
fn each_layer_is_right() {
    let gpu = gpu();
    let sizes = [[5, 33, 17], [1, 1, 1], [3, 70, 5], [8, 4, 12], [70, 3, 40]];
    for (i, spec) in specs().into_iter().enumerate() {
        for (j, layers) in [0, 1, 3, 65].into_iter().enumerate() {
            check(gpu, &sized(spec, layers, sizes[(i + j) % sizes.len()], (i + j) % 4));
        }
        for sizes in [[0, 3, 4], [3, 0, 4], [3, 4, 0]] {
            check(gpu, &sized(spec, 3, sizes, 0));
        }
    }
}

/// Three layers on a tile.
pub fn serves(gpu: &Gpu, i: usize, tile: usize) {
    let spec = specs()[i % 2];
    check(gpu, &sized(Spec { pin: spec.pin.tile(tile), ..spec }, 3, [9, 36, 20], 0));
}

/// One tile of each kernel, and what the plan takes.
#[test]
fn any_kernel_serves_a_batch() {
    let mut tiles = elbow_verify::suite::tiles(gpu());
    tiles.dedup_by_key(|tile| std::mem::discriminant(&TILES[*tile].stage));
    for (i, tile) in tiles.into_iter().enumerate() {
        serves(gpu(), i, tile);
    }
    check(gpu(), &sized(Spec { pin: Pin::default(), ..specs()[0] }, 7, [130, 40, 33], 1));
}

#[test]
fn real_numbers_give_the_bits_of_calls_of_their_own() {
    let gpu = gpu();
    let gelu = AffineRequest::new(1, 1, 1, Activation::GELU_ERF).saved(Saved::Z);
    for (sizes, splits) in [([33, 64, 128], None), ([2, 12, 700], Some(3)), ([600, 8, 4], None)] {
        let pin = Pin::default().splits(splits);
        let spec = Spec { layers: 4, layer: gelu, accumulate: false, below: false, pin, misalign: 0, real: true };
        let spec = sized(spec, 4, sizes, 0);
        let operands = Operands::new(gpu, &spec);
        operands.record(gpu, &spec, None).unwrap();
        same_as_alone(gpu, &spec, &operands.read(gpu));
    }
}

/// More workgroups than one dimension of a grid has: some of the second row of them have no layer.
#[test]
fn more_layers_than_a_dimension_holds() {
    let gpu = gpu();
    let layers = 70_001;
    let number = |i: usize| (i % 2_003) as f32 - 1_001.0;
    let numbers: Vec<f32> = (0..layers).map(number).collect();
    // Behind y: nothing may be written there.
    let x = gpu.upload(&numbers, &[layers, 1, 1]).unwrap();
    let (w, b) = (gpu.upload(&numbers, &[layers, 1, 1]).unwrap(), gpu.upload(&numbers, &[layers, 1]).unwrap());
    let y = gpu.upload(&vec![7.0; layers + 70_000], &[layers + 70_000]).unwrap();
    let shape = [layers, 1, 1];
    let call = Forward::new(Activation::IDENTITY, &x, &w, View::new(y.buffer(), 0, &shape, Float::F32)).b(b.view());
    let plan = call.plan(gpu).unwrap();
    assert!(plan.dispatches.len() == 1 && plan.dispatches[0].params.batch as usize == layers, "{plan}");
    gpu.submit(|e| call.record(gpu, e)).unwrap();
    for (i, y) in gpu.download(&y).unwrap().into_iter().enumerate() {
        assert_eq!(y, if i < layers { number(i) * number(i) + number(i) } else { 7.0 }, "layer {i}");
    }
}

/// Several layers to a binding; and layers that are longer than one themselves.
#[test]
fn layers_on_a_device_with_short_bindings() {
    let gpu = narrow(32 << 10);
    for spec in [specs()[0], specs()[1]] {
        let call = sized(spec, 65, [9, 33, 20], 1);
        check(&gpu, &call);
        check(&gpu, &sized(spec, 3, [300, 40, 44], 0));
    }
    let one = Operands::new(&gpu, &sized(specs()[0], 65, [9, 33, 20], 0));
    let [x, w, ..] = &one.inputs;
    let plan = Forward::new(Activation::RELU, x.view(), w.view(), one.outputs[0].view()).plan(&gpu).unwrap();
    let each: Vec<u32> = plan.dispatches.iter().map(|d| d.params.batch).collect();
    assert!(each.len() > 1 && each.iter().all(|&e| e > 1) && each.iter().sum::<u32>() == 65, "{plan}");
}

#[test]
fn what_does_not_fit_is_named() {
    let gpu = gpu();
    let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
    let (x, w, y, b) = (zeros(&[3, 5, 4]), zeros(&[3, 2, 4]), zeros(&[3, 5, 2]), zeros(&[3, 2]));
    let call = Forward::new(Activation::RELU, &x, &w, &y).b(b.view());
    call.plan(gpu).unwrap();
    assert_eq!((call.request().unwrap().m, call.request().unwrap().n), (5, 2), "the request of one layer");
    let said = |call: &Forward<'_>| call.plan(gpu).unwrap_err().to_string();
    let two = zeros(&[2, 5, 4]);
    let text = said(&call.x(two.view()));
    assert_eq!(text, "x: expected [3, ..], because w is that of 3 layers, got [2, 5, 4]");
    let text = said(&call.b(y.view()));
    assert_eq!(text, "b: expected [2] for each of 3 layers, got [5, 2] for each");
    let one = zeros(&[2]);
    assert!(said(&call.b(one.view())).starts_with("b: expected [3, ..]"));
    let transposed = said(&call.layout(WeightLayout::InOut));
    assert!(transposed.contains("WeightLayout::OutIn") && transposed.contains("each of 3 layers"), "{transposed}");
    let dy = zeros(&[3, 5, 2]);
    let layer = call.saved(Saved::Y);
    layer.backward(&dy).db(&b).plan(gpu).unwrap();
    let error = layer.backward(&dy).db(&one).plan(gpu).unwrap_err();
    assert!(matches!(error, Error::Shape { operand: Operand::Db, .. }), "{error}");
    // The layer below is as many layers.
    let (x_one, w_one) = (zeros(&[5, 6]), zeros(&[4, 6]));
    let below = Forward::new(Activation::RELU, &x_one, &w_one, x.view_as(&[5, 4]));
    let error = layer.backward(&dy).dx(&x).below(&below).plan(gpu).unwrap_err();
    assert!(matches!(error, Error::Shape { operand: Operand::X, .. }), "{error}");
    // An empty batch is a batch.
    let (x, w, y) = (zeros(&[0, 5, 4]), zeros(&[0, 2, 4]), zeros(&[0, 5, 2]));
    assert!(Forward::new(Activation::RELU, &x, &w, &y).plan(gpu).unwrap().dispatches.is_empty());
}

/// Layers of an odd number of elements share a word.
#[test]
fn layers_in_bf16_that_begin_in_the_middle_of_a_word() {
    let gpu = gpu();
    let (layers, m, n, k) = (5, 3, 3, 5);
    let mut numbers = Numbers::new(3);
    let mut integers = |len: usize| -> Vec<f32> { (0..len).map(|_| numbers.integer(4)).collect() };
    let (x, w, dy) = (integers(layers * m * k), integers(layers * n * k), integers(layers * m * n));
    // Small integers are numbers of bf16: the upper half of their bits. The last half word belongs to nobody.
    let packed = |values: &[f32]| {
        let halves: Vec<u32> = values.iter().map(|v| v.to_bits() >> 16).chain([0x7fc1]).collect();
        let words: Vec<u32> = halves.chunks_exact(2).map(|pair| pair[0] | pair[1] << 16).collect();
        gpu.upload_words(&words, &[words.len()]).unwrap()
    };
    let unpacked = |tensor: &Tensor, len: usize| -> Vec<f32> {
        let words = gpu.download_words(tensor).unwrap();
        let halves: Vec<u32> = words.iter().flat_map(|w| [w & 0xffff, w >> 16]).collect();
        assert_eq!(halves[len], 0x7fc1, "what lies behind");
        halves[..len].iter().map(|h| f32::from_bits(h << 16)).collect()
    };
    let (tx, tw, tdy) = (packed(&x), packed(&w), packed(&dy));
    let (ty, tdx) = (packed(&vec![f32::NAN; layers * m * n]), packed(&vec![f32::NAN; layers * m * k]));
    let (xs, ws, ys) = ([layers, m, k], [layers, n, k], [layers, m, n]);
    let (vx, vw) = (View::new(tx.buffer(), 0, &xs, Float::Bf16), View::new(tw.buffer(), 0, &ws, Float::Bf16));
    let forward = Forward::new(Activation::IDENTITY, vx, vw, View::new(ty.buffer(), 0, &ys, Float::Bf16));
    let dx = View::new(tdx.buffer(), 0, &xs, Float::Bf16);
    let backward = forward.backward(View::new(tdy.buffer(), 0, &ys, Float::Bf16)).dx(dx);
    gpu.submit_pass(|pass| {
        forward.record(gpu, &mut *pass)?;
        backward.record(gpu, pass)
    })
    .unwrap();
    let (y, dx) = (unpacked(&ty, layers * m * n), unpacked(&tdx, layers * m * k));
    for row in 0..layers * m {
        let weight = |n_: usize, k_: usize| w[(row / m * n + n_) * k + k_];
        for col in 0..n {
            let sum: f32 = (0..k).map(|i| x[row * k + i] * weight(col, i)).sum();
            assert_eq!(y[row * n + col], sum, "y, row {row}, column {col}");
        }
        for col in 0..k {
            let sum: f32 = (0..n).map(|i| dy[row * n + i] * weight(i, col)).sum();
            assert_eq!(dx[row * k + col], sum, "dx, row {row}, column {col}");
        }
    }
}
