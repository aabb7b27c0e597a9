//! What a step in a loop costs beside the device's work: no memory. A binary of its own: it counts what the allocator is asked for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use elbow::{
    Activation, Gpu, Options, Saved,
    affine::Forward,
    mlp::{Architecture, Batch, Mlp, Optimiser},
    rates::{Rates, Rule},
    wgpu,
};

fn options() -> Options {
    Options::default().tuning(false)
}

/// Allocations of `calls` dispatches into a pass, by `record`. The first pass of all makes wgpu's own lists grow.
fn allocations(gpu: &Gpu, record: &dyn Fn(&mut wgpu::ComputePass<'_>)) -> u64 {
    let once = || {
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        allocation_counter::measure(|| record(&mut pass)).count_total
    };
    once();
    once()
}

/// A host that calls wgpu itself, with as many dispatches: what it allocates is wgpu's.
fn by_hand(gpu: &Gpu, dispatches: usize) -> u64 {
    let device = gpu.device();
    let source = wgpu::ShaderSource::Wgsl("@compute @workgroup_size(1) fn main() {}".into());
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: None, source });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &[] });
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &[] });
    allocations(gpu, &|pass| {
        for _ in 0..dispatches {
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(1, 1, 1);
        }
    })
}

/// wgpu keeps lists for a pass, which double: with buffers bound a few more of them than by hand. One allocation a call, or in ten calls, would be many.
fn none_of_ours(ours: u64, wgpus: u64, dispatches: usize) {
    println!("{dispatches} dispatches: {ours} allocations, wgpu's own {wgpus}");
    assert!(ours <= wgpus + 8, "{ours} allocations for {dispatches} dispatches, of which wgpu makes {wgpus}");
}

#[test]
fn recording_what_is_prepared_allocates_nothing() {
    let gpu = Gpu::with_options(options()).unwrap();
    let (m, n, k) = (64, 48, 32);
    let (x, w, b) = (gpu.zeros(&[m, k]).unwrap(), gpu.zeros(&[n, k]).unwrap(), gpu.zeros(&[n]).unwrap());
    let (y, dy, dx, dw) = (
        gpu.zeros(&[m, n]).unwrap(),
        gpu.zeros(&[m, n]).unwrap(),
        gpu.zeros(&[m, k]).unwrap(),
        gpu.zeros(&[n, k]).unwrap(),
    );
    let layer = Forward::new(Activation::RELU, &x, &w, &y).b(&b).saved(Saved::Y);
    let calls = [layer.prepare(&gpu).unwrap(), layer.backward(&dy).dx(&dx).dw(&dw).prepare(&gpu).unwrap()];
    let dispatches: usize = calls.iter().map(|call| call.dispatches()).sum();
    let ours = allocations(&gpu, &|pass| {
        for call in (0..100).flat_map(|_| &calls) {
            call.record(&mut *pass).unwrap();
        }
    });
    let wgpus = by_hand(&gpu, 100 * dispatches);
    none_of_ours(ours, wgpus, 100 * dispatches);
}

/// A training step that is prepared: nothing on the host, and nothing on the device.
#[test]
fn a_training_step_allocates_nothing() {
    let gpu = Gpu::with_options(options()).unwrap();
    let optimiser = Optimiser::new(Rule::AdamW, Rates::adamw(0.01).max_norm(10.0));
    let architecture = Architecture::new(&[4, 16, 3], Activation::SILU, 32).optimiser(optimiser);
    let mlp = Mlp::seeded(&gpu, &architecture, 1).unwrap();
    let (x, labels) = (gpu.zeros(&[32, 4]).unwrap(), gpu.upload_words(&[1; 32], &[32]).unwrap());
    let loss = gpu.zeros(&[32]).unwrap();
    let step = mlp.prepare(&gpu, &Batch::new(&x, &labels, &loss)).unwrap();
    let run = || gpu.submit_pass(|pass| step.record(pass)).unwrap();
    run();
    let held = (gpu.memory_bytes(), gpu.pipelines());
    let ours = allocations(&gpu, &|pass| (0..50).for_each(|_| step.record(&mut *pass).unwrap()));
    let wgpus = by_hand(&gpu, 50 * step.dispatches());
    none_of_ours(ours, wgpus, 50 * step.dispatches());
    (0..10).for_each(|_| run());
    assert_eq!((gpu.memory_bytes(), gpu.pipelines()), held);
}
