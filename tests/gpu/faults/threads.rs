//! Number 58: one device for many threads, many devices in one process. Right results, the same bits as one thread alone.

use elbow::{
    Activation, Error, Gpu, Operand, Options, Result, Saved, Tensor,
    affine::{Backward, Forward},
    elementwise, wgpu,
};

use super::{good, pin};
use crate::common::{Numbers, checks, full, gpu};

/// What one worker owns: a layer of its own shape, so that all of them need other parts of the shared scratch.
struct Worker {
    m: usize,
    x: Tensor,
    w: Tensor,
    dy: Tensor,
    y: Tensor,
    dx: Tensor,
    dw: Tensor,
    db: Tensor,
}

const N: usize = 9;
const K: usize = 6;

impl Worker {
    fn new(gpu: &Gpu, seed: u64) -> Result<Self> {
        let mut numbers = Numbers::new(seed);
        let m = 1 + 13 * seed as usize;
        let mut normal = |rows: usize, columns: usize| {
            let values: Vec<f32> = (0..rows * columns).map(|_| numbers.normal()).collect();
            gpu.upload(&values, &[rows, columns])
        };
        let (x, w, dy) = (normal(m, K)?, normal(N, K)?, normal(m, N)?);
        let (y, dx, dw, db) = (gpu.zeros(&[m, N])?, gpu.zeros(&[m, K])?, gpu.zeros(&[N, K])?, gpu.zeros(&[N])?);
        Ok(Worker { m, x, w, dy, y, dx, dw, db })
    }

    fn forward(&self) -> Forward<'_> {
        Forward::new(Activation::RELU, &self.x, &self.w, &self.y).saved(Saved::Y).pin(pin())
    }

    fn backward(&self) -> Backward<'_> {
        self.forward().backward(&self.dy).dx(&self.dx).dw(&self.dw).db(&self.db)
    }

    /// Forward and backward.
    fn step(&self, gpu: &Gpu) -> Result<()> {
        gpu.submit_pass(|pass| {
            self.forward().record(gpu, &mut *pass)?;
            self.backward().record(gpu, pass)
        })
    }

    /// The bits of one result: y, dx, dw or db.
    fn bits(&self, gpu: &Gpu, which: usize) -> Result<Vec<u32>> {
        let results = [&self.y, &self.dx, &self.dw, &self.db];
        Ok(gpu.download(results[which])?.iter().map(|v| v.to_bits()).collect())
    }

    /// The bits of all results of one step.
    fn all_bits(&self, gpu: &Gpu) -> Result<[Vec<u32>; 4]> {
        self.step(gpu)?;
        Ok([self.bits(gpu, 0)?, self.bits(gpu, 1)?, self.bits(gpu, 2)?, self.bits(gpu, 3)?])
    }

    /// One call of whatever kind, checked.
    fn call(&self, gpu: &Gpu, numbers: &mut Numbers, expected: &[Vec<u32>; 4]) {
        let result = numbers.below(4);
        match numbers.below(10) {
            0..=2 => {
                self.step(gpu).unwrap();
                assert_eq!(self.bits(gpu, result).unwrap(), expected[result], "{} rows, result {result}", self.m);
            }
            3..=5 => {
                let values: Vec<f32> = (0..self.m).map(|i| i as f32 - 3.0).collect();
                let tensor = gpu.upload(&values, &[self.m]).unwrap();
                let relu = elementwise::Forward::new(Activation::RELU, &tensor, &tensor);
                gpu.submit(|e| relu.record(gpu, e)).unwrap();
                let relu: Vec<f32> = values.iter().map(|v| v.max(0.0)).collect();
                assert_eq!(gpu.download(&tensor).unwrap(), relu);
            }
            // Recorded now, submitted after others have used the same scratch.
            6 => {
                let encoders: [_; 2] = std::array::from_fn(|_| {
                    let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
                    self.forward().record(gpu, &mut encoder).unwrap();
                    self.backward().record(gpu, &mut encoder).unwrap();
                    encoder.finish()
                });
                std::thread::yield_now();
                gpu.queue().submit(encoders.into_iter().rev());
                assert_eq!(self.bits(gpu, result).unwrap(), expected[result], "{} rows, result {result}", self.m);
            }
            7 => {
                let shape = [self.m, N];
                let bad = self.forward().y(self.x.view_as(&shape));
                let error = gpu.submit(|e| bad.record(gpu, e)).unwrap_err();
                assert!(matches!(error, Error::Alias { .. } | Error::Buffer { .. }), "{error}");
            }
            8 => {
                let tensor = gpu.zeros(&[16]).unwrap();
                tensor.buffer().destroy();
                let bad = elementwise::Forward::new(Activation::RELU, &tensor, &tensor);
                let error = gpu.submit(|e| bad.record(gpu, e)).unwrap_err();
                assert!(matches!(error, Error::Buffer { operand: Operand::Y, .. }), "{error}");
            }
            _ => gpu.trim(),
        }
    }
}

/// 58: eight threads on one device, 10,000 calls of all kinds, bad ones and trims among them.
#[test]
fn n58_eight_threads_on_one_device() {
    const THREADS: usize = 8;
    let gpu = gpu();
    let calls = if full() { 100_000 } else { 10_000 };
    let workers: Vec<Worker> = (1..=THREADS as u64).map(|seed| Worker::new(gpu, seed).unwrap()).collect();
    let alone: Vec<_> = workers.iter().map(|w| w.all_bits(gpu).unwrap()).collect();
    std::thread::scope(|scope| {
        for (index, (worker, expected)) in workers.iter().zip(&alone).enumerate() {
            scope.spawn(move || {
                let mut numbers = Numbers::new(index as u64);
                for _ in 0..calls / THREADS {
                    worker.call(gpu, &mut numbers, expected);
                }
            });
        }
    });
    good(gpu);
}

/// 58: eight devices, each with a thread.
#[test]
fn n58_eight_devices() {
    let expected = Worker::new(gpu(), 3).unwrap().all_bits(gpu()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let gpu = Gpu::with_options(Options::default().checks(checks())).unwrap();
                let worker = Worker::new(&gpu, 3).unwrap();
                for _ in 0..20 {
                    assert_eq!(worker.all_bits(&gpu).unwrap(), expected);
                }
                good(&gpu);
            });
        }
    });
    good(gpu());
}
