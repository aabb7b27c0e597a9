//! What a host can rely on: its frames before and after elbow's layers in one submission, its handlers and its error scopes silent; scratch memory that it
//! supplies; kernels compiled when it loads, through its cache of pipelines.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use elbow::{
    Activation, Error, Float, Gpu, Operand, Plan, Prepared, Result, Saved, Strategy, View,
    affine::{Backward, Forward},
    gpu::{Buffers, ScratchRequirement},
    network,
    plan::Pin,
    wgpu,
};

use crate::{
    common::{Numbers, checks, gpu, options},
    host::{adapter, host},
};

/// Calls into the handlers that the host has installed: errors, and the loss of its device.
struct Handlers(Arc<AtomicUsize>);

impl Handlers {
    fn on(device: &wgpu::Device) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let [errors, lost] = [(); 2].map(|()| Arc::clone(&calls));
        device.on_uncaptured_error(Arc::new(move |error| {
            println!("{error}");
            errors.fetch_add(1, Ordering::Relaxed);
        }));
        device.set_device_lost_callback(move |reason, text| {
            println!("{reason:?}: {text}");
            lost.fetch_add(1, Ordering::Relaxed);
        });
        Handlers(calls)
    }

    fn calls(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

const STORAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_SRC).union(wgpu::BufferUsages::COPY_DST);

fn buffer(device: &wgpu::Device, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor { label: Some("host"), size, usage, mapped_at_creation: false })
}

/// A picture of one number a pixel, and a pipeline that draws it over the whole of it from a storage buffer.
struct Picture {
    texture: wgpu::Texture,
    pipeline: wgpu::RenderPipeline,
}

/// 32 rows of 64 pixels: 256 bytes a row, as a copy of a texture wants it.
const ROWS: usize = 32;
const COLUMNS: usize = 64;

impl Picture {
    const TEXT: &str = "
        @group(0) @binding(0) var<storage, read> numbers: array<f32>;
        @vertex fn corner(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
            return vec4f(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
        }
        @fragment fn pixel(@builtin(position) at: vec4f) -> @location(0) f32 {
            return 2.0 * numbers[FIRST + u32(at.y) * 64u + u32(at.x)];
        }";

    fn new(device: &wgpu::Device, first: u64) -> Self {
        let text = Self::TEXT.replace("FIRST", &format!("{first}u"));
        let source = wgpu::ShaderSource::Wgsl(text.into());
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some("host"), source });
        let format = wgpu::TextureFormat::R32Float;
        let texture = device.create_texture(&wgpu::TextureDescriptor {
            label: Some("host"),
            size: Self::size(),
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        let pipeline = device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
            label: Some("host"),
            layout: None,
            vertex: wgpu::VertexState {
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                buffers: &[],
            },
            primitive: wgpu::PrimitiveState::default(),
            depth_stencil: None,
            multisample: wgpu::MultisampleState::default(),
            fragment: Some(wgpu::FragmentState {
                module: &module,
                entry_point: None,
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                targets: &[Some(format.into())],
            }),
            multiview_mask: None,
            cache: None,
        });
        Picture { texture, pipeline }
    }

    fn size() -> wgpu::Extent3d {
        wgpu::Extent3d { width: COLUMNS as u32, height: ROWS as u32, depth_or_array_layers: 1 }
    }

    /// Draws twice the numbers of `from`, and copies the picture to `to`.
    fn draw(
        &self,
        device: &wgpu::Device,
        encoder: &mut wgpu::CommandEncoder,
        from: &wgpu::Buffer,
        to: (&wgpu::Buffer, u64),
    ) {
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("host"),
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: from.as_entire_binding() }],
        });
        let view = self.texture.create_view(&wgpu::TextureViewDescriptor::default());
        {
            let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                label: Some("host"),
                color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                    view: &view,
                    depth_slice: None,
                    resolve_target: None,
                    ops: wgpu::Operations::default(),
                })],
                ..Default::default()
            });
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.draw(0..3, 0..1);
        }
        encoder.copy_texture_to_buffer(
            self.texture.as_image_copy(),
            wgpu::TexelCopyBufferInfo {
                buffer: to.0,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: to.1,
                    bytes_per_row: Some(4 * COLUMNS as u32),
                    rows_per_image: None,
                },
            },
            Self::size(),
        );
    }
}

