//! What goes around a layer: residual blocks whose skip joins dx, and sums that were made elsewhere, in place.

use elbow::{
    Activation, Checks, Dtype, Gpu, Jet, ResidualAt, Saved, Tensor, View,
    affine::{Forward, Gradient},
    plan::{Form, TILES},
};
use elbow_verify::Spec;

use crate::common::{as_a_gpu, checks, full, gpu, passes};

fn spec(text: &str) -> Spec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The residual blocks: y = x + act(z), act(z + x), gated, over another layer, with jets.
const ASKED: [&str; 6] = [
    "residual=after saved=z dx=set dw=set db=set dresidual=add strategy=prologue",
    "residual=before saved=none dx=add dw=set db=add layout=in_out strategy=prologue gap=1",
    "residual=after saved=z dx=set dw=set db=set below=relu/constant/z/no/set/no/no/no/no row_weight=yes dropout=0.5",
    "residual=before saved=mask dx=set db=set below=relu/constant/y/no/set/no/no/no/no dtype=bf16",
    "residual=after gate=stacked saved=z dx=set dw=set db=set gap=4",
    "residual=before activation=identity saved=none dx=set dw=add db=set",
];

fn exact(gpu: &Gpu, tile: usize, asked: usize) {
    if !TILES[tile].fits(&gpu.caps(), Form::Nt) {
        return;
    }
    let splits = [1, 3][(tile + asked) % 2];
    let text = format!(
        "m=1 n=1 k=1 activation=leaky_relu(0.5) skip=yes {} tile={tile} splits={splits} data=integers seed={asked}",
        ASKED[asked]
    );
    let spec = Spec { misalign: tile % 2, ..spec(&text) };
    passes(gpu, &[[1, 1], [3, 5], [17, 36], [33, 16], [66, 65]].map(|[m, k]| spec.sized(m, 1, k)));
}

#[test]
fn integers_of_residual_blocks() {
    let tiles: &[usize] = if full() { &[0, 1, 2, 3, 4, 8, 9, 12] } else { &[0, 8] };
    let tiles = if checks() == Checks::Checked && !full() { &tiles[..1] } else { tiles };
    for (i, &tile) in tiles.iter().enumerate() {
        (0..ASKED.len()).filter(|j| full() || (i + j) % 3 == 0).for_each(|asked| exact(gpu(), tile, asked));
    }
    if checks() == Checks::Trusted {
        exact(as_a_gpu(), 5, 2);
    }
}

#[test]
fn real_residual_blocks() {
    let asked = [
        "activation=gelu residual=after saved=z dx=set",
        "activation=tanh residual=before saved=none dx=set db=set",
        "activation=silu residual=before jet=1,0,1 saved=z dx=set db=set",
        "activation=relu residual=after below=gelu/constant/z/no/set/no/no/no/no saved=y dx=set",
    ];
    // y has more than act(z) in it.
    let specs = asked.map(|asked| spec(&format!("m=4 n=1 k=1 skip=yes {}", asked.replace("saved=y", "saved=mask"))));
    passes(gpu(), &specs.iter().flat_map(|spec| [spec.sized(9, 1, 20), spec.sized(17, 1, 33)]).collect::<Vec<_>>());
}

