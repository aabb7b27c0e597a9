//! Dropout: the elements that the CPU leaves out, in every kind of kernel, forward and backward; the ends exact; mistakes.

use elbow::{
    Activation, Checks, Dropout, Dtype, Float, Gpu, Jet, Saved, View,
    affine::Forward,
    elementwise,
    plan::{Form, TILES},
};
use elbow_verify::Spec;

use crate::common::{Numbers, as_a_gpu, checks, full, gpu, passes};

fn spec(text: &str) -> Spec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What a layer with dropout can have: in the epilogue, in a prologue, in a pass, in the layer below, in a gated layer.
const ASKED: [&str; 5] = [
    "dropout=0.5 saved=z dx=set dw=add db=set strategy=prologue residual=after dresidual=set",
    "dropout=0.5 saved=mask layout=in_out dx=add dw=set db=add strategy=two_pass row_weight=yes gap=1",
    "dropout=0.5 saved=none dx=set dw=set db=set below=leaky_relu(0.5)/constant/z/no/set/no/no/no/0.5 residual=before dresidual=set",
    "dropout=0.5 saved=z dx=set dw=set db=set row_weight=yes drow_weight=set dtype=bf16 strategy=prologue layout=in_out",
    "dropout=0.5 gate=interleaved saved=none dx=set dw=set db=set",
];

fn exact(gpu: &Gpu, tile: usize, asked: usize) {
    if !TILES[tile].fits(&gpu.caps(), Form::Nt) {
        return;
    }
    let text =
        format!("m=1 n=1 k=1 activation=leaky_relu(0.5) {} tile={tile} data=integers seed={asked}", ASKED[asked]);
    let spec = Spec { misalign: tile % 2, ..spec(&text) };
    let sizes = [[1, 1, 1], [3, 5, 3], [17, 31, 36], [33, 36, 16], [66, 64, 65], [9, 132, 8]];
    passes(gpu, &sizes.map(|[m, n, k]| spec.sized(m, n, k)));
}

#[test]
fn integers_in_every_kind_of_product() {
    let tiles: &[usize] = if full() { &[0, 1, 2, 3, 4, 8, 9, 12] } else { &[0, 8] };
    let tiles = if checks() == Checks::Checked && !full() { &tiles[..1] } else { tiles };
    for (i, &tile) in tiles.iter().enumerate() {
        (0..ASKED.len()).filter(|j| full() || (i + j) % 3 == 0).for_each(|asked| exact(gpu(), tile, asked));
    }
}

#[test]
fn integers_in_the_products_of_a_gpu() {
    if full() {
        for tile in [5, 6, 7, 13, 14, 15, 16, 21] {
            (0..ASKED.len()).for_each(|asked| exact(as_a_gpu(), tile, asked));
        }
        return;
    }
    exact(as_a_gpu(), 5, 3);
    if checks() == Checks::Trusted {
        exact(as_a_gpu(), 21, 4);
    }
}

#[test]
fn real_numbers() {
    let asked = [
        "activation=gelu dropout=0.1 saved=z dx=set dw=set db=set",
        "activation=silu gate=stacked dropout=0.75 saved=z dx=set dw=set db=set residual=after",
        "activation=prelu alpha=channel dropout=0.25 saved=z dx=set dw=set db=set dalpha=set row_weight=yes drow_weight=set",
    ];
    let specs = asked.map(|asked| spec(&format!("m=1 n=1 k=1 {asked}")));
    let sizes = [[9, 20, 12], [33, 35, 17]];
    passes(gpu(), &specs.iter().flat_map(|spec| sizes.map(|[m, n, k]| spec.sized(m, n, k))).collect::<Vec<_>>());
}

/// Every type and odd length, with gaps, in place: the very elements of [`Dropout::factor`].
#[test]
fn tensors() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(3));
    for (i, (&p, dtype)) in
        [0.0, 0.3, 0.5, 1.0].iter().zip([Float::F32, Float::F16, Float::Bf16, Float::F32]).enumerate()
    {
        for shape in [[1, 1], [3, 5], [7, 64], [64, 33]] {
            let dropout = Dropout::new(p).unwrap();
            let words = Dropout::state(1 << 33 | i as u64, 9, 4);
            let state = gpu.upload_words(&words, &[4]).unwrap();
            let wide = [shape[0], shape[1] + 3];
            let x: Vec<f32> = (0..wide[0] * wide[1]).map(|_| dtype.round(numbers.normal())).collect();
            let from = gpu.upload_as(dtype, &x, &wide).unwrap();
            let (y, part) = (gpu.zeros_of(dtype, &shape).unwrap(), from.view().slice(1, 1..1 + shape[1]).unwrap());
            gpu.submit(|encoder| elementwise::dropout(dropout, &state, part, &y).record(gpu, encoder)).unwrap();
            let got = gpu.download(&y).unwrap();
            // Again on what is left, in place: the same elements.
            gpu.submit(|encoder| elementwise::dropout(dropout, &state, &y, &y).record(gpu, encoder)).unwrap();
            let again = gpu.download(&y).unwrap();
            for (i, (got, again)) in got.into_iter().zip(again).enumerate() {
                let factor = dropout.factor(words, i as u32);
                let x = x[i / shape[1] * wide[1] + 1 + i % shape[1]];
                assert_eq!(got, dtype.round(x * factor), "{p} {shape:?} {dtype} [{i}]");
                assert_eq!(again, dtype.round(got * factor), "{p} {shape:?} {dtype} [{i}]");
            }
        }
    }
}

