//! Loops at the bound of what a driver runs: one that cuts them earlier gives another number.

use elbow::{
    Activation, AlphaSource, Float, Gpu, Saved, View, Want, WeightLayout,
    affine::Forward,
    kernel::{KernelFile, MOST_TRIPS},
    plan::{self, Pin, TILES},
    request::Below,
};
use elbow_verify::{Data, Spec};

use crate::{
    common::{full, gpu, passes},
    large::narrow,
};

/// Σ of m ones, m below 2²⁴ or a sum of parts that are whole fours: exact.
fn dw_of_ones(gpu: &Gpu, m: usize, pin: &Pin) -> f32 {
    let ones = gpu.upload(&vec![1.0; m], &[m, 1]).unwrap();
    let dw = gpu.zeros(&[1, 1]).unwrap();
    let gone = |shape| View::absent(shape, Float::F32);
    let layer = Forward::new(Activation::IDENTITY, &ones, gone(&[1, 1]), gone(ones.shape())).pin(*pin);
    let call = layer.backward(&ones).dw(&dw);
    gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
    gpu.download(&dw).unwrap()[0]
}

#[test]
fn sums_that_were_cut() {
    let gpu = gpu();
    assert_eq!(dw_of_ones(gpu, 20_000_000, &Pin::default()), 20_000_000.0);
    let pin = Pin::default().splits(1);
    for m in [32_700, 65_535, 65_536, 65_540, 131_073] {
        assert_eq!(dw_of_ones(gpu, m, &pin), m as f32);
    }
}

/// The tiles of every kernel with the longest loops that a plan allows: K ones.
#[test]
fn every_kernel_at_the_bound() {
    let gpu = gpu();
    let k = 140_001;
    let (x, w) = (gpu.upload(&vec![1.0; k], &[1, k]).unwrap(), gpu.upload(&vec![1.0; k], &[1, k]).unwrap());
    let y = gpu.zeros(&[1, 1]).unwrap();
    // One of each kernel, the smallest.
    for tile in (0..TILES.len()).filter(|tile| full() || [3, 5, 8, 12].contains(tile)) {
        for layout in [WeightLayout::OutIn, WeightLayout::InOut] {
            let across = [k, 1];
            let w = if layout == WeightLayout::OutIn { w.view() } else { w.view_as(&across) };
            let pin = Pin::default().tile(tile).splits(1);
            let call = Forward::new(Activation::RELU, &x, w, &y).layout(layout).pin(pin);
            let Ok(plan) = call.plan(gpu) else { continue };
            let trips = plan.dispatches.iter().map(|d| d.trips()).max().unwrap_or(0);
            assert!(trips <= MOST_TRIPS, "{plan}");
            gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
            assert_eq!(gpu.download(&y).unwrap(), [k as f32], "tile {tile} {layout:?}, {trips} iterations\n{plan}");
        }
    }
}

/// A chain over a long reduction: its product is split, and the later stage has the slope and the sums.
#[test]
fn a_chain_over_many_classes() {
    let gpu = gpu();
    // So long that the product must be split, by the tiles of a GPU too, which take eight classes at a time.
    let (m, n, k) = (18, if gpu.is_software() { 140_004 } else { 300_004 }, 5);
    let small = |i: usize| (i % 5) as f32 - 2.0;
    let dy: Vec<f32> = (0..m * n).map(|i| if i % 101 == 0 { small(i) } else { 0.0 }).collect();
    let w: Vec<f32> = (0..n * k).map(small).collect();
    let z: Vec<f32> = (0..m * k).map(|i| small(i + i / 3)).collect();
    let mut dx = vec![0.0f32; m * k];
    for row in 0..m {
        for c in 0..n {
            let d = dy[row * n + c];
            if d != 0.0 {
                (0..k).for_each(|j| dx[row * k + j] += d * w[c * k + j]);
            }
        }
    }
    let (dy, w) = (gpu.upload(&dy, &[m, n]).unwrap(), gpu.upload(&w, &[n, k]).unwrap());
    let (z_, alpha) = (gpu.upload(&z, &[m, k]).unwrap(), gpu.upload(&[0.5], &[1]).unwrap());
    let (out, db, dalpha) = (gpu.zeros(&[m, k]).unwrap(), gpu.zeros(&[k]).unwrap(), gpu.zeros(&[1]).unwrap());
    let activation: Activation = "prelu".parse().unwrap();
    // Of both layers only what this call reads.
    let gone = |shape| View::absent(shape, Float::F32);
    let (no_x, no_w, ys) = ([m, 0], [k, 0], [m, k]);
    let below = Forward::new(activation, gone(&no_x), gone(&no_w), gone(&ys))
        .saved(Saved::Z)
        .save_to(z_.view())
        .alpha(alpha.view());
    let layer = Forward::new(Activation::IDENTITY, below.y, &w, gone(dy.shape()));
    let call = layer.backward_from_dz(&dy).dx(&out).below(&below).db_below(&db).dalpha_below(&dalpha);
    let plan = call.plan(gpu).unwrap();
    assert!(plan.dispatches.iter().any(|d| d.kernel.file == KernelFile::SplitSum), "{plan}");
    gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
    let dz: Vec<f32> = dx.iter().zip(&z).map(|(&d, &z)| if z > 0.0 { d } else { 0.5 * d }).collect();
    assert_eq!(gpu.download(&out).unwrap(), dz);
    let column = |j: usize| (0..m).map(|row| dz[row * k + j]).sum::<f32>();
    assert_eq!(gpu.download(&db).unwrap(), (0..k).map(column).collect::<Vec<_>>());
    let expected: f32 = dx.iter().zip(&z).map(|(&d, &z)| if z > 0.0 { 0.0 } else { d * z }).sum();
    assert_eq!(gpu.download(&dalpha).unwrap(), [expected]);
}

