//! A guest on a host's device: default limits, no features, the host's encoder and pass, its handlers untouched.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use elbow::{Activation, Error, Float, Gpu, Options, Saved, View, affine::Forward, wgpu};

use crate::common::{checks, gpu};

/// The adapter under test, as a host would find it.
pub fn adapter() -> wgpu::Adapter {
    let ours = |a: &wgpu::Adapter| {
        let info = a.get_info();
        info.name == gpu().info().name && info.backend == gpu().info().backend
    };
    elbow::native::adapters().unwrap().into_iter().find(ours).expect("the adapter under test")
}

/// A device as a host would open it.
pub fn host() -> (wgpu::Device, wgpu::Queue) {
    pollster::block_on(adapter().request_device(&wgpu::DeviceDescriptor::default()))
        .expect("a device with default limits")
}

#[test]
fn records_into_the_hosts_encoder_and_pass() {
    let (device, queue) = host();
    let errors = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&errors);
    device.on_uncaptured_error(Arc::new(move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
    }));
    let gpu = Gpu::from_wgpu_with(&device, &queue, checks());
    assert_eq!(device.limits(), wgpu::Limits::defaults());
    // One buffer of the host's for everything, at offsets that are only multiples of 4.
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 4096,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let x: Vec<f32> = (0..6).map(|i| i as f32 - 3.0).collect();
    let w: Vec<f32> = (0..12).map(|i| (i % 5) as f32 - 2.0).collect();
    queue.write_buffer(&buffer, 4, bytemuck::cast_slice(&x));
    queue.write_buffer(&buffer, 132, bytemuck::cast_slice(&w));
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let call = Forward::new(
        Activation::RELU,
        View::new(&buffer, 4, &[2, 3], Float::F32),
        View::new(&buffer, 132, &[4, 3], Float::F32),
        View::new(&buffer, 204, &[2, 4], Float::F32),
    );
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        call.record(&gpu, &mut pass).unwrap();
        // A bad call in between is an error, and the pass goes on.
        let bad = call.y(View::new(&buffer, 8, &[2, 4], Float::F32));
        assert!(matches!(bad.record(&gpu, &mut pass), Err(Error::Alias { .. })));
        let second = call.y(View::new(&buffer, 260, &[2, 4], Float::F32));
        second.record(&gpu, &mut pass).unwrap();
    }
    call.record(&gpu, &mut encoder).unwrap();
    queue.submit([encoder.finish()]);
    let mut expected = Vec::new();
    for m in 0..2 {
        for n in 0..4 {
            expected.push((0..3).map(|k| x[m * 3 + k] * w[n * 3 + k]).sum::<f32>().max(0.0));
        }
    }
    assert_eq!(gpu.download(View::new(&buffer, 204, &[8], Float::F32)).unwrap(), expected);
    assert_eq!(gpu.download(View::new(&buffer, 260, &[8], Float::F32)).unwrap(), expected);
    assert_eq!(errors.load(Ordering::Relaxed), 0);
    // The host's handler is still the host's: an error of its own reaches it.
    let _ = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: u64::MAX / 2,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    assert_eq!(errors.load(Ordering::Relaxed), 1);
}

#[test]
fn works_at_default_limits_with_no_features() {
    let gpu = Gpu::with_options(Options::default().checks(checks()).default_limits(true)).unwrap();
    assert_eq!(gpu.caps().max_invocations, 256);
    let x = gpu.upload(&[1.0, -2.0], &[2, 1]).unwrap();
    let w = gpu.upload(&[3.0], &[1, 1]).unwrap();
    let (y, dx) = (gpu.zeros(&[2, 1]).unwrap(), gpu.zeros(&[2, 1]).unwrap());
    gpu.submit_pass(|pass| {
        let forward = Forward::new(Activation::RELU, &x, &w, &y).saved(elbow::Saved::Y);
        forward.record(&gpu, &mut *pass)?;
        forward.backward(&x).dx(&dx).record(&gpu, &mut *pass)
    })
    .unwrap();
    assert_eq!(gpu.download(&y).unwrap(), [3.0, 0.0]);
    assert_eq!(gpu.download(&dx).unwrap(), [3.0, 0.0]);
}

