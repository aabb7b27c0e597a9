//! Gated layers: gate and up in one product or in a product and a pass, however they lie, with every activation; batches; mistakes.

use elbow::{
    Activation, Checks, DeviceClass, Dtype, Gate, Gpu, Jet, MatrixUnits, ResidualAt, Saved, Tensor, View, WeightLayout,
    affine::{Forward, Statistics},
    cpu::{ForwardInputs, reference},
    elementwise,
    kernel::KernelFile,
    plan::{Form, Pin, TILES},
    request::AffineRequest,
};
use elbow_verify::{Spec, points};

use crate::{
    common::{Numbers, as_a_gpu, checks, full, gpu, passes},
    matrix_units::{opened, there, tiles},
};

fn spec(text: &str) -> Spec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What a gated layer can have; where both sides are one product, and where they cannot be.
const ASKED: [&str; 5] = [
    "gate=stacked saved=z dx=set dw=add db=set",
    "gate=interleaved,up_first saved=z dx=add dw=set db=add residual=after dresidual=add gap=4",
    "gate=stacked,up_first,limit=16 layout=in_out saved=none dx=set dw=set db=set bias=no row_weight=yes drow_weight=set",
    "gate=interleaved,limit=16 layout=in_out saved=z dx=set dw=set db=add dtype=bf16 gap=1",
    "gate=interleaved,limit=16 saved=none dx=set dw=set db=set below=leaky_relu(0.5)/constant/z/no/set/no/no/no/no",
];

/// What weights apart can have, alone, in a chain, and with so many operands in its end that both products of dx wait for it.
const APART: [&str; 5] = [
    "gate=apart saved=z dx=set dw=add db=set dw_up=set db_up=add residual=after",
    "gate=apart,up_first,limit=16 layout=in_out saved=none dx=add dw_up=set db_up=set bias=no row_weight=yes drow_weight=set gap=4",
    "gate=apart saved=z dx=set dw=set db_up=set dtype=bf16 gap=1 dropout=0.5",
    "gate=apart saved=none dx=set dw=set db=set dw_up=add below=prelu/channel/z/no/set/set/no/no/no alpha=channel dalpha=set",
    "gate=apart saved=z dx=set dw_up=set residual=after skip=yes below=relu/constant/z/yes/set/no/set/no/no",
];

fn exact(gpu: &Gpu, tile: usize, (asked, choices): (usize, &str), more: &str) {
    if !TILES[tile].fits(&gpu.caps(), Form::Nt) {
        return;
    }
    let data = if choices.contains("data=") { "" } else { "data=integers" };
    let text = format!("m=1 n=1 k=1 activation=leaky_relu(0.5) {choices} tile={tile} {data} seed={asked} {more}");
    let spec = Spec { misalign: tile % 2, ..spec(&text) };
    let sizes = [[1, 1, 1], [3, 5, 3], [17, 31, 36], [33, 36, 16], [66, 64, 65], [9, 132, 8]];
    passes(gpu, &sizes.map(|[m, n, k]| spec.sized(m, n, k)));
}

#[test]
fn integers_in_a_product_and_a_pass() {
    let tiles: &[usize] = if full() { &[0, 1, 2, 3, 4, 8, 9, 12] } else { &[0, 8] };
    let tiles = if checks() == Checks::Checked && !full() { &tiles[..1] } else { tiles };
    for (i, &tile) in tiles.iter().enumerate() {
        for asked in (0..ASKED.len()).filter(|j| full() || (i + j) % 3 == 0) {
            exact(gpu(), tile, (asked, ASKED[asked]), ["", "splits=3"][asked % 2]);
        }
    }
}

/// Two products, of which the second reads what the first has left; and dx of operands that are joined, or of two products.
#[test]
fn integers_of_weights_apart() {
    let tiles: &[usize] = if full() { &[0, 1, 2, 3, 5, 8, 9, 12, 13, 21] } else { &[0, 5] };
    for &tile in tiles {
        for asked in (0..APART.len()).filter(|j| full() || checks() == Checks::Trusted || j % 2 == tile % 2) {
            exact(gpu(), tile, (asked, APART[asked]), ["", "splits=3"][asked % 2]);
            if full() || asked == 0 && tile == 5 {
                exact(as_a_gpu(), tile, (asked, APART[asked]), "");
            }
        }
    }
}

