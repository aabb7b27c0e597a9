//! The elementwise operators: shapes, α kinds, accumulation, in place, long tensors; against the reference.

use elbow::{
    Activation, Error, Float, Operand, View, activation::Quantity, affine::Gradient, cpu::reference,
    elementwise::Forward,
};

use crate::common::{Numbers, gpu, ulp_of};

fn close(name: &str, got: &[f32], expected: &[f64], terms: &[f64], before: f64) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        let expected = expected + before;
        let bound = 16.0 * ulp_of(expected.abs().max(terms.get(i).copied().unwrap_or(0.0)).max(before));
        assert!((f64::from(got) - expected).abs() <= bound, "{name}[{i}]: {got}, expected {expected} ± {bound:e}");
    }
}

fn one(spec: &str, rows: usize, channels: usize, alpha_len: usize, accumulate: bool, numbers: &mut Numbers) {
    let gpu = gpu();
    let activation: Activation = spec.parse().unwrap();
    let total = rows * channels;
    let shape = [rows, channels];
    let mut normal = |n: usize| -> Vec<f32> { (0..n).map(|_| numbers.normal() * 2.0).collect() };
    let (x, dy, ddx) = (normal(total), normal(total), normal(total));
    let alpha: Vec<f32> = normal(alpha_len).iter().map(|a| a.abs() + 0.3).collect();
    let request = elbow::cpu::Elementwise::new(rows, channels, activation).alpha(match alpha_len {
        0 => elbow::AlphaSource::Constant,
        1 => elbow::AlphaSource::PerLayer,
        _ => elbow::AlphaSource::PerChannel,
    });
    let alpha_given = (alpha_len > 0).then_some(&alpha[..]);
    let forward = reference::elementwise::forward(&request, &x, alpha_given).unwrap();
    let backward = reference::elementwise::backward(&request, &x, alpha_given, &dy).unwrap();
    let double = reference::elementwise::double_backward(&request, &x, alpha_given, &dy, &ddx).unwrap();

    let before = if accumulate { 3.0 } else { f32::NAN };
    // Near a root of a slope the error is that of its terms.
    let scale = |quantity, factors: [&[f32]; 2]| -> Vec<f64> {
        let terms = |i: usize| request.activation.terms(quantity, f64::from(x[i]));
        (0..total).map(|i| terms(i) * f64::from(factors[0][i] * factors[1][i]).abs()).collect()
    };
    let ones = vec![1.0; total];
    let dx_terms = scale(Quantity::Slope, [&dy, &ones]);
    let ddy_terms = scale(Quantity::Slope, [&ddx, &ones]);
    let dx2_terms = scale(Quantity::SecondDerivative, [&ddx, &dy]);
    let mut dalpha2_terms = vec![0.0; alpha_len];
    for (i, terms) in scale(Quantity::MixedDerivative, [&ddx, &dy]).into_iter().enumerate() {
        if alpha_len > 0 {
            dalpha2_terms[i % channels % alpha_len] += terms;
        }
    }
    let [x, dy, ddx] = [&x, &dy, &ddx].map(|v| gpu.upload(v, &shape).unwrap());
    let alpha = gpu.upload(&alpha, &[alpha_len]).unwrap();
    let alpha: Option<View<'_>> = (alpha_len > 0).then(|| alpha.view());
    let out: Vec<_> = (0..4).map(|_| gpu.upload(&vec![before; total], &shape).unwrap()).collect();
    let sums: Vec<_> = (0..2).map(|_| gpu.upload(&vec![before; alpha_len], &[alpha_len]).unwrap()).collect();
    let into = |t| if accumulate { Gradient::accumulate(t) } else { Gradient::overwrite(t) };
    let sum = |i: usize| (alpha_len > 0).then(|| into(&sums[i]));
    gpu.submit_pass(|pass| {
        let forward = Forward::new(activation, &x, &out[0]).alpha(alpha);
        forward.record(gpu, &mut *pass)?;
        let backward = forward.backward(&dy).dx(into(&out[1])).dalpha(sum(0));
        backward.record(gpu, &mut *pass)?;
        let double = backward.backward(&ddx).ddy(into(&out[2])).dx2(into(&out[3])).dalpha2(sum(1));
        double.record(gpu, &mut *pass)
    })
    .unwrap();
    let get = |t| gpu.download(t).unwrap();
    let before = if accumulate { 3.0 } else { 0.0 };
    close("y", &get(&out[0]), &forward, &[], 0.0);
    close("dx", &get(&out[1]), &backward.dx, &dx_terms, before);
    close("ddy", &get(&out[2]), &double.ddy, &ddy_terms, before);
    close("dx2", &get(&out[3]), &double.dx2, &dx2_terms, before);
    if alpha_len > 0 {
        close("dalpha", &get(&sums[0]), &backward.dalpha.value, &backward.dalpha.terms, before);
        close("dalpha2", &get(&sums[1]), &double.dalpha2.value, &dalpha2_terms, before);
    }
}

