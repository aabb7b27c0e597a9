//! Every variant of `Error`, reached; after each a good call succeeds.

use elbow::{
    Activation, Error, Gpu, Operand, Options, Saved, Tensor, View, WeightLayout,
    affine::{Backward, Forward, Gradient},
    elementwise,
    plan::Pin,
    wgpu,
};

use crate::common::{checks, gpu};

struct Operands {
    x: Tensor,
    w: Tensor,
    b: Tensor,
    y: Tensor,
}

/// M = 4, N = 3, K = 5.
fn operands(gpu: &Gpu) -> Operands {
    Operands {
        x: gpu.zeros(&[4, 5]).unwrap(),
        w: gpu.zeros(&[3, 5]).unwrap(),
        b: gpu.zeros(&[3]).unwrap(),
        y: gpu.zeros(&[4, 3]).unwrap(),
    }
}

fn forward<'a>(o: &'a Operands) -> Forward<'a> {
    Forward { b: Some(o.b.view()), ..Forward::new(Activation::RELU, &o.x, &o.w, &o.y) }
}

/// The call fails as said, the encoder still finishes, and the good call works in it.
fn fails(call: Forward<'_>, good: Forward<'_>, expected: impl Fn(&Error) -> bool, says: &[&str]) {
    let gpu = gpu();
    let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let error = call.record(gpu, &mut encoder).expect_err("an error");
    let text = error.to_string();
    assert!(expected(&error), "{error:?}");
    assert!(!text.contains('\n'), "{text}");
    for part in says {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    good.record(gpu, &mut encoder).expect("a good call after the error");
    gpu.queue().submit([encoder.finish()]);
    gpu.wait().unwrap();
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let gpu = gpu();
    let o = operands(gpu);
    let good = forward(&o);
    let shape = |operand| move |e: &Error| matches!(e, Error::Shape { operand: o, .. } if *o == operand);
    fails(
        Forward { w: o.w.view_as(&[5, 3]), ..good },
        good,
        shape(Operand::W),
        &["w: expected [N, 5]", "[5, 3]", "InOut"],
    );
    fails(Forward { layout: WeightLayout::InOut, ..good }, good, shape(Operand::W), &["OutIn"]);
    fails(Forward { b: Some(o.b.view_as(&[2])), ..good }, good, shape(Operand::B), &["b: expected [3], got [2]"]);
    fails(Forward { b: Some(o.b.view_as(&[1])), ..good }, good, shape(Operand::B), &[]);
    fails(Forward { y: o.y.view_as(&[3, 4]), ..good }, good, shape(Operand::Y), &[]);
    fails(Forward { residual: Some(o.b.view()), ..good }, good, shape(Operand::Residual), &[]);
    fails(Forward { x: o.x.view_as(&[]), ..good }, good, shape(Operand::X), &[]);
    let prelu: Activation = "prelu".parse().unwrap();
    let alpha = Some(o.b.view_as(&[2]));
    fails(Forward { activation: prelu, alpha, ..good }, good, shape(Operand::Alpha), &["[1] or [3]"]);
    assert!(matches!(gpu.upload(&[1.0], &[2]), Err(Error::Shape { .. })));
}

#[test]
fn sizes_beyond_32_bits_are_refused_without_allocating() {
    let gpu = gpu();
    let o = operands(gpu);
    let good = forward(&o);
    let limit = |e: &Error| matches!(e, Error::LimitExceeded { .. });
    for x in [[65_536, 65_536], [u32::MAX as usize, 2], [1 << 33, 1 << 33], [(1 << 32) + 1, 1]] {
        fails(Forward { x: o.x.view_as(&x), ..good }, good, limit, &["elements of x"]);
    }
    // Within 32 bits, but more than one binding or one buffer holds.
    assert!(matches!(gpu.zeros(&[1 << 30, 3]), Err(Error::LimitExceeded { .. })));
    let pin = Pin { tile: Some(99), ..Pin::default() };
    fails(Forward { pin, ..good }, good, limit, &["pinned tile"]);
}

#[test]
fn operands_missing_or_of_no_use() {
    let gpu = gpu();
    let o = operands(gpu);
    let good = forward(&o);
    let operand = |e: &Error| matches!(e, Error::Operand { .. });
    fails(Forward { saved: Saved::Z, ..good }, good, operand, &["saved: expected z"]);
    fails(Forward { save_to: Some(o.y.view()), ..good }, good, operand, &["saved"]);
    fails(Forward { alpha: Some(o.b.view()), ..good }, good, operand, &["alpha", "relu"]);
    let dx = gpu.zeros(&[4, 5]).unwrap();
    let backward = Backward { dx: Gradient::overwrite(&dx), ..Backward::new(Activation::RELU, Saved::Y, &o.y) };
    assert!(matches!(backward.plan(gpu), Err(Error::Operand { operand: Operand::W, .. })));
    let backward = Backward { w: Some(o.w.view()), ..backward };
    assert!(matches!(backward.plan(gpu), Err(Error::Operand { operand: Operand::Saved, .. })));
    let backward = Backward { dw: Gradient::overwrite(&o.w), ..Backward::new(Activation::IDENTITY, Saved::Auto, &o.y) };
    assert!(matches!(backward.plan(gpu), Err(Error::Shape { .. } | Error::Operand { operand: Operand::X, .. })));
}

#[test]
fn an_illegal_saved_choice_is_an_error_not_a_wrong_gradient() {
    let gpu = gpu();
    let o = operands(gpu);
    let good = forward(&o);
    let unsupported = |e: &Error| matches!(e, Error::Unsupported { .. });
    let gelu = Forward { activation: Activation::GELU_ERF, ..good };
    fails(Forward { saved: Saved::Y, ..gelu }, good, unsupported, &["gelu_erf"]);
    fails(Forward { saved: Saved::Mask, save_to: Some(o.y.view()), ..gelu }, good, unsupported, &[]);
    let residual = Some(o.x.view_as(&[4, 3]));
    fails(Forward { saved: Saved::Y, residual, ..good }, good, unsupported, &["residual"]);
}

#[test]
fn buffers_that_cannot_serve() {
    let gpu = gpu();
    let o = operands(gpu);
    let good = forward(&o);
    let make = |size, usage| {
        gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
    };
    let short = make(64, wgpu::BufferUsages::STORAGE);
    let buffer = |e: &Error| matches!(e, Error::Buffer { operand: Operand::X, .. });
    fails(Forward { x: View::new(&short, &[4, 5]), ..good }, good, buffer, &["80 bytes", "64 bytes"]);
    let unusable = make(256, wgpu::BufferUsages::COPY_DST);
    fails(Forward { x: View::new(&unusable, &[4, 5]), ..good }, good, buffer, &["STORAGE"]);
    let misaligned = |e: &Error| matches!(e, Error::Misaligned { operand: Operand::X, alignment: 4, offset: 2 });
    fails(
        Forward { x: View::at(o.x.buffer(), 2, &[4, 4]), w: o.w.view_as(&[3, 4]), ..good },
        good,
        misaligned,
        &["got 2"],
    );
    let past = |e: &Error| matches!(e, Error::Buffer { .. });
    fails(Forward { x: View::at(o.x.buffer(), u64::MAX - 3, &[4, 5]), ..good }, good, past, &[]);
    let destroyed = make(256, wgpu::BufferUsages::STORAGE);
    destroyed.destroy();
    let refused = |e: &Error| matches!(e, Error::Wgpu { .. });
    fails(Forward { x: View::new(&destroyed, &[4, 5]), ..good }, good, refused, &["binding the operands"]);
}

#[test]
fn a_buffer_of_another_device_is_refused() {
    let gpu = gpu();
    let o = operands(gpu);
    let good = forward(&o);
    let adapter = elbow::gpu::adapters().into_iter().next().unwrap();
    let (device, _queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let foreign = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 256,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    // Another instance cannot be told apart by wgpu itself; a device of the same instance can. Either way: no panic.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let call = Forward { x: View::new(&foreign, &[4, 5]), ..good };
        gpu.submit(|e| call.record(gpu, e))
    }));
    if let Ok(result) = outcome {
        println!("a buffer of another instance: {result:?}");
    }
    gpu.submit(|e| good.record(gpu, e)).unwrap();
}

