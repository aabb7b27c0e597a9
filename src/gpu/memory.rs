//! The buffers that elbow owns: scratch, parameter blocks, staging. All of them are pooled, counted and bounded.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Gpu;
use crate::{
    error::{Error, Result},
    kernel::Params,
    plan::SCRATCH,
    request::Operand,
};

pub(super) struct Memory {
    pools: Mutex<Pools>,
    /// Bound where an operand has no elements: a binding can't be empty.
    pub(super) nothing: wgpu::Buffer,
}

#[derive(Default)]
struct Pools {
    /// One buffer for each scratch operand, as large as the largest use so far. Every operation writes its scratch before
    /// it reads it, and a queue runs one after the other, so that all of them can share.
    scratch: [Option<wgpu::Buffer>; SCRATCH.len()],
    /// Parameter blocks by content. They are never rewritten: a block that is recorded stays true whenever the host submits.
    params: HashMap<[u8; size_of::<Params>()], wgpu::Buffer>,
    /// Free staging buffers for downloads.
    staging: Vec<wgpu::Buffer>,
}

/// Parameter blocks kept before the pool is started anew; 256 bytes each in the worst of drivers.
const MAX_PARAMS: usize = 8192;
const MAX_STAGING: usize = 8;

impl Memory {
    pub(super) fn new(device: &wgpu::Device) -> Self {
        // On a host's dead device this fails; the host's handler need not hear of it, the first call will say so.
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let nothing = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("elbow nothing"),
            size: 256,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        });
        drop(pollster::block_on(scope.pop()));
        Memory { pools: Mutex::default(), nothing }
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes(&self) -> u64 {
        let pools = self.pools();
        let scratch: u64 = pools.scratch.iter().flatten().map(wgpu::Buffer::size).sum();
        let staging: u64 = pools.staging.iter().map(wgpu::Buffer::size).sum();
        scratch + staging + pools.params.len() as u64 * size_of::<Params>() as u64
    }

    pub(super) fn trim(&self) {
        *self.pools() = Pools::default();
    }

    /// The scratch buffer of an operand, at least `bytes` long.
    pub(super) fn scratch(&self, gpu: &Gpu, operand: Operand, bytes: u64, limit: u64) -> Result<wgpu::Buffer> {
        let place = SCRATCH.iter().position(|&o| o == operand).unwrap_or(0);
        let mut pools = self.pools();
        if let Some(buffer) = pools.scratch[place].as_ref().filter(|b| b.size() >= bytes) {
            return Ok(buffer.clone());
        }
        let others: u64 =
            pools.scratch.iter().enumerate().filter(|(i, _)| *i != place).flat_map(|(_, b)| b).map(|b| b.size()).sum();
        if others + bytes > limit {
            return Err(Error::OutOfMemory { asked: others + bytes, limit });
        }
        // Room to grow, so that slowly growing batches don't allocate each time.
        let most = gpu.inner.limits.max_buffer_size.min(limit - others);
        let size = bytes.next_power_of_two().min(most).max(bytes);
        let label = format!("elbow scratch {operand}");
        let buffer = create(gpu, &label, size, wgpu::BufferUsages::STORAGE)?;
        pools.scratch[place] = Some(buffer.clone());
        Ok(buffer)
    }

    pub(super) fn params(&self, gpu: &Gpu, params: &Params) -> Result<wgpu::Buffer> {
        let mut content = [0; size_of::<Params>()];
        content.copy_from_slice(bytemuck::bytes_of(params));
        let mut pools = self.pools();
        if let Some(buffer) = pools.params.get(&content) {
            return Ok(buffer.clone());
        }
        if pools.params.len() >= MAX_PARAMS {
            pools.params.clear();
        }
        let buffer = allocate(gpu, "elbow params", content.len() as u64, wgpu::BufferUsages::UNIFORM, true)?;
        match buffer.get_mapped_range_mut(..) {
            Ok(mut view) => view.copy_from_slice(&content),
            Err(error) => {
                return Err(Error::Wgpu { operation: "writing a parameter block".into(), message: error.to_string() });
            }
        }
        buffer.unmap();
        pools.params.insert(content, buffer.clone());
        Ok(buffer)
    }

    /// A buffer to download through; give it back with [`Memory::recycle`].
    pub(super) fn staging(&self, gpu: &Gpu, bytes: u64) -> Result<wgpu::Buffer> {
        let mut pools = self.pools();
        let fits = |b: &wgpu::Buffer| b.size() >= bytes && b.size() <= bytes.max(1 << 16) * 4;
        if let Some(at) = pools.staging.iter().position(fits) {
            return Ok(pools.staging.swap_remove(at));
        }
        drop(pools);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        create(gpu, "elbow staging", bytes.next_power_of_two().max(256), usage)
    }

    pub(super) fn recycle(&self, buffer: wgpu::Buffer, limit: u64) {
        let mut pools = self.pools();
        let held: u64 = pools.staging.iter().map(wgpu::Buffer::size).sum();
        if pools.staging.len() < MAX_STAGING && held + buffer.size() <= limit {
            pools.staging.push(buffer);
        }
    }
}

/// A buffer, or an error that is a value.
pub(super) fn create(gpu: &Gpu, label: &str, size: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
    allocate(gpu, label, size, usage, false)
}

fn allocate(gpu: &Gpu, label: &str, size: u64, usage: wgpu::BufferUsages, mapped: bool) -> Result<wgpu::Buffer> {
    let device = gpu.device();
    let limit = gpu.inner.limits.max_buffer_size;
    if size > limit {
        return Err(Error::LimitExceeded { what: "bytes of one buffer".into(), asked: size, limit });
    }
    let memory = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: mapped };
    let buffer = device.create_buffer(&descriptor);
    let validation = pollster::block_on(validation.pop());
    let memory = pollster::block_on(memory.pop());
    if memory.is_some() {
        return Err(Error::OutOfMemory { asked: size, limit });
    }
    match validation {
        Some(error) => Err(gpu.refused(format!("creating {label}"), &error)),
        None => Ok(buffer),
    }
}
