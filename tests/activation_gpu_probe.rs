//! Every activation's WGSL on this machine's adapter: the golden values, and a strided sweep over all finite f32 against the
//! f64 mathematics, in ulp. Worst figures: `cargo test --test activation_gpu_probe -- --nocapture`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;

use elbow::activation::{Activation, Quantity, Row, rows};
use wgpu::util::DeviceExt;

/// Results for each z: the five quantities, the slope from y, the slope from the bit.
const COLUMNS: usize = 7;

const GOLDEN: &[(&str, &str)] = &[
    ("relu", "relu"),
    ("leaky_relu_0.01", "leaky_relu(0.01)"),
    ("leaky_relu_0.1", "leaky_relu(0.1)"),
    ("leaky_relu_0.2", "leaky_relu(0.2)"),
    ("prelu_0.25", "prelu(0.25)"),
    ("prelu_-0.5", "prelu(-0.5)"),
    ("relu6", "relu6"),
    ("clipped_relu_1", "clipped_relu(1)"),
    ("clipped_relu_20", "clipped_relu(20)"),
    ("hardtanh", "hardtanh"),
    ("relu_squared", "relu_squared"),
    ("thresholded_relu_1", "thresholded_relu"),
    ("threshold_0.1_20", "threshold(0.1,20)"),
    ("elu_1", "elu"),
    ("elu_0.5", "elu(0.5)"),
    ("elu_2", "elu(2)"),
    ("celu_1", "celu"),
    ("celu_2", "celu(2)"),
    ("celu_0.5", "celu(0.5)"),
    ("selu", "selu"),
    ("gelu_erf", "gelu"),
    ("gelu_tanh", "gelu_tanh"),
    ("silu", "silu"),
    ("silu", "swish"),
    ("swish_0.5", "swish(0.5)"),
    ("swish_2", "swish(2)"),
    ("swish_-1", "swish(-1)"),
    ("swish_10", "swish(10)"),
    ("swish_0", "swish(0)"),
    ("quick_gelu", "quick_gelu"),
    ("mish", "mish"),
    ("softplus_1", "softplus"),
    ("softplus_2", "softplus(2)"),
    ("softplus_1_thr20", "softplus(1,20)"),
    ("hardswish", "hardswish"),
    ("hardsigmoid", "hardsigmoid"),
    ("hardsigmoid_onnx", "hardsigmoid(0.2)"),
    ("sigmoid", "sigmoid"),
    ("logsigmoid", "logsigmoid"),
    ("tanh", "tanh"),
    ("softsign", "softsign"),
    ("tanhshrink", "tanhshrink"),
    ("softshrink_0.5", "softshrink"),
    ("hardshrink_0.5", "hardshrink"),
    ("squareplus_4", "squareplus"),
];

/// Swept, but in no golden file.
const MORE: &[&str] = &[
    "identity",
    "celu(0.7)",
    "celu(-2)",
    "elu(1.3)",
    "swish(1.3)",
    "swish(-0.37)",
    "softplus(0.3)",
    "softplus(3.7)",
    "leaky_relu(0.3)",
    "leaky_relu(0)",
    "squareplus(0.5)",
    "hardsigmoid(0.3,0.4)",
    "hardtanh(-0.3,2)",
    "softshrink(0)",
];

struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
}

impl Gpu {
    fn new() -> Option<Gpu> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())).ok()?;
        println!("adapter: {}", adapter.get_info().name);
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default())).ok()?;
        Some(Gpu { device, queue })
    }

    fn run(&self, activation: &Activation, z: &[f32]) -> Vec<[f32; COLUMNS]> {
        let row = activation.row();
        let device = &self.device;
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(row.file),
            source: wgpu::ShaderSource::Wgsl(shader(row).into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(row.file),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let buffer = |contents: &[u8], usage| {
            device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
        };
        let params = buffer(bytemuck::cast_slice(&activation.params()), wgpu::BufferUsages::UNIFORM);
        let input = buffer(bytemuck::cast_slice(z), wgpu::BufferUsages::STORAGE);
        let size = (z.len() * COLUMNS * 4) as u64;
        let create = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false })
        };
        let output = create(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        let staging = create(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let bind = |binding, buffer: &'_ wgpu::Buffer| (binding, buffer.clone());
        let bound = [bind(0, &params), bind(1, &input), bind(2, &output)];
        let entries: Vec<_> = bound
            .iter()
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding: *binding, resource: buffer.as_entire_binding() })
            .collect();
        let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(z.len().div_ceil(64) as u32, 1, 1);
        }
        encoder.copy_buffer_to_buffer(&output, 0, &staging, 0, size);
        encoder.map_buffer_on_submit(&staging, wgpu::MapMode::Read, ..size, |result| result.unwrap());
        self.queue.submit([encoder.finish()]);
        device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
        let view = staging.get_mapped_range(..size).unwrap();
        bytemuck::cast_slice::<u8, [f32; COLUMNS]>(&view).to_vec()
    }
}

