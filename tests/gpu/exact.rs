//! Integers small enough that every partial sum is exact: results must be equal to the last bit, whatever the order of
//! the sum. Every kernel variant, strategy, saved choice, layout and odd size.

use std::time::Instant;

use elbow::{
    Activation, Checks, Saved, Want,
    plan::{Form, Pin, Stage, TILES},
    request::{Below, Gradients},
};
use elbow_verify::{Data, Numbers, Spec, any_exact, suite::tiles};

use crate::common::{as_a_gpu, checks, full, gpu, part, passes};

/// Each bundle is about ten pipelines, and a driver that compiles for a CPU takes its time over each: every tile, and half of them with splits too;
/// with checked modules half of the tiles. `ELBOW_TEST_FULL` has more of everything.
fn bundles() -> Vec<Spec> {
    let mut numbers = Numbers::new(7);
    let tiles = tiles(gpu());
    let count = match (full(), checks()) {
        (true, _) => 88,
        (false, Checks::Trusted) => tiles.len() * 3 / 2,
        (false, Checks::Checked) => tiles.len() / 2,
    };
    let all: Vec<Spec> = (0..count).map(|i| any_exact(&mut numbers, i, &tiles)).collect();
    part().of_list(&all).to_vec()
}

fn sized(spec: &Spec, m: usize, n: usize, k: usize, misalign: usize) -> Spec {
    Spec { misalign, ..spec.sized(m, n, k) }
}

const SIZES: [usize; 14] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33];

#[test]
fn every_triple_up_to_33() {
    let start = Instant::now();
    let bundles = bundles();
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
    passes(gpu(), &specs);
    println!("{} cases, {} pipelines, {:.1} s", specs.len(), gpu().pipelines(), start.elapsed().as_secs_f64());
}

#[test]
fn random_larger_shapes() {
    let bundles = bundles();
    let mut numbers = Numbers::new(11);
    let specs: Vec<Spec> = (0..500)
        .map(|i| {
            let mut size = || match numbers.below(4) {
                0 => numbers.pick(&[63, 64, 65, 127, 128, 129]),
                _ => 1 + numbers.below(140),
            };
            sized(&bundles[i % bundles.len()], size(), size(), size(), if i % 3 == 0 { 1 } else { 0 })
        })
        .collect();
    passes(gpu(), &specs);
}

#[test]
fn operands_in_one_buffer() {
    let bundles = &bundles();
    let bundles = &bundles[..bundles.len().min(5)];
    let specs: Vec<Spec> = SIZES
        .iter()
        .flat_map(|&s| bundles.iter().enumerate().map(move |(i, b)| sized(b, s, 1 + i * 3, 35 - s, i % 4)))
        .map(|spec| Spec { shared: true, ..spec })
        .collect();
    passes(gpu(), &specs);
}

#[test]
fn what_the_plan_chooses_itself() {
    let mut numbers = Numbers::new(13);
    let specs: Vec<Spec> = (0..if full() { 150 } else { 21 })
        .map(|i| {
            let spec = Spec { pin: Pin::default(), ..any_exact(&mut numbers, i, &[0]) };
            let shapes =
                [(1, 70, 300), (300, 5, 2), (2, 257, 64), (129, 33, 65), (7, 1, 500), (40, 40, 1), (640, 8, 8)];
            let (m, n, k) = shapes[i % 7];
            sized(&spec, m, n, k, i % 2)
        })
        .collect();
    passes(gpu(), &specs);
}

/// A GPU's text of a staged product is unrolled, and loads whole blocks; a software adapter gets another, unless it is
/// taken for a GPU. Reductions shorter than a block, than a step, whole, and one past.
#[test]
fn the_staged_products_of_a_gpu() {
    let gpu = as_a_gpu();
    let staged = tiles(gpu).into_iter().filter(|&i| matches!(TILES[i].stage, Stage::Staged { .. }));
    let staged: Vec<usize> =
        staged.rev().take(if full() || checks() == Checks::Trusted { TILES.len() } else { 1 }).collect();
    assert!(!staged.is_empty(), "no staged tile fits this device");
    let mut specs = Vec::new();
    for tile in staged {
        // Forward, dx and dw: operands along the reduction and across it.
        let spec = format!(
            "m=1 n=1 k=1 activation=relu saved=mask strategy=prologue dx=set dw=set tile={tile} splits=1 data=integers seed=17"
        );
        let spec: Spec = spec.parse().unwrap();
        let whole = [(4, 8, 4), (36, 32, 8), (64, 64, 48), (132, 136, 36), (36, 32, 100)];
        let ragged = [(1, 1, 1), (5, 9, 3), (33, 31, 17), (65, 130, 33), (31, 33, 77)];
        specs.extend(whole.into_iter().chain(ragged).map(|(m, n, k)| sized(&spec, m, n, k, 0)));
    }
    passes(gpu, &specs);
}

/// Everything that can be asked of a layer, by the texts of a GPU: sums and masks leave its register tiles another way.
#[test]
fn what_a_gpu_would_run() {
    let gpu = as_a_gpu();
    let tiles: Vec<usize> =
        tiles(gpu).into_iter().filter(|&i| matches!(TILES[i].stage, Stage::Direct | Stage::Staged { .. })).collect();
    let mut numbers = Numbers::new(19);
    let count = match (full(), checks()) {
        (true, _) => 120,
        (false, Checks::Trusted) => tiles.len(),
        (false, Checks::Checked) => 3,
    };
    let bundles: Vec<Spec> = (0..count).map(|i| any_exact(&mut numbers, i, &tiles)).collect();
    let bundles = part().of_list(&bundles);
    let mut specs = Vec::new();
    for (i, bundle) in bundles.iter().enumerate() {
        for _ in 0..6 {
            let [m, n, k] = std::array::from_fn(|_| numbers.pick(&[1, 3, 4, 16, 31, 36, 64, 65, 132]));
            specs.push(sized(bundle, m, n, k, i % 2));
        }
    }
    passes(gpu, &specs);
}

/// A lane of the large tile has two groups of columns: sums over a row add them up, as sums over columns add up rows.
#[test]
fn sums_over_a_register_tile_of_a_gpu() {
    let gpu = as_a_gpu();
    let mut spec = Spec::new(1, 1, 1, Activation::IDENTITY);
    let large = (0..TILES.len()).filter(|&i| matches!(TILES[i].stage, Stage::Staged { .. }) && TILES[i].tn == 8);
    let large = large.rev().find(|&i| TILES[i].fits(&gpu.caps(), Form::Nn)).expect("a large tile");
    (spec.pin, spec.data) = (Pin::default().tile(large).splits(1), Data::Integers);
    let below = Below::new("leaky_relu(0.5)".parse().unwrap(), Saved::Z).db(Want::Overwrite);
    spec.below = Some(below.row_weight(true).drow_weight(Want::Overwrite));
    spec.gradients = Gradients::default().x(Want::Overwrite);
    passes(gpu, &[[21, 12, 132], [133, 20, 71], [9, 4, 64]].map(|[m, n, k]| spec.sized(m, n, k)));
}

#[test]
fn zero_sizes() {
    let bundles = bundles();
    let mut specs = Vec::new();
    for (m, n, k) in [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 4), (0, 4, 0), (3, 0, 0), (0, 0, 0)] {
        specs.extend(bundles.iter().map(|b| sized(b, m, n, k, 0)));
    }
    passes(gpu(), &specs);
}
