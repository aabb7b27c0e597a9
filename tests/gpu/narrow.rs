//! f16 and bf16: the conversions bit for bit, packed and native; one layer of many types; what is refused; and training in
//! mixed precision. (That every kernel is right in every type is what `exact` and `real` draw at random.)

use elbow::{
    Activation, Error, Float, Gpu, Mlp, Operand, Saved, Tensor, View, Want,
    affine::Forward,
    cpu::{
        ForwardInputs,
        reference::{self, BackwardInputs},
    },
    elementwise,
    mlp::{Architecture, Step},
    request::{AffineRequest, BackwardRequest, Gradients},
    train::LossScale,
};

use crate::common::{Numbers, gpu, options};

const NARROW: [Float; 2] = [Float::F16, Float::Bf16];

/// The device under test, and one without features: where the first knows f16, the second packs it.
fn both() -> [Gpu; 2] {
    [gpu().clone(), Gpu::with_options(options().default_limits(true)).unwrap()]
}

/// y = x, from one type to another.
fn converted(gpu: &Gpu, x: &Tensor, dtype: Float) -> Tensor {
    let y = gpu.zeros_of(dtype, x.shape()).unwrap();
    let call = elementwise::Forward::new(Activation::IDENTITY, x, &y);
    gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
    y
}

fn bits(values: &[f32]) -> Vec<u32> {
    // NaN is NaN: its payload is nobody's promise.
    values.iter().map(|v| if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() }).collect()
}

/// Every number of 16 bits is read as what it is.
#[test]
fn every_narrow_number_is_read() {
    let words: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for gpu in both() {
        for dtype in NARROW {
            // An odd number of elements too: one by one, not in fours.
            for count in [65536, 65535] {
                let expected = dtype.decode(&words, count);
                let x = gpu.upload_as(dtype, &expected, &[count]).unwrap();
                let got = gpu.download(&converted(&gpu, &x, Float::F32)).unwrap();
                let tiny = f64::from(f32::MIN_POSITIVE);
                for (i, (got, expected)) in bits(&got).into_iter().zip(bits(&expected)).enumerate() {
                    // A device may flush subnormals of f32, which are numbers of bf16.
                    let flushed = f64::from(f32::from_bits(expected)).abs() < tiny && got << 1 == 0;
                    assert!(got == expected || flushed, "{dtype} {i:04x}: {got:08x}, expected {expected:08x}");
                }
            }
        }
    }
}

