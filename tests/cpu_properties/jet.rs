//! Jets against what they stand for: the derivatives of a network's value along directions in its input, by differences of the value alone.

use elbow::{
    Activation, Jet,
    cpu::{ForwardInputs, reference},
    request::AffineRequest,
};
use proptest::prelude::*;

use crate::common::{Numbers, check, defaults};

/// A network of three layers and one output, through which rows go: with jets, in groups.
struct Network {
    activation: Activation,
    sizes: [usize; 4],
    parameters: Vec<(Vec<f32>, Vec<f32>)>,
}

impl Network {
    fn new(activation: Activation, inputs: usize, numbers: &mut Numbers) -> Self {
        let sizes = [inputs, 4, 3, 1];
        let parameters = sizes.windows(2).map(|pair| (numbers.dyadic(pair[0] * pair[1]), numbers.dyadic(pair[1])));
        Network { activation, sizes, parameters: parameters.collect() }
    }

    /// y of the last layer. Between layers numbers are rounded to f32: differences would see it, so they go through `value` instead.
    fn rows(&self, x: Vec<f32>, jet: Option<Jet>) -> Vec<f64> {
        let mut x = x;
        let mut y = Vec::new();
        for (layer, (w, b)) in self.parameters.iter().enumerate() {
            let (k, n) = (self.sizes[layer], self.sizes[layer + 1]);
            let activation = if layer == 2 { Activation::IDENTITY } else { self.activation };
            let request = AffineRequest::new(x.len() / k, n, k, activation).jet(jet);
            y = reference::forward(&request, ForwardInputs::new(&x, w).b(Some(b))).unwrap().y;
            x = y.iter().map(|&y| y as f32).collect();
        }
        y
    }

    /// The value at a point, in f64 throughout.
    fn value(&self, point: &[f64]) -> f64 {
        let mut x = point.to_vec();
        for (layer, (w, b)) in self.parameters.iter().enumerate() {
            let act = |z| if layer == 2 { z } else { self.activation.value(z) };
            let row = |(w, b): (&[f32], &f32)| {
                act(f64::from(*b) + w.iter().zip(&x).map(|(w, x)| f64::from(*w) * x).sum::<f64>())
            };
            x = w.chunks_exact(x.len()).zip(b).map(row).collect();
        }
        x[0]
    }
}

/// ∂/∂s f(s) at 0 by central differences at three steps, extrapolated.
fn derivative(f: impl Fn(f64) -> f64) -> f64 {
    let at = |h: f64| (f(h) - f(-h)) / (2.0 * h);
    let [a, b, c] = [1.0, 2.0, 4.0].map(|part| at(0.02 / part));
    let [d, e] = [(4.0 * b - a) / 3.0, (4.0 * c - b) / 3.0];
    (16.0 * e - d) / 15.0
}