/// By the texts of a GPU, and of a software adapter, in which a lane finishes both sides.
#[test]
fn integers_in_one_product() {
    let exact = |gpu: &Gpu, tile: usize, asked: usize, more: &str| exact(gpu, tile, (asked, ASKED[asked]), more);
    if full() {
        for tile in [7, 13, 21] {
            for asked in 0..ASKED.len() {
                exact(as_a_gpu(), tile, asked, "");
                exact(gpu(), tile, asked, "");
            }
        }
        return;
    }
    exact(as_a_gpu(), 21, 1, "");
    exact(gpu(), 21, 0, "");
    if checks() == Checks::Trusted {
        exact(as_a_gpu(), 21, 2, "");
    }
}

/// Forward of every layout, type and end, for matrix units; numbers of many magnitudes where a scale could be another row's or column's.
const ON_MATRIX_UNITS: [&str; 8] = [
    "gate=stacked saved=z",
    "gate=interleaved,up_first,limit=16 saved=z residual=after gap=4 dtype=bf16",
    "gate=stacked,up_first,limit=16 layout=in_out saved=none bias=no row_weight=yes dtype=f16",
    "gate=apart saved=z residual=after gap=1",
    "gate=apart,up_first,limit=16 layout=in_out saved=none row_weight=yes dropout=0.5",
    "gate=apart saved=z dtype=bf16 alpha=channel gap=4",
    "gate=interleaved saved=z data=normal",
    "gate=apart,up_first layout=in_out saved=z data=normal",
];

/// By the texts of a software adapter and of a GPU, rounded and split; where there are no matrix units, by the plan without.
#[test]
fn one_product_on_matrix_units() {
    let checked = checks() == Checks::Checked;
    let step = if checked { 6 } else { 3 };
    for (i, units) in [MatrixUnits::Rounded, MatrixUnits::Split].into_iter().enumerate() {
        for (j, class) in [None, Some(DeviceClass::Discrete)].into_iter().enumerate() {
            let gpu = opened(units, class);
            let tiles = tiles(&gpu.caps());
            let tile = tiles.last().copied().unwrap_or(0);
            assert_eq!(tile == 0, there(&gpu).is_none(), "{gpu}");
            // The largest has several matrices of either side; a compiler for a CPU takes half a minute for one.
            if let (Some(&large), MatrixUnits::Rounded, None) = (tiles.first().filter(|_| !checked), units, class) {
                exact(&gpu, large, (2, ON_MATRIX_UNITS[2]), "dx=no dw=no db=no");
            }
            for (asked, choices) in ON_MATRIX_UNITS.into_iter().enumerate() {
                if full() || (asked + 2 * i + j) % step == 0 {
                    let magnitudes = if units == MatrixUnits::Split { "lognormal" } else { "normal" };
                    exact(&gpu, tile, (asked, &choices.replace("normal", magnitudes)), "dx=no dw=no db=no");
                }
            }
        }
    }
}

