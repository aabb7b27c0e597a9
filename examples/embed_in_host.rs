//! elbow as a guest: a host that owns its wgpu device, its memory and its command encoder trains two fused layers. elbow records
//! forward and the chain backward into the host's compute pass, between the host's own kernels for the loss and the update;
//! the host submits. Results come back through futures, and the host polls its device: no call of elbow's waits.
//!
//!     cargo run --example embed_in_host
//!
//! All operands lie in one buffer of the host's (an arena, as frameworks have them), at offsets that only need to be
//! multiples of 4 bytes. The gradients of the first step are checked against the f64 reference.

#![forbid(unsafe_code)]

use std::{
    error::Error,
    pin::pin,
    task::{Context, Poll, Waker},
};

use elbow::{
    Activation, Dtype, Gpu, Saved, View,
    affine::Forward,
    cpu::{ForwardInputs, reference},
    request::{AffineRequest, BackwardRequest, Gradients},
    wgpu,
};
use rand::{RngExt, SeedableRng};

const BATCH: usize = 33;
const FEATURES: usize = 50;
const HIDDEN: usize = 70;
const OUTPUTS: usize = 10;
const STEPS: usize = 200;
const RATE: f32 = 0.2;

fn main() -> Result<(), Box<dyn Error>> {
    // The host's side: any wgpu program has this already.
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    let mut arena = Arena::default();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let mut random =
        |len: usize, scale: f32| -> Vec<f32> { (0..len).map(|_| scale * rng.random_range(-1.0..1.0)).collect() };
    let x = arena.place(&random(BATCH * FEATURES, 1.0));
    let target = arena.place(&random(BATCH * OUTPUTS, 1.0));
    let parameters = [HIDDEN * FEATURES, HIDDEN, OUTPUTS * HIDDEN, OUTPUTS];
    let [w0, b0, w1, b1] = parameters.map(|len| arena.place(&random(len, 0.2)));
    let parameters_end = arena.values.len();
    // The gradients lie as the parameters do, so that one kernel updates all of them.
    let [dw0, db0, dw1, db1] = parameters.map(|len| arena.place(&vec![0.0; len]));
    let [z0, y0, dz0] = [(); 3].map(|()| arena.place(&vec![f32::NAN; BATCH * HIDDEN]));
    let [y1, dy] = [(); 2].map(|()| arena.place(&vec![f32::NAN; BATCH * OUTPUTS]));
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let size = arena.values.len() as u64 * 4;
    let buffer =
        device.create_buffer(&wgpu::BufferDescriptor { label: Some("arena"), size, usage, mapped_at_creation: false });
    queue.write_buffer(&buffer, 0, &arena.bytes());
    // dy = (y − target) / BATCH, the slope of half the mean square; and parameter −= RATE · gradient.
    let blend = Blend::new(&device, &buffer);
    let scale = 1.0 / BATCH as f32;
    let slope = blend.call(&device, &queue, dy, BATCH * OUTPUTS, (scale, y1), (-scale, target));
    let update = blend.call(&device, &queue, w0, parameters_end - w0, (1.0, w0), (-RATE, dw0));

    // elbow's side: no handler is installed, nothing is submitted or waited for.
    let gpu = Gpu::from_wgpu(&device, &queue);
    println!("{gpu}");
    let at = |offset: usize, shape: &'static [usize]| View::new(&buffer, offset as u64 * 4, shape, Dtype::F32);
    let first = Forward::new(
        Activation::GELU_ERF,
        at(x, &[BATCH, FEATURES]),
        at(w0, &[HIDDEN, FEATURES]),
        at(y0, &[BATCH, HIDDEN]),
    )
    .b(at(b0, &[HIDDEN]))
    .saved(Saved::Z)
    .save_to(at(z0, &[BATCH, HIDDEN]));
    let second = Forward::new(Activation::IDENTITY, first.y, at(w1, &[OUTPUTS, HIDDEN]), at(y1, &[BATCH, OUTPUTS]))
        .b(at(b1, &[OUTPUTS]));
    // A chain: dx of the second layer receives dz of the first, whose slope is applied before it is written.
    let chain = second.backward(at(dy, &[BATCH, OUTPUTS])).below(&first).dx(at(dz0, &[BATCH, HIDDEN]));
    let chain = chain.dw(at(dw1, &[OUTPUTS, HIDDEN])).db(at(db1, &[OUTPUTS])).db_below(at(db0, &[HIDDEN]));
    let rest = first.backward_from_dz(at(dz0, &[BATCH, HIDDEN])).dw(at(dw0, &[HIDDEN, FEATURES]));
    print!("{}\n{}\n{}\n{}\n", first.plan(&gpu)?, second.plan(&gpu)?, chain.plan(&gpu)?, rest.plan(&gpu)?);
    // Checked, planned and bound once; recording costs about a microsecond a dispatch.
    let forward = [first.prepare(&gpu)?, second.prepare(&gpu)?];
    let backward = [chain.prepare(&gpu)?, rest.prepare(&gpu)?];

    let mut losses = Vec::new();
    for step in 0..STEPS {
        // One encoder, one pass, one submission, all of them the host's.
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("host") });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            forward.iter().try_for_each(|call| call.record(&mut pass))?;
            blend.record(&mut pass, &slope);
            backward.iter().try_for_each(|call| call.record(&mut pass))?;
            blend.record(&mut pass, &update);
        }
        queue.submit([encoder.finish()]);
        if step == 0 {
            let dw0 = host_awaits(&device, gpu.download_async(at(dw0, &[HIDDEN, FEATURES])))?;
            let dw1 = host_awaits(&device, gpu.download_async(at(dw1, &[OUTPUTS, HIDDEN])))?;
            let error = judge(&arena.values, [x, target, w0, b0, w1, b1], [&dw0, &dw1])?;
            println!("error of the gradients, relative to the terms of the sums: {error:.1e}");
            // NaN fails too: it would be an output that was not written.
            if error.is_nan() || error > 1e-5 {
                return Err(format!("the guest's gradient is not the reference's: off by {error:.1e}").into());
            }
        }
        if step % 50 == 0 || step + 1 == STEPS {
            let dy = host_awaits(&device, gpu.download_async(at(dy, &[BATCH, OUTPUTS])))?;
            losses.push(dy.iter().map(|dy| (dy * BATCH as f32).powi(2)).sum::<f32>() / dy.len() as f32);
            println!("step {step:3}: mean square {:.5}", losses[losses.len() - 1]);
        }
    }
    match losses[..] {
        [begin, .., end] if end < 0.1 * begin => Ok(()),
        _ => Err(format!("nothing was learnt: {losses:?}").into()),
    }
}