/// The host draws a picture into x, elbow takes it through a thousand layers, the host draws what comes out: one encoder, one pass of
/// elbow's, one submission. Each layer moves the columns by one and adds a quarter, so that every layer that is missing, or out of order, is seen.
fn a_thousand_layers(shared: bool) {
    const LAYERS: usize = 1000;
    let (device, queue) = host();
    let handlers = Handlers::on(&device);
    let gpu = Gpu::from_wgpu_with(&device, &queue, checks());
    let (rows, weights) = ((ROWS * COLUMNS * 4) as u64, (COLUMNS * COLUMNS * 4) as u64);
    // Pages of the host's memory, and where x, the other x, w and b begin.
    let sizes = [rows, rows, weights, (COLUMNS * 4) as u64];
    let starts = [0, rows, 2 * rows, 2 * rows + weights];
    let arena = buffer(&device, starts[3] + sizes[3], STORAGE);
    let places: Vec<(wgpu::Buffer, u64)> = sizes
        .into_iter()
        .zip(starts)
        .map(|(size, start)| if shared { (arena.clone(), start) } else { (buffer(&device, size, STORAGE), 0) })
        .collect();
    let at = |place: usize, shape: &[usize]| View::new(&places[place].0, places[place].1, shape, Float::F32);
    let (x, w, b) = ([ROWS, COLUMNS], [COLUMNS, COLUMNS], [COLUMNS]);
    let moved: Vec<f32> =
        (0..COLUMNS * COLUMNS).map(|i| if (i / COLUMNS + 1) % COLUMNS == i % COLUMNS { 1.0 } else { 0.0 }).collect();
    gpu.write(at(2, &w), &moved).unwrap();
    gpu.write(at(3, &b), &[0.25; COLUMNS]).unwrap();
    let numbers: Vec<f32> = (0..ROWS * COLUMNS).map(|i| (i % 97) as f32 - 40.0).collect();
    let (scene, out) = (buffer(&device, rows, STORAGE), buffer(&device, rows, STORAGE));
    gpu.write(View::new(&scene, 0, &x, Float::F32), &numbers).unwrap();
    let pictures = [Picture::new(&device, 0), Picture::new(&device, places[0].1 / 4)];
    let layer = |from: usize| {
        Forward::new(Activation::RELU, at(from, &x), at(2, &w), at(1 - from, &x)).b(at(3, &b)).prepare(&gpu).unwrap()
    };
    let layers = [layer(0), layer(1)];
    let pipelines = gpu.pipelines();
    assert_eq!(pipelines, 1, "both ways are one kernel");

    // An error scope of the host's around all of it.
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("host") });
    pictures[0].draw(&device, &mut encoder, &scene, (&places[0].0, places[0].1));
    let begin = Instant::now();
    {
        let mut pass =
            encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: Some("host"), timestamp_writes: None });
        for i in 0..LAYERS {
            layers[i % 2].record(&mut pass).unwrap();
            if i == LAYERS / 2 {
                // A mistake in the middle of a pass is an error here, and nothing else.
                let wrong = Forward::new(Activation::RELU, at(0, &x), at(2, &w), at(0, &x));
                assert!(matches!(wrong.record(&gpu, &mut pass), Err(Error::Alias { .. })));
            }
        }
    }
    pictures[1].draw(&device, &mut encoder, &places[0].0, (&out, 0));
    let commands = encoder.finish();
    // wgpu checks and encodes what was recorded when the encoder is finished.
    println!("{:.2} us a layer to record and to finish", begin.elapsed().as_secs_f64() * 1e6 / LAYERS as f64);
    queue.submit([commands]);
    assert!(pollster::block_on(scope.pop()).is_none(), "the host's error scope");

    let got = gpu.download(View::new(&out, 0, &x, Float::F32)).unwrap();
    let mut row = [0.0; COLUMNS];
    for (numbers, got) in numbers.chunks(COLUMNS).zip(got.chunks(COLUMNS)) {
        row.iter_mut().zip(numbers).for_each(|(x, number)| *x = 2.0 * number);
        for _ in 0..LAYERS {
            let before = row;
            for (n, y) in row.iter_mut().enumerate() {
                *y = (before[(n + 1) % COLUMNS] + 0.25).max(0.0);
            }
        }
        assert_eq!(got, row.map(|y| 2.0 * y));
    }
    assert_eq!((handlers.calls(), gpu.pipelines()), (0, pipelines));
}