/// What is scaled is scaled before; then gate and up are one dispatch and no pass, but for columns by turns across the reduction, and where the
/// reduction is split.
#[test]
fn dispatches_on_matrix_units() {
    let absent = |shape: &[usize]| View::absent(shape, Dtype::F32);
    for units in [MatrixUnits::Rounded, MatrixUnits::Split] {
        let gpu = opened(units, None);
        let there = there(&gpu).is_some();
        for (gate, layout, pin, paired) in [
            (Gate::stacked(), WeightLayout::OutIn, Pin::default(), true),
            (Gate::stacked().up_first(), WeightLayout::InOut, Pin::default(), true),
            (Gate::interleaved(), WeightLayout::OutIn, Pin::default(), true),
            (Gate::interleaved(), WeightLayout::InOut, Pin::default(), false),
            (Gate::apart(), WeightLayout::OutIn, Pin::default(), true),
            (Gate::apart(), WeightLayout::InOut, Pin::default(), true),
            (Gate::apart(), WeightLayout::OutIn, Pin::default().splits(2), false),
        ] {
            let outputs = if gate.is_apart() { 64 } else { 128 };
            let w = if layout == WeightLayout::OutIn { [outputs, 64] } else { [64, outputs] };
            let layer = Forward::new(Activation::SILU, absent(&[128, 64]), absent(&w), absent(&[128, 64]));
            let layer = layer.layout(layout).w_up(gate.is_apart().then(|| absent(&w)));
            let plan = layer.gate(gate).saved(Saved::None).pin(pin).plan(&gpu).unwrap();
            let products = plan.dispatches.iter().filter(|d| d.kernel.flags.contains_key("TM"));
            let last = plan.dispatches.last().unwrap();
            let together = last.kernel.file == KernelFile::ProductCoop && last.kernel.flag("PAIRED") == 1;
            assert_eq!(together && products.count() == 1, there && paired, "{gate} {layout:?} {units}\n{plan}");
        }
    }
}

/// A pin of one of their tiles makes one dispatch; a tile of four columns a lane, splits and columns by turns make two.
#[test]
fn dispatches() {
    let gpu = gpu();
    let absent = |shape: &[usize]| View::absent(shape, Dtype::F32);
    let count = |gate: Gate, layout: WeightLayout, pin: Pin| {
        let w = if layout == WeightLayout::OutIn { [128, 64] } else { [64, 128] };
        let w = if gate.is_apart() { w.map(|side| if side == 128 { 64 } else { side }) } else { w };
        let layer = Forward::new(Activation::SILU, absent(&[128, 64]), absent(&w), absent(&[128, 64])).layout(layout);
        let layer = layer.w_up(gate.is_apart().then(|| absent(&w)));
        layer.gate(gate).saved(Saved::None).pin(pin).plan(gpu).unwrap().dispatches.len()
    };
    let (in_out, out_in) = (WeightLayout::InOut, WeightLayout::OutIn);
    let pin = Pin::default();
    for (gate, layout, pin, expected) in [
        (Gate::stacked(), out_in, pin.tile(21), 1),
        (Gate::interleaved(), out_in, pin.tile(13), 1),
        (Gate::stacked(), in_out, pin.tile(21), 1),
        (Gate::interleaved(), in_out, pin.tile(21), 2),
        (Gate::stacked(), out_in, pin.tile(5), 2),
        (Gate::stacked(), out_in, pin.tile(0), 2),
        (Gate::stacked(), out_in, pin.tile(21).splits(2), 3),
        (Gate::apart(), out_in, pin.tile(21), 2),
        (Gate::apart(), in_out, pin.tile(0), 2),
        (Gate::apart(), out_in, pin.tile(5).splits(2), 4),
    ] {
        assert_eq!(count(gate, layout, pin), expected, "{gate} {layout:?} {pin:?}");
    }
}

#[test]
fn every_activation() {
    let mut specs = Vec::new();
    let gates = ["stacked", "interleaved,limit=0.75", "stacked,up_first,limit=1.5", "interleaved,up_first", "apart"];
    for (seed, activation) in (0..).zip(points::defaults()) {
        let (gate, [data, saved]) =
            (gates[seed as usize % 5], [["normal", "z"], ["lognormal", "none"]][seed as usize / 2 % 2]);
        let alpha = if activation.has_alpha() { " alpha=channel dalpha=set" } else { "" };
        let usual = spec(&format!("m=1 n=1 k=1 activation=relu saved={saved} gate={gate} data={data} db=set{alpha}"));
        let mut spec = Spec { seed, ..usual };
        spec.forward.activation = activation;
        specs.push(spec.sized(9, 12, 20));
    }
    passes(gpu(), &specs);
}

