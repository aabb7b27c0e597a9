//! elbow with the least features, on a device that the host has opened: a fused layer in the host's own encoder, judged by the
//! reference. `scripts/test` runs it, and looks at what it was built of.

#![forbid(unsafe_code)]

use std::{
    error::Error,
    pin::pin,
    task::{Context, Poll, Waker},
};

use elbow::{
    Activation, Dtype, Gpu, View,
    affine::Forward,
    cpu::{ForwardInputs, reference},
    request::AffineRequest,
    wgpu,
};

const M: usize = 5;
const N: usize = 7;
const K: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default()))?;
    let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))?;
    let x: Vec<f32> = (0..M * K).map(|i| (i % 11) as f32 * 0.25 - 1.0).collect();
    let w: Vec<f32> = (0..N * K).map(|i| (i % 7) as f32 * 0.125 - 0.5).collect();
    let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
    let buffer =
        |size| device.create_buffer(&wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false });
    let [x_, w_, y_] = [M * K, N * K, M * N].map(|elements| buffer(elements as u64 * 4));
    queue.write_buffer(&x_, 0, &bytes(&x));
    queue.write_buffer(&w_, 0, &bytes(&w));

    let gpu = Gpu::from_wgpu(&device, &queue);
    let y = View::new(&y_, 0, &[M, N], Dtype::F32);
    let (x_, w_) = (View::new(&x_, 0, &[M, K], Dtype::F32), View::new(&w_, 0, &[N, K], Dtype::F32));
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    Forward::new(Activation::GELU_ERF, x_, w_, y).record(&gpu, &mut encoder)?;
    queue.submit([encoder.finish()]);

    // The future waits for nobody: the host polls its device, and asks again.
    let mut download = pin!(gpu.download_async(y));
    let got = loop {
        match download.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(values) => break values?,
            Poll::Pending => {
                device.poll(wgpu::PollType::wait_indefinitely())?;
            }
        }
    };

    let inputs = ForwardInputs::new(&x, &w);
    let request = AffineRequest::new(M, N, K, Activation::GELU_ERF).bias(false);
    let want = reference::forward(&request, inputs)?.y;
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        if got.is_nan() || (f64::from(*got) - want).abs() > 1e-5 {
            return Err(format!("y[{i}] is {got}, the reference says {want}").into());
        }
    }
    println!("{gpu}\n{} elements as the reference has them", got.len());
    Ok(())
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