#[test]
fn overlaps_are_named() {
    let gpu = gpu();
    let o = operands(gpu);
    let good = forward(&o);
    let alias =
        |a, b| move |e: &Error| matches!(e, Error::Alias { operand, other, .. } if (*operand, *other) == (a, b));
    fails(
        Forward { y: o.x.view_as(&[4, 3]), ..good },
        good,
        alias(Operand::Y, Operand::X),
        &["y overlaps x", "disjoint"],
    );
    let y = View::at(o.x.buffer(), 4, &[4, 3]);
    fails(Forward { y, ..good }, good, alias(Operand::Y, Operand::X), &[]);
    // A residual may be the memory of y exactly, not partly.
    let shifted = gpu.zeros(&[20]).unwrap();
    let call = Forward { y: shifted.view_as(&[4, 3]), residual: Some(View::at(shifted.buffer(), 4, &[4, 3])), ..good };
    fails(call, good, alias(Operand::Y, Operand::Residual), &[]);
    let exact = Forward { residual: Some(shifted.view_as(&[4, 3])), ..call };
    gpu.submit(|e| exact.record(gpu, e)).unwrap();
    // Two inputs may overlap.
    let square = gpu.zeros(&[5, 5]).unwrap();
    let y = gpu.zeros(&[5, 5]).unwrap();
    gpu.submit(|e| Forward::new(Activation::RELU, &square, &square, &y).record(gpu, e)).unwrap();
    let partly =
        elementwise::Forward::new(Activation::RELU, square.view_as(&[20]), View::at(square.buffer(), 4, &[20]));
    assert!(matches!(gpu.submit(|e| partly.record(gpu, e)), Err(Error::Alias { .. })));
}

