//! 0·∞ in backward: where an activation made of pieces is flat, an infinite dy is stopped, a NaN is not. On all strategies, from all
//! saved choices, for all gradients.

use elbow::{
    Activation, AlphaSource, Float, Saved, Strategy, Tensor, View,
    activation::rows,
    affine::{Forward, Gradient},
    cpu::{self, reference},
    elementwise,
    plan::Pin,
};

use crate::common::gpu;

const INF: f32 = f32::INFINITY;

/// One of each row that is made of pieces, where its flat places are many.
fn piecewise() -> Vec<Activation> {
    let given = |row: &elbow::activation::Row| match row.parameters.iter().filter(|p| p.default.is_none()).count() {
        0 => Activation::new(row.kind, &[]),
        count => Activation::new(row.kind, &vec![0.5; count]),
    };
    let rows: Vec<_> = rows().iter().map(|row| given(row).unwrap()).filter(Activation::is_piecewise).collect();
    assert!(rows.len() > 12);
    rows.into_iter().chain(["leaky_relu(0)".parse().unwrap()]).collect()
}

const M: usize = 5;
const N: usize = 8;
const K: usize = 4;

/// x·Wᵀ with one x a row: z takes the same values in each channel, some on every piece.
const Z: [f32; M] = [-5.0, -0.25, 0.0, 0.25, 7.0];

struct Layer {
    activation: Activation,
    saved: Saved,
    strategy: Strategy,
}

impl Layer {
    /// dx, dW, db (and dα) of this dy.
    fn gradients(&self, dy: &[f32], alpha: bool) -> Vec<Vec<f32>> {
        let gpu = gpu();
        let x: Vec<f32> = Z.iter().flat_map(|&z| [z, 0.0, 0.0, 0.0]).collect();
        let w: Vec<f32> = (0..N).flat_map(|n| [1.0, 0.5 + n as f32, -0.5, 2.0]).collect();
        let (x, w) = (gpu.upload(&x, &[M, K]).unwrap(), gpu.upload(&w, &[N, K]).unwrap());
        let dy = gpu.upload(dy, &[M, N]).unwrap();
        let alphas = gpu.upload(&[self.activation.params()[0]; N], &[N]).unwrap();
        let alpha_view = alpha.then(|| alphas.view());
        let zeros = |shape: &[usize]| gpu.zeros(shape).unwrap();
        let y = zeros(&[M, N]);
        let out = [zeros(&[M, K]), zeros(&[N, K]), zeros(&[N]), zeros(&[N])];
        let pin = Pin::default().strategy(self.strategy);
        let forward = Forward::new(self.activation, &x, &w, &y).alpha(alpha_view).saved(self.saved).pin(pin);
        let kept = forward.saved_shape().unwrap().map(|(shape, dtype)| gpu.zeros_of(dtype, &shape).unwrap());
        let forward = forward.save_to(kept.as_ref().map(Tensor::view));
        let backward = forward.backward(&dy).dx(&out[0]).dw(&out[1]).db(&out[2]);
        let backward = if alpha { backward.dalpha(&out[3]) } else { backward };
        gpu.submit(|e| forward.record(gpu, e)).unwrap();
        gpu.submit(|e| backward.record(gpu, e)).unwrap();
        let wanted = if alpha { 4 } else { 3 };
        out[..wanted].iter().map(|t| gpu.download(t).unwrap()).collect()
    }
}

fn bits(results: &[Vec<f32>]) -> Vec<Vec<u32>> {
    results.iter().map(|v| v.iter().map(|v| v.to_bits()).collect()).collect()
}

/// Gradients of an infinite dy at a flat place are, to the last bit, those of a dy of 0 there; a NaN is in all that sums over it.
#[test]
fn a_flat_place_stops_infinity_and_lets_nan_pass() {
    for activation in piecewise() {
        let flat = |z: f32| activation.slope(f64::from(z)) == 0.0;
        let choices = [Saved::Z, Saved::Y, Saved::Mask, Saved::None];
        let choices = choices
            .into_iter()
            .filter(|&saved| activation.saved_is_enough(saved, false, false, false, Float::F32).is_ok());
        for (saved, strategy) in choices.flat_map(|saved| [(saved, Strategy::Prologue), (saved, Strategy::TwoPass)]) {
            let layer = Layer { activation, saved, strategy };
            let filled = |what: f32| -> Vec<f32> {
                let at = |i: usize| {
                    let sign = if i.is_multiple_of(3) { -1.0 } else { 1.0 };
                    if flat(Z[i / N]) { what * sign } else { 1.0 + (i % 4) as f32 }
                };
                (0..M * N).map(at).collect()
            };
            let stopped = layer.gradients(&filled(INF), false);
            let place = format!("{activation} from {saved}, {strategy:?}");
            assert!(stopped.iter().flatten().all(|v| v.is_finite()), "{place}: {stopped:?}");
            assert_eq!(bits(&stopped), bits(&layer.gradients(&filled(0.0), false)), "{place}");
            if Z.into_iter().any(flat) && activation.kind() != elbow::activation::Kind::Identity {
                let spoiled = layer.gradients(&filled(f32::NAN), false);
                let row = Z.iter().position(|&z| flat(z)).unwrap();
                assert!(spoiled[0][row * K..][..K].iter().all(|v| v.is_nan()), "{place}: dx");
                assert!(spoiled[1].iter().chain(&spoiled[2]).all(|v| v.is_nan()), "{place}: dw, db");
            }
            // What is not flat lets it pass.
            let mut dy = filled(0.0);
            let open = Z.iter().position(|&z| !flat(z)).unwrap();
            dy[open * N] = INF;
            let passed = layer.gradients(&dy, false);
            assert!(passed[0][open * K..][..K].iter().all(|v| v.is_infinite()), "{place}: {:?}", passed[0]);
        }
    }
}

