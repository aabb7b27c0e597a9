//! Jets against what they stand for: the derivatives of a network's value along directions in its input, by differences of the value alone.

use elbow::{
    Activation, AlphaSource, Jet, ResidualAt, Saved, Want, WeightLayout,
    cpu::{ForwardInputs, reference},
    network::Layers,
    request::{AffineRequest, BackwardRequest, Below, Gradients},
};
use elbow_cpu::SavedIn;
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

/// Gradients of a loss of all rows of two points, by differences of the rows: of every input and parameter, b moving values and α all derivatives.
#[test]
fn the_gradients_of_a_network_of_jets_are_differences_of_its_rows() {
    let smooth: Vec<Activation> = defaults().filter(|a| a.kinks().is_empty() && !a.is_piecewise()).collect();
    let property = |(activation, six, coefficients, alpha, seed): (Activation, bool, [i8; 3], usize, u64)| {
        let mut numbers = Numbers(seed);
        let c = coefficients.map(|c| f32::from(c) / 32.0);
        let jet = match six {
            true => Jet::six(std::array::from_fn(|i| std::array::from_fn(|j| c[(i + j) % 3]))).unwrap(),
            false => Jet::two(c).unwrap(),
        };
        let sources = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel];
        let alpha = if activation.has_alpha() { sources[alpha] } else { AlphaSource::Constant };
        let layers = Layers::new(&[2, 3, 3, 2], activation).unwrap().alpha(alpha).output(Activation::TANH).jet(jet);
        let rows = 2 * jet.members();
        let mut parameters = vec![0.0; layers.elements()];
        let mut there = Vec::new();
        for l in 0..layers.count {
            let (place, [n, k]) = (layers.place(l), layers.shape(l));
            for (at, length) in [(place.w, n * k), (place.b, n)] {
                parameters[at..at + length].copy_from_slice(&numbers.dyadic(length));
                there.extend(at..at + length);
            }
            if let Some(at) = place.alpha {
                let length = if alpha == AlphaSource::PerLayer { 1 } else { n };
                (0..length).for_each(|i| parameters[at + i] = 0.75 + 0.125 * i as f32);
                there.extend(at..at + length);
            }
        }
        let (x, dy) = (numbers.dyadic(rows * 2), numbers.dyadic(rows * 2));
        let loss = |x: &[f32], parameters: &[f32]| -> f64 {
            let y = reference::network(&layers, rows, x, parameters).unwrap();
            y.iter().zip(&dy).map(|(y, &dy)| y * f64::from(dy)).sum()
        };
        let gradients = reference::network_backward(&layers, rows, &x, &parameters, &dy).unwrap();
        // Steps of powers of two, that f32 adds without rounding.
        let differences = |from: &[f32], at: usize, f: &dyn Fn(&[f32]) -> f64| {
            let moved = |h: f32| {
                let mut moved = from.to_vec();
                moved[at] += h;
                f(&moved)
            };
            let of = |h: f32| (moved(h) - moved(-h)) / (2.0 * f64::from(h));
            let [a, b, c] = [1.0, 2.0, 4.0].map(|part| of(1.0 / 128.0 / part));
            let [d, e] = [(4.0 * b - a) / 3.0, (4.0 * c - b) / 3.0];
            (16.0 * e - d) / 15.0
        };
        let close = |what: &str, at: usize, got: f64, terms: f64, expected: f64| {
            let close = (got - expected).abs() <= 1e-5 * (1.0 + terms);
            prop_assert!(close, "{activation} {alpha:?} {jet}: {what}[{at}] is {got}, by differences {expected}");
            Ok(())
        };
        for at in 0..x.len() {
            let expected = differences(&x, at, &|x| loss(x, &parameters));
            close("dx", at, gradients.dx.value[at], gradients.dx.terms[at], expected)?;
        }
        for at in there {
            let expected = differences(&parameters, at, &|parameters| loss(&x, parameters));
            close("gradient", at, gradients.parameters.value[at], gradients.parameters.terms[at], expected)?;
        }
        Ok(())
    };
    let choices =
        (prop::sample::select(smooth), any::<bool>(), prop::array::uniform3(-64i8..64), 0..3usize, any::<u64>());
    check(200, &choices, property).unwrap();
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

