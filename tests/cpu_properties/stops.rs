//! 0·∞ in backward: where an activation made of pieces is flat, an infinite dy is stopped and a NaN is not. The baseline and the
//! reference say the same of every pair of upstream gradients.

use elbow::{
    Float,
    activation::Activation,
    cpu::reference,
    request::{AffineRequest, AlphaSource, BackwardRequest, Below, Gradients, Saved, Want},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, Elementwise, SavedIn, Workspace,
    elementwise::{self, DoubleBackwardOutputs},
};

use crate::common::{defaults, parsed};

const INF: f32 = f32::INFINITY;

fn piecewise() -> impl Iterator<Item = Activation> {
    defaults().chain([parsed("leaky_relu(0)")]).filter(Activation::is_piecewise)
}

fn same(got: f32, expected: f64) -> bool {
    let close = (f64::from(got) - expected).abs() <= 1e-6 * expected.abs();
    close || got == expected as f32 || (got.is_nan() && expected.is_nan())
}

#[test]
fn the_elementwise_operators() {
    let upstream = [0.0, 1.0, INF, -INF, f32::NAN];
    let mut triples = Vec::new();
    // hardswish has a root of its slope at -1.5, which is no flat place.
    for x in [-7.0f32, -0.25, 0.25, 4.0] {
        for dy in upstream {
            triples.extend(upstream.map(|ddx| (x, dy, ddx)));
        }
    }
    let count = triples.len();
    let x: Vec<f32> = triples.iter().map(|t| t.0).collect();
    let dy: Vec<f32> = triples.iter().map(|t| t.1).collect();
    let ddx: Vec<f32> = triples.iter().map(|t| t.2).collect();
    for activation in piecewise() {
        let learns = activation.has_alpha();
        let alpha = if learns { AlphaSource::PerChannel } else { AlphaSource::Constant };
        let request = Elementwise::new(1, count, activation).alpha(alpha);
        let alphas = learns.then(|| vec![activation.params()[0]; count]);
        let alphas = alphas.as_deref();
        let first = reference::elementwise::backward(&request, &x, alphas, &dy).unwrap();
        let second = reference::elementwise::double_backward(&request, &x, alphas, &dy, &ddx).unwrap();

        let [mut dx, mut ddy, mut dx2, mut dalpha, mut dalpha2] = [(); 5].map(|()| vec![0.0; count]);
        let [of_alpha, of_alpha2] = [&mut dalpha, &mut dalpha2].map(|sums| learns.then_some(sums.as_mut_slice()));
        elementwise::backward(&request, &x, alphas, &dy, &mut dx, of_alpha).unwrap();
        let outputs = DoubleBackwardOutputs { ddy: Some(&mut ddy), dx2: Some(&mut dx2), dalpha2: of_alpha2 };
        elementwise::double_backward(&request, &x, alphas, &dy, &ddx, outputs).unwrap();
        let mut results = vec![("dx", dx, first.dx), ("ddy", ddy, second.ddy), ("dx2", dx2, second.dx2)];
        if learns {
            results.push(("dalpha", dalpha, first.dalpha.value));
            results.push(("dalpha2", dalpha2, second.dalpha2.value));
        }
        for (name, got, expected) in results {
            for (i, (got, expected)) in got.into_iter().zip(expected).enumerate() {
                assert!(same(got, expected), "{activation}: {name} at {:?} is {got}, not {expected}", triples[i]);
            }
        }
    }
}

/// The layer, and in a chain the layer below it: from each choice that gives the slope.
#[test]
fn the_fused_layer_and_its_chain() {
    const Z: [f32; 5] = [-5.0, -0.25, 0.0, 0.25, 7.0];
    let n = Z.len();
    let request = |activation: Activation| AffineRequest::new(1, n, n, activation).bias(false);
    let gradients = Gradients::default().x(Want::Overwrite).b(Want::Overwrite);
    let backward = |affine, below| BackwardRequest::new(affine, gradients).below(below);
    let identity: Vec<f32> = (0..n * n).map(|i| if i / n == i % n { 1.0 } else { 0.0 }).collect();
    let ones = vec![1.0; n * n];
    for activation in piecewise().filter(|activation| !activation.needs_nothing()) {
        let y: Vec<f32> = Z.iter().map(|&z| activation.value(f64::from(z)) as f32).collect();
        let word = Z.iter().enumerate().fold(0, |word, (j, &z)| word | u32::from(activation.bit(f64::from(z))) << j);
        let mask = [word];
        let kept = [(Saved::Z, SavedIn::Z(&Z)), (Saved::Y, SavedIn::Y(&y)), (Saved::Mask, SavedIn::Mask(&mask))];
        for (saved, kept) in kept {
            if activation.saved_is_enough(saved, false, false, false, Float::F32).is_err() {
                continue;
            }
            for upstream in [INF, -INF, f32::NAN, 1.0] {
                let dy = [upstream; 5];
                let slopes = Z.map(|z| activation.passed(f64::from(upstream), activation.slope(f64::from(z))));
                let [mut dx, mut db] = [(); 2].map(|()| vec![0.0; n]);
                let outputs = BackwardOutputs { dx: Some(&mut dx), db: Some(&mut db), ..BackwardOutputs::default() };
                let inputs = BackwardInputs { w: &identity, dy: &dy, saved: kept, ..BackwardInputs::default() };
                let layer = backward(request(activation).saved(saved), None);
                elbow_cpu::backward(&layer, inputs, outputs, &mut Workspace::new()).unwrap();
                for (got, expected) in db.iter().zip(slopes) {
                    assert!(same(*got, expected), "{activation} from {saved}: {upstream} gives {db:?}");
                }

                let below = Below::new(activation, saved).alpha(AlphaSource::Constant).db(Want::Overwrite);
                let chain = backward(request(Activation::IDENTITY), Some(below));
                let mut db_below = vec![0.0; n];
                let outputs = BackwardOutputs {
                    dx: Some(&mut dx),
                    db: Some(&mut db),
                    db_below: Some(&mut db_below),
                    ..BackwardOutputs::default()
                };
                let inputs = BackwardInputs { w: &ones, dy: &dy, saved_below: kept, ..BackwardInputs::default() };
                elbow_cpu::backward(&chain, inputs, outputs, &mut Workspace::new()).unwrap();
                let sum = f64::from(upstream) * n as f64;
                for (i, &z) in Z.iter().enumerate() {
                    let expected = activation.passed(sum, activation.slope(f64::from(z)));
                    assert!(
                        same(dx[i], expected) && same(db_below[i], expected),
                        "{activation} below, from {saved}: {dx:?}"
                    );
                }
                let judge = reference::BackwardInputs::new(&Z, &ones, &dy).z_below(Some(&Z)).z(Some(&Z));
                let judged = reference::backward(&chain, judge).unwrap();
                assert!(dx.iter().zip(&judged.dz_below.value).all(|(a, &b)| same(*a, b)), "{:?}", judged.dz_below);
            }
        }
    }
}
