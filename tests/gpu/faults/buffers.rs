//! Numbers 44 to 54 and 60: buffers that cannot serve, operands that share memory.

use elbow::{
    Activation, Error, Float, Operand, View,
    affine::{Forward, Gradient},
    elementwise, wgpu,
};

use super::{Layer, fails, good, pin};
use crate::common::{checks, gpu, options};

fn buffer_of(device: &wgpu::Device, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor { label: Some("host's"), size, usage, mapped_at_creation: false })
}

fn unfit(operand: Operand) -> impl Fn(&Error) -> bool {
    move |e| matches!(e, Error::Buffer { operand: o, .. } if *o == operand)
}

/// A download or a write that fails for its buffer, and says why.
#[track_caller]
fn refuses<T: std::fmt::Debug>(result: elbow::Result<T>, says: &[&str]) {
    let error = result.unwrap_err();
    assert!(unfit(Operand::Tensor)(&error), "{error:?}");
    says.iter().for_each(|part| assert!(error.to_string().contains(part), "{error} does not say {part:?}"));
}

/// The same buffer as every operand of a layer in turn.
fn each_operand<'a>(call: Forward<'a>, buffer: &'a wgpu::Buffer) -> [(Operand, Forward<'a>); 4] {
    [
        (Operand::X, call.x(View::new(buffer, 0, &[4, 5], Float::F32))),
        (Operand::W, call.w(View::new(buffer, 0, &[3, 5], Float::F32))),
        (Operand::B, call.b(View::new(buffer, 0, &[3], Float::F32))),
        (Operand::Y, call.y(View::new(buffer, 0, &[4, 3], Float::F32))),
    ]
}

/// 44: without STORAGE a buffer is no operand, without COPY_SRC it can't be downloaded, without COPY_DST not written.
#[test]
fn n44_usage() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let plain = buffer_of(gpu.device(), 256, wgpu::BufferUsages::COPY_DST);
    for (operand, call) in each_operand(o.forward(), &plain) {
        fails(call, unfit(operand), &[operand.name(), "STORAGE", "COPY_DST"]);
    }
    let view = View::new(&plain, 0, &[4], Float::F32);
    refuses(gpu.download(view), &["COPY_SRC", "COPY_DST"]);
    gpu.write(view, &[1.0; 4]).unwrap();
    let source = buffer_of(gpu.device(), 256, wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
    refuses(gpu.write(View::new(&source, 0, &[4], Float::F32), &[1.0; 4]), &["COPY_DST", "STORAGE"]);
    good(gpu);
}

/// 45: any multiple of an element's size is an offset, whatever the device's alignment; nothing else is. 46: a buffer whose size is no
/// multiple of 4 serves as far as it goes.
#[test]
fn n45_n46_alignment() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let call = o.forward();
    for offset in [1, 2, 3, 18] {
        let misaligned =
            |e: &Error| matches!(e, Error::Misaligned { operand: Operand::X, alignment: 4, offset: o } if *o == offset);
        let (x, w) = (View::new(o.x.buffer(), offset, &[2, 5], Float::F32), o.w.view());
        let y = o.y.view_as(&[2, 3]);
        fails(call.x(x).w(w).y(y), misaligned, &[&format!("got {offset}")]);
        for dtype in Float::ALL.into_iter().filter(|dtype| !offset.is_multiple_of(dtype.bytes())) {
            let view = View::new(o.x.buffer(), offset, &[2], dtype);
            let misaligned = Error::Misaligned { operand: Operand::Tensor, alignment: dtype.bytes(), offset };
            assert_eq!(gpu.download(view), Err(misaligned.clone()));
            assert_eq!(gpu.download_into(view, &mut [0.0; 2]), Err(misaligned.clone()));
            assert_eq!(gpu.write(view, &[7.0; 2]), Err(misaligned));
        }
    }
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
    let odd = buffer_of(gpu.device(), 4 + 48 + 3, usage);
    gpu.write(View::new(&odd, 4, &[12], Float::F32), &[7.0; 12]).unwrap();
    refuses(gpu.write(View::new(&odd, 8, &[12], Float::F32), &[7.0; 12]), &["48 bytes from offset 8", "55 bytes"]);
    refuses(gpu.download(View::new(&odd, 8, &[12], Float::F32)), &["48 bytes from offset 8", "55 bytes"]);
    // Its last half word can't be bound or copied: whole words alone can.
    refuses(gpu.write(View::new(&odd, 52, &[1], Float::F16), &[7.0]), &["4 bytes from offset 52", "55 bytes"]);
    gpu.submit(|e| call.y(View::new(&odd, 4, &[4, 3], Float::F32)).record(gpu, e)).unwrap();
    assert_eq!(gpu.download(View::new(&odd, 4, &[12], Float::F32)).unwrap(), Layer::expected(gpu, &o).unwrap());
    fails(call.y(View::new(&odd, 8, &[4, 3], Float::F32)), unfit(Operand::Y), &["48 bytes from offset 8", "55 bytes"]);
    good(gpu);
}