/// The gradient of α: where it does not depend on α, dy is stopped.
#[test]
fn what_does_not_depend_on_alpha_adds_nothing_to_its_gradient() {
    let mut checked = 0;
    for activation in piecewise().into_iter().filter(Activation::has_alpha) {
        for strategy in [Strategy::Prologue, Strategy::TwoPass] {
            let layer = Layer { activation, saved: Saved::Z, strategy };
            let still = |z: f32| activation.alpha_slope(f64::from(z)) == 0.0;
            let filled =
                |what: f32| -> Vec<f32> { (0..M * N).map(|i| if still(Z[i / N]) { what } else { 1.0 }).collect() };
            let stopped = layer.gradients(&filled(INF), true);
            assert!(stopped[3].iter().all(|v| v.is_finite()), "{activation}: {:?}", stopped[3]);
            assert_eq!(stopped[3], layer.gradients(&filled(0.0), true)[3], "{activation}");
            assert!(layer.gradients(&filled(f32::NAN), true)[3].iter().all(|v| v.is_nan()), "{activation}");
            checked += 1;
        }
    }
    assert!(checked >= 8, "{checked}");
}

/// In a chain the slope of the layer below meets dx in the epilogue: with and without its sums, and after a split.
#[test]
fn the_epilogue_of_a_chain_stops_it_too() {
    let gpu = gpu();
    for activation in piecewise() {
        let per_channel = activation.has_alpha();
        let choices = [Saved::Z, Saved::Y, Saved::Mask].into_iter().filter(|&saved| {
            let enough = activation.saved_is_enough(saved, per_channel, false, false, Float::F32);
            enough.is_ok() && !activation.needs_nothing()
        });
        for saved in choices {
            let k = M;
            let below: Vec<f32> = Z.to_vec();
            let kept: Tensor = match saved {
                Saved::Mask => {
                    let word = below.iter().enumerate();
                    let word = word.fold(0, |word, (j, &z)| word | u32::from(activation.bit(f64::from(z))) << j);
                    gpu.upload_words(&[word], &[1, 1]).unwrap()
                }
                Saved::Y => {
                    let y: Vec<f32> = below.iter().map(|&z| activation.value(f64::from(z)) as f32).collect();
                    gpu.upload(&y, &[1, k]).unwrap()
                }
                _ => gpu.upload(&below, &[1, k]).unwrap(),
            };
            let alphas = gpu.upload(&vec![activation.params()[0]; k], &[k]).unwrap();
            let w = gpu.upload(&vec![1.0; 2 * k], &[2, k]).unwrap();
            for (upstream, splits) in [(INF, 1), (-INF, 1), (INF, 2), (f32::NAN, 1)] {
                let dy = gpu.upload(&[upstream, 1.0], &[1, 2]).unwrap();
                let zeros = || gpu.upload(&vec![f32::NAN; k], &[1, k]).unwrap();
                let (dz, db, dalpha) = (zeros(), zeros(), zeros());
                let alpha = per_channel.then(|| alphas.view());
                // Of the layer below only what it kept is there.
                let (gone, gone_w) = (View::absent(&[1, 1], Float::F32), View::absent(&[5, 1], Float::F32));
                let gone_y = View::absent(&[1, 5], Float::F32);
                let y = if saved == Saved::Y { kept.view() } else { gone_y };
                let save_to = (saved != Saved::Y).then(|| kept.view());
                let under = Forward::new(activation, gone, gone_w, y).alpha(alpha).saved(saved).save_to(save_to);
                let top_y = View::absent(&[1, 2], Float::F32);
                let pin = Pin::default().splits(splits);
                let top = Forward::new(Activation::IDENTITY, gone_y, &w, top_y).pin(pin);
                let call = top.backward(&dy).dx(&dz).below(&under).db_below(db.view_as(&[5]));
                let sums = per_channel && saved == Saved::Z;
                let call = if sums { call.dalpha_below(dalpha.view_as(&[5])) } else { call };
                gpu.submit(|e| call.record(gpu, e)).unwrap();
                let expected = |by: f64| activation.passed(f64::from(upstream), by) as f32;
                let same = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan());
                for (i, &z) in below.iter().enumerate() {
                    let z = f64::from(z);
                    let place = format!("{activation} from {saved}, {upstream} in {splits}, z {z}");
                    let slope = expected(activation.slope(z));
                    for (name, got) in [("dz", &dz), ("db", &db)] {
                        let got = gpu.download(got).unwrap()[i];
                        assert!(same(got, slope), "{place}: {name} is {got}, not {slope}");
                    }
                    if per_channel && saved == Saved::Z {
                        let (got, slope) = (gpu.download(&dalpha).unwrap()[i], expected(activation.alpha_slope(z)));
                        assert!(same(got, slope), "{place}: dalpha is {got}, not {slope}");
                    }
                }
            }
        }
    }
}