/// Each shared file once, in the order of need, then the activation, then a kernel that calls all it defines.
fn shader(row: &Row) -> String {
    fn paste(text: &str, seen: &mut HashSet<String>, out: &mut String) {
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("#use ") {
                if seen.insert(name.trim().to_owned()) {
                    let path = format!("{}/shaders/shared/{}.wgsl", env!("CARGO_MANIFEST_DIR"), name.trim());
                    paste(&std::fs::read_to_string(path).unwrap(), seen, out);
                }
            } else {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    let mut out = String::new();
    paste(row.wgsl, &mut HashSet::new(), &mut out);
    let mut calls = String::new();
    for (column, quantity) in Quantity::ALL.into_iter().enumerate() {
        if column < 3 || row.learnable {
            calls.push_str(&format!("    y[{COLUMNS}u * i + {column}u] = {}(z, p);\n", quantity.wgsl_name()));
        }
    }
    if row.from_y {
        calls.push_str(&format!("    y[{COLUMNS}u * i + 5u] = act_dz_of_y(act(z, p), p);\n"));
    }
    if row.from_bit {
        calls.push_str(&format!("    y[{COLUMNS}u * i + 6u] = act_dz_of_bit(act_bit(z, p), p);\n"));
    }
    out + &format!(
        "@group(0) @binding(0) var<uniform> p: vec2<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    let i = id.x;
    if i >= arrayLength(&x) {{
        return;
    }}
    let z = x[i];
{calls}}}
"
    )
}

/// One f32 ulp at this size.
fn ulp(v: f64) -> f64 {
    let exponent = if v < f64::from(f32::MIN_POSITIVE) { -126 } else { v.log2().floor() as i32 };
    // log2 may be rounded up to the next integer just below a power of two.
    let exponent = if 2f64.powi(exponent) > v && exponent > -126 { exponent - 1 } else { exponent };
    2f64.powi(exponent - 23)
}

#[derive(Clone, Copy, Default)]
struct Worst {
    error: f64,
    z: f32,
    got: f32,
    expected: f64,
}

impl Worst {
    /// `terms`: the sum of |terms|. Where the result is subnormal (a driver may flush) or overflows, only the kind counts.
    fn see(&mut self, z: f32, got: f32, expected: f64, terms: f64) {
        let tiny = f64::from(f32::MIN_POSITIVE);
        let error = if expected.is_nan() || got.is_nan() {
            if expected.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY }
        } else if expected.abs() > f64::from(f32::MAX) {
            if got.is_infinite() && (got > 0.0) == (expected > 0.0) || got.abs() > 3.4028e38 {
                0.0
            } else {
                f64::INFINITY
            }
        } else if expected.abs() < tiny {
            if f64::from(got).abs() <= 2.0 * tiny { 0.0 } else { (f64::from(got) - expected).abs() / ulp(terms) }
        } else {
            (f64::from(got) - expected).abs() / ulp(terms.max(expected.abs()))
        };
        if error > self.error {
            *self = Worst { error, z, got, expected };
        }
    }
}

fn golden(file: &str) -> Vec<(f32, Vec<f64>)> {
    let path = format!("{}/tests/golden/{file}.tsv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let z = f32::from_bits(u32::from_str_radix(cells[1], 16).unwrap());
            (z, cells[2..cells.len() - 1].iter().step_by(2).map(|cell| cell.parse().unwrap()).collect())
        })
        .collect()
}