/// The fast implementation beside the reference, on every way through it.
#[test]
fn the_fast_implementation_agrees_with_the_reference() {
    let jets = ["1,-0.5,2", "0,0,1", "0,0,0", "1,0,0,0,0,0.5,1,0,0,0,0,1,0,0,0,2,0,0,1,0,-1"];
    let property = |(activation, which, (points, n, k), saves, before, chain, seed): Case| {
        let jet: Jet = jets[which].parse().unwrap();
        let jet = jet.even_if_flat();
        let mut numbers = Numbers(seed);
        let m = points * jet.members();
        let alpha =
            if activation.has_alpha() && seed % 3 > 0 { AlphaSource::PerChannel } else { AlphaSource::Constant };
        let residual = if before { ResidualAt::BeforeActivation } else { ResidualAt::AfterActivation };
        let layer = AffineRequest::new(m, n, k, activation).jet(jet).alpha(alpha).residual(residual);
        let layer = if seed % 2 == 0 { layer.layout(WeightLayout::InOut) } else { layer };
        let [x, w, b, r, dy, z_below] = [m * k, n * k, n, m * n, m * n, m * k].map(|length| numbers.dyadic(length));
        let alphas = vec![activation.params()[0]; n];
        let alphas = (alpha != AlphaSource::Constant).then_some(&alphas[..]);
        let inputs = ForwardInputs::new(&x, &w).b(Some(&b)).alpha(alphas).residual(Some(&r));
        let expected = reference::forward(&layer, inputs).unwrap();
        let (mut y, mut z) = (vec![f32::NAN; m * n], vec![f32::NAN; m * n]);
        let saved = if saves { elbow_cpu::SavedOut::Z(&mut z) } else { elbow_cpu::SavedOut::None };
        let forward = layer.saved(if saves { Saved::Z } else { Saved::None });
        elbow_cpu::forward(&forward, inputs, elbow_cpu::ForwardOutputs { y: &mut y, saved, ..Default::default() })
            .unwrap();
        let close = |what: &str, got: &[f32], expected: &[f64], terms: &[f64]| {
            let size = expected.iter().chain(terms).fold(1.0, |size: f64, v| size.max(v.abs()));
            for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                let off = (f64::from(*got) - expected).abs();
                prop_assert!(off <= 2e-5 * size, "{what}[{i}] is {got}, the reference has {expected}, size {size}");
            }
            Ok(())
        };
        close("y", &y, &expected.y, &[])?;
        if saves {
            close("z", &z, &expected.z, &[])?;
        }
        let want = Want::Overwrite;
        let dalpha = if alpha == AlphaSource::Constant { Want::No } else { want };
        let gradients = Gradients::default().x(want).w(want).b(want).alpha(dalpha).residual(want);
        let below = chain.then(|| Below::new(activation, Saved::Z).jet(jet).db(want));
        let request = BackwardRequest::new(forward, gradients).below(below);
        let z_below = chain.then_some(&z_below[..]);
        let inputs =
            reference::BackwardInputs::new(&x, &w, &dy).b(Some(&b)).alpha(alphas).residual(Some(&r)).z_below(z_below);
        let judge = reference::backward(&request, inputs).unwrap();
        let [mut dx, mut dw, mut db, mut da, mut dr, mut db_below] =
            [m * k, n * k, n, n, m * n, k].map(|length| vec![f32::NAN; length]);
        let inputs = elbow_cpu::BackwardInputs {
            x: &x,
            w: &w,
            b: Some(&b),
            alpha: alphas,
            residual: Some(&r),
            dy: &dy,
            saved: if saves { SavedIn::Z(&z) } else { SavedIn::None },
            saved_below: z_below.map_or(SavedIn::None, SavedIn::Z),
            ..Default::default()
        };
        let outputs = elbow_cpu::BackwardOutputs {
            dx: Some(&mut dx),
            dw: Some(&mut dw),
            db: Some(&mut db),
            dalpha: dalpha.wanted().then_some(&mut da[..]),
            dresidual: Some(&mut dr),
            db_below: chain.then_some(&mut db_below[..]),
            ..Default::default()
        };
        elbow_cpu::backward(&request, inputs, outputs, &mut elbow_cpu::Workspace::new()).unwrap();
        let of_dx = if chain { &judge.dz_below } else { &judge.dx };
        for (what, got, judge, wanted) in [
            ("dx", &dx, of_dx, true),
            ("dw", &dw, &judge.dw, true),
            ("db", &db, &judge.db, true),
            ("dalpha", &da, &judge.dalpha, dalpha.wanted()),
            ("dresidual", &dr, &judge.dresidual, true),
            ("db_below", &db_below, &judge.db_below, chain),
        ] {
            if wanted {
                close(what, got, &judge.value, &judge.terms)?;
            }
        }
        Ok(())
    };
    let sizes = (1..6usize, prop_oneof![3 => 1..40usize, 1 => 250..600usize], 1..9usize);
    let choices = (
        prop::sample::select(defaults().collect::<Vec<_>>()),
        0..jets.len(),
        sizes,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<u64>(),
    );
    check(400, &choices, property).unwrap();
}

type Case = (Activation, usize, (usize, usize, usize), bool, bool, bool, u64);

#[test]
fn the_fast_implementation_needs_z() {
    let layer = AffineRequest::new(4, 1, 2, Activation::TANH).bias(false).jet(Jet::laplacian(2).unwrap());
    let request = BackwardRequest::new(layer.saved(Saved::Z), Gradients::default().x(Want::Overwrite));
    let (y, mut dx) = ([0.5; 4], [0.0; 8]);
    let inputs = elbow_cpu::BackwardInputs { w: &[0.5; 2], dy: &[1.0; 4], saved: SavedIn::Y(&y), ..Default::default() };
    let outputs = elbow_cpu::BackwardOutputs { dx: Some(&mut dx), ..Default::default() };
    let error = elbow_cpu::backward(&request, inputs, outputs, &mut elbow_cpu::Workspace::new()).unwrap_err();
    assert!(error.to_string().contains("need z") && dx == [0.0; 8], "{error}");
}