/// The elementwise operators, double backward among them: every pair of upstream gradients, against the reference.
#[test]
fn the_elementwise_operators_stop_it() {
    let gpu = gpu();
    let upstream = [0.0, 1.0, INF, -INF, f32::NAN];
    // (x, dy, ddx), every combination; hardswish has a root of its slope at -1.5, which is no flat place.
    let places = [-7.0f32, -0.25, 0.25, 4.0];
    let mut triples = Vec::new();
    for x in places {
        for dy in upstream {
            triples.extend(upstream.map(|ddx| (x, dy, ddx)));
        }
    }
    let count = triples.len();
    let [x, dy, ddx]: [Vec<f32>; 3] = [
        triples.iter().map(|t| t.0).collect(),
        triples.iter().map(|t| t.1).collect(),
        triples.iter().map(|t| t.2).collect(),
    ];
    for activation in piecewise() {
        let learns = activation.has_alpha();
        let alphas = vec![activation.params()[0]; count];
        let request = cpu::Elementwise::new(1, count, activation).alpha(if learns {
            AlphaSource::PerChannel
        } else {
            AlphaSource::Constant
        });
        let given = learns.then_some(&alphas[..]);
        let back = reference::elementwise::backward(&request, &x, given, &dy).unwrap();
        let double = reference::elementwise::double_backward(&request, &x, given, &dy, &ddx).unwrap();
        let shape = [1, count];
        let [tx, tdy, tddx] = [&x, &dy, &ddx].map(|v| gpu.upload(v, &shape).unwrap());
        let alpha = gpu.upload(&alphas, &[count]).unwrap();
        let alpha = learns.then(|| alpha.view());
        let out: Vec<Tensor> = (0..3).map(|_| gpu.zeros(&shape).unwrap()).collect();
        let sums: Vec<Tensor> = (0..2).map(|_| gpu.zeros(&[count]).unwrap()).collect();
        let y = gpu.zeros(&shape).unwrap();
        let sum = |i: usize| learns.then(|| Gradient::overwrite(&sums[i]));
        gpu.submit_pass(|pass| {
            let forward = elementwise::Forward::new(activation, &tx, &y).alpha(alpha);
            let backward = forward.backward(&tdy).dx(&out[0]).dalpha(sum(0));
            backward.record(gpu, &mut *pass)?;
            backward.backward(&tddx).ddy(&out[1]).dx2(&out[2]).dalpha2(sum(1)).record(gpu, &mut *pass)
        })
        .unwrap();
        let mut results = vec![("dx", &out[0], &back.dx), ("ddy", &out[1], &double.ddy), ("dx2", &out[2], &double.dx2)];
        if learns {
            results.push(("dalpha", &sums[0], &back.dalpha.value));
            results.push(("dalpha2", &sums[1], &double.dalpha2.value));
        }
        for (name, got, expected) in results {
            for (i, (got, &expected)) in gpu.download(got).unwrap().into_iter().zip(expected).enumerate() {
                let same = (got.is_nan() && expected.is_nan())
                    || got == expected as f32
                    || (f64::from(got) - expected).abs() <= 1e-6 * expected.abs();
                assert!(same, "{activation}: {name} at {:?} is {got}, not {expected}", triples[i]);
            }
        }
    }
}

/// What the reference itself must say: PyTorch's choice, by hand.
#[test]
fn the_examples() {
    let relu = Activation::RELU;
    assert_eq!(relu.passed(f64::INFINITY, relu.slope(-1.0)), 0.0);
    assert!(relu.passed(f64::NAN, relu.slope(-1.0)).is_nan());
    assert_eq!(relu.passed(f64::INFINITY, relu.slope(1.0)), f64::INFINITY);
    // A smooth slope of 0 is a rounded one: the product.
    let tanh = Activation::TANH;
    assert!(tanh.passed(f64::INFINITY, 0.0).is_nan());
}
