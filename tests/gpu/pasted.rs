//! A network as WGSL text, pasted into a pipeline that is none of elbow's, made by plain wgpu.

use elbow::{
    Activation, AlphaSource, Float, Tensor,
    mlp::{Architecture, Mlp, Wgsl},
    wgpu,
};
use elbow_verify::points;

use crate::{
    common::{Numbers, each, gpu},
    whole::HostNetwork,
};

/// y of every row of x, by a shader around the text: a group for rows, and one for the parameters where the text has a binding.
fn run(text: &str, name: &str, x: &Tensor, rows: usize, n: usize, parameters: Option<&wgpu::Buffer>) -> Vec<f32> {
    let (gpu, k) = (gpu(), x.shape()[1]);
    let device = gpu.device();
    let host = format!(
        "@group(0) @binding(0) var<storage, read> host_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> host_y: array<f32>;
{text}
@compute @workgroup_size(32)
fn host(@builtin(global_invocation_id) id: vec3<u32>) {{
    if (id.x >= {rows}u) {{ return; }}
    var x: array<f32, {k}>;
    for (var i = 0u; i < {k}u; i += 1u) {{ x[i] = host_x[id.x * {k}u + i]; }}
    var y = {name}(x);
    for (var i = 0u; i < {n}u; i += 1u) {{ host_y[id.x * {n}u + i] = y[i]; }}
}}"
    );
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(host.into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: Some("host"),
        compilation_options: wgpu::PipelineCompilationOptions::default(),
        cache: None,
    });
    let error = pollster::block_on(scope.pop());
    assert!(error.is_none(), "{error:?}");
    let y = gpu.upload(&vec![f32::NAN; rows * n], &[rows, n]).unwrap();
    let group = |index: u32, buffers: &[&wgpu::Buffer]| {
        let bound = buffers.iter().enumerate().map(|(i, buffer)| (i as u32, buffer.as_entire_binding()));
        let entries: Vec<_> = bound.map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource }).collect();
        device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(index),
            entries: &entries,
        })
    };
    let rows_of_host = group(0, &[x.buffer(), y.buffer()]);
    let bound = parameters.map(|buffer| group(1, &[buffer]));
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &rows_of_host, &[]);
        if let Some(bound) = &bound {
            pass.set_bind_group(1, bound, &[]);
        }
        pass.dispatch_workgroups(rows.div_ceil(32) as u32, 1, 1);
    }
    gpu.queue().submit([encoder.finish()]);
    gpu.download(&y).unwrap()
}

/// Both texts of a network on these rows.
fn both(mlp: &Mlp, x: &[f32], k: usize, n: usize) -> [Vec<f32>; 2] {
    let gpu = gpu();
    let rows = x.len() / k;
    let x = gpu.upload(x, &[rows, k]).unwrap();
    let parameters = gpu.download(mlp.all_parameters()).unwrap();
    let written = mlp.wgsl(&Wgsl::constants(&parameters)).unwrap();
    let bound = mlp.wgsl(&Wgsl::storage(1, 0).name("field")).unwrap();
    // A copy: the host's own buffer, of the same numbers.
    let copy = gpu.upload(&parameters, &[parameters.len()]).unwrap();
    [run(&written, "mlp", &x, rows, n, None), run(&bound, "field", &x, rows, n, Some(copy.buffer()))]
}

fn check(sizes: &[usize], activation: Activation, alpha: AlphaSource, rows: usize, numbers: &mut Numbers) {
    let gpu = gpu();
    let host = HostNetwork::random(sizes, activation, alpha, numbers);
    let mlp = host.on_the_device(gpu, &Architecture::new(sizes, activation, rows).alpha(alpha));
    let (k, n) = (sizes[0], sizes[sizes.len() - 1]);
    let x: Vec<f32> = (0..rows * k).map(|_| numbers.normal()).collect();
    let x_ = gpu.upload(&x, &[rows, k]).unwrap();
    gpu.submit(|encoder| mlp.forward(gpu, encoder, x_.view())).unwrap();
    let own = gpu.download(mlp.output(sizes.len() - 2).unwrap()).unwrap();
    host.judge(&format!("mlp {sizes:?} {activation}"), &x, &own, 0.0);
    for (which, y) in ["constants", "storage"].into_iter().zip(both(&mlp, &x, k, n)) {
        host.judge(&format!("{which} {sizes:?} {activation} {alpha:?}"), &x, &y, 0.0);
    }
}

#[test]
fn every_activation_in_a_foreign_shader() {
    let mut numbers = Numbers::new(21);
    for (i, activation) in each(points::defaults()) {
        let learnable = [AlphaSource::Constant, AlphaSource::PerLayer, AlphaSource::PerChannel][i % 3];
        let alpha = if activation.has_alpha() { learnable } else { AlphaSource::Constant };
        check(&[3, 6, 2], activation, alpha, 40, &mut numbers);
    }
}