/// What a host's loop does between two frames: polls its device, and asks again. (A browser polls by itself.)
fn host_awaits<T>(device: &wgpu::Device, future: impl Future<Output = elbow::Result<T>>) -> Result<T, Box<dyn Error>> {
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => return Ok(answer?),
            Poll::Pending => {
                device.poll(wgpu::PollType::wait_indefinitely())?;
            }
        }
    }
}

/// dW of both layers by the reference: the largest error of each, relative to the terms of its sum, added.
fn judge(arena: &[f32], operands: [usize; 6], got: [&[f32]; 2]) -> Result<f64, Box<dyn Error>> {
    let [x, target, w0, b0, w1, b1] = operands;
    let narrow = |values: &[f64]| -> Vec<f32> { values.iter().map(|&value| value as f32).collect() };
    let layers = [
        (AffineRequest::new(BATCH, HIDDEN, FEATURES, Activation::GELU_ERF), w0, b0),
        (AffineRequest::new(BATCH, OUTPUTS, HIDDEN, Activation::IDENTITY), w1, b1),
    ];
    let forward = |(request, w, b): &(AffineRequest, usize, usize), x: &[f32]| {
        let inputs = ForwardInputs::new(x, &arena[*w..]).b(Some(&arena[*b..]));
        reference::forward(request, inputs).map(|outputs| narrow(&outputs.y))
    };
    let backward = |(request, w, b): &(AffineRequest, usize, usize), x: &[f32], dy: &[f32]| {
        let affine = request.saved(Saved::Z);
        let gradients = Gradients::default();
        let request = BackwardRequest::new(affine, gradients);
        let (w, b) = (&arena[*w..], Some(&arena[*b..]));
        reference::backward(&request, reference::BackwardInputs::new(x, w, dy).b(b))
    };
    let x = &arena[x..];
    let y0 = forward(&layers[0], x)?;
    let y1 = forward(&layers[1], &y0)?;
    let dy: Vec<f32> = y1.iter().zip(&arena[target..]).map(|(y, target)| (y - target) / BATCH as f32).collect();
    let second = backward(&layers[1], &y0, &dy)?;
    let first = backward(&layers[0], x, &narrow(&second.dx.value))?;
    let error = |got: &[f32], want: &reference::Gradient| {
        let errors = got.iter().zip(want.value.iter().zip(&want.terms));
        // A NaN is no number that max would pass on.
        errors
            .map(|(&got, (want, terms))| (f64::from(got) - want).abs() / terms)
            .fold(0.0, |worst: f64, error| if error.is_nan() { error } else { worst.max(error) })
    };
    Ok(error(got[0], &first.dw) + error(got[1], &second.dw))
}