/// One α for a layer so wide that its partial sums are more than one stage adds.
#[test]
fn one_alpha_for_a_wide_layer() {
    let gpu = gpu();
    let n = 200_003;
    let z: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
    let dy: Vec<f32> = (0..n).map(|i| (i % 3) as f32).collect();
    let expected: f32 = z.iter().zip(&dy).map(|(&z, &dy)| if z > 0.0 { 0.0 } else { z * dy }).sum();
    let (z, dy) = (gpu.upload(&z, &[1, n]).unwrap(), gpu.upload(&dy, &[1, n]).unwrap());
    let (alpha, dalpha) = (gpu.upload(&[0.25], &[1]).unwrap(), gpu.zeros(&[1]).unwrap());
    let gone = |shape| View::absent(shape, Float::F32);
    let no_w = [n, 0];
    let layer = Forward::new("prelu".parse().unwrap(), gone(&[1, 0]), gone(&no_w), gone(z.shape()))
        .saved(Saved::Z)
        .save_to(z.view())
        .alpha(alpha.view());
    let call = layer.backward(&dy).dalpha(&dalpha);
    let plan = call.plan(gpu).unwrap();
    assert!(plan.dispatches.iter().filter(|d| d.kernel.file == KernelFile::ColumnSum).count() > 1, "{plan}");
    gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
    assert_eq!(gpu.download(&dalpha).unwrap(), [expected]);
}

/// Where the partial products would be too long the splits are added up one after the other: in y, in scratch where y is
/// narrow, and in the memory of a gradient.
#[test]
fn splits_one_after_the_other() {
    let gpu = narrow(64 << 10);
    let pin = Pin::default().tile(3);
    let mut specs = Vec::new();
    for (layout, dtype) in [(WeightLayout::InOut, Float::F32), (WeightLayout::InOut, Float::F16)] {
        for (saved, alpha) in [(Saved::Z, AlphaSource::PerChannel), (Saved::Mask, AlphaSource::Constant)] {
            let mut spec = Spec::new(37, 120, 900, "leaky_relu(0.5)".parse().unwrap());
            (spec.forward.layout, spec.forward.saved, spec.forward.alpha) = (layout, saved, alpha);
            spec.gradients.w = Want::Accumulate;
            spec.dtype = dtype;
            let plan = plan::forward(&spec.forward, true, false, &gpu.caps(), &pin).unwrap();
            let later = plan.dispatches.iter().filter(|d| d.kernel.file == KernelFile::SplitSum);
            assert!(later.clone().count() > 0 && later.clone().all(|d| d.params.splits == 1), "{plan}");
            specs.push(Spec { data: Data::Integers, pin, ..spec });
        }
    }
    // A chain over a weight that is longer than a binding.
    for (m, saved) in [(9, Saved::Z), (70, Saved::Mask)] {
        let activation = "leaky_relu(0.5)".parse().unwrap();
        let (alpha, db) = (AlphaSource::Constant, Want::Accumulate);
        let below = Below::new(activation, saved).alpha(alpha).db(db);
        let mut spec = Spec::new(m, 900, 40, activation);
        (spec.below, spec.gradients.x, spec.gradients.w) = (Some(below), Want::Overwrite, Want::No);
        specs.push(Spec { data: Data::Integers, pin, ..spec });
    }
    passes(&gpu, &specs);
}