#[test]
fn every_kind_of_alpha_on_odd_shapes() {
    let mut numbers = Numbers::new(3);
    for spec in ["leaky_relu", "elu", "celu", "swish", "softplus", "clipped_relu"] {
        for (rows, channels) in [(1, 1), (3, 5), (17, 64), (130, 33), (1, 4096), (4096, 1)] {
            for alpha in [0, 1, channels] {
                one(spec, rows, channels, alpha, (rows + channels) % 2 == 0, &mut numbers);
            }
        }
    }
    for spec in ["gelu", "mish", "tanh", "relu"] {
        one(spec, 37, 91, 0, false, &mut numbers);
    }
}

#[test]
fn in_place() {
    let gpu = gpu();
    let values: Vec<f32> = (-50..51).map(|i| i as f32 / 8.0).collect();
    let slopes: Vec<f32> = values.iter().map(|&v| Activation::SILU.slope(f64::from(v)) as f32).collect();
    let x = gpu.upload(&values, &[values.len()]).unwrap();
    let dy = gpu.upload(&vec![1.0; values.len()], &[values.len()]).unwrap();
    let elsewhere = Forward::new(Activation::SILU, &x, View::absent(x.shape(), Float::F32));
    gpu.submit(|e| elsewhere.backward(&dy).dx(&dy).record(gpu, e)).unwrap();
    let forward = Forward::new(Activation::SILU, &x, &x);
    gpu.submit(|e| forward.record(gpu, e)).unwrap();
    for (i, (y, dx)) in gpu.download(&x).unwrap().iter().zip(gpu.download(&dy).unwrap()).enumerate() {
        let exact = Activation::SILU.value(f64::from(values[i]));
        assert!((f64::from(*y) - exact).abs() <= 6.0 * ulp_of(exact), "y[{i}]");
        assert!((dx - slopes[i]).abs() <= 8e-7, "dx[{i}]: {dx}, expected {}", slopes[i]);
    }
    // The sum would start from dy itself.
    let accumulated = elsewhere.backward(&dy).dx(Gradient::accumulate(&dy));
    assert!(matches!(accumulated.plan(gpu), Err(Error::Unsupported { .. })));
    // Where y was written over x no slope is left.
    let lost = forward.backward(&dy).dx(&dy).plan(gpu);
    assert!(matches!(lost, Err(Error::Operand { operand: Operand::X, .. })), "{lost:?}");
    let lost = forward.backward(&dy).backward(&dy).ddy(&dy).plan(gpu);
    assert!(matches!(lost, Err(Error::Operand { operand: Operand::X, .. })), "{lost:?}");
}

/// More than 65,535 workgroups in one dispatch: folded, not refused and not cut short.
#[test]
fn more_workgroups_than_one_dimension_holds() {
    let gpu = gpu();
    let n = 65_536 * 64 + 3;
    let x: Vec<f32> = (0..n).map(|i| (i % 7) as f32 - 3.0).collect();
    let alpha: Vec<f32> = (0..n).map(|i| (i % 5) as f32 * 0.25).collect();
    let shape = [1, n];
    let (x_, alpha_) = (gpu.upload(&x, &shape).unwrap(), gpu.upload(&alpha, &[n]).unwrap());
    let dx = gpu.zeros(&shape).unwrap();
    let dalpha = gpu.zeros(&[n]).unwrap();
    let y = View::absent(&shape, Float::F32);
    let forward = Forward::new(Activation::leaky_relu(0.0).unwrap(), &x_, y).alpha(alpha_.view());
    let call = forward.backward(&x_).dx(&dx).dalpha(&dalpha);
    let tiles: u32 = call.plan(gpu).unwrap().dispatches.iter().map(|d| d.params.tiles - d.params.first).sum();
    assert!(tiles > 65_535);
    gpu.submit(|e| call.record(gpu, e)).unwrap();
    let (dx, dalpha) = (gpu.download(&dx).unwrap(), gpu.download(&dalpha).unwrap());
    for i in 0..n {
        let slope = if x[i] > 0.0 { 1.0 } else { alpha[i] };
        assert_eq!(dx[i], x[i] * slope, "dx[{i}]");
        assert_eq!(dalpha[i], if x[i] > 0.0 { 0.0 } else { x[i] * x[i] }, "dalpha[{i}]");
    }
}