#[test]
fn a_thousand_layers_between_two_frames() {
    a_thousand_layers(false);
}

#[test]
fn a_thousand_layers_between_two_frames_in_one_buffer() {
    a_thousand_layers(true);
}

/// Operands in one buffer of numbers, with memory behind them for scratch.
struct Arena {
    buffer: wgpu::Buffer,
    /// The first byte behind the operands, aligned for anything.
    end: u64,
}

const M: usize = 200;
const N: usize = 36;
const K: usize = 44;

impl Arena {
    fn at(&self, place: usize, shape: &[usize]) -> View<'_> {
        View::new(&self.buffer, (place * M * K.max(N) * 4) as u64, shape, Float::F32)
    }

    fn new(gpu: &Gpu) -> Self {
        let floats = 8 * M * K.max(N);
        let end = (floats as u64 * 4).next_multiple_of(256);
        let buffer = buffer(gpu.device(), end + (2 << 20), STORAGE);
        let arena = Arena { buffer, end };
        let mut numbers = Numbers::new(5);
        let values: Vec<f32> = (0..floats).map(|_| 0.25 * numbers.normal()).collect();
        gpu.write(View::new(&arena.buffer, 0, &[floats], Float::F32), &values).unwrap();
        arena
    }

    fn layer(&self) -> Forward<'_> {
        let pin = Pin::default().strategy(Strategy::TwoPass).tile(0).splits(3);
        Forward::new(Activation::SILU, self.at(0, &[M, K]), self.at(1, &[N, K]), self.at(2, &[M, N]))
            .b(self.at(1, &[N]).slice(0, 0..N).unwrap())
            .saved(Saved::None)
            .pin(pin)
    }

    /// dz in scratch memory, parts of db and dW too.
    fn backward(&self) -> Backward<'_> {
        let layer = self.layer();
        layer.backward(self.at(3, &[M, N])).dx(self.at(4, &[M, K])).dw(self.at(5, &[N, K])).db(self.at(6, &[N]))
    }

    fn network(&self) -> network::Backward<'_> {
        let layers = network::Layers::new(&[4, 16, 2], Activation::TANH).unwrap();
        let [x, dy, dx] = [(0, 4), (3, 2), (4, 4)].map(|(place, columns)| self.at(place, &[M, columns]));
        let [parameters, gradient] = [1, 5].map(|place| self.at(place, &[layers.elements()]));
        network::Forward::new(layers, x, parameters, View::absent(&[M, 2], Float::F32))
            .backward(dy)
            .dx(dx)
            .gradient(gradient)
    }
}