/// Every number of 16 bits, the ties between neighbours and what lies just beside them, overflow, infinities and NaN are
/// rounded to the nearest, ties to even.
#[test]
fn every_rounding_is_to_the_nearest() {
    let words: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for dtype in NARROW {
        let mut values = Vec::new();
        let numbers = dtype.decode(&words, 65536);
        for pair in numbers.windows(2).filter(|pair| pair.iter().all(|v| v.is_finite())) {
            let middle = ((f64::from(pair[0]) + f64::from(pair[1])) / 2.0) as f32;
            values.extend([pair[0], middle, middle.next_up(), middle.next_down()]);
        }
        values.extend([65519.996, 65520.0, 65536.0, 1e30, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
        // What a device may flush is not asked.
        values.retain(|v| v.is_nan() || v.abs() >= f32::MIN_POSITIVE);
        values.truncate(values.len() / 4 * 4);
        let expected: Vec<f32> = values.iter().map(|&v| dtype.round(v)).collect();
        for gpu in both() {
            for count in [values.len(), values.len() - 1] {
                let x = gpu.upload(&values[..count], &[count]).unwrap();
                let got = gpu.download(&converted(&gpu, &x, dtype)).unwrap();
                let found = bits(&got).into_iter().zip(bits(&expected)).position(|(a, b)| a != b);
                if let Some(i) = found {
                    panic!("{dtype}({:e}) is {:e}, expected {:e}; {gpu}", values[i], got[i], expected[i]);
                }
            }
        }
    }
}

/// Each operand in a type of its own.
#[test]
fn types_mix() {
    let gpu = gpu();
    let mut numbers = Numbers::new(3);
    let (m, n, k) = (9, 13, 22);
    let mut integers = |len: usize| -> Vec<f32> { (0..len).map(|_| numbers.integer(4)).collect() };
    let (x, w, b) = (integers(m * k), integers(n * k), integers(n));
    let tx = gpu.upload_as(Float::F16, &x, &[m, k]).unwrap();
    let tw = gpu.upload_as(Float::Bf16, &w, &[n, k]).unwrap();
    let tb = gpu.upload(&b, &[n]).unwrap();
    let y = gpu.zeros(&[m, n]).unwrap();
    let z = gpu.zeros_of(Float::F16, &[m, n]).unwrap();
    let dx = gpu.zeros_of(Float::Bf16, &[m, k]).unwrap();
    let dw = gpu.zeros(&[n, k]).unwrap();
    let dy = integers(m * n);
    let tdy = gpu.upload_as(Float::Bf16, &dy, &[m, n]).unwrap();
    gpu.submit_pass(|pass| {
        let forward = Forward::new(Activation::RELU, &tx, &tw, &y).b(tb.view()).saved(Saved::Z).save_to(z.view());
        forward.record(gpu, &mut *pass)?;
        forward.backward(&tdy).dx(&dx).dw(&dw).record(gpu, &mut *pass)
    })
    .unwrap();
    let at = |r: usize, c: usize| (0..k).map(|i| x[r * k + i] * w[c * k + i]).sum::<f32>() + b[c];
    let (y, z, dx, dw) = (gpu.download(&y), gpu.download(&z), gpu.download(&dx), gpu.download(&dw));
    let (y, z, dx, dw) = (y.unwrap(), z.unwrap(), dx.unwrap(), dw.unwrap());
    for i in 0..m * n {
        let exact = at(i / n, i % n);
        assert_eq!((y[i], z[i]), (exact.max(0.0), Float::F16.round(exact)));
    }
    let dz: Vec<f32> = (0..m * n).map(|i| if at(i / n, i % n) > 0.0 { dy[i] } else { 0.0 }).collect();
    for i in 0..m * k {
        let exact: f32 = (0..n).map(|c| dz[i / k * n + c] * w[c * k + i % k]).sum();
        assert_eq!(dx[i], Float::Bf16.round(exact));
    }
    for i in 0..n * k {
        let exact: f32 = (0..m).map(|r| dz[r * n + i / k] * x[r * k + i % k]).sum();
        assert_eq!(dw[i], exact);
    }
}

/// Packed and native f16 are the same numbers: the same bits come out.
#[test]
fn native_and_packed_give_the_same_bits() {
    let results = both().map(|gpu| {
        let mut numbers = Numbers::new(4);
        let mut normal = |len: usize| -> Vec<f32> { (0..len).map(|_| numbers.normal()).collect() };
        let x = gpu.upload_as(Float::F16, &normal(20 * 36), &[20, 36]).unwrap();
        let w = gpu.upload_as(Float::F16, &normal(28 * 36), &[28, 36]).unwrap();
        let y = gpu.zeros_of(Float::F16, &[20, 28]).unwrap();
        // The tile that is right everywhere: the other device may have subgroups.
        let pin = elbow::plan::Pin::default().tile(0);
        let call = Forward::new("gelu".parse().unwrap(), &x, &w, &y).pin(pin);
        gpu.submit(|encoder| call.record(&gpu, encoder)).unwrap();
        let mut bytes = vec![0u8; 20 * 28 * 2];
        gpu.download_into(&y, &mut bytes).unwrap();
        bytes
    });
    assert_eq!(results[0], results[1]);
}

#[test]
fn what_must_be_f32_or_words_is_refused_by_name() {
    let gpu = gpu();
    let (x, w) = (gpu.zeros(&[4, 8]).unwrap(), gpu.zeros(&[6, 8]).unwrap());
    let (y, dy) = (gpu.zeros(&[4, 6]).unwrap(), gpu.zeros(&[4, 6]).unwrap());
    let narrow = |shape: &[usize]| gpu.zeros_of(Float::F16, shape).unwrap();
    let (alpha, dw, mask, half) = (narrow(&[1]), narrow(&[6, 8]), narrow(&[4, 1]), narrow(&[4, 6]));
    let refused = |result: elbow::Result<()>, operand: Operand| match result {
        Err(Error::Operand { operand: named, expected, got }) => {
            assert_eq!((named, got.as_str()), (operand, "f16"), "{expected}");
        }
        other => panic!("{operand}: {other:?}"),
    };
    let record = |call: Forward<'_>| gpu.submit(|encoder| call.record(gpu, encoder));
    let forward = Forward::new("prelu".parse().unwrap(), &x, &w, &y);
    refused(record(forward.alpha(alpha.view())), Operand::Alpha);
    let masked = forward.saved(Saved::Mask).save_to(mask.view());
    refused(record(masked), Operand::Saved);
    let backward = Forward::new(Activation::IDENTITY, &x, &w, &y).backward(&dy).dw(&dw);
    refused(gpu.submit(|encoder| backward.record(gpu, encoder)), Operand::Dw);
    let state = narrow(&[4]);
    refused(gpu.submit(|e| LossScale::new(&x, &state).record(gpu, e)), Operand::LossScale);

    // The same bytes as another type are not the same operand.
    let other = View::new(y.buffer(), 0, &[4, 6], Float::F16);
    let aliased = record(forward.residual(other));
    assert!(matches!(aliased, Err(Error::Alias { .. })), "{aliased:?}");
    // A number of two bytes may begin in the middle of a word (tests/gpu/strided.rs), and not in the middle of another.
    let odd = record(forward.y(View::new(half.buffer(), 3, &[4, 5], Float::F16)).w(View::new(
        w.buffer(),
        0,
        &[5, 8],
        Float::F32,
    )));
    assert!(matches!(odd, Err(Error::Misaligned { operand: Operand::Y, alignment: 2, .. })), "{odd:?}");
    let long = record(forward.y(View::new(half.buffer(), 44, &[4, 6], Float::F16)));
    assert!(
        matches!(&long, Err(Error::Buffer { operand: Operand::Y, expected, .. }) if expected.contains("f16")),
        "{long:?}"
    );
}

/// Two arms of a spiral: a problem that a linear classifier gets half right.
fn spirals(numbers: &mut Numbers, points: usize) -> (Vec<f32>, Vec<u32>) {
    let mut x = Vec::new();
    let mut labels = Vec::new();
    for i in 0..points {
        let arm = (i % 2) as u32;
        let t = 0.5 + 3.0 * i as f32 / points as f32;
        let angle = 1.5 * t + arm as f32 * std::f32::consts::PI;
        x.extend([t * angle.cos() + 0.05 * numbers.normal(), t * angle.sin() + 0.05 * numbers.normal()]);
        labels.push(arm);
    }
    (x, labels)
}

/// Trains, and gives the loss at the end.
fn trained(gpu: &Gpu, storage: Float, steps: usize) -> (f32, Mlp) {
    let mut numbers = Numbers::new(6);
    let (x, labels) = spirals(&mut numbers, 200);
    let architecture = Architecture::new(&[2, 33, 32, 2], "silu".parse().unwrap(), 200).storage(storage);
    let mlp = Mlp::new(gpu, &architecture, &mut || numbers.normal()).unwrap();
    let x = gpu.upload_as(storage, &x, &[200, 2]).unwrap();
    let labels = gpu.upload_words(&labels, &[200]).unwrap();
    let loss = gpu.zeros(&[200]).unwrap();
    let step = Step::new(x.view(), labels.view(), loss.view(), 0.1).momentum(0.9);
    for _ in 0..steps {
        gpu.submit_pass(|pass| mlp.train(gpu, pass, &step)).unwrap();
    }
    (gpu.download(&loss).unwrap().iter().sum::<f32>() / 200.0, mlp)
}

#[test]
fn a_network_learns_in_mixed_precision_what_it_learns_in_f32() {
    for dtype in [Float::F32, Float::F16, Float::Bf16] {
        let (loss, mlp) = trained(gpu(), dtype, 300);
        println!("{dtype}: loss {loss:.4}");
        assert!(loss < 0.1, "{dtype}: {loss}");
        let state = mlp.loss_scale().map(|state| gpu().download(state).unwrap());
        assert_eq!(state.is_some(), dtype == Float::F16);
        if let Some(state) = state {
            println!("loss scale {state:?}");
            assert!(state[0] >= 1.0 && state[2] > 0.0, "{state:?}");
        }
    }
}

/// A scale that is too large makes gradients infinite: the step is left out to the last bit, and the scale halved.
#[test]
fn a_step_with_infinite_gradients_is_left_out() {
    let gpu = gpu();
    let (_, mlp) = trained(gpu, Float::F16, 1);
    let state = mlp.loss_scale().unwrap();
    gpu.write(state, &[2f32.powi(40), 0.0, 7.0, 0.0]).unwrap();
    let parameters = |mlp: &Mlp| -> Vec<u32> {
        let layer = mlp.parameters(1).unwrap();
        gpu.download(layer.w).unwrap().iter().map(|v| v.to_bits()).collect()
    };
    let before = parameters(&mlp);
    let x = gpu.upload_as(Float::F16, &[0.5, -0.5], &[1, 2]).unwrap();
    let labels = gpu.upload_words(&[0], &[1]).unwrap();
    let loss = gpu.zeros(&[1]).unwrap();
    let step = Step::new(x.view(), labels.view(), loss.view(), 0.1).momentum(0.9);
    gpu.submit_pass(|pass| mlp.train(gpu, pass, &step)).unwrap();
    assert_eq!(gpu.download(state).unwrap(), [2f32.powi(39), 0.0, 0.0, 1.0]);
    assert_eq!(parameters(&mlp), before);
    // With one that is not, the update is what it is without any scale.
    gpu.write(state, &[1024.0, 0.0, 0.0, 0.0]).unwrap();
    gpu.submit_pass(|pass| mlp.train(gpu, pass, &step)).unwrap();
    assert_eq!(gpu.download(state).unwrap(), [1024.0, 1.0 / 1024.0, 1.0, 0.0]);
    assert_ne!(parameters(&mlp), before);
}

/// After `interval` good steps the scale grows.
#[test]
fn the_scale_grows_and_shrinks_as_said() {
    let gpu = gpu();
    let state = gpu.upload(&LossScale::INITIAL, &[4]).unwrap();
    let mut gradient = vec![0.5; 3001];
    let tensor = gpu.upload(&gradient, &[3001]).unwrap();
    let call = LossScale::new(&tensor, &state).interval(3);
    let run = || {
        gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
        gpu.download(&state).unwrap()
    };
    assert_eq!(run(), [65536.0, 1.0 / 65536.0, 1.0, 0.0]);
    assert_eq!(run(), [65536.0, 1.0 / 65536.0, 2.0, 0.0]);
    assert_eq!(run(), [131072.0, 1.0 / 65536.0, 0.0, 0.0]);
    for (at, bad) in [(0, f32::NAN), (1023, f32::INFINITY), (1024, f32::NEG_INFINITY), (3000, f32::NAN)] {
        gradient[at] = bad;
        gpu.write(&tensor, &gradient).unwrap();
        let [scale, ..] = run()[..] else { panic!() };
        assert_eq!(run()[..3], [scale / 2.0, 0.0, 0.0], "{bad} at {at}");
        gradient[at] = 0.5;
    }
    gpu.write(&tensor, &gradient).unwrap();
    assert_eq!(run()[2], 1.0);
}

/// The error of a result against the truth: the largest as a share of the largest value, and the root of the mean square
/// as a share of that of the values.
fn errors(got: &[f32], truth: &[f64]) -> (f64, f64) {
    let off = || got.iter().zip(truth).map(|(&got, &truth)| f64::from(got) - truth);
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |most: f64, v| most.max(v.abs()));
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let (most, all) = (largest(&mut truth.iter().copied()), squares(&mut truth.iter().copied()));
    (largest(&mut off()) / most, squares(&mut off()) / all)
}

/// What a layer in a narrow type gives for data that was f32 before, against the reference in f64 on that very data: the
/// table of docs/numerics.md (its size with `ELBOW_TEST_FULL=1`).
#[test]
fn accuracy_of_mixed_precision() {
    let gpu = gpu();
    let (m, n, k) = if crate::common::full() { (256, 512, 512) } else { (64, 96, 128) };
    let mut numbers = Numbers::new(8);
    let mut normal = |len: usize, scale: f32| -> Vec<f32> { (0..len).map(|_| scale * numbers.normal()).collect() };
    let (x, w) = (normal(m * k, 1.0), normal(n * k, 1.0 / (k as f32).sqrt()));
    let (b, dy) = (normal(n, 0.1), normal(m * n, 1.0));
    for spec in ["relu", "gelu", "silu"] {
        let activation: Activation = spec.parse().unwrap();
        let affine = AffineRequest::new(m, n, k, activation).saved(Saved::Z);
        let inputs = ForwardInputs::new(&x, &w).b(Some(&b));
        let forward = reference::forward(&affine, inputs).unwrap();
        let request =
            BackwardRequest::new(affine, Gradients::default().x(Want::Overwrite).w(Want::Overwrite).b(Want::Overwrite));
        for dtype in Float::ALL {
            let narrow = |values: &[f32], shape: &[usize]| gpu.upload_as(dtype, values, shape).unwrap();
            let (tx, tw, tdy) = (narrow(&x, &[m, k]), narrow(&w, &[n, k]), narrow(&dy, &[m, n]));
            let zeros = |dtype, shape: &[usize]| gpu.zeros_of(dtype, shape).unwrap();
            let (y, z, dx) = (zeros(dtype, &[m, n]), zeros(dtype, &[m, n]), zeros(dtype, &[m, k]));
            let (dw, db, tb) = (zeros(Float::F32, &[n, k]), zeros(Float::F32, &[n]), gpu.upload(&b, &[n]).unwrap());
            gpu.submit_pass(|pass| {
                let call = Forward::new(activation, &tx, &tw, &y).b(tb.view()).saved(Saved::Z).save_to(z.view());
                call.record(gpu, &mut *pass)?;
                call.backward(&tdy).dx(&dx).dw(&dw).db(&db).record(gpu, &mut *pass)
            })
            .unwrap();
            let get = |tensor: &Tensor| gpu.download(tensor).unwrap();
            // The gradient at the z that was saved: where rounding x and w moves z across a kink, the slope is another one.
            let z = get(&z);
            let inputs = BackwardInputs::new(&x, &w, &dy).b(Some(&b)).z(Some(&z));
            let backward = reference::backward(&request, inputs).unwrap();
            let results = [
                ("y", get(&y), &forward.y),
                ("dx", get(&dx), &backward.dx.value),
                ("dw", get(&dw), &backward.dw.value),
                ("db", get(&db), &backward.db.value),
            ];
            for (name, got, truth) in results {
                let (largest, mean) = errors(&got, truth);
                println!("| {spec} | {dtype} | {name} | {largest:.1e} | {mean:.1e} |");
                // Each operand is rounded on the way in, the result on the way out, and the sum loses a little in f32.
                let (u, sum) = (dtype.unit_roundoff(), 8.0 * Float::F32.unit_roundoff());
                assert!(mean < 2.0 * u + sum, "{spec} {dtype} {name}: {mean:e}");
                assert!(largest < 4.0 * u + 2.0 * sum, "{spec} {dtype} {name}: {largest:e}");
            }
        }
    }
}