/// Experts: three layers in one call, each as it is alone.
#[test]
fn a_batch_is_its_layers() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(5));
    let [layers, m, n, k] = [3, 5, 6, 8];
    let mut normal = |length: usize| -> Vec<f32> { (0..length).map(|_| numbers.normal()).collect() };
    let (x, w, b, dy) =
        (normal(layers * m * k), normal(layers * 2 * n * k), normal(layers * 2 * n), normal(layers * m * n));
    let up = |values: &[f32], shape: &[usize]| gpu.upload(values, shape).unwrap();
    let [of_x, of_w, of_b, of_y, of_z] =
        [[m, k], [2 * n, k], [1, 2 * n], [m, n], [m, 2 * n]].map(|[a, b]| [layers, a, b]);
    let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
    let (x_, w_, b_, dy_) = (up(&x, &of_x), up(&w, &of_w), up(&b, &of_b), up(&dy, &of_y));
    let (y, z, dw, db) = (zeros(&of_y), zeros(&of_z), zeros(&of_w), zeros(&of_b));
    let gate = Gate::stacked().limited(1.0).unwrap();
    let layer = Forward::new(Activation::SILU, &x_, &w_, &y).b(&b_).gate(gate).saved(Saved::Z).save_to(&z);
    gpu.submit_pass(|pass| {
        layer.record(gpu, &mut *pass)?;
        layer.backward(&dy_).dw(&dw).db(&db).record(gpu, pass)
    })
    .unwrap();
    let (y, dw, db) = (gpu.download(&y).unwrap(), gpu.download(&dw).unwrap(), gpu.download(&db).unwrap());
    let request = AffineRequest::new(m, n, k, Activation::SILU).gate(gate);
    for i in 0..layers {
        let part = |values: &[f32], each: usize| values[i * each..][..each].to_vec();
        let (x, w, b, dy) = (part(&x, m * k), part(&w, 2 * n * k), part(&b, 2 * n), part(&dy, m * n));
        let judge = reference::forward(&request, ForwardInputs::new(&x, &w).b(Some(&b))).unwrap();
        let backward = elbow::request::BackwardRequest::new(request, Default::default());
        let inputs = reference::BackwardInputs::new(&x, &w, &dy).b(Some(&b));
        let back = reference::backward(&backward, inputs).unwrap();
        let close = |name: &str, got: &[f32], want: &[f64]| {
            for (got, want) in got.iter().zip(want) {
                assert!(
                    (f64::from(*got) - want).abs() < 1e-5 * (1.0 + want.abs()),
                    "{name} of layer {i}: {got} for {want}"
                );
            }
        };
        close("y", &part(&y, m * n), &judge.y);
        close("dw", &part(&dw, 2 * n * k), &back.dw.value);
        close("db", &part(&db, 2 * n), &back.db.value);
    }
}

/// The gates' part of weights or biases of a batch, and that of up.
fn halves(whole: &Tensor, n: usize) -> [View<'_>; 2] {
    [0, 1].map(|i| whole.view().slice(1, i * n..(i + 1) * n).unwrap())
}

/// Weights apart, of a batch, in halves of one tensor or in tensors of their own: what one weight gives; and on matrix units the same.
#[test]
fn weights_apart_are_one_weight() {
    let plain = stacked_and_apart(gpu(), Pin::default());
    let units = opened(MatrixUnits::Rounded, None);
    if let Some(&tile) = tiles(&units.caps()).last() {
        assert_eq!(stacked_and_apart(&units, Pin::default().tile(tile)), plain);
    }
}