/// 47: a mapped buffer is named, whichever operand it is, and serves once it is unmapped. 60: so with a download and a write.
#[test]
fn n47_n60_mapped() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let mapped = gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 80,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: true,
    });
    // A view of the host's is not disturbed by being asked.
    let mut range = mapped.get_mapped_range_mut(..).unwrap();
    for (operand, call) in each_operand(o.forward(), &mapped) {
        fails(call, unfit(operand), &[operand.name(), "not mapped", "got a mapped one"]);
    }
    let view = View::new(&mapped, 0, &[20], Float::F32);
    refuses(gpu.download(view), &["not mapped", "got a mapped one"]);
    refuses(gpu.write(view, &[7.0; 20]), &["not mapped", "got a mapped one"]);
    range.copy_from_slice(bytemuck::cast_slice(&gpu.download(&o.x).unwrap()));
    drop(range);
    mapped.unmap();
    gpu.submit(|e| o.forward().x(View::new(&mapped, 0, &[4, 5], Float::F32)).record(gpu, e)).unwrap();
    assert_eq!(gpu.download(&o.y).unwrap(), Layer::expected(gpu, &o).unwrap());
    assert_eq!(gpu.download(view).unwrap(), gpu.download(&o.x).unwrap());
    good(gpu);
}

/// 47 again: mapped after it was recorded. Nobody but wgpu can know, and it says so when the host submits; through
/// `Gpu::submit` that is an error.
#[test]
fn n47_mapped_after_recording() {
    let gpu = gpu();
    if !gpu.device().features().contains(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS) {
        // Then only a buffer that is mapped from the start can be both: it can't be mapped again.
        let o = Layer::new(gpu).unwrap();
        let staging = buffer_of(gpu.device(), 256, wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        staging.map_async(wgpu::MapMode::Read, .., |_| {});
        let copied = gpu.submit(|encoder| {
            encoder.copy_buffer_to_buffer(o.x.buffer(), 0, &staging, 0, 80);
            o.forward().record(gpu, encoder)
        });
        assert!(matches!(&copied, Err(Error::Wgpu { message, .. }) if message.contains("mapped")), "{copied:?}");
        staging.unmap();
    }
    good(gpu);
}

/// 48: a destroyed buffer is named, whichever operand it is.
#[test]
fn n48_destroyed() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let destroyed = buffer_of(gpu.device(), 256, usage);
    destroyed.destroy();
    for (operand, call) in each_operand(o.forward(), &destroyed) {
        fails(call, unfit(operand), &[operand.name(), "destroyed"]);
    }
    let view = View::new(&destroyed, 0, &[4], Float::F32);
    refuses(gpu.download(view), &["destroyed"]);
    let tensor = gpu.zeros_of(Float::F16, &[4]).unwrap();
    tensor.buffer().destroy();
    refuses(gpu.write(&tensor, &[1.0; 4]), &["destroyed"]);
    refuses(gpu.write(tensor.view_as(&[3]), &[1.0; 3]), &["destroyed"]);
    refuses(gpu.download(&tensor), &["destroyed"]);
    good(gpu);
}

