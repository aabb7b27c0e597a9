//! Numbers 57 and 64, and the manners of a guest after an error of its own: no scope left behind, none of the host's touched.
//! (55, no adapter, is tested where adapters are chosen, in `src/gpu/adapter.rs`.)

use elbow::{Activation, Error, Float, Gpu, View, elementwise, wgpu};

use super::{Layer, good};
use crate::common::{checks, gpu, options};

fn open(limits: wgpu::Limits) -> (wgpu::Device, wgpu::Queue) {
    let adapter = elbow::native::adapters().unwrap().into_iter().next().expect("an adapter");
    let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
    pollster::block_on(adapter.request_device(&descriptor)).expect("a device")
}

/// 57: a device with less than WebGPU's defaults. Down to a quarter of the invocations, workgroup memory and bindings,
/// either the layer is right or an error says what is missing.
#[test]
fn n57_limits_below_the_defaults() {
    let full = wgpu::Limits::defaults();
    for (limits, works) in [
        (wgpu::Limits::downlevel_defaults(), None),
        (wgpu::Limits { max_storage_buffers_per_shader_stage: 2, ..full.clone() }, Some(false)),
        (
            wgpu::Limits {
                max_compute_invocations_per_workgroup: 64,
                max_compute_workgroup_size_x: 64,
                ..full.clone()
            },
            None,
        ),
        (wgpu::Limits { max_compute_workgroup_storage_size: 4096, ..full.clone() }, None),
        (wgpu::Limits { max_storage_buffer_binding_size: 1 << 16, ..full.clone() }, Some(true)),
        (wgpu::Limits { max_compute_workgroups_per_dimension: 1, ..full }, Some(false)),
    ] {
        let (device, queue) = open(limits.clone());
        let gpu = Gpu::from_wgpu_with(&device, &queue, checks());
        let layer = Layer::new(&gpu).unwrap();
        let whole = gpu.submit(|e| layer.forward().record(&gpu, e));
        let relu = elementwise::Forward::new(Activation::RELU, &layer.x, &layer.x);
        let alone = gpu.submit(|e| relu.record(&gpu, e));
        println!("{whole:?}\n{alone:?}");
        for outcome in [&whole, &alone] {
            match outcome {
                Ok(()) => {}
                Err(Error::LimitExceeded { .. } | Error::ShaderCompile { .. } | Error::Unsupported { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        if let Some(works) = works {
            assert_eq!(whole.is_ok(), works, "{whole:?}");
        }
        if whole.is_ok() {
            good(&gpu);
        }
    }
    good(gpu());
}

/// 64: f16 on a device that does not know it.
#[test]
fn n64_f16_without_the_feature_is_packed() {
    let gpu = Gpu::with_options(options().default_limits(true)).unwrap();
    assert!(!gpu.caps().f16);
    // Three elements: the last one has a word of its own, whose other half stays as it was.
    let x = gpu.upload_as(Float::F16, &[-1.0, 0.5, 3.0], &[3]).unwrap();
    let y = gpu.upload_words(&[7, 7 << 16], &[2]).unwrap();
    let half = View::new(y.buffer(), 0, &[3], Float::F16);
    let call = elementwise::Forward::new(Activation::RELU, &x, half);
    gpu.submit(|encoder| call.record(&gpu, encoder)).unwrap();
    assert_eq!(gpu.download(half).unwrap(), [0.0, 0.5, 3.0]);
    assert_eq!(gpu.download_words(&y).unwrap()[1] >> 16, 7);
}

/// Each of our errors leaves the host's error scopes as they were: nothing of ours lands in them, what is the host's does.
#[test]
fn error_scopes_of_the_host_stay_the_hosts() {
    let (device, queue) = open(wgpu::Limits::defaults());
    let guest = Gpu::from_wgpu_with(&device, &queue, checks());
    let layer = Layer::new(&guest).unwrap();
    let usage = wgpu::BufferUsages::STORAGE;
    let buffer = |usage| {
        let descriptor = wgpu::BufferDescriptor { label: None, size: 256, usage, mapped_at_creation: false };
        device.create_buffer(&descriptor)
    };
    let destroyed = buffer(usage);
    destroyed.destroy();
    let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation]
        .map(|filter| device.push_error_scope(filter));
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let call = layer.forward();
    for bad in [
        call.x(View::new(&destroyed, 0, &[4, 5], Float::F32)),
        call.y(layer.x.view_as(&[4, 3])),
        call.x(layer.x.view_as(&[1 << 33, 1 << 33])),
    ] {
        bad.record(&guest, &mut encoder).unwrap_err();
    }
    guest.zeros(&[1 << 31]).unwrap_err();
    guest.download(View::new(&destroyed, 0, &[1], Float::F32)).unwrap_err();
    guest.submit(|_| -> elbow::Result<()> { Err(Error::Timeout { waited: std::time::Duration::ZERO }) }).unwrap_err();
    call.record(&guest, &mut encoder).unwrap();
    queue.submit([encoder.finish()]);
    // Popped in the right order: the counts are right, or wgpu panics.
    for scope in scopes.into_iter().rev() {
        let caught = pollster::block_on(scope.pop());
        assert!(caught.is_none(), "{caught:?}");
    }
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    call.x(View::new(&destroyed, 0, &[4, 5], Float::F32))
        .record(&guest, &mut device.create_command_encoder(&Default::default()))
        .unwrap_err();
    drop(buffer(wgpu::BufferUsages::empty()));
    assert!(pollster::block_on(scope.pop()).is_some(), "the host's own error");
    good(&guest);
}
