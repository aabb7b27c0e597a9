//! A device with its two clocks: its own (timestamp queries) and wall time.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use elbow::{Gpu, wgpu};

use crate::{
    budget::Budget,
    error::{Error, Result},
    statistics::Estimate,
};

/// Records the timed work into a pass.
pub(crate) type Record<'a> = dyn Fn(&mut wgpu::ComputePass<'_>) -> elbow::Result<()> + 'a;

/// A device, with timestamp queries if it has them.
#[derive(Debug)]
pub struct Device {
    /// The device.
    pub gpu: Gpu,
    clock: Option<Clock>,
    /// When the device last had work.
    busy: Cell<Option<Instant>>,
}

#[derive(Debug)]
struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

/// A timed pass should take at least this long, in seconds: in shorter ones the clock's resolution and the start of the pass count too
/// much.
const LONG_ENOUGH: Duration = Duration::from_millis(2);

/// After so long without work a device may have lowered its clock.
const IDLE: Duration = Duration::from_millis(20);

/// The most repetitions in one pass.
const MOST_REPEATS: u32 = 200;

impl Device {
    /// With timestamp queries, if the device has them.
    pub fn new(gpu: Gpu) -> Self {
        let clock = Clock::new(gpu.device());
        Device { gpu, clock, busy: Cell::new(None) }
    }

    /// Whether the device has a clock: timestamp queries.
    pub fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Seconds from submission until the device is done, without transfers.
    pub fn wall_time(&self, record: &Record<'_>) -> Result<Duration> {
        let start = Instant::now();
        self.gpu.submit_pass(record)?;
        self.gpu.wait()?;
        self.worked();
        Ok(start.elapsed())
    }

    /// Notes that the device had work until now.
    pub(crate) fn worked(&self) {
        self.busy.set(Some(Instant::now()));
    }

    /// Raises the clock of a device that was idle, by running this work.
    pub(crate) fn wake(&self, record: &Record<'_>) -> Result<()> {
        if self.busy.get().is_none_or(|busy| busy.elapsed() > IDLE) {
            self.gpu.warm_up(&mut || self.gpu.submit_pass(record).and_then(|()| self.gpu.wait()))?;
        }
        self.worked();
        Ok(())
    }

    /// The device's own time, in seconds, for a pass that repeats the work `repetitions` times.
    pub fn device_time(&self, repeats: u32, record: &Record<'_>) -> Result<Duration> {
        let Some(clock) = &self.clock else { return Err(Error::Clock("no timestamp queries".into())) };
        let work = |pass: &mut wgpu::ComputePass<'_>| (0..repeats).try_for_each(|_| record(pass));
        // Some drivers return an end before the beginning: then it is measured again.
        for _ in 0..5 {
            let time = clock.time(&self.gpu, &work)?;
            self.worked();
            if let Some(time) = time {
                return Ok(time);
            }
        }
        Err(Error::Clock("five passes ended before they began".into()))
    }

    /// Device time of one repetition, with as many in a pass as it needs to be long enough. None if the device has no clock.
    pub fn device_timing(&self, budget: Budget, record: &Record<'_>) -> Result<Option<Estimate>> {
        self.wake(record)?;
        let Some(repeats) = self.repeats(record)? else { return Ok(None) };
        budget.run(|| Ok(self.device_time(repeats, record)? / repeats)).map(Some)
    }

    /// How many repetitions make a pass long enough. None if the device has no clock.
    pub(crate) fn repeats(&self, record: &Record<'_>) -> Result<Option<u32>> {
        if self.clock.is_none() {
            return Ok(None);
        }
        let once = self.device_time(1, record)?.max(Duration::from_nanos(100));
        let repeats = (LONG_ENOUGH.as_secs_f64() / once.as_secs_f64()).ceil();
        Ok(Some(repeats.clamp(1.0, f64::from(MOST_REPEATS)) as u32))
    }

    /// Wall time of one submission, without transfers.
    pub fn wall_timing(&self, budget: Budget, record: &Record<'_>) -> Result<Estimate> {
        self.wake(record)?;
        budget.run(|| self.wall_time(record))
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
        })
    }

    /// Runs a pass and returns its device time; None if its end is before its beginning.
    fn time(&self, gpu: &Gpu, record: &Record<'_>) -> Result<Option<Duration>> {
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
            // If mapping fails, `get_mapped_range` returns an error.
            encoder.map_buffer_on_submit(&self.staging, wgpu::MapMode::Read, 0..16, |_| {});
            Ok(())
        })?;
        gpu.wait()?;
        let ticks = {
            let bytes = self.staging.get_mapped_range(..).map_err(|error| Error::Clock(error.to_string()))?;
            let [begin, end]: [u64; 2] = bytemuck::pod_read_unaligned(&bytes);
            end.checked_sub(begin)
        };
        self.staging.unmap();
        let period = f64::from(gpu.queue().get_timestamp_period());
        Ok(ticks.map(|ticks| Duration::from_secs_f64(ticks as f64 * period * 1e-9)))
    }
}
