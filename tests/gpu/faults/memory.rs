//! The budget, and what a pool must never do: show one user's data to the next.

use elbow::{Activation, Error, Float, Gpu, Operand, Options, Saved, Tensor, View, affine::Forward};

use super::{Layer, good, pin};
use crate::common::checks;

const MIB: usize = 1 << 20;

fn fresh() -> Gpu {
    Gpu::with_options(Options::default().checks(checks())).unwrap()
}

/// 64 MiB: a call beyond is refused with the numbers, and changes nothing; dropping tensors gives their bytes back.
#[test]
fn a_budget_of_64_mib() {
    let gpu = fresh();
    assert_eq!((gpu.memory_bytes(), gpu.memory_limit()), (0, u64::MAX));
    gpu.set_memory_limit(64 << 20);
    let sixteen = || gpu.zeros(&[16 * MIB / 4]);
    let mut held: Vec<Tensor> = (0..3).map(|_| sixteen().unwrap()).collect();
    let refused = |outcome: elbow::Result<Tensor>, asked: usize| {
        assert_eq!(outcome.unwrap_err(), Error::OutOfMemory { asked: asked as u64, limit: 64 << 20 });
    };
    refused(gpu.zeros(&[17 * MIB / 4]), 65 * MIB);
    refused(gpu.upload(&vec![1.0; 17 * MIB / 4], &[17 * MIB / 4]), 65 * MIB);
    assert_eq!(gpu.memory_bytes(), 48 << 20);
    // A download needs as much again; a clone needs nothing.
    held.push(held[0].clone());
    assert_eq!(gpu.download(&held[0]).unwrap(), vec![0.0; 16 * MIB / 4]);
    assert_eq!(gpu.memory_bytes(), 64 << 20);
    // What is pooled (that download's staging buffer) makes way.
    held.push(sixteen().unwrap());
    assert_eq!(gpu.memory_bytes(), 64 << 20);
    assert!(matches!(gpu.download(&held[0]), Err(Error::OutOfMemory { .. })));
    refused(gpu.zeros(&[1]), 64 * MIB + 16);
    held.clear();
    assert_eq!(gpu.memory_bytes(), 0);
    for _ in 0..20 {
        drop([(); 4].map(|()| sixteen().unwrap()));
    }
    good(&gpu);
    gpu.trim();
    assert_eq!(gpu.memory_bytes(), 0);
}

/// Scratch that does not fit is an error before anything is recorded, and a smaller call goes on; a bound below what is
/// held refuses what is new and leaves what is there.
#[test]
fn scratch_counts_too() {
    let gpu = fresh();
    let (dy, db) = (gpu.zeros(&[4096, 64]).unwrap(), gpu.zeros(&[64]).unwrap());
    let gone = |shape| View::absent(shape, Float::F32);
    let layer = Forward::new(Activation::IDENTITY, gone(&[4096, 0]), gone(&[64, 0]), gone(&[4096, 64]));
    let call = layer.backward(&dy).db(&db);
    let held = gpu.memory_bytes();
    gpu.set_memory_limit(held + 64);
    let error = gpu.submit(|e| call.record(&gpu, e)).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    assert_eq!(gpu.memory_bytes(), held);
    gpu.set_memory_limit(16);
    assert!(matches!(gpu.zeros(&[1]), Err(Error::OutOfMemory { limit: 16, .. })));
    assert_eq!(gpu.memory_bytes(), held);
    gpu.set_memory_limit(held + (1 << 20));
    gpu.submit(|e| call.record(&gpu, e)).unwrap();
    gpu.wait().unwrap();
    assert!(gpu.memory_bytes() > held);
    good(&gpu);
}

/// A layer of which z was kept, and y was not.
fn relu_of<'a>(x: View<'a>, w: &'a Tensor, z: &'a Tensor) -> Forward<'a> {
    let layer = Forward::new(Activation::RELU, x, w, View::absent(z.shape(), Float::F32));
    layer.saved(Saved::Z).save_to(z.view()).pin(pin())
}

/// Secret values go through scratch and staging; then everything that a later user can read is looked at: fresh tensors,
/// padding, downloads through the same staging buffer, results of calls that use the same scratch.
#[test]
fn pools_keep_secrets() {
    let gpu = fresh();
    const SECRET: f32 = 123_456.79;
    let secret = |values: &[f32]| values.iter().filter(|v| v.to_bits() == SECRET.to_bits()).count();
    // 64 rows of secrets as dy: dz, in scratch, is the same; so is the download, in staging.
    let plan = {
        let ones = |m: usize, n: usize| gpu.upload(&vec![1.0; m * n], &[m, n]).unwrap();
        let (dy, z, w, dx) =
            (gpu.upload(&[SECRET; 64 * 32], &[64, 32]).unwrap(), ones(64, 32), ones(32, 8), ones(64, 8));
        let layer = relu_of(View::absent(&[64, 8], Float::F32), &w, &z);
        let call = layer.backward(&dy).dx(&dx);
        gpu.submit(|e| call.record(&gpu, e)).unwrap();
        assert_eq!(secret(&gpu.download(&dy).unwrap()), 64 * 32);
        call.plan(&gpu).unwrap()
    };
    assert!(plan.scratch(Operand::Dz) >= 64 * 32, "the secret did not go through scratch: {plan}");
    let mut read = Vec::new();
    // Fresh tensors of every size, up to where the driver gives the same memory again.
    for elements in [1, 3, 100, 8 * 64, 32 * 64, 32 * 64 + 1, 1 << 16] {
        let tensor = gpu.zeros(&[elements]).unwrap();
        let padded = [tensor.buffer().size() as usize / 4];
        let values = gpu.download(View::new(tensor.buffer(), 0, &padded, Float::F32)).unwrap();
        assert!(values.iter().all(|&v| v == 0.0), "{elements} fresh elements are not zeros");
        read.extend(values);
    }
    // Smaller downloads through the staging buffer that held the secret.
    for elements in [1, 5, 1000] {
        let values: Vec<f32> = (0..elements).map(|i| i as f32).collect();
        let got = gpu.download(&gpu.upload(&values, &[elements]).unwrap()).unwrap();
        assert_eq!(got, values);
        read.extend(got);
    }
    // Calls that use the same scratch for fewer rows: the results of a device that never saw the secret.
    let later = |gpu: &Gpu| {
        let count = |m: usize, n: usize| {
            gpu.upload(&(0..m * n).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<_>>(), &[m, n]).unwrap()
        };
        let (dy, z, w, x) = (count(5, 3), count(5, 3), count(3, 4), count(5, 4));
        let (dx, dw, db) = (gpu.zeros(&[5, 4]).unwrap(), gpu.zeros(&[3, 4]).unwrap(), gpu.zeros(&[3]).unwrap());
        let call = relu_of(x.view(), &w, &z).backward(&dy).dx(&dx).dw(&dw).db(&db);
        gpu.submit(|e| call.record(gpu, e)).unwrap();
        [&dx, &dw, &db].map(|t| gpu.download(t).unwrap()).concat()
    };
    let results = later(&gpu);
    assert_eq!(results, later(&fresh()));
    read.extend(results);
    assert_eq!(secret(&read), 0);
    let layer = Layer::new(&gpu).unwrap();
    assert_eq!(secret(&gpu.download(&layer.x).unwrap()), 0);
}
