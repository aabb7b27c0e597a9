//! Bad inputs, sixty-four of them: each gets the answer of the table in docs/testing.md, and after each a good call
//! succeeds. Every test says its numbers.

mod buffers;
mod device;
mod loss;
mod memory;
mod parameters;
mod requests;
mod shapes;
mod threads;
mod values;

use std::time::{Duration, Instant};

use elbow::{
    Activation, Error, Float, Gpu, Result, Tensor,
    affine::{Backward, Forward},
    elementwise,
    plan::Pin,
    wgpu,
};

use crate::common::gpu;

/// The tile that drivers compile fastest; one splits nothing. So all these tests share few kernels.
fn pin() -> Pin {
    Pin::default().strategy(elbow::Strategy::TwoPass).tile(3).splits(1)
}

/// A layer: M = 4, N = 3, K = 5.
struct Layer {
    x: Tensor,
    w: Tensor,
    b: Tensor,
    y: Tensor,
}

impl Layer {
    /// Small integers, so that every result is exact.
    fn new(gpu: &Gpu) -> Result<Self> {
        let integers = |n: usize, shape: &[usize]| -> Result<Tensor> {
            let values: Vec<f32> = (0..n).map(|i| (i * 7 % 5) as f32 - 2.0).collect();
            gpu.upload(&values, shape)
        };
        let (x, w, b) = (integers(20, &[4, 5])?, integers(15, &[3, 5])?, integers(3, &[3])?);
        Ok(Layer { x, w, b, y: gpu.upload(&[f32::NAN; 12], &[4, 3])? })
    }

    fn forward(&self) -> Forward<'_> {
        let call = Forward::new(Activation::RELU, &self.x, &self.w, &self.y);
        call.b(self.b.view()).pin(pin())
    }

    /// dx of the same layer, into memory as long as x.
    fn backward<'a>(&'a self, dx: &'a Tensor) -> Backward<'a> {
        self.forward().saved(elbow::Saved::Y).backward(&self.y).dx(dx)
    }

    /// relu(x·Wᵀ + b), on the host.
    fn expected(gpu: &Gpu, layer: &Layer) -> Result<Vec<f32>> {
        let (x, w, b) = (gpu.download(&layer.x)?, gpu.download(&layer.w)?, gpu.download(&layer.b)?);
        let z = |m: usize, n: usize| (0..5).map(|k| x[m * 5 + k] * w[n * 5 + k]).sum::<f32>() + b[n];
        Ok((0..12).map(|i| z(i / 3, i % 3).max(0.0)).collect())
    }
}

/// A good call: it succeeds, and its result is right.
#[track_caller]
fn good(gpu: &Gpu) {
    let run = || -> Result<_> {
        let layer = Layer::new(gpu)?;
        gpu.submit(|encoder| layer.forward().record(gpu, encoder))?;
        Ok((gpu.download(&layer.y)?, Layer::expected(gpu, &layer)?))
    };
    let (y, expected) = run().expect("a good call after a bad one");
    assert_eq!(y, expected);
}

/// The call fails as said and says what it should, on one line; the encoder that it was recorded into still finishes and
/// holds the good call that follows; wgpu has nothing to complain of.
#[track_caller]
fn fails(call: Forward<'_>, expected: impl Fn(&Error) -> bool, says: &[&str]) {
    let gpu = gpu();
    let layer = Layer::new(gpu).unwrap();
    let scope = gpu.device().push_error_scope(wgpu::ErrorFilter::Validation);
    let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let error = call.record(gpu, &mut encoder).expect_err("an error");
    let text = error.to_string();
    assert!(expected(&error), "{error:?}");
    assert!(!text.contains('\n'), "{text}");
    for part in says {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    layer.forward().record(gpu, &mut encoder).expect("a good call after the error");
    gpu.queue().submit([encoder.finish()]);
    let complaint = pollster::block_on(scope.pop());
    assert!(complaint.is_none(), "{complaint:?}");
    assert_eq!(gpu.download(&layer.y).unwrap(), Layer::expected(gpu, &layer).unwrap());
}

/// Every way into a device, once: each says that the device is lost, and says so within a second.
#[track_caller]
fn lost_for_good(gpu: &Gpu, layer: &Layer) {
    let relu = |tensor| elementwise::Forward::new(Activation::RELU, tensor, tensor);
    let sgd = |t: &Tensor, other: &Tensor, third: &Tensor| -> Result<()> {
        let shape = [3];
        let [parameter, gradient, velocity] =
            [t, other, third].map(|t| elbow::View::new(t.buffer(), 0, &shape, Float::F32));
        let call = elbow::train::Sgd::new(parameter, gradient, velocity, 0.1).momentum(0.9);
        gpu.submit(|e| call.record(gpu, e))
    };
    let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let calls: [(&str, &mut dyn FnMut() -> Result<()>); 15] = [
        ("zeros", &mut || gpu.zeros(&[4]).map(drop)),
        ("upload", &mut || gpu.upload(&[1.0], &[1]).map(drop)),
        ("upload_as", &mut || gpu.upload_as(Float::F16, &[1.0], &[1]).map(drop)),
        ("write", &mut || gpu.write(&layer.b, &[0.0; 3])),
        ("write half a word", &mut || gpu.write(elbow::View::new(layer.b.buffer(), 0, &[3], Float::F16), &[0.0; 3])),
        ("download", &mut || gpu.download(&layer.x).map(drop)),
        ("download_into", &mut || gpu.download_into(&layer.b, &mut [0.0; 3])),
        ("download_async", &mut || pollster::block_on(gpu.download_async(&layer.x)).map(drop)),
        ("submit nothing", &mut || gpu.submit(|_| Ok(()))),
        ("affine", &mut || gpu.submit(|e| layer.forward().record(gpu, e))),
        ("affine into a host's encoder", &mut || layer.forward().record(gpu, &mut encoder)),
        ("backward", &mut || gpu.submit(|e| layer.backward(&layer.x.clone()).record(gpu, e))),
        ("elementwise", &mut || gpu.submit_pass(|pass| relu(&layer.x).record(gpu, pass))),
        ("sgd", &mut || sgd(&layer.b, &layer.x, &layer.w)),
        ("wait", &mut || gpu.wait()),
    ];
    for (name, call) in calls {
        let start = Instant::now();
        let outcome = call();
        assert!(matches!(outcome, Err(Error::DeviceLost { .. })), "{name}: {outcome:?}");
        assert!(start.elapsed() < Duration::from_secs(1), "{name}: {:?}", start.elapsed());
    }
}
