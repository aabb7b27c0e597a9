//! Real numbers through smooth activations and norms: both roads within the bounds of the f64 reference.

use elbow::{
    Activation, Norm, Saved, Want,
    cpu::{
        FrontInputs,
        reference::{self, BackwardInputs, ReturningInputs},
    },
    request::{AffineRequest, BackwardRequest, DoubleBackwardRequest, Front, Gradients, Returning, SecondGradients},
};

use elbow_cpu::ForwardOutputs;

use crate::{
    hosts,
    layer::{Layer, Written},
};

/// 2⁻²⁴.
const U: f64 = 1.0 / 16_777_216.0;

fn smooth() -> [Activation; 4] {
    [Activation::GELU_ERF, Activation::SILU, Activation::TANH, Activation::MISH]
}

/// Sums of at most 41 numbers of size 1 of numbers that themselves are off by a few u: 64 u of the sum of the absolute values of the terms, an
/// element's own size included.
fn within(case: &str, got: &Written, expected: &[(&str, &[f64], &[f64])]) {
    for (name, value, terms) in expected {
        let (_, got) = got.iter().find(|(other, _)| other == name).unwrap();
        assert_eq!(got.len(), value.len(), "{case}: {name}");
        for (i, (&got, (&value, &terms))) in got.iter().zip(value.iter().zip(*terms)).enumerate() {
            let bound = 64.0 * U * (terms.abs() + value.abs() + 1.0);
            assert!(
                (f64::from(got) - value).abs() <= bound,
                "{case}: {name}[{i}] is {got}, not {value} within {bound}"
            );
        }
    }
}

#[test]
fn real_layers_are_within_bounds_of_the_reference_on_both_roads() {
    for activation in smooth() {
        let request = AffineRequest::new(23, 19, 41, activation);
        let layer = Layer::new(request, false);
        let forward = reference::forward(&request, layer.inputs()).unwrap();
        let all = Gradients::default().x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite);
        let backward = BackwardRequest::new(request, all);
        let inputs = BackwardInputs::new(&layer.x, &layer.w, &layer.dy).b(Some(&layer.b));
        let gradients = reference::backward(&backward, inputs).unwrap();
        let there = Returning::default().x(true).w(true).b(true);
        let wants =
            SecondGradients::default().dy(Want::Overwrite).x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite);
        let second = DoubleBackwardRequest::new(request, there, wants);
        let [ddx, ddw]: [Vec<f32>; 2] = [&layer.x, &layer.w].map(|v| v.iter().rev().copied().collect());
        let back = ReturningInputs::default().ddx(Some(&ddx)).ddw(Some(&ddw)).ddb(Some(&layer.b));
        let seconds = reference::double_backward(&second, inputs, back).unwrap();
        for host in hosts() {
            let case = format!("{activation}, {host}");
            let (got, _) = layer.forward(host, Saved::Z).unwrap();
            within(&case, &got, &[("y", &forward.y, &forward.z_terms), ("z", &forward.z, &forward.z_terms)]);
            let got = layer.backward(host, &backward, Saved::Z).unwrap();
            let [dx, dw, db] = [&gradients.dx, &gradients.dw, &gradients.db];
            let expected = [("dx", dx), ("dw", dw), ("db", db)].map(|(name, g)| (name, &g.value[..], &g.terms[..]));
            within(&case, &got, &expected);
            let got = layer.double_backward(host, &second, Saved::Z).unwrap();
            let expected = [("ddy", &seconds.ddy), ("dx2", &seconds.dx2), ("dw2", &seconds.dw2), ("db2", &seconds.db2)];
            within(&case, &got, &expected.map(|(name, g)| (name, &g.value[..], &g.terms[..])));
        }
    }
}

#[test]
fn norms_in_front_agree_with_the_reference_on_both_roads() {
    for norm in [Norm::batch(), Norm::layer(), Norm::rms()] {
        let front = Front::new(Activation::SILU).norm(norm).scale(true).shift(true);
        let request = AffineRequest::new(17, 6, 12, Activation::TANH).front(front);
        let layer = Layer::new(request, false);
        let expected = reference::forward(&request, layer.inputs()).unwrap();
        let all =
            Gradients::default().x(Want::Overwrite).w(Want::Overwrite).scale(Want::Overwrite).shift(Want::Overwrite);
        let backward = BackwardRequest::new(request, all);
        let inputs = BackwardInputs::new(&layer.x, &layer.w, &layer.dy).b(Some(&layer.b)).front(layer.inputs().front);
        let gradients = reference::backward(&backward, inputs).unwrap();
        for host in hosts() {
            let case = format!("{norm:?}, {host}");
            let (got, _) = layer.forward(host, Saved::Z).unwrap();
            let ones = vec![1.0; expected.moments.len()];
            within(&case, &got, &[("y", &expected.y, &expected.z_terms), ("moments", &expected.moments, &ones)]);
            let got = layer.backward(host, &backward, Saved::Z).unwrap();
            let [dx, dw, dscale, dshift] = [&gradients.dx, &gradients.dw, &gradients.dscale, &gradients.dshift];
            let expected = [("dx", dx), ("dw", dw), ("dscale", dscale), ("dshift", dshift)];
            within(&case, &got, &expected.map(|(name, g)| (name, &g.value[..], &g.terms[..])));
        }
    }
}

#[test]
fn running_statistics_are_moved_and_used_alike_on_both_roads() {
    let front = |norm| Front::new(Activation::IDENTITY).norm(norm).running(true);
    let request = |norm| AffineRequest::new(17, 6, 12, Activation::TANH).front(front(norm));
    let layer = Layer::new(request(Norm::batch()), false);
    let start: Vec<f32> = (0..24).map(|i| 0.5 + i as f32 / 16.0).collect();
    let expected = |norm: Norm| {
        let given = layer.inputs().front(FrontInputs::default().running_moments(Some(&start)));
        reference::forward(&request(norm), given).unwrap()
    };
    let (moved, used) = (expected(Norm::batch()), expected(Norm::running()));
    for host in hosts() {
        let (mut y, mut running) = (vec![f32::NAN; 17 * 6], start.clone());
        let outputs = ForwardOutputs { y: &mut y, running_moments: Some(&mut running), ..Default::default() };
        host.forward(&request(Norm::batch()), layer.inputs(), outputs).unwrap();
        let got = vec![("y", y), ("running", running)];
        let ones = vec![1.0; 24];
        let expected = [("y", &moved.y[..], &moved.z_terms[..]), ("running", &moved.running_moments, &ones)];
        within(&format!("moved, {host}"), &got, &expected);

        let mut y = vec![f32::NAN; 17 * 6];
        let given = layer.inputs().front(FrontInputs::default().running_moments(Some(&start)));
        host.forward(&request(Norm::running()), given, ForwardOutputs { y: &mut y, ..Default::default() }).unwrap();
        within(&format!("used, {host}"), &vec![("y", y)], &[("y", &used.y, &used.z_terms)]);
    }
}