/// 49, 50: y in the memory of x, wholly or in part. 51: dW in the memory of w. One buffer for two outputs. The error says
/// which two, and which bytes; what may share memory does.
#[test]
fn n49_n50_n51_overlaps() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let call = o.forward();
    let alias =
        |a, b| move |e: &Error| matches!(e, Error::Alias { operand, other, .. } if (*operand, *other) == (a, b));
    let y_on_x = alias(Operand::Y, Operand::X);
    fails(call.y(o.x.view_as(&[4, 3])), y_on_x, &["y overlaps x", "disjoint", "0..48", "0..80"]);
    fails(call.y(View::new(o.x.buffer(), 4, &[4, 3], Float::F32)), y_on_x, &["4..52"]);

    let (dx, dw) = (gpu.zeros(&[4, 5]).unwrap(), gpu.zeros(&[3, 5]).unwrap());
    let backward = o.backward(&dx).dw(&dw);
    for (bad, pair) in [
        (backward.dw(&o.w), (Operand::Dw, Operand::W)),
        (backward.dw(Gradient::accumulate(&o.w)), (Operand::Dw, Operand::W)),
        (backward.dw(dx.view_as(&[3, 5])), (Operand::Dx, Operand::Dw)),
        (backward.db(dw.view_as(&[3])), (Operand::Dw, Operand::Db)),
        (backward.dx(&o.x), (Operand::Dx, Operand::X)),
    ] {
        let error = gpu.submit(|e| bad.record(gpu, e)).unwrap_err();
        assert!(alias(pair.0, pair.1)(&error), "{error}");
    }
    gpu.submit(|e| backward.record(gpu, e)).unwrap();

    // A residual may be the memory of y exactly, not partly; two inputs may share what they like.
    let shifted = gpu.zeros(&[20]).unwrap();
    let residual = Some(View::new(shifted.buffer(), 4, &[4, 3], Float::F32));
    let partly = call.y(shifted.view_as(&[4, 3])).residual(residual);
    fails(partly, alias(Operand::Y, Operand::Residual), &[]);
    let exact = partly.residual(shifted.view_as(&[4, 3]));
    gpu.submit(|e| exact.record(gpu, e)).unwrap();
    let square = gpu.zeros(&[5, 5]).unwrap();
    let y = gpu.zeros(&[5, 5]).unwrap();
    let same = Forward::new(Activation::RELU, &square, &square, &y).pin(pin());
    gpu.submit(|e| same.record(gpu, e)).unwrap();
    let partly = elementwise::Forward::new(
        Activation::RELU,
        square.view_as(&[20]),
        View::new(square.buffer(), 4, &[20], Float::F32),
    );
    assert!(y_on_x(&gpu.submit(|e| partly.record(gpu, e)).unwrap_err()));
    good(gpu);
}

/// 52: every operand in a range of its own of one buffer, side by side.
#[test]
fn n52_one_arena() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let mut arena = Vec::new();
    for tensor in [&o.x, &o.w, &o.b] {
        arena.extend(gpu.download(tensor).unwrap());
    }
    arena.resize(64, 7.0);
    let arena = gpu.upload(&arena, &[64]).unwrap();
    let at = |first: u64, shape| View::new(arena.buffer(), first * 4, shape, Float::F32);
    let call = Forward::new(Activation::RELU, at(0, &[4, 5]), at(20, &[3, 5]), at(38, &[4, 3]));
    gpu.submit(|e| call.b(at(35, &[3])).pin(pin()).record(gpu, e)).unwrap();
    let got = gpu.download(&arena).unwrap();
    assert_eq!(got[38..50], Layer::expected(gpu, &o).unwrap());
    assert!(got[50..].iter().all(|&v| v == 7.0), "{got:?}");
    // What is empty overlaps nothing, wherever it lies.
    let none = Forward::new(Activation::RELU, at(0, &[0, 5]), at(20, &[3, 5]), at(25, &[0, 3]));
    gpu.submit(|e| none.record(gpu, e)).unwrap();
    good(gpu);
}

