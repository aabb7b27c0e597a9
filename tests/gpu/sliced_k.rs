//! Products of few rows whose lanes lie along the reduction: every number of rows, edges of every kind, every epilogue; the
//! sum over lanes by subgroups, where the adapter has them, and through workgroup memory, where it has none.

use elbow::{
    AlphaSource, Checks, Gpu, ResidualAt, Saved, Strategy, Want, WeightLayout,
    plan::{Pin, Stage, TILES},
    request::{Below, Gradients},
};
use elbow_verify::{Data, Spec};

use crate::common::{as_a_gpu, checks, full, gpu, options, passes};

fn tiles() -> Vec<usize> {
    (0..TILES.len()).filter(|&i| TILES[i].stage == Stage::SlicedK).collect()
}

fn across(splits: u32) -> Pin {
    Pin::default().tile(tiles().first().copied()).splits(splits).strategy(Strategy::Prologue)
}

fn spec(activation: &str, splits: u32) -> Spec {
    let spec = Spec::new(1, 1, 1, activation.parse().unwrap());
    Spec { pin: across(splits), data: Data::Integers, gradients: Gradients::default(), ..spec }
}

/// Forward with w [out, in], and everything that its epilogue can do.
fn forwards() -> Vec<Spec> {
    let mut mask = spec("leaky_relu(0.5)", 1);
    mask.forward.saved = Saved::Mask;
    let mut residual = spec("prelu", 1);
    (residual.forward.alpha, residual.forward.residual) = (AlphaSource::PerChannel, Some(ResidualAt::AfterActivation));
    let mut bare = spec("relu", 3);
    (bare.forward.bias, bare.forward.saved) = (false, Saved::Y);
    let mut split_mask = spec("hardtanh(-8,8)", 3);
    split_mask.forward.saved = Saved::Mask;
    vec![mask, residual, bare, split_mask]
}

/// dx with w [in, out]: dz in the prologue, accumulated, split, and chained.
fn backwards() -> Vec<Spec> {
    let dx = |want, splits| {
        let mut spec = spec("leaky_relu(0.5)", splits);
        (spec.forward.layout, spec.gradients.x) = (WeightLayout::InOut, want);
        spec
    };
    let activation = "prelu".parse().unwrap();
    let (db, dalpha) = (Want::Overwrite, Want::Accumulate);
    let below = Below::new(activation, Saved::Z).alpha(AlphaSource::PerChannel).db(db).dalpha(dalpha);
    let chain = Spec { below: Some(below), ..dx(Want::Overwrite, 1) };
    vec![dx(Want::Overwrite, 1), dx(Want::Accumulate, 3), chain]
}

const ROWS: [usize; 9] = [1, 2, 3, 4, 5, 7, 8, 9, 17];
const COLS: [usize; 8] = [1, 3, 4, 31, 32, 33, 64, 70];
const REDUCTIONS: [usize; 14] = [1, 2, 3, 4, 5, 31, 32, 33, 127, 128, 129, 256, 300, 1025];

fn specs(bundles: &[Spec]) -> Vec<Spec> {
    let mut specs = Vec::new();
    let tiles = tiles();
    for m in ROWS {
        for n in COLS {
            for k in REDUCTIONS {
                let at = specs.len();
                let mut bundle = bundles[at % bundles.len()];
                bundle.pin.tile = Some(tiles[at / bundles.len() % tiles.len()]);
                let spec = match bundle.forward.layout {
                    WeightLayout::OutIn => bundle.sized(m, n, k),
                    WeightLayout::InOut => bundle.sized(m, k, n),
                };
                specs.push(Spec { misalign: at / bundles.len() / tiles.len() % 2, seed: at as u64, ..spec });
            }
        }
    }
    specs
}

fn checked(gpu: &Gpu, one_in: usize) {
    // Some hundred kernels, and the driver's compiler is what they cost: a sample, that meets every bundle on every tile.
    let step = match (full(), checks()) {
        (true, _) => 1,
        (false, Checks::Trusted) => 5,
        (false, Checks::Checked) => 7,
    };
    for bundles in [forwards(), backwards()] {
        let specs: Vec<Spec> = specs(&bundles).into_iter().step_by(one_in * step).collect();
        passes(gpu, &specs);
    }
    // Real numbers over a long reduction.
    let real = [(1, 40, 5000), (8, 33, 20_000), (3, 7, 70_001)];
    let real: Vec<Spec> = real.map(|(m, n, k)| Spec { data: Data::Normal, ..spec("gelu", 1).sized(m, n, k) }).into();
    passes(gpu, &real);
}

#[test]
fn lanes_along_the_reduction() {
    checked(gpu(), 1);
}

#[test]
fn lanes_along_the_reduction_without_subgroups() {
    let gpu = Gpu::with_options(options().default_limits(true)).unwrap();
    assert_eq!(gpu.caps().subgroup, 0);
    checked(&gpu, 1);
}

/// As on a GPU, where the lanes of a subgroup are known only when the kernel runs. (Eleven shares no factor with the lists above, nor with the number of bundles: nine would meet one of three.)
#[test]
fn lanes_along_the_reduction_in_subgroups_of_any_size() {
    let gpu = as_a_gpu();
    assert!(gpu.caps().subgroups, "{gpu}");
    checked(gpu, 11);
}