#[test]
fn empty_and_scalar_tensors() {
    let gpu = gpu();
    for shape in [vec![0], vec![3, 0], vec![0, 4]] {
        let x = gpu.zeros(&shape).unwrap();
        let y = gpu.zeros(&shape).unwrap();
        gpu.submit(|e| Forward::new(Activation::SILU, &x, &y).record(gpu, e)).unwrap();
    }
    let x = gpu.upload(&[2.0], &[]).unwrap();
    let y = gpu.zeros(&[]).unwrap();
    gpu.submit(|e| Forward::new(Activation::RELU, &x, &y).record(gpu, e)).unwrap();
    assert_eq!(gpu.download(&y).unwrap(), [2.0]);
    // A sum over no rows is zero, not what was there.
    let (x, alpha) = (gpu.zeros(&[0, 3]).unwrap(), gpu.upload(&[1.0; 3], &[3]).unwrap());
    let dalpha = gpu.upload(&[f32::NAN; 3], &[3]).unwrap();
    let y = gpu.zeros(&[0, 3]).unwrap();
    let forward = Forward::new("prelu".parse().unwrap(), &x, &y).alpha(alpha.view());
    let call = forward.backward(&x).dalpha(&dalpha);
    gpu.submit(|e| call.record(gpu, e)).unwrap();
    assert_eq!(gpu.download(&dalpha).unwrap(), [0.0; 3]);
}

/// y may be any quantity of the activation, with an α of its own or one for each channel; there is no backward of one, and no derivative by
/// an α that is not there.
#[test]
fn any_quantity_for_its_value() {
    let gpu = gpu();
    let (x, alphas) = ([-2.0f32, -0.75, 0.5, 1.5, -0.25, 3.0], [0.5f32, 1.0, 2.0]);
    let (tx, talpha) = (gpu.upload(&x, &[2, 3]).unwrap(), gpu.upload(&alphas, &[3]).unwrap());
    let y = gpu.zeros(&[2, 3]).unwrap();
    for text in ["swish(1.5)", "softplus(1.5)", "celu(1.5)", "squareplus(1.5)", "prelu(1.5)"] {
        let activation: Activation = text.parse().unwrap();
        for (alpha, quantity) in [None, Some(talpha.view())].into_iter().flat_map(|a| Quantity::ALL.map(|q| (a, q))) {
            let forward = Forward::new(activation, &tx, &y).alpha(alpha).quantity(quantity);
            gpu.submit(|e| forward.record(gpu, e)).unwrap();
            for (i, got) in gpu.download(&y).unwrap().into_iter().enumerate() {
                let at = if alpha.is_some() { activation.with_alpha(alphas[i % 3]) } else { activation };
                let z = f64::from(x[i]);
                let (expected, terms) = (at.evaluate(quantity, z), at.terms(quantity, z));
                let allowed = at.row().tolerance(quantity) * ulp_of(terms.max(expected.abs()));
                assert!(
                    (f64::from(got) - expected).abs() <= allowed,
                    "{at} {quantity:?} at {z}: {got}, not {expected}"
                );
            }
            let backward = forward.backward(&tx).dx(&y);
            let recorded = gpu.submit(|e| backward.record(gpu, e));
            let refused = matches!(recorded, Err(Error::Unsupported { .. }));
            assert_eq!(refused, quantity != Quantity::Value, "{activation} {quantity:?}: {recorded:?}");
        }
    }
    for quantity in Quantity::ALL {
        let forward = Forward::new(Activation::TANH, &tx, &y).quantity(quantity);
        let recorded = gpu.submit(|e| forward.record(gpu, e));
        assert_eq!(recorded.is_err(), quantity.is_by_alpha(), "{quantity:?}: {recorded:?}");
    }
}
