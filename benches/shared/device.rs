//! What both benchmarks share: the device and its clocks, the header, random numbers.

use std::{
    cell::Cell,
    time::{Duration, Instant, SystemTime},
};

use criterion::Criterion;
use elbow::{Activation, Gpu, Result, wgpu};

/// A device, and timestamp queries where it has them.
pub(crate) struct Device {
    pub(crate) gpu: Gpu,
    clock: Option<Clock>,
}

struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    /// Durations that came out negative: a driver's fault that exists; they count as zero and are reported.
    negative: Cell<u32>,
}

impl Device {
    /// Opens the device and prints what is measured on, and when.
    pub(crate) fn open(title: &str) -> Self {
        let gpu = Gpu::new().expect("a GPU adapter, real or software");
        println!("{title}, {}", today());
        println!("adapter: {gpu}");
        if gpu.is_software() {
            println!("This is a SOFTWARE adapter: its times say nothing about a GPU.");
        }
        println!("CPU baseline: {} threads", rayon::current_num_threads());
        let clock = Clock::new(gpu.device());
        if clock.is_none() {
            println!("no timestamp queries: device times are left out");
        }
        Device { gpu, clock }
    }

    /// Whether there are device times.
    pub(crate) fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// From submission until the device is done, without transfers.
    pub(crate) fn wall_time(
        &self,
        iterations: u64,
        record: &dyn Fn(&mut wgpu::ComputePass<'_>) -> Result<()>,
    ) -> Duration {
        let mut total = Duration::ZERO;
        for _ in 0..iterations {
            let start = Instant::now();
            self.gpu.submit_pass(|pass| record(pass)).expect("the operation records");
            self.gpu.wait().expect("the device finishes");
            total += start.elapsed();
        }
        total
    }

    /// The device's own time between the beginning and the end of a pass.
    pub(crate) fn device_time(
        &self,
        iterations: u64,
        record: &dyn Fn(&mut wgpu::ComputePass<'_>) -> Result<()>,
    ) -> Duration {
        let clock = self.clock.as_ref().expect("asked only where there is a clock");
        (0..iterations).map(|_| clock.time(&self.gpu, record)).sum()
    }
}

impl Clock {
    fn new(device: &wgpu::Device) -> Option<Self> {
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let buffer = |usage| {
            let label = Some("timestamps");
            device.create_buffer(&wgpu::BufferDescriptor { label, size: 16, usage, mapped_at_creation: false })
        };
        Some(Clock {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("timestamps"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
            negative: Cell::new(0),
        })
    }

    fn time(&self, gpu: &Gpu, record: &dyn Fn(&mut wgpu::ComputePass<'_>) -> Result<()>) -> Duration {
        gpu.submit(|encoder| {
            let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                query_set: &self.queries,
                beginning_of_pass_write_index: Some(0),
                end_of_pass_write_index: Some(1),
            });
            let descriptor = wgpu::ComputePassDescriptor { label: Some("timed"), timestamp_writes };
            record(&mut encoder.begin_compute_pass(&descriptor))?;
            encoder.resolve_query_set(&self.queries, 0..2, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, 16);
            encoder.map_buffer_on_submit(&self.staging, wgpu::MapMode::Read, 0..16, |mapped| {
                mapped.expect("timestamps can be read");
            });
            Ok(())
        })
        .expect("the operation records");
        gpu.wait().expect("the device finishes");
        let ticks = {
            let bytes = self.staging.get_mapped_range(..).expect("the buffer is mapped");
            let (begin, end) = bytes.split_at(8);
            let ticks = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
            ticks(end).checked_sub(ticks(begin))
        };
        self.staging.unmap();
        let Some(ticks) = ticks else {
            self.negative.set(self.negative.get() + 1);
            return Duration::ZERO;
        };
        Duration::from_secs_f64(ticks as f64 * f64::from(gpu.queue().get_timestamp_period()) * 1e-9)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        if self.negative.get() > 0 {
            println!("{} device times came out negative and count as zero", self.negative.get());
        }
    }
}

/// Ten samples and short times: a run over everything ends within minutes, on a software adapter too.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .nresamples(2_000)
        .without_plots()
        .configure_from_args()
}

/// `cargo bench -- --test`: everything once, to see that it works.
pub(crate) fn only_testing() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// From `ELBOW_BENCH_ACTIVATIONS` (SPECs separated by semicolons), or these.
pub(crate) fn activations(default: &str) -> Vec<Activation> {
    let list = std::env::var("ELBOW_BENCH_ACTIVATIONS").unwrap_or_else(|_| default.to_owned());
    list.split(';').map(|spec| spec.trim().parse().expect("an activation SPEC in ELBOW_BENCH_ACTIVATIONS")).collect()
}

/// Normal numbers of this scale. A dy of ones would hide what a wrong index does, and flatter the branches of a kernel.
pub(crate) fn normals(seed: u64, length: usize, scale: f32) -> Vec<f32> {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    (0..length).map(|_| scale * rng.sample::<f32, _>(rand_distr::StandardNormal)).collect()
}

/// The largest error relative to what the sum was made of, or a panic that says where.
pub(crate) fn verify<'a>(what: &str, tolerance: f64, values: impl Iterator<Item = (f32, &'a f64, &'a f64)>) -> f64 {
    let mut worst = 0.0f64;
    for (i, (got, want, terms)) in values.enumerate() {
        let error = (f64::from(got) - want).abs() / terms.abs().max(1e-30);
        assert!(error <= tolerance, "{what}: element {i} is {got}, the reference has {want}: off by {error:e}");
        worst = worst.max(error);
    }
    worst
}

/// The UTC date, by the civil-from-days algorithm (H. Hinnant).
fn today() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}
