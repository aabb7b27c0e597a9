//! Every value that a learnable α may take, on the device: what the reference says (and it what docs/numerics.md does).

use elbow::{
    Activation,
    activation::{Quantity, rows},
};
use elbow_verify::points::{Kernels, Points, on_device};

use crate::common::{gpu, judge};

/// Inside of some domain and outside of each. Subnormal ones are not here: a device may flush them.
const ALPHAS: [f32; 12] =
    [f32::NEG_INFINITY, -2.0, -1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0, 3.0, f32::INFINITY, f32::NAN];

#[test]
fn the_device_agrees_with_the_reference_for_every_alpha() {
    let both =
        [0.0, f32::INFINITY, 1e-30, 1e-3, 0.1, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 7.5, 30.0, 100.0, 1000.0, 1e5, 1e30];
    let z: Vec<f32> = both.into_iter().flat_map(|z| [z, -z]).chain([f32::NAN]).collect();
    let learnable = rows().iter().filter(|row| row.learnable).map(|row| Activation::new(row.kind, &[]).unwrap());
    let mut failures = Vec::new();
    for activation in learnable.chain(["softplus(1,20)".parse().unwrap()]) {
        for activation in ALPHAS.map(|alpha| activation.with_alpha(alpha)) {
            let points = Points::new(activation, z.clone());
            for (quantity, got) in on_device(gpu(), activation, &z, Kernels::All).unwrap() {
                let worst = points.worst(judge(), quantity, &got);
                if worst.ulp > activation.row().tolerance(quantity) {
                    let (name, alpha) = (activation.name(), activation.params()[0]);
                    let (x, got, expected) = (worst.x, worst.got, worst.expected);
                    failures.push(format!("{name}, alpha {alpha}: {quantity:?}({x}) is {got}, not {expected}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Gradients through a fused layer see an α that became NaN or infinite as they see any other: the reference judges, and a NaN
/// spoils no channel but its own.
#[test]
fn a_bad_alpha_stays_in_its_channel() {
    use elbow::{Saved, affine};
    let gpu = gpu();
    let values = [-2.0f32, -0.5, 0.5, 2.0];
    let (x, w) = (gpu.upload(&values, &[4, 1]).unwrap(), gpu.upload(&[1.0; 4], &[4, 1]).unwrap());
    let dy = gpu.upload(&[1.0; 16], &[4, 4]).unwrap();
    let alphas = [0.5, f32::NAN, -1.0, f32::INFINITY];
    let alpha = gpu.upload(&alphas, &[4]).unwrap();
    for row in rows().iter().filter(|row| row.learnable) {
        let activation = Activation::new(row.kind, &[]).unwrap();
        let (y, z, db, dalpha) = (
            gpu.zeros(&[4, 4]).unwrap(),
            gpu.zeros(&[4, 4]).unwrap(),
            gpu.zeros(&[4]).unwrap(),
            gpu.zeros(&[4]).unwrap(),
        );
        let forward =
            affine::Forward::new(activation, &x, &w, &y).alpha(alpha.view()).saved(Saved::Z).save_to(z.view());
        gpu.submit(|e| forward.record(gpu, e)).unwrap();
        gpu.submit(|e| forward.backward(&dy).db(&db).dalpha(&dalpha).record(gpu, e)).unwrap();
        let sums = [(Quantity::Slope, db), (Quantity::AlphaSlope, dalpha)];
        for (quantity, sums) in sums {
            for (channel, got) in gpu.download(&sums).unwrap().into_iter().enumerate() {
                let activation = activation.with_alpha(alphas[channel]);
                let exact: f64 = values.iter().map(|&z| activation.evaluate(quantity, f64::from(z))).sum();
                let same = (exact.is_nan() && got.is_nan())
                    || got == exact as f32
                    || (f64::from(got) - exact).abs() <= 1e-5 * exact.abs().max(1.0);
                assert!(same, "{activation}: {quantity:?} of channel {channel} is {got}, not {exact}");
            }
        }
    }
}