#[test]
fn what_is_left_out_is_zero_and_nan_stays() {
    let gpu = gpu();
    let x = gpu.upload(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0], &[4]).unwrap();
    let (y, state) = (gpu.zeros(&[4]).unwrap(), gpu.upload_words(&[0; 4], &[4]).unwrap());
    let run = |p| {
        let dropout = Dropout::new(p).unwrap();
        gpu.submit(|encoder| elementwise::dropout(dropout, &state, &x, &y).record(gpu, encoder)).unwrap();
        gpu.download(&y).unwrap()
    };
    let (all, none) = (run(1.0), run(0.0));
    assert!(all[0].is_nan() && all[1..] == [0.0; 3], "{all:?}");
    assert!(none[0].is_nan() && none[1..] == [f32::INFINITY, f32::NEG_INFINITY, -1.0], "{none:?}");
}

/// One prepared call, another mask when the state in memory is another one.
#[test]
fn the_state_is_read_when_the_call_runs() {
    let gpu = gpu();
    let ones = gpu.upload(&[1.0; 256], &[4, 64]).unwrap();
    let identity: Vec<f32> = (0..64 * 64).map(|i| f32::from(u8::from(i % 65 == 0))).collect();
    let (w, y) = (gpu.upload(&identity, &[64, 64]).unwrap(), gpu.zeros(&[4, 64]).unwrap());
    let state = gpu.upload_words(&[0; 4], &[4]).unwrap();
    let dropout = Dropout::new(0.5).unwrap();
    let layer = Forward::new(Activation::RELU, &ones, &w, &y).dropout(dropout).dropout_state(state.view());
    let layer = layer.prepare(gpu).unwrap();
    let mut seen = Vec::new();
    for step in 0..3 {
        let words = Dropout::state(1, step, 0);
        gpu.write(&state, &words).unwrap();
        gpu.submit(|encoder| layer.record(encoder)).unwrap();
        let got = gpu.download(&y).unwrap();
        let expected: Vec<f32> = (0..256).map(|i| dropout.factor(words, i)).collect();
        assert_eq!(got, expected, "step {step}");
        assert!(!seen.contains(&got));
        seen.push(got);
    }
}

/// Layers of one call have states of their own, or one that they share.
#[test]
fn a_batch_has_a_state_for_each_layer() {
    let gpu = gpu();
    let (ones, w) =
        (gpu.upload(&[1.0; 2 * 3 * 4], &[2, 3, 4]).unwrap(), gpu.upload(&[0.25; 2 * 8 * 4], &[2, 8, 4]).unwrap());
    let y = gpu.zeros(&[2, 3, 8]).unwrap();
    let dropout = Dropout::new(0.5).unwrap();
    let words = [Dropout::state(1, 2, 0), Dropout::state(1, 2, 1)];
    let state = gpu.upload_words(&words.concat(), &[2, 4]).unwrap();
    let first = state.view().slice(0, 0..1).unwrap().reshaped(&[4]).unwrap();
    for (state, used) in [(state.view(), words), (first.expanded(2).unwrap(), [words[0]; 2])] {
        let layer = Forward::new(Activation::RELU, &ones, &w, &y).dropout(dropout).dropout_state(state);
        gpu.submit(|encoder| layer.record(gpu, encoder)).unwrap();
        let expected: Vec<f32> =
            used.iter().flat_map(|&words| (0..24).map(move |i| dropout.factor(words, i))).collect();
        assert_eq!(gpu.download(&y).unwrap(), expected);
    }
}

#[test]
fn mistakes_are_told() {
    let gpu = gpu();
    let absent = |shape: &[usize]| View::absent(shape, Dtype::F32);
    let words = |shape: &[usize]| View::absent(shape, Dtype::U32);
    let dropout = Dropout::new(0.5).unwrap();
    let plain = Forward::new(Activation::RELU, absent(&[4, 3]), absent(&[5, 3]), absent(&[4, 5]));
    let right = plain.dropout(dropout).dropout_state(words(&[4]));
    assert!(right.request().is_ok());
    let says = |result: Result<(), elbow::Error>, words: &[&str]| {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let of = |layer: Forward<'_>| layer.plan(gpu).map(drop);
    says(of(plain.dropout(dropout)), &["dropout_state", "u32 [4]", "none"]);
    says(of(plain.dropout_state(words(&[4]))), &["dropout_state", "no dropout"]);
    says(of(right.dropout_state(words(&[3]))), &["dropout_state", "u32 [4]", "[3]"]);
    says(of(right.dropout_state(absent(&[4]))), &["dropout_state", "u32 [4]", "f32"]);
    says(of(right.saved(Saved::Y)), &["saved y", "z, none", "mask"]);
    says(of(right.jet(Jet::laplacian(2).unwrap())), &["jets", "dropout"]);
    let dy = absent(&[4, 5]);
    says(right.double_backward(dy).ddx(absent(&[4, 3])).dw2(absent(&[5, 3])).plan(gpu).map(drop), &["dropout"]);
    says(Dropout::new(1.5).map(drop), &["dropout", "p", "<= 1", "1.5"]);
    let tensor = elementwise::dropout(dropout, words(&[4]), absent(&[4]), absent(&[5]));
    says(tensor.plan(gpu).map(drop), &["y:", "[4]"]);
}
