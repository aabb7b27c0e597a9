//! Integers small enough that every partial sum is exact: results must be equal to the last bit, whatever the order of
//! the sum. Every kernel variant, road, saved choice, layout and odd size.

use std::time::Instant;

use elbow::{
    Activation, AlphaSource, Road, Saved, Want, WeightLayout,
    plan::{Pin, TILES},
    request::{AffineRequest, Below, Gradients},
};

use crate::{
    case::{Spec, run},
    common::{Numbers, full, gpu},
};

/// Activations whose values, slopes and α-slopes are exact for small integers.
const EXACT: [&str; 12] = [
    "identity",
    "relu",
    "leaky_relu(0.5)",
    "leaky_relu(-0.25)",
    "prelu",
    "clipped_relu(16)",
    "relu6",
    "hardtanh(-8,8)",
    "thresholded_relu(3)",
    "threshold(2,5)",
    "softshrink(2)",
    "hardshrink(3)",
];

const WANTS: [Want; 3] = [Want::Overwrite, Want::Accumulate, Want::No];

/// One combination of everything that selects a kernel, apart from the sizes.
fn bundle(numbers: &mut Numbers, index: usize) -> Spec {
    let caps = gpu().caps();
    let tiles: Vec<usize> = (0..TILES.len()).filter(|&i| TILES[i].fits(&caps, true)).collect();
    loop {
        let activation: Activation = EXACT[numbers.below(EXACT.len())].parse().unwrap();
        let alpha = match activation.has_alpha() {
            true => numbers.pick(&[AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel]),
            false => AlphaSource::Constant,
        };
        let learnable = alpha != AlphaSource::Constant;
        let saved = numbers.pick(&[Saved::Auto, Saved::Z, Saved::Y, Saved::Mask, Saved::None]);
        let bias = numbers.below(3) != 0;
        let residual = numbers.below(3) == 0;
        let forward = AffineRequest {
            layout: numbers.pick(&[WeightLayout::OutIn, WeightLayout::InOut]),
            alpha,
            bias,
            residual,
            saved,
            ..AffineRequest::new(1, 1, 1, activation)
        };
        let gradients = Gradients {
            x: numbers.pick(&WANTS),
            w: numbers.pick(&WANTS),
            b: numbers.pick(&WANTS),
            alpha: if learnable { numbers.pick(&WANTS) } else { Want::No },
            residual: numbers.pick(&WANTS),
        };
        let chain = numbers.below(3) == 0;
        let below = Below {
            activation: numbers.pick(&["relu", "leaky_relu(0.5)", "prelu"]).parse().unwrap(),
            alpha: AlphaSource::Constant,
            saved: numbers.pick(&[Saved::Z, Saved::Y, Saved::Mask]),
            db: numbers.pick(&WANTS),
            dalpha: Want::No,
        };
        let below = match numbers.below(2) {
            0 => below,
            _ => Below {
                alpha: numbers.pick(&[AlphaSource::PerLayer, AlphaSource::PerChannel]),
                activation: "prelu".parse().unwrap(),
                saved: Saved::Z,
                dalpha: numbers.pick(&WANTS),
                ..below
            },
        };
        let spec = Spec {
            forward,
            gradients: if chain { Gradients { x: Want::Overwrite, ..gradients } } else { gradients },
            below: chain.then_some(below),
            pin: Pin {
                tile: Some(tiles[index % tiles.len()]),
                splits: Some([1, 3][index / tiles.len() % 2]),
                road: [Road::Prologue, Road::TwoPass][(index + index / tiles.len()) % 2],
            },
            misalign: 0,
            exact: true,
        };
        if forward.resolve_saved(spec.gradients.alpha.wanted()).is_ok() {
            return spec;
        }
    }
}

fn sized(spec: &Spec, m: usize, n: usize, k: usize, misalign: usize) -> Spec {
    Spec { forward: AffineRequest { m, n, k, ..spec.forward }, misalign, ..*spec }
}

fn bundles(count: usize) -> Vec<Spec> {
    let mut numbers = Numbers(7);
    (0..count).map(|i| bundle(&mut numbers, i)).collect()
}

/// Each bundle is about ten pipelines, and a driver that compiles for a CPU takes its time over each. 22 is every tile with
/// and without splits; `ELBOW_TEST_FULL` has more of everything.
fn count() -> usize {
    if full() { 88 } else { 22 }
}

const SIZES: [usize; 14] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33];

#[test]
fn every_triple_up_to_33() {
    let start = Instant::now();
    let bundles = bundles(count());
    let sizes: Vec<usize> = if full() { (1..=33).collect() } else { SIZES.to_vec() };
    let mut specs = Vec::new();
    for &m in &sizes {
        for &n in &sizes {
            for &k in &sizes {
                let at = specs.len();
                specs.push(sized(&bundles[at % bundles.len()], m, n, k, at / bundles.len() % 2));
            }
        }
    }
    run(gpu(), &specs, false, 100);
    println!("{} cases, {} pipelines, {:.1} s", specs.len(), gpu().pipelines(), start.elapsed().as_secs_f64());
}

#[test]
fn random_larger_shapes() {
    let bundles = bundles(count());
    let mut numbers = Numbers(11);
    let count = 500;
    let specs: Vec<Spec> = (0..count)
        .map(|i| {
            let mut size = || match numbers.below(4) {
                0 => numbers.pick(&[63, 64, 65, 127, 128, 129]),
                _ => 1 + numbers.below(140),
            };
            sized(&bundles[i % bundles.len()], size(), size(), size(), if i % 3 == 0 { 1 } else { 0 })
        })
        .collect();
    run(gpu(), &specs, false, 200);
}

#[test]
fn operands_in_one_buffer() {
    let bundles = &bundles(count())[..5];
    let specs: Vec<Spec> = SIZES
        .iter()
        .flat_map(|&s| bundles.iter().enumerate().map(move |(i, b)| sized(b, s, 1 + i * 3, 35 - s, i % 4)))
        .collect();
    run(gpu(), &specs, true, 300);
}

#[test]
fn what_the_plan_chooses_itself() {
    let mut numbers = Numbers(13);
    let specs: Vec<Spec> = (0..if full() { 150 } else { 21 })
        .map(|i| {
            let mut spec = bundle(&mut numbers, i);
            spec.pin = Pin::default();
            let shape =
                [(1, 70, 300), (300, 5, 2), (2, 257, 64), (129, 33, 65), (7, 1, 500), (40, 40, 1), (640, 8, 8)][i % 7];
            sized(&spec, shape.0, shape.1, shape.2, i % 2)
        })
        .collect();
    run(gpu(), &specs, false, 400);
}

#[test]
fn zero_sizes() {
    let bundles = bundles(count());
    let mut specs = Vec::new();
    for (m, n, k) in [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 4), (0, 4, 0), (3, 0, 0), (0, 0, 0)] {
        specs.extend(bundles.iter().map(|b| sized(b, m, n, k, 0)));
    }
    run(gpu(), &specs, false, 500);
}
