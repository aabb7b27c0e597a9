//! Random layers against the reference, and random calls that mostly do not fit. 1,000 layers; with `ELBOW_TEST_FULL`
//! 20,000, and 100,000 calls.

use std::panic::{AssertUnwindSafe, catch_unwind};

use elbow::{Activation, Checks, Dtype, Saved, Tensor, View, WeightLayout, affine::Forward, plan::Pin, wgpu};
use elbow_verify::{Numbers, Spec, any_exact, any_real, run, smallest};

use crate::common::{checks, full, gpu};

/// Kernels are what costs: few combinations of what selects a kernel, each at many sizes, offsets, parameters and data.
fn random_layers(count: usize, combinations: usize) -> Vec<Spec> {
    let mut numbers = Numbers::new(2026);
    let pool: Vec<Spec> = (0..combinations)
        .map(|i| {
            let any = if i % 2 == 0 { any_exact } else { any_real };
            let spec = any(&mut numbers, i, &[3]);
            // Two in three with the tile that compiles fastest, one as the plan would have it.
            if i % 3 == 2 { Spec { pin: Pin::default(), ..spec } } else { spec }
        })
        .collect();
    (0..count)
        .map(|i| {
            let mut size = || match numbers.below(20) {
                0 => 0,
                1 => 100 + numbers.below(100),
                2..8 => 1 + numbers.below(8),
                _ => 1 + numbers.below(70),
            };
            let mut spec = pool[i % pool.len()].sized(size(), size(), size());
            (spec.misalign, spec.shared, spec.seed) = (numbers.below(4), numbers.below(8) == 0, numbers.seed());
            // Another parameter is another number in the parameter block, not another kernel.
            if spec.data != elbow_verify::Data::Integers && spec.forward.activation.has_alpha() {
                let alpha = 0.25 + numbers.below(1000) as f32 / 400.0;
                spec.forward.activation = spec.forward.activation.with_alpha(alpha);
            }
            spec
        })
        .collect()
}

#[test]
fn random_layers_are_right() {
    let specs = match (full(), checks()) {
        (true, _) => random_layers(20_000, 120),
        (false, Checks::Trusted) => random_layers(1_000, 8),
        (false, Checks::Checked) => random_layers(200, 2),
    };
    let outcome = run(gpu(), &specs);
    println!("{} layers, {} of them exact; worst {:?}", outcome.cases, outcome.exact, outcome.worst);
    if let Some(failure) = outcome.failures.first() {
        let again = async |spec| run(gpu(), &[spec]).failures.pop();
        let found = pollster::block_on(smallest(failure, again));
        panic!(
            "{} failed; the first: {}\n    elbow verify --case '{}'",
            outcome.failures.len(),
            found.message,
            found.spec
        );
    }
}

/// Dimensions and offsets that mostly do not fit, on buffers that are mostly too short: each call is recorded or refused, none
/// panics, the encoder of all of them finishes, and wgpu has nothing to say.
#[test]
fn random_calls_are_recorded_or_refused() {
    let gpu = gpu();
    let mut numbers = Numbers::new(7);
    // One for each operand, and two that are too short.
    let tensors: Vec<Tensor> = [300, 300, 300, 300, 300, 300, 0, 4].map(|len| gpu.zeros(&[len]).unwrap()).into();
    let sizes = [0, 1, 2, 3, 4, 5, 8, 16, 65_536, 1 << 31, u32::MAX as usize, usize::MAX];
    let (mut recorded, mut refused) = (0, 0);
    let rounds = if full() { 1_000 } else { 30 };
    for _ in 0..rounds {
        let scope = gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for _ in 0..100 {
            // Half of the calls fit but for what is changed below.
            let (m, n, k) = (1 + numbers.below(3), 1 + numbers.below(3), 1 + numbers.below(4));
            let mut shapes = [vec![m, k], vec![n, k], vec![n], vec![m, n], vec![m, n], vec![m, k]];
            for shape in &mut shapes {
                if numbers.below(16) == 0 {
                    let at = numbers.below(shape.len());
                    shape[at] = numbers.pick(&sizes);
                }
                if numbers.below(40) == 0 {
                    *shape = (0..numbers.below(6)).map(|_| numbers.pick(&sizes)).collect();
                }
            }
            let offsets: Vec<u64> = (0..6)
                .map(|_| match numbers.below(16) {
                    0 => numbers.pick(&[2, 1020, u64::MAX - 3]),
                    _ => numbers.pick(&[0, 4, 16]),
                })
                .collect();
            let chosen: Vec<usize> =
                (0..6).map(|i| if numbers.below(16) == 0 { numbers.below(8) } else { i }).collect();
            let types: Vec<Dtype> = (0..6)
                .map(|_| match numbers.below(24) {
                    0 => Dtype::U32,
                    1 => Dtype::F16,
                    _ => Dtype::F32,
                })
                .collect();
            let absent: Vec<bool> = (0..6).map(|_| numbers.below(32) == 0).collect();
            let view = |i: usize| match absent[i] {
                true => View::absent(&shapes[i], types[i]),
                false => View::new(tensors[chosen[i]].buffer(), offsets[i], &shapes[i], types[i]),
            };
            let activation: Activation = ["relu", "prelu"][numbers.below(2)].parse().unwrap();
            let pin = Pin::default().tile(3).splits(1);
            let layout = numbers.pick(&[WeightLayout::OutIn, WeightLayout::OutIn, WeightLayout::InOut]);
            let forward = numbers.below(2) == 0;
            let result = catch_unwind(AssertUnwindSafe(|| {
                let call = Forward::new(activation, view(0), view(1), view(3))
                    .b(view(2))
                    .saved(Saved::Z)
                    .save_to(view(4))
                    .layout(layout)
                    .pin(pin);
                match forward {
                    true => call.record(gpu, &mut encoder),
                    false => call.backward(view(3)).dx(view(5)).record(gpu, &mut encoder),
                }
            }));
            match result.expect("an error is a value") {
                Ok(()) => recorded += 1,
                Err(error) => {
                    assert!(!error.to_string().contains('\n'), "{error}");
                    refused += 1;
                }
            }
        }
        gpu.queue().submit([encoder.finish()]);
        assert!(pollster::block_on(scope.pop()).is_none(), "wgpu found what elbow let through");
    }
    gpu.wait().unwrap();
    println!("{recorded} calls recorded, {refused} refused");
    assert!(recorded > 0 && refused > 0);
}