/// With scratch memory of the host's a call gives the same bits, allocates none, and stays within what it asked for.
fn with_the_hosts_scratch(plan: &dyn Fn(&Gpu, &Arena) -> Plan, prepare: &dyn Fn(&Gpu, &Arena) -> Result<Prepared>) {
    let gpu = Gpu::with_options(options()).unwrap();
    let arena = Arena::new(&gpu);
    let results = || -> Vec<u32> {
        let all = View::new(&arena.buffer, 0, &[(arena.end / 4) as usize], Float::F32);
        gpu.download(all).unwrap().into_iter().map(f32::to_bits).collect()
    };
    let need = gpu.scratch_requirement(&plan(&gpu, &arena));
    assert!(need.bytes > 4096, "{need:?}");
    let own = prepare(&gpu, &arena).unwrap();
    gpu.submit(|encoder| own.record(encoder)).unwrap();
    let expected = results();
    drop(own);
    gpu.trim();
    let held = gpu.memory_bytes();

    let align = need.alignment.max(256);
    let words = |bytes: u64| [bytes.div_ceil(4) as usize];
    // Around it, and in it, what would be seen wherever it got to: NaN.
    let spare = View::new(&arena.buffer, arena.end, &words(need.bytes + 2 * align), Float::F32);
    gpu.write(spare, &vec![f32::NAN; spare.shape()[0]]).unwrap();
    let supplied = View::new(&arena.buffer, arena.end + align, &words(need.bytes), Float::F32);
    let guest = gpu.with_scratch(supplied).unwrap();
    let prepared = prepare(&guest, &arena).unwrap();
    assert!(guest.memory_bytes() - held < 4096, "blocks of parameters alone: {}", guest.memory_bytes() - held);
    // What the first run left there must not matter to the second.
    for _ in 0..2 {
        gpu.submit(|encoder| prepared.record(encoder)).unwrap();
        assert!(results() == expected);
    }
    let around = gpu.download(spare).unwrap();
    let (before, behind) = ((align / 4) as usize, (align + need.bytes) as usize / 4);
    let changed = around.iter().enumerate().filter(|(_, v)| !v.is_nan()).map(|(i, _)| i);
    let (first, last) = (changed.clone().min().unwrap(), changed.max().unwrap());
    assert!(before <= first && last < behind, "{before} <= {first}, {last} < {behind}");

    // Too little, or over an operand: an error, and nothing is recorded.
    let short = supplied.slice(0, 0..supplied.shape()[0] - 1).unwrap();
    let refused = prepare(&gpu.with_scratch(short).unwrap(), &arena).unwrap_err();
    let said =
        format!("scratch: expected {} bytes (Gpu::scratch_requirement), got {} bytes", need.bytes, need.bytes - 4);
    assert_eq!(refused.to_string(), said);
    let over = View::new(&arena.buffer, 0, &words(arena.end), Float::F32);
    let refused = prepare(&gpu.with_scratch(over).unwrap(), &arena).unwrap_err();
    assert!(refused.to_string().contains("scratch"), "{refused}");
    assert!(matches!(refused, Error::Alias { .. }), "{refused}");
}

#[test]
fn backward_in_the_hosts_scratch() {
    with_the_hosts_scratch(&|gpu, arena| arena.backward().plan(gpu).unwrap(), &|gpu, arena| {
        arena.backward().prepare(gpu)
    });
}

#[test]
fn a_networks_gradients_in_the_hosts_scratch() {
    with_the_hosts_scratch(&|gpu, arena| arena.network().plan(gpu).unwrap(), &|gpu, arena| {
        arena.network().prepare(gpu)
    });
}

#[test]
fn scratch_that_cannot_be() {
    let gpu = gpu();
    let words = |usage, count: usize| (buffer(gpu.device(), 4096, usage), count);
    let (good, _) = words(STORAGE, 0);
    let (no_storage, _) = words(wgpu::BufferUsages::COPY_DST, 0);
    let at = |buffer, offset, count: usize| gpu.with_scratch(View::new(buffer, offset, &[count], Float::F32)).map(drop);
    assert!(at(&good, 0, 1024).is_ok());
    let align = ScratchRequirement::new(1, 4).shared(ScratchRequirement::new(2, 2));
    assert_eq!((align.bytes, align.alignment), (2, 4));
    for (error, is) in [
        (at(&good, 4, 16), "scratch: expected an offset that is a multiple of"),
        (at(&good, 0, 1025), "scratch: expected 4100 bytes"),
        (at(&no_storage, 0, 16), "scratch: expected a buffer with usage"),
        (gpu.with_scratch(View::absent(&[16], Float::F32)).map(drop), "scratch: expected a buffer of shape"),
    ] {
        let said = error.unwrap_err().to_string();
        assert!(said.starts_with(is), "{said}");
    }
    // A call without scratch takes any.
    let x = gpu.upload(&[-1.0, 2.0], &[2]).unwrap();
    let y = gpu.zeros(&[2]).unwrap();
    let guest = gpu.with_scratch(View::new(&good, 0, &[1], Float::F32)).unwrap();
    let relu = elbow::elementwise::Forward::new(Activation::RELU, &x, &y);
    assert_eq!(gpu.scratch_requirement(&relu.plan(gpu).unwrap()), ScratchRequirement::default());
    guest.submit(|encoder| relu.record(&guest, encoder)).unwrap();
    assert_eq!(gpu.download(&y).unwrap(), [0.0, 2.0]);
    assert_eq!(Operand::Scratch.name(), "scratch");
}