#[test]
fn activations_that_are_none() {
    assert!(matches!("rleu".parse::<Activation>(), Err(Error::UnknownActivation { .. })));
    assert!(matches!("leaky_relu(nan)".parse::<Activation>(), Err(Error::BadParameter { .. })));
    assert!(matches!("celu(0)".parse::<Activation>(), Err(Error::BadParameter { .. })));
}

#[test]
fn a_destroyed_device_is_lost_for_every_later_call() {
    let gpu = Gpu::with_options(Options { checks: checks(), ..Options::default() }).unwrap();
    let x = gpu.upload(&[1.0], &[1]).unwrap();
    gpu.device().destroy();
    let start = std::time::Instant::now();
    let outcomes = [
        gpu.download(&x).map(|_| ()),
        gpu.zeros(&[4]).map(|_| ()),
        gpu.submit(|e| elementwise::Forward::new(Activation::RELU, &x, &x).record(&gpu, e)),
        gpu.wait(),
    ];
    for outcome in outcomes {
        assert!(matches!(outcome, Err(Error::DeviceLost { .. })), "{outcome:?}");
    }
    assert!(start.elapsed().as_secs() < 5);
}

#[test]
fn text_that_is_no_kernel_is_an_error() {
    let kernel = elbow::kernel::Kernel {
        file: elbow::kernel::KernelFile::ProductDirect,
        activation: None,
        dtype: elbow::dtype::Dtype::F32,
        flags: Default::default(),
        slots: Vec::new(),
    };
    let error = elbow::shader::assemble(&kernel, elbow::shader::Binding::Exclusive).unwrap_err();
    assert!(matches!(error, Error::ShaderCompile { .. }), "{error}");
}