fn sweep() -> Vec<f32> {
    let mut z: Vec<f32> = (0..u32::MAX).step_by(8581).map(f32::from_bits).filter(|z| z.is_finite()).collect();
    z.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, f32::MAX, f32::MIN]);
    // The sizes that occur, more densely.
    for low in [0x3c80_0000u32, 0xbc80_0000] {
        z.extend((low..low + 0x0680_0000).step_by(1021).map(f32::from_bits));
    }
    z
}

fn columns(activation: &Activation) -> usize {
    if activation.has_alpha() { 5 } else { 3 }
}

#[test]
fn every_activation_meets_its_tolerance() {
    let Some(gpu) = Gpu::new() else {
        println!("skipped: no adapter");
        return;
    };
    let only = std::env::var("ONLY").unwrap_or_default();
    let sweep = sweep();
    let mut failures = Vec::new();
    let all = GOLDEN.iter().map(|(file, text)| (Some(*file), *text)).chain(MORE.iter().map(|text| (None, *text)));
    for (file, text) in all.filter(|(_, text)| text.starts_with(&only)) {
        let activation: Activation = text.parse().unwrap();
        let row = activation.row();
        let mut worst = [Worst::default(); COLUMNS];
        let mut golden_worst = [Worst::default(); 5];
        if let Some(file) = file {
            let rows = golden(file);
            let z: Vec<f32> = rows.iter().map(|(z, _)| *z).collect();
            let got = gpu.run(&activation, &z);
            for ((z, expected), got) in rows.iter().zip(&got) {
                for (quantity, expected) in Quantity::ALL.into_iter().zip(expected).take(columns(&activation)) {
                    let column = quantity as usize;
                    let terms = activation.terms(quantity, f64::from(*z));
                    golden_worst[column].see(*z, got[column], *expected, terms);
                }
                if row.from_y && z.is_nan() && !got[5].is_nan() {
                    failures.push(format!("{activation}: act_dz_of_y(NaN) = {}", got[5]));
                }
            }
        }
        let got = gpu.run(&activation, &sweep);
        for (&z, got) in sweep.iter().zip(&got) {
            for quantity in Quantity::ALL.into_iter().take(columns(&activation)) {
                let (z64, column) = (f64::from(z), quantity as usize);
                worst[column].see(z, got[column], activation.evaluate(quantity, z64), activation.terms(quantity, z64));
            }
            if row.from_y {
                let slope = activation.slope_of_y(f64::from(got[0]));
                let terms = if activation.slope_of_y_is_accurate() { slope } else { 1.0 };
                worst[5].see(z, got[5], slope, terms);
            }
            let from_bit = if z.is_nan() { activation.slope_of_bit(true) as f32 } else { got[1] };
            if row.from_bit && got[6] != from_bit {
                failures.push(format!("{activation}: slope {} but {} from the bit at {z:e}", got[1], got[6]));
            }
        }
        let mut line = format!("{:22}", activation.to_string());
        for (column, worst) in worst.iter().enumerate().take(6) {
            let gold = golden_worst.get(column).copied().unwrap_or_default();
            let used = column < columns(&activation) || (column == 5 && row.from_y);
            line += &if used { format!(" {:7.2}/{:<5.2}", worst.error, gold.error) } else { " ".repeat(14) };
            let tolerance = row.ulp.get(column).copied().unwrap_or(8.0);
            for (what, worst) in [("sweep", *worst), ("golden", gold)] {
                if worst.error > tolerance {
                    failures.push(format!(
                        "{activation} column {column} ({what}): {:.2} ulp > {tolerance} at z = {:e}: got {:e}, expected {:e}",
                        worst.error, worst.z, worst.got, worst.expected
                    ));
                }
            }
        }
        println!("{line}");
    }
    assert!(
        failures.is_empty(),
        "{} failures\n{}",
        failures.len(),
        failures.iter().take(80).cloned().collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn every_row_is_probed() {
    for row in rows() {
        let probed = GOLDEN.iter().map(|(_, text)| *text).chain(MORE.iter().copied());
        assert!(probed.into_iter().any(|text| text.parse::<Activation>().unwrap().kind() == row.kind), "{}", row.name);
    }
}