/// 53: a buffer of another device of the same instance is named, whichever operand it is.
#[test]
fn n53_another_device() {
    let adapter = elbow::native::adapters().unwrap().into_iter().next().unwrap();
    let open = || pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let [(device, queue), (other, other_queue)] = [open(), open()];
    let gpu = elbow::Gpu::from_wgpu_with(&device, &queue, checks());
    let o = Layer::new(&gpu).unwrap();
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
    let foreign = buffer_of(&other, 256, usage);
    for (operand, call) in each_operand(o.forward(), &foreign) {
        let error = gpu.submit(|e| call.record(&gpu, e)).unwrap_err();
        assert!(unfit(operand)(&error), "{error:?}");
    }
    refuses(gpu.download(View::new(&foreign, 0, &[4], Float::F32)), &[]);
    let stranger = elbow::Gpu::from_wgpu_with(&other, &other_queue, checks()).zeros_of(Float::F16, &[4]).unwrap();
    refuses(gpu.write(&stranger, &[1.0; 4]), &[]);
    refuses(gpu.write(stranger.view_as(&[3]), &[1.0; 3]), &[]);
    good(&gpu);
}

/// 53: so is a tensor of another `Gpu`, whose instance wgpu numbers as it numbers ours: it would take a buffer of ours in its place.
#[test]
fn n53_a_tensor_of_another_gpu() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let other = elbow::Gpu::with_options(options()).unwrap();
    assert!(other != *gpu && other == other.clone());
    let stranger = other.zeros(&[64]).unwrap();
    let call = o.forward();
    let said = "expected a tensor of this device, got one that another Gpu has made";
    for (operand, call) in [
        ("x", call.x(stranger.view_as(&[4, 5]))),
        ("w", call.w(stranger.view_as(&[3, 5]))),
        ("y", call.y(stranger.view_as(&[4, 3]))),
    ] {
        let error = gpu.submit(|e| call.record(gpu, e)).unwrap_err();
        assert!(matches!(error, Error::Buffer { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("{operand}: {said}"));
    }
    let gives = |error: Result<(), Error>| assert_eq!(error.unwrap_err().to_string(), format!("tensor: {said}"));
    gives(gpu.download(&stranger).map(drop));
    gives(gpu.write(&stranger, &[0.0; 64]));
    // Two guests on one device are no strangers.
    let [one, two] = [(); 2].map(|()| elbow::Gpu::from_wgpu_with(gpu.device(), gpu.queue(), checks()));
    let x = one.upload(&[1.0, 2.0], &[2]).unwrap();
    assert_eq!(two.download(&x).unwrap(), [1.0, 2.0]);
    assert_eq!(gpu.download(&x).unwrap(), [1.0, 2.0]);
    good(gpu);
}

/// 54: wgpu numbers the buffers of each instance by itself, so that a host's buffer of another instance can pass for one of this
/// device's: that can't be detected. It may end in a panic of wgpu's own; what is good before is good after.
#[test]
fn n54_another_instance() {
    let gpu = gpu();
    let o = Layer::new(gpu).unwrap();
    let adapter = elbow::native::adapters().unwrap().into_iter().next().unwrap();
    let (device, _queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).unwrap();
    let foreign = buffer_of(&device, 256, wgpu::BufferUsages::STORAGE);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let call = o.forward().x(View::new(&foreign, 0, &[4, 5], Float::F32));
        gpu.submit(|e| call.record(gpu, e))
    }));
    if let Ok(result) = outcome {
        println!("a buffer of another instance: {result:?}");
    }
    good(gpu);
}