#[test]
fn every_depth_and_odd_sizes() {
    let mut numbers = Numbers::new(22);
    let sizes: [&[usize]; 6] = [&[1, 1], &[5, 3], &[2, 16, 1], &[7, 9, 9, 3], &[4, 8, 8, 8, 8], &[3, 5, 17, 2, 1, 6]];
    for sizes in sizes {
        check(sizes, Activation::SILU, AlphaSource::Constant, 9, &mut numbers);
    }
}

/// Integers, ReLU: the same bits as the network itself.
#[test]
fn exact_numbers_are_the_same_bits() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(23));
    let sizes = [5, 12, 12, 3];
    let host = HostNetwork::random(&sizes, Activation::RELU, AlphaSource::Constant, &mut numbers).integers(3.0);
    let mlp = host.on_the_device(gpu, &Architecture::new(&sizes, Activation::RELU, 33));
    let x: Vec<f32> = (0..33 * 5).map(|_| (numbers.normal() * 3.0).round()).collect();
    let x_ = gpu.upload(&x, &[33, 5]).unwrap();
    gpu.submit(|encoder| mlp.forward(gpu, encoder, x_.view())).unwrap();
    let own = gpu.download(mlp.output(2).unwrap()).unwrap();
    assert_eq!(both(&mlp, &x, 5, 3), [own.clone(), own]);
}

/// Infinities and NaN among the parameters: each where the network itself has one.
#[test]
fn parameters_that_are_no_numbers() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(24));
    let sizes = [2, 5, 4];
    let mut host = HostNetwork::random(&sizes, Activation::RELU, AlphaSource::Constant, &mut numbers);
    host.0[1].w[3] = f32::NAN;
    host.0[1].b[1] = f32::INFINITY;
    host.0[1].b[2] = f32::NEG_INFINITY;
    let mlp = host.on_the_device(gpu, &Architecture::new(&sizes, Activation::RELU, 3));
    let x: Vec<f32> = (0..6).map(|_| numbers.normal()).collect();
    for y in both(&mlp, &x, 2, 4) {
        for row in y.chunks(4) {
            assert!(row[0].is_nan() && row[1] == f32::INFINITY && row[2] == f32::NEG_INFINITY, "{row:?}");
            assert!(row[3].is_finite(), "{row:?}");
        }
    }
    // NaN in, NaN out.
    let x = gpu.upload(&[f32::NAN, 1.0], &[1, 2]).unwrap();
    let parameters = gpu.download(mlp.all_parameters()).unwrap();
    let y = run(&mlp.wgsl(&Wgsl::constants(&parameters)).unwrap(), "mlp", &x, 1, 4, None);
    assert!(y.iter().all(|y| y.is_nan()), "{y:?}");
}

/// Of a network that stores f16 the text has the parameters in f32.
#[test]
fn narrow_storage_is_near() {
    let (gpu, mut numbers) = (gpu(), Numbers::new(25));
    let sizes = [3, 8, 8, 2];
    for dtype in [Float::F16, Float::Bf16] {
        let host = HostNetwork::random(&sizes, Activation::TANH, AlphaSource::Constant, &mut numbers);
        let mlp = host.on_the_device(gpu, &Architecture::new(&sizes, Activation::TANH, 10).storage(dtype));
        let x: Vec<f32> = (0..30).map(|_| dtype.round(numbers.normal())).collect();
        let x_ = gpu.upload_as(dtype, &x, &[10, 3]).unwrap();
        gpu.submit(|encoder| mlp.forward(gpu, encoder, x_.view())).unwrap();
        let own = gpu.download(mlp.output(2).unwrap()).unwrap();
        host.judge(&format!("mlp {dtype}"), &x, &own, dtype.rounding(1.0));
        for y in both(&mlp, &x, 3, 2) {
            host.judge(&format!("text {dtype}"), &x, &y, 0.0);
        }
    }
}

#[test]
fn mistakes_in_a_text_are_named() {
    let gpu = gpu();
    let mlp = Mlp::new(gpu, &Architecture::new(&[2, 3, 1], Activation::GELU_ERF, 4), &mut || 0.5).unwrap();
    let parameters = gpu.download(mlp.all_parameters()).unwrap();
    let error = mlp.wgsl(&Wgsl::constants(&parameters[1..])).unwrap_err().to_string();
    assert!(error.contains("parameter") && error.contains("shape of all parameters"), "{error}");
    for name in ["", "1st", "a-b", "fn", "array", "f32", "select", "x", "é"] {
        let error = mlp.wgsl(&Wgsl::constants(&parameters).name(name)).unwrap_err().to_string();
        assert!(error.contains("name") && error.contains(&format!("{name:?}")), "{error}");
    }
    for sizes in [&[0, 3][..], &[3, 0], &[2, 0, 2]] {
        let mlp = Mlp::new(gpu, &Architecture::new(sizes, Activation::RELU, 4), &mut || 0.5).unwrap();
        let error = mlp.wgsl(&Wgsl::storage(0, 0)).unwrap_err().to_string();
        assert!(error.contains("sizes") && error.contains("empty"), "{error}");
    }
}