/// y, dx, z, dW and db of both.
fn stacked_and_apart(gpu: &Gpu, pin: Pin) -> [Vec<f32>; 5] {
    let mut numbers = Numbers::new(7);
    let [layers, m, n, k] = [3, 6, 8, 12];
    let mut upload = |shape: &[usize]| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| numbers.integer(3)).collect();
        gpu.upload(&values, shape).unwrap()
    };
    let (x, w, b) = (upload(&[layers, m, k]), upload(&[layers, 2 * n, k]), upload(&[layers, 2 * n]));
    let (dy, residual) = (upload(&[layers, m, n]), upload(&[layers, m, n]));
    let zeros = |shape: &[usize]| gpu.upload(&vec![f32::NAN; shape.iter().product()], shape).unwrap();
    let down = |tensor: &Tensor| gpu.download(tensor).unwrap();
    let (y, dx, kept) = (zeros(&[layers, m, n]), zeros(&[layers, m, k]), zeros(&[layers, m, 2 * n]));
    let (dw, db) = (zeros(&[layers, 2 * n, k]), zeros(&[layers, 2 * n]));
    let layer = Forward::new(Activation::RELU, &x, &w, &y).b(&b).residual(&residual).saved(Saved::Z).save_to(&kept);
    let layer = layer.pin(pin);
    let stacked = layer.gate(Gate::stacked());
    gpu.submit_pass(|pass| {
        stacked.record(gpu, &mut *pass)?;
        stacked.backward(&dy).dx(&dx).dw(&dw).db(&db).record(gpu, pass)
    })
    .unwrap();
    let expected = [&y, &dx, &kept, &dw, &db].map(down);
    assert!(expected.iter().all(|values| values.iter().any(|v| *v != 0.0) && values.iter().all(|v| v.is_finite())));
    for copied in [false, true] {
        let own = halves(&w, n).map(|half| {
            let own = zeros(&[layers, n, k]);
            gpu.submit(|encoder| elementwise::copy(half, &own).record(gpu, encoder)).unwrap();
            own
        });
        let (y, dx, kept) = (zeros(&[layers, m, n]), zeros(&[layers, m, k]), zeros(&[layers, m, 2 * n]));
        let (of_w, of_b) = ([0, 1].map(|_| zeros(&[layers, n, k])), [0, 1].map(|_| zeros(&[layers, n])));
        let [of_gate, of_up] = if copied { [own[0].view(), own[1].view()] } else { halves(&w, n) };
        let [b_gate, b_up] = halves(&b, n);
        let apart = layer.gate(Gate::apart()).w(of_gate).w_up(of_up).b(b_gate).b_up(b_up).y(&y).save_to(&kept);
        gpu.submit_pass(|pass| {
            apart.record(gpu, &mut *pass)?;
            let backward = apart.backward(&dy).dx(&dx).dw(&of_w[0]).dw_up(&of_w[1]);
            backward.db(&of_b[0]).db_up(&of_b[1]).record(gpu, pass)
        })
        .unwrap();
        let joined = |halves: &[Tensor; 2]| -> Vec<f32> {
            let [first, second] = halves.each_ref().map(down);
            let each = first.len() / layers;
            first.chunks(each).zip(second.chunks(each)).flat_map(|(a, b)| [a, b].concat()).collect()
        };
        assert_eq!([down(&y), down(&dx), down(&kept), joined(&of_w), joined(&of_b)], expected);
    }
    expected
}

/// y may be the memory of the residual, as in every layer.
#[test]
fn a_residual_in_place() {
    let gpu = gpu();
    let x = gpu.upload(&[1.0, 2.0], &[1, 2]).unwrap();
    let w = gpu.upload(&[1.0, 0.0, 0.0, 1.0], &[2, 2]).unwrap();
    let y = gpu.upload(&[10.0], &[1, 1]).unwrap();
    for _ in 0..2 {
        let layer = Forward::new(Activation::RELU, &x, &w, &y).gate(Gate::interleaved()).residual(&y);
        gpu.submit(|encoder| layer.record(gpu, encoder)).unwrap();
    }
    assert_eq!(gpu.download(&y).unwrap(), [14.0]);
}