/// The host's memory: everything in one buffer, each tensor where the one before it ends.
#[derive(Default)]
struct Arena {
    values: Vec<f32>,
}

impl Arena {
    /// The element at which the tensor starts.
    fn place(&mut self, tensor: &[f32]) -> usize {
        // An odd gap: offsets need no alignment beyond that of an f32.
        self.values.resize(self.values.len() + 3, 0.0);
        let at = self.values.len();
        self.values.extend_from_slice(tensor);
        at
    }

    fn bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }
}

/// The host's own kernel: to[i] = p·a[i] + q·b[i], all of it in the arena.
struct Blend {
    pipeline: wgpu::ComputePipeline,
    arena: wgpu::Buffer,
}

/// One call of it: its operands, and how many workgroups.
struct BlendCall {
    group: wgpu::BindGroup,
    workgroups: u32,
}

impl Blend {
    const TEXT: &str = "
        struct Call { to: u32, a: u32, b: u32, len: u32, p: f32, q: f32 }
        @group(0) @binding(0) var<uniform> call: Call;
        @group(0) @binding(1) var<storage, read_write> arena: array<f32>;
        @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
            if id.x < call.len {
                arena[call.to + id.x] = call.p * arena[call.a + id.x] + call.q * arena[call.b + id.x];
            }
        }";

    fn new(device: &wgpu::Device, arena: &wgpu::Buffer) -> Self {
        let source = wgpu::ShaderSource::Wgsl(Self::TEXT.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("host blend"), source });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("host blend"),
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Blend { pipeline, arena: arena.clone() }
    }

    fn call(
        &self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        to: usize,
        len: usize,
        (p, a): (f32, usize),
        (q, b): (f32, usize),
    ) -> BlendCall {
        let words = [to as u32, a as u32, b as u32, len as u32, p.to_bits(), q.to_bits()];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let size = bytes.len() as u64;
        let uniform =
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
        queue.write_buffer(&uniform, 0, &bytes);
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("host blend"),
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: uniform.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: self.arena.as_entire_binding() },
            ],
        });
        BlendCall { group, workgroups: len.div_ceil(64) as u32 }
    }

    fn record(&self, pass: &mut wgpu::ComputePass<'_>, call: &BlendCall) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &call.group, &[]);
        pass.dispatch_workgroups(call.workgroups, 1, 1);
    }
}