/// Forward over the sum, backward over dy; against the layer that has memory for everything.
#[test]
fn bias_and_activation_in_place() {
    let gpu = gpu();
    let (m, n) = (37, 12);
    let sum: Vec<f32> = (0..m * n).map(|i| ((i * 7 % 23) as f32 - 11.0) / 4.0).collect();
    let (b, dy): (Vec<f32>, Vec<f32>) =
        ((0..n).map(|i| i as f32 / 4.0).collect(), (0..m * n).map(|i| (i % 9) as f32 - 4.0).collect());
    let up = |values: &[f32], shape: &[usize]| gpu.upload(values, shape).unwrap();
    let (b, dy) = (up(&b, &[n]), up(&dy, &[m, n]));
    for (activation, saved) in [("relu", Saved::Y), ("leaky_relu(0.25)", Saved::Mask), ("gelu", Saved::Z)] {
        let activation: Activation = activation.parse().unwrap();
        let run = |sum: &Tensor, y: &Tensor, dy: &Tensor, dz: &Tensor| {
            let layer = Forward::of_sum(activation, sum, y).unwrap().b(&b).saved(saved);
            let kept = layer.saved_shape().unwrap().map(|(shape, dtype)| gpu.zeros_of(dtype, &shape).unwrap());
            let layer = layer.save_to(kept.as_ref().map(|kept| kept.view()));
            let db = gpu.zeros(&[n]).unwrap();
            gpu.submit_pass(|pass| {
                layer.record(gpu, &mut *pass)?;
                layer.backward(dy).db(&db).dresidual(dz).record(gpu, pass)
            })
            .unwrap();
            [y, dz, &db].map(|tensor| gpu.download(tensor).unwrap())
        };
        let apart = run(&up(&sum, &[m, n]), &gpu.zeros(&[m, n]).unwrap(), &dy, &gpu.zeros(&[m, n]).unwrap());
        let (over, again) = (up(&sum, &[m, n]), up(&gpu.download(&dy).unwrap(), &[m, n]));
        assert_eq!(run(&over, &over, &again, &again), apart, "{activation}");
        let expected = activation.value(f64::from(sum[5] + 5.0 / 4.0));
        assert!((f64::from(apart[0][5]) - expected).abs() < 1e-6, "{activation}");
    }
}

#[test]
fn mistakes_are_told() {
    let gpu = gpu();
    let absent = |shape: &[usize]| View::absent(shape, Dtype::F32);
    let says = |result: Result<(), elbow::Error>, words: &[&str]| {
        let error = result.unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let (x, w, y, dy) = (absent(&[4, 3]), absent(&[3, 3]), absent(&[4, 3]), absent(&[4, 3]));
    let layer = Forward::new(Activation::SILU, x, w, y);
    let block = layer.residual(x);
    assert!(block.backward(dy).skip().dx(x).plan(gpu).is_ok());
    let of = |backward: elbow::affine::Backward<'_>| backward.plan(gpu).map(drop);
    says(of(layer.backward(dy).skip().dx(x)), &["skip", "no residual"]);
    says(of(block.backward(dy).skip().dw(w)), &["skip", "dx, which is not wanted"]);
    says(of(block.backward_from_dz(dy).skip().dx(x)), &["skip", "starts from dz"]);
    let wide = Forward::new(Activation::SILU, x, absent(&[5, 3]), absent(&[4, 5])).residual(absent(&[4, 5]));
    says(of(wide.backward(absent(&[4, 5])).skip().dx(x)), &["skip", "3 columns", "the residual 5"]);
    let jets = block.jet(Jet::laplacian(2).unwrap());
    let below = Forward::new(Activation::SILU, absent(&[4, 2]), absent(&[3, 2]), x).jet(Jet::laplacian(2).unwrap());
    says(of(jets.backward(dy).skip().dx(x).below(&below.saved(Saved::Z).save_to(x))), &["chain of jets"]);
    let [one, other] = [0, 1].map(|_| gpu.zeros(&[4, 3]).unwrap());
    let weight = gpu.zeros(&[3, 3]).unwrap();
    let elsewhere = Forward::new(Activation::SILU, &one, &weight, y).residual(&other);
    says(of(elsewhere.backward(dy).skip().dx(x)), &["residual:", "x itself"]);
    // dy can be replaced only where nothing else reads it.
    let sum = Forward::of_sum(Activation::RELU, &one, &one).unwrap().saved(Saved::Y);
    assert!(sum.backward(&other).dresidual(&other).plan(gpu).is_ok());
    says(
        of(sum.backward(&other).dresidual(Gradient::accumulate(&other))),
        &["dresidual in the memory of dy", "added to"],
    );
    let before = Forward::new(Activation::RELU, &one, &weight, y).residual(y).residual_at(ResidualAt::BeforeActivation);
    says(of(before.backward(&other).dresidual(&other).dw(&weight)), &["dresidual in the memory of dy", "dw"]);
    says(Forward::of_sum(Activation::RELU, absent(&[]), y).map(drop), &["residual"]);
}
