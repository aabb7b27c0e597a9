//! Whole networks against the f64 reference: random sizes, activations, α, jets and rows; integers to the last bit; NaN; threads; mistakes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of a #[test] function")]

use elbow::{Activation, AlphaSource, Jet, activation::rows, cpu::reference, network::Layers};
use elbow_cpu::{ForwardInputs, ForwardOutputs, network, rayon::ThreadPoolBuilder};

struct Numbers(u64);

impl Numbers {
    /// From −1 to 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32) / (1u32 << 23) as f32 - 1.0
    }

    /// One of these, at random.
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[((f64::from(self.next()) + 1.0) / 2.0 * choices.len() as f64) as usize]
    }

    /// Parameters whose layers neither grow nor shrink what goes through; NaN between two parts, which nothing may read.
    fn parameters(&mut self, layers: &Layers) -> Vec<f32> {
        let mut all = vec![f32::NAN; layers.elements()];
        for l in 0..layers.count {
            let (place, [n, k]) = (layers.place(l), layers.shape(l));
            let spread = (3.0 / k as f32).sqrt();
            all[place.w..][..n * k].fill_with(|| self.next() * spread);
            all[place.b..][..n].fill_with(|| self.next());
            if let Some(alpha) = place.alpha {
                let alphas = if layers.alpha == AlphaSource::PerLayer { 1 } else { n };
                all[alpha..][..alphas].fill_with(|| 0.75 + self.next() / 2.0);
            }
        }
        all
    }

    fn vec(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| self.next() * 2.0).collect()
    }
}

/// y, which was NaN before and has no element more than it should.
fn run(layers: &Layers, rows: usize, x: &[f32], parameters: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; rows * layers.outputs + 1];
    network(layers, rows, x, parameters, &mut y).unwrap();
    assert!(y.pop().unwrap().is_nan(), "written behind y");
    y
}

/// Compares y with the reference: within this share of the largest magnitude of each row of a group.
fn judge(what: &str, layers: &Layers, rows: usize, x: &[f32], parameters: &[f32], share: f64) {
    let (y, want) = (run(layers, rows, x, parameters), reference::network(layers, rows, x, parameters).unwrap());
    let members = layers.jet.map_or(1, |jet| jet.members());
    let mut largest = [1e-3f64; 8];
    for (i, v) in want.iter().enumerate() {
        let of = &mut largest[i / layers.outputs % members];
        *of = of.max(v.abs());
    }
    for (i, (y, want)) in y.iter().zip(&want).enumerate() {
        let (row, bound) = (i / layers.outputs, share * largest[i / layers.outputs % members]);
        let close = (f64::from(*y) - want).abs() <= bound;
        assert!(close, "{what}: row {row}, column {}: {y}, expected {want} ± {bound:e}", i % layers.outputs);
    }
}

const SIZES: [&[usize]; 12] = [
    &[1, 1],
    &[3, 64, 64, 64, 4],
    &[2, 32, 32, 1],
    &[17, 33, 33, 5],
    &[128, 128],
    &[5, 8, 8, 8, 8, 8, 9],
    &[100, 12, 99],
    &[4, 130, 130, 31],
    &[1, 1, 1, 1],
    &[7, 40, 40, 65],
    &[300, 7, 2],
    &[6, 16, 16, 16],
];
const ROWS: [usize; 9] = [1, 2, 5, 15, 16, 24, 97, 1000, 0];

#[test]
fn random_networks_are_those_of_the_reference() {
    let mut numbers = Numbers(1);
    let activations: Vec<Activation> = rows().iter().filter_map(|row| row.name.parse().ok()).collect();
    for i in 0..240 {
        let (activation, output) = (activations[i % activations.len()], numbers.of(&activations));
        let alphas = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel];
        let alpha = if activation.has_alpha() { alphas[i / 3 % 3] } else { AlphaSource::Constant };
        let sizes = numbers.of(&SIZES);
        let alpha = if sizes.len() == 2 { AlphaSource::Constant } else { alpha };
        let layers = Layers::new(sizes, activation).unwrap().alpha(alpha).output(output);
        // A bound that leaps where an activation does is none.
        let leaps = [activation, output].iter().any(|activation| activation.lipschitz().is_infinite());
        let rows = numbers.of(&ROWS);
        let (parameters, x) = (numbers.parameters(&layers), numbers.vec(rows * layers.inputs));
        if !leaps {
            judge(&format!("{sizes:?} {activation} {alpha:?} {output}"), &layers, rows, &x, &parameters, 2e-5);
        }
    }
}

