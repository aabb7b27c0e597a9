//! Calls that are prepared once and recorded often: the same results, whatever happens to the pools in between.

use elbow::{Activation, Error, Gpu, Saved, affine::Forward, plan::Pin};

use crate::common::{Numbers, gpu, options};

#[test]
fn a_prepared_call_is_the_call() {
    let gpu = gpu();
    let (m, n, k) = (33, 20, 12);
    let mut numbers = Numbers::new(3);
    let mut normal = |len: usize| -> Vec<f32> { (0..len).map(|_| numbers.normal()).collect() };
    let (xs, ws, dys) = ([normal(m * k), normal(m * k)], normal(n * k), normal(m * n));
    let x = gpu.upload(&xs[0], &[m, k]).unwrap();
    let (w, dy) = (gpu.upload(&ws, &[n, k]).unwrap(), gpu.upload(&dys, &[m, n]).unwrap());
    let [y, z] = [(); 2].map(|()| gpu.zeros(&[m, n]).unwrap());
    let (dx, dw) = (gpu.zeros(&[m, k]).unwrap(), gpu.zeros(&[n, k]).unwrap());
    let pin = Pin::default().tile(0).splits(2);
    let silu = Activation::SILU;
    let forward = Forward::new(silu, &x, &w, &y).saved(Saved::Z).save_to(z.view()).pin(pin);
    let backward = forward.backward(&dy).dx(&dx).dw(&dw);
    let results = || [&y, &dx, &dw].map(|t| gpu.download(t).unwrap());
    let mut expected = Vec::new();
    for values in &xs {
        gpu.write(&x, values).unwrap();
        gpu.submit(|e| forward.record(gpu, &mut *e).and_then(|()| backward.record(gpu, e))).unwrap();
        expected.push(results());
    }
    let (forward, backward) = (forward.prepare(gpu).unwrap(), backward.prepare(gpu).unwrap());
    assert!(backward.dispatches() > 2, "{backward:?}");
    for (values, expected) in xs.iter().zip(&expected) {
        gpu.write(&x, values).unwrap();
        // Its scratch stays its own when the pools are emptied.
        gpu.trim();
        gpu.submit_pass(|pass| forward.record(&mut *pass).and_then(|()| backward.record(&mut *pass))).unwrap();
        assert_eq!(&results(), expected);
    }
}

#[test]
fn what_is_wrong_is_said_when_it_is_prepared() {
    let gpu = gpu();
    let (x, w) = (gpu.zeros(&[2, 3]).unwrap(), gpu.zeros(&[3, 2]).unwrap());
    let y = gpu.zeros(&[2, 3]).unwrap();
    assert!(matches!(Forward::new(Activation::RELU, &x, &w, &y).prepare(gpu), Err(Error::Shape { .. })));
}

#[test]
fn a_prepared_call_knows_when_its_device_is_lost() {
    let gpu = Gpu::with_options(options()).unwrap();
    let x = gpu.zeros(&[4]).unwrap();
    let y = gpu.zeros(&[4]).unwrap();
    let prepared = elbow::elementwise::Forward::new(Activation::RELU, &x, &y).prepare(&gpu).unwrap();
    gpu.submit(|e| prepared.record(e)).unwrap();
    gpu.device().destroy();
    // Recording does not ask; submitting does, and from then on it is known.
    assert!(matches!(gpu.submit(|e| prepared.record(e)), Err(Error::DeviceLost { .. })));
    let mut encoder = gpu.device().create_command_encoder(&elbow::wgpu::CommandEncoderDescriptor::default());
    assert!(matches!(prepared.record(&mut encoder), Err(Error::DeviceLost { .. })));
}