#[test]
fn kernels_are_compiled_when_the_host_loads() {
    let gpu = Gpu::with_options(options()).unwrap();
    let absent = |shape: &[usize]| View::absent(shape, Float::F32);
    let (m, n, k) = (33, 20, 12);
    let layer = |x, w, y| Forward::new(Activation::RELU, x, w, y).saved(Saved::Y);
    let (x, w, y) = (absent(&[m, k]), absent(&[n, k]), absent(&[m, n]));
    let of_shapes = layer(x, w, y);
    let plans = [of_shapes.plan(&gpu).unwrap(), of_shapes.backward(y).dx(x).dw(w).plan(&gpu).unwrap()];
    let by_self_test = gpu.pipelines();
    let compiled = gpu.warm(&plans, Buffers::Apart).unwrap();
    assert!(
        compiled >= 2 && by_self_test + compiled == gpu.pipelines(),
        "{by_self_test} {compiled} {}",
        gpu.pipelines()
    );
    assert_eq!(gpu.warm(&plans, Buffers::Apart).unwrap(), 0);
    let run = |x, w, y, dy, dx, dw| {
        let layer = layer(x, w, y);
        gpu.submit_pass(|pass| {
            layer.record(&gpu, &mut *pass)?;
            layer.backward(dy).dx(dx).dw(dw).record(&gpu, &mut *pass)
        })
        .unwrap();
    };
    let [x, w, y, dy, dx, dw] =
        [[m, k], [n, k], [m, n], [m, n], [m, k], [n, k]].map(|shape| gpu.zeros(&shape).unwrap());
    run(x.view(), w.view(), y.view(), dy.view(), dx.view(), dw.view());
    assert_eq!(gpu.pipelines(), by_self_test + compiled, "a call compiled another kernel");
    // In one buffer they are others.
    let more = gpu.warm(&plans, Buffers::Shared).unwrap();
    assert_eq!((more, gpu.pipelines()), (compiled, by_self_test + 2 * compiled));
    let arena = gpu.zeros(&[6, 1024]).unwrap();
    let at = |i: usize, shape: &[usize; 2]| View::new(arena.buffer(), i as u64 * 4096, shape, Float::F32);
    let dy = at(3, &[m, n]);
    run(at(0, &[m, k]), at(1, &[n, k]), at(2, &[m, n]), dy, at(4, &[m, k]), at(5, &[n, k]));
    assert_eq!(gpu.pipelines(), by_self_test + 2 * compiled, "a call compiled another kernel");
}

/// That pipelines go through the host's cache is seen where it is another device's, which wgpu refuses.
#[test]
#[expect(unsafe_code, reason = "wgpu trusts the bytes that a cache begins with; these begin with none")]
fn kernels_are_compiled_through_the_hosts_cache() {
    let (adapter, required_features) = (adapter(), wgpu::Features::PIPELINE_CACHE);
    if !adapter.features().contains(required_features) {
        return println!("NOT RUN: {} has no pipeline caches", gpu().info().name);
    }
    let open = || {
        let descriptor = wgpu::DeviceDescriptor { required_features, ..Default::default() };
        pollster::block_on(adapter.request_device(&descriptor)).unwrap()
    };
    let ((device, queue), other) = (open(), open());
    let handlers = Handlers::on(&device);
    let gpu = Gpu::from_wgpu_with(&device, &queue, checks());
    let descriptor = wgpu::PipelineCacheDescriptor { label: Some("host"), data: None, fallback: true };
    // SAFETY: there are no data.
    let cache = |device: &wgpu::Device| unsafe { device.create_pipeline_cache(&descriptor) };
    let (x, y) = (gpu.upload(&[-1.0, 2.0], &[2]).unwrap(), gpu.zeros(&[2]).unwrap());
    let run = || {
        let relu = elbow::elementwise::Forward::new(Activation::RELU, &x, &y);
        gpu.submit(|encoder| relu.record(&gpu, encoder))
    };
    gpu.set_pipeline_cache(cache(&other.0));
    assert!(matches!(run(), Err(Error::ShaderCompile { .. })), "the cache of another device");
    gpu.set_pipeline_cache(cache(&device));
    run().unwrap();
    assert_eq!(gpu.download(&y).unwrap(), [0.0, 2.0]);
    assert_eq!(handlers.calls(), 0);
    // It can be taken away again.
    gpu.set_pipeline_cache(None);
    run().unwrap();
}