#[test]
fn jets_of_four_rows_and_of_eight() {
    let mut numbers = Numbers(2);
    let mut c = [[0.0; 6]; 6];
    (c[0][3], c[3][0], c[5][5]) = (0.5, 0.5, -2.0);
    for jet in [Jet::two([1.0, 0.5, -2.0]), Jet::laplacian(3), Jet::six(c), Jet::six([[0.0; 6]; 6])] {
        let jet = jet.unwrap();
        for (i, sizes) in SIZES.iter().enumerate() {
            let activation: Activation = ["tanh", "silu", "swish", "gelu"][i % 4].parse().unwrap();
            let per_channel = activation.has_alpha() && sizes.len() > 2;
            let alpha = if per_channel { AlphaSource::PerChannel } else { AlphaSource::Constant };
            let layers = Layers::new(sizes, activation).unwrap().alpha(alpha).jet(jet);
            let rows = jet.members() * [1, 3, 50][i % 3];
            let (parameters, x) = (numbers.parameters(&layers), numbers.vec(rows * layers.inputs));
            judge(&format!("{sizes:?} {activation} {jet}"), &layers, rows, &x, &parameters, 5e-5);
        }
    }
}

/// Integers, ReLU: no bit may differ from layer by layer.
#[test]
fn integers_without_tolerance() {
    let mut numbers = Numbers(3);
    for sizes in SIZES.iter().filter(|sizes| sizes.len() < 5) {
        for rows in ROWS {
            let layers = Layers::new(sizes, Activation::RELU).unwrap();
            let mut integers = |length| numbers.vec(length).into_iter().map(f32::round).collect::<Vec<_>>();
            let (parameters, x) = (integers(layers.elements()), integers(rows * layers.inputs));
            let mut below = x.clone();
            for l in 0..layers.count {
                let (place, [n, k]) = (layers.place(l), layers.shape(l));
                let activation = if l + 1 < layers.count { Activation::RELU } else { Activation::IDENTITY };
                let layer = elbow::request::AffineRequest::new(rows, n, k, activation);
                let inputs = ForwardInputs::new(&below, &parameters[place.w..]).b(Some(&parameters[place.b..]));
                let mut y = vec![f32::NAN; rows * n];
                elbow_cpu::forward(&layer, inputs, ForwardOutputs { y: &mut y, ..Default::default() }).unwrap();
                below = y;
            }
            assert_eq!(run(&layers, rows, &x, &parameters), below, "{sizes:?}, {rows} rows");
        }
    }
}

#[test]
fn what_is_no_number_stays_in_its_row() {
    let mut numbers = Numbers(4);
    let layers = Layers::new(&[3, 17, 17, 2], Activation::SILU).unwrap();
    let parameters = numbers.parameters(&layers);
    for rows in [4, 50] {
        let x = numbers.vec(rows * 3);
        let whole = run(&layers, rows, &x, &parameters);
        let mut spoiled = x;
        spoiled[3 * 2 + 1] = f32::NAN;
        for (row, (got, want)) in run(&layers, rows, &spoiled, &parameters).chunks(2).zip(whole.chunks(2)).enumerate() {
            let right = if row == 2 { got.iter().all(|y| y.is_nan()) } else { got == want };
            assert!(right, "row {row} of {rows}: {got:?}, {want:?}");
        }
    }
}

#[test]
fn the_same_bits_on_any_number_of_threads() {
    let mut numbers = Numbers(5);
    for rows in [15, 800] {
        let layers = Layers::new(&[5, 64, 64, 64, 3], Activation::GELU_ERF).unwrap();
        let (parameters, x) = (numbers.parameters(&layers), numbers.vec(rows * 5));
        let on = |threads: usize| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&layers, rows, &x, &parameters))
        };
        let one = on(1);
        assert!([2, 3, 7].iter().all(|&threads| on(threads) == one), "{rows} rows");
    }
}

#[test]
fn mistakes_are_named_and_nothing_is_written() {
    let layers = Layers::new(&[3, 16, 2], Activation::RELU).unwrap();
    let (x, parameters) = ([1.0; 24], vec![0.5; layers.elements()]);
    let jets = |jet: elbow::Result<Jet>| layers.activation(Activation::TANH).jet(jet.unwrap());
    let short = parameters.len() - 1;
    for (layers, rows, x, parameters, room, words) in [
        (layers, 4, &x[..11], &parameters[..], 8, ["x", "12 elements"]),
        (layers, 4, &x, &parameters[..short], 8, ["parameter", "512 elements"]),
        (layers, 4, &x, &parameters, 7, ["y", "8 elements"]),
        (layers.alpha(AlphaSource::PerLayer), 4, &x, &parameters, 8, ["alpha", "no learnable"]),
        (jets(Jet::laplacian(2)), 6, &x, &parameters, 12, ["x", "groups of 4"]),
        (jets(Jet::laplacian(3)), 4, &x, &parameters, 8, ["x", "groups of 8"]),
        (layers.jet(Jet::laplacian(2).unwrap()), 4, &x, &parameters, 8, ["relu", "second"]),
        (layers, usize::MAX, &x, &parameters, 8, ["x", "elements"]),
    ] {
        let mut y = vec![7.0; room];
        let error = network(&layers, rows, x, parameters, &mut y).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}: expected {words:?}");
        assert!(y.iter().all(|&y| y == 7.0), "{error}: y was written");
    }
}