#[test]
fn the_rows_of_a_jet_are_the_derivatives_of_the_network() {
    let smooth: Vec<Activation> = defaults().filter(|a| a.kinks().is_empty() && !a.is_piecewise()).collect();
    assert!(smooth.len() >= 8, "{smooth:?}");
    let property = |(activation, six, coefficients, seed): (Activation, bool, [i8; 3], u64)| {
        let mut numbers = Numbers(seed);
        let inputs = 3;
        let jet = if six {
            let c = |i, j| f32::from(coefficients[(i + j) % 3]) / 32.0;
            Jet::six(std::array::from_fn(|i| std::array::from_fn(|j| c(i, j)))).unwrap()
        } else {
            Jet::two(coefficients.map(|c| f32::from(c) / 32.0)).unwrap()
        };
        let network = Network::new(activation, inputs, &mut numbers);
        let point = numbers.dyadic(inputs);
        let directions: Vec<Vec<f32>> = (0..jet.tangents()).map(|_| numbers.dyadic(inputs)).collect();
        let mut group = vec![point.clone()];
        group.extend(directions.clone());
        group.push(vec![0.0; inputs]);
        let rows = network.rows(group.concat(), Some(jet));
        let along = |steps: &[(usize, f64)]| {
            let moved = (0..inputs).map(|i| {
                f64::from(point[i]) + steps.iter().map(|&(d, h)| h * f64::from(directions[d][i])).sum::<f64>()
            });
            network.value(&moved.collect::<Vec<f64>>())
        };
        let close = |what: &str, got: f64, expected: f64, size: f64| {
            // f32 between the layers.
            prop_assert!((got - expected).abs() <= 3e-5 * (1.0 + size), "{what}: {got}, by differences {expected}");
            Ok(())
        };
        close("value", rows[0], along(&[]), rows[0].abs())?;
        let (mut operator, mut size) = (0.0, 0.0);
        for i in 0..jet.tangents() {
            close("tangent", rows[1 + i], derivative(|s| along(&[(i, s)])), rows[1 + i].abs())?;
            for j in 0..jet.tangents() {
                let second = derivative(|s| derivative(|t| along(&[(i, s), (j, t)])));
                operator += f64::from(jet.coefficient(i, j)) * second;
                size += (f64::from(jet.coefficient(i, j)) * second).abs();
            }
        }
        close("operator", rows[jet.members() - 1], operator, 10.0 * size)
    };
    let coefficients = prop::array::uniform3(-64i8..64);
    check(300, &(prop::sample::select(smooth), any::<bool>(), coefficients, any::<u64>()), property).unwrap();
}

#[test]
fn the_laplacian_of_a_plane_wave() {
    // u = tanh(w·x): Δu = |w|² tanh''.
    let (w, x) = ([0.75f32, -1.5], [0.25f32, 0.5]);
    let jet = Jet::laplacian(2).unwrap();
    let request = AffineRequest::new(4, 1, 2, Activation::TANH).bias(false).jet(jet);
    let group = [x[0], x[1], 1.0, 0.0, 0.0, 1.0, 0.0, 0.0];
    let y = reference::forward(&request, ForwardInputs::new(&group, &w)).unwrap().y;
    let t = f64::tanh(f64::from(w[0] * x[0] + w[1] * x[1]));
    let (first, second) = (1.0 - t * t, -2.0 * t * (1.0 - t * t));
    let [w0, w1] = w.map(f64::from);
    for (got, expected) in y.iter().zip([t, first * w0, first * w1, second * (w0 * w0 + w1 * w1)]) {
        assert!((got - expected).abs() < 1e-15, "{got}, expected {expected}");
    }
}

#[test]
fn what_jets_cannot_be_is_an_error() {
    let jet = Jet::laplacian(2).unwrap();
    let layer = AffineRequest::new(8, 3, 2, Activation::TANH).jet(jet);
    let message = |request: AffineRequest| request.resolve().map(|_| ()).unwrap_err().to_string();
    assert!(layer.resolve().is_ok());
    assert_eq!(message(layer.m(6)), "x: expected groups of 4 rows (value, 2 tangents, operator), got 6 rows");
    for (request, part) in [
        (layer.row_weight(true), "row weight"),
        (layer.activation(Activation::RELU), "would not see the network"),
        (layer.saved(elbow::Saved::Mask), "need z"),
        (layer.saved(elbow::Saved::Y), "need z"),
    ] {
        assert!(message(request).contains(part), "{}", message(request));
    }
}

#[test]
fn the_fast_implementation_refuses_jets() {
    let request = AffineRequest::new(4, 1, 2, Activation::TANH).bias(false).jet(Jet::laplacian(2).unwrap());
    let mut y = [0.0; 4];
    let outputs = elbow_cpu::ForwardOutputs { y: &mut y, saved: elbow_cpu::SavedOut::None };
    let error = elbow_cpu::forward(&request, ForwardInputs::new(&[0.5; 8], &[0.5; 2]), outputs).unwrap_err();
    assert_eq!(
        error.to_string(),
        "jets in elbow-cpu is not possible: only the GPU and elbow::cpu::reference compute them"
    );
    assert_eq!(y, [0.0; 4]);
}