#[test]
fn mistakes_are_told() {
    let gpu = gpu();
    let absent = |shape: &[usize]| View::absent(shape, Dtype::F32);
    let layer = |w: &[usize], y: &[usize]| {
        Forward::new(Activation::SILU, absent(&[4, 3]), absent(w), absent(y)).gate(Gate::stacked())
    };
    let right = layer(&[10, 3], &[4, 5]);
    assert!(right.request().is_ok());
    let says = |result: Result<(), elbow::Error>, words: &[&str]| {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let of = |layer: &Forward<'_>| layer.plan(gpu).map(drop);
    says(of(&layer(&[9, 3], &[4, 5])), &["w:", "even number of outputs", "[9, 3]"]);
    says(of(&layer(&[10, 3], &[4, 10])), &["y:", "[.., 5]"]);
    says(of(&right.b(absent(&[5]))), &["b:", "[10]"]);
    says(of(&right.saved(Saved::Z).save_to(absent(&[4, 5]))), &["saved:", "[.., 10]"]);
    says(of(&right.saved(Saved::Y)), &["gated layer", "saved y", "z, none"]);
    says(of(&right.residual(absent(&[4, 5])).residual_at(ResidualAt::BeforeActivation)), &["gated", "residual before"]);
    says(of(&right.jet(Jet::laplacian(2).unwrap())), &["gated", "jets"]);
    let statistics = Statistics::default().channels(absent(&[5, 5]));
    says(of(&right.statistics(statistics)), &["gated", "statistics"]);
    let dy = absent(&[4, 5]);
    says(right.backward_from_dz(dy).dw(absent(&[10, 3])).plan(gpu).map(drop), &["gated", "starts from dz"]);
    says(right.backward(dy).dw(absent(&[5, 3])).plan(gpu).map(drop), &["dw:", "[10, 3]"]);
    says(right.backward(dy).db(absent(&[5])).plan(gpu).map(drop), &["db:", "[10]"]);
    says(
        right.double_backward(dy).ddx(absent(&[4, 3])).dw2(absent(&[10, 3])).plan(gpu).map(drop),
        &["double backward", "gate"],
    );
    let above = Forward::new(Activation::RELU, right.y, absent(&[2, 5]), absent(&[4, 2]));
    let chain =
        above.backward(absent(&[4, 2])).dx(absent(&[4, 5])).below(&right.saved(Saved::Z).save_to(absent(&[4, 10])));
    says(chain.plan(gpu).map(drop), &["chain over a gated layer"]);
    let apart = layer(&[5, 3], &[4, 5]).gate(Gate::apart());
    let both = apart.w_up(absent(&[5, 3]));
    assert!(both.request().is_ok());
    says(of(&apart), &["w_up:", "shaped as w", "none"]);
    says(of(&apart.w_up(absent(&[4, 3]))), &["w_up:", "[5, 3]", "[4, 3]"]);
    says(of(&right.w_up(absent(&[5, 3]))), &["w_up:", "Gate::apart"]);
    says(of(&right.b_up(absent(&[5]))), &["b_up:", "Gate::apart"]);
    says(of(&both.b(absent(&[5]))), &["b_up:", "the gate has one"]);
    says(of(&both.b_up(absent(&[5]))), &["b_up:", "no bias"]);
    says(of(&both.b(absent(&[5])).b_up(absent(&[10]))), &["b_up:", "[5]", "[10]"]);
    says(of(&both.b(absent(&[10]))), &["b:", "[5]"]);
    says(both.backward(dy).dw_up(absent(&[10, 3])).plan(gpu).map(drop), &["dw_up:", "[5, 3]"]);
    says(both.backward(dy).db_up(absent(&[10])).plan(gpu).map(drop), &["db_up:", "[5]"]);
    says(right.backward(dy).dw_up(absent(&[10, 3])).plan(gpu).map(drop), &["dw_up", "no gradient", "w_up"]);
    says(right.backward(dy).db_up(absent(&[10])).plan(gpu).map(drop), &["db_up", "no gradient", "w_up"]);
    says(both.backward_from_dz(dy).dw(absent(&[5, 3])).plan(gpu).map(drop), &["gated", "starts from dz"]);
    says(Gate::stacked().limited(0.0).map(drop), &["gate", "limit", "> 0"]);
}