#[test]
fn async_download() {
    let gpu = gpu();
    let tensor = gpu.upload(&[1.0, 2.0, 3.0], &[3]).unwrap();
    let waiter = gpu.clone();
    let done = Arc::new(AtomicUsize::new(0));
    let flag = Arc::clone(&done);
    let poller = std::thread::spawn(move || {
        while flag.load(Ordering::Relaxed) == 0 {
            let _ = waiter.device().poll(wgpu::PollType::Poll);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    // An executor may move it to another thread.
    fn movable<F: Future + Send>(download: F) -> F {
        download
    }
    assert_eq!(pollster::block_on(movable(gpu.download_async(&tensor))).unwrap(), [1.0, 2.0, 3.0]);
    done.store(1, Ordering::Relaxed);
    poller.join().unwrap();
}

#[test]
fn display_names_the_adapter_loudly() {
    let text = gpu().to_string();
    assert!(text.contains(&gpu().info().name), "{text}");
    assert_eq!(text.contains("SOFTWARE"), gpu().is_software(), "{text}");
    assert!(text.contains("features used"), "{text}");
}

#[test]
fn pipelines_are_compiled_once_and_pools_do_not_grow() {
    let gpu = Gpu::with_options(Options::default().checks(checks())).unwrap();
    let x = gpu.zeros(&[64, 64]).unwrap();
    let (y, db) = (gpu.zeros(&[64, 64]).unwrap(), gpu.zeros(&[64]).unwrap());
    let tensors = gpu.memory_bytes();
    let mut seen = Vec::new();
    for _ in 0..3 {
        gpu.submit_pass(|pass| {
            Forward::new(Activation::RELU, &x, &x, &y).record(&gpu, &mut *pass)?;
            Forward::new(Activation::IDENTITY, &x, &x, &y).backward(&x).db(&db).record(&gpu, &mut *pass)
        })
        .unwrap();
        seen.push((gpu.pipelines(), gpu.memory_bytes()));
    }
    assert_eq!(seen[0], seen[2]);
    gpu.trim();
    assert_eq!(gpu.memory_bytes(), tensors);
}

/// Frameworks keep a bias as [1, N], and their gradients with it.
#[test]
fn vectors_may_have_leading_ones() {
    let gpu = gpu();
    let tensor = |values: &[f32], shape: &[usize]| gpu.upload(values, shape).unwrap();
    let x = tensor(&[1.0, -2.0, 3.0, 0.5, -1.5, 2.5], &[2, 3]);
    let w = tensor(&[0.5, -1.0, 0.25, 2.0, 1.0, -0.5], &[2, 3]);
    let (b, alpha, dy) = ([-4.0, -8.0], [0.25, -0.5], tensor(&[1.0, 2.0, -3.0, 4.0], &[2, 2]));
    let run = |leading: &[usize]| {
        let shape = [leading, &[2]].concat();
        let (b, alpha) = (tensor(&b, &shape), tensor(&alpha, &shape));
        let [y, z] = [(); 2].map(|()| gpu.zeros(&[2, 2]).unwrap());
        let [db, dalpha] = [(); 2].map(|()| gpu.zeros(&shape).unwrap());
        let layer = Forward::new("prelu".parse().unwrap(), &x, &w, &y)
            .b(b.view())
            .alpha(alpha.view())
            .saved(Saved::Z)
            .save_to(z.view());
        gpu.submit_pass(|pass| {
            layer.record(gpu, &mut *pass)?;
            layer.backward(&dy).db(&db).dalpha(&dalpha).record(gpu, &mut *pass)
        })
        .unwrap();
        [&y, &db, &dalpha].map(|tensor| gpu.download(tensor).unwrap())
    };
    let plain = run(&[]);
    assert!(plain.iter().flatten().all(|v| *v != 0.0), "{plain:?}");
    assert_eq!(run(&[1]), plain);
    assert_eq!(run(&[1, 1]), plain);
    let b = tensor(&[0.5, -8.0], &[2, 1]);
    let y = gpu.zeros(&[2, 2]).unwrap();
    let refused = Forward::new(Activation::RELU, &x, &w, &y).b(b.view()).plan(gpu).unwrap_err();
    assert!(matches!(refused, Error::Shape { operand: elbow::Operand::B, .. }), "{refused}");
}
