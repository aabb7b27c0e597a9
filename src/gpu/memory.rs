//! The buffers that elbow owns. All of them are counted and bounded; scratch, parameter blocks and staging are pooled.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Gpu,
    budget::{Budget, Share},
};
use crate::{
    error::{Error, Result},
    kernel::Params,
    operand::Operand,
    plan::SCRATCH,
};

/// A buffer of elbow's own: it counts against the limit until it is dropped.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) buffer: wgpu::Buffer,
    /// The number of the device that it is of, if elbow opened that.
    pub(super) owner: Option<u64>,
    _share: Share,
}

pub(super) struct Memory {
    pub(super) budget: Arc<Budget>,
    pools: Mutex<Pools>,
}

#[derive(Default)]
struct Pools {
    /// One buffer for each scratch operand, as large as the largest use so far. All calls share it: each writes its scratch before it
    /// reads it, and a queue runs command buffers one after the other, whatever threads recorded them. A buffer that is replaced lives on
    /// in the bind groups that use it.
    scratch: [Option<Arc<Owned>>; SCRATCH.len()],
    /// Parameter blocks by content. They are never rewritten, so a recorded call stays right whenever the host submits it.
    params: HashMap<[u8; size_of::<Params>()], Owned>,
    /// Free staging buffers for downloads.
    staging: Vec<Owned>,
    /// Bound in the place of an operand without elements, because a binding can't be empty.
    nothing: Option<Owned>,
}

/// Parameter blocks that are kept before the pool is emptied: 2 MiB at most, where a driver rounds each up to 256 bytes.
const MAX_PARAMS: usize = 8192;
/// Staging buffers that are kept: as many downloads at a time run without an allocation.
const MAX_STAGING: usize = 8;

impl Memory {
    pub(super) fn new() -> Self {
        Memory { budget: Budget::unlimited(), pools: Mutex::default() }
    }

    /// Never held while a buffer is created: creating one may trim the pools.
    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn trim(&self) {
        *self.pools() = Pools::default();
    }

    /// The scratch buffer of an operand, at least `bytes` long.
    pub(super) fn scratch(&self, gpu: &Gpu, operand: Operand, bytes: u64) -> Result<Arc<Owned>> {
        let place = SCRATCH.iter().position(|&o| o == operand).unwrap_or(0);
        let enough = |held: &&Arc<Owned>| held.buffer.size() >= bytes;
        if let Some(held) = self.pools().scratch[place].as_ref().filter(enough) {
            return Ok(Arc::clone(held));
        }
        let label = format!("elbow scratch {operand}");
        let made = Arc::new(create_with_room(gpu, &label, bytes, wgpu::BufferUsages::STORAGE)?);
        let mut pools = self.pools();
        // Another thread may have put a larger one there meanwhile.
        if pools.scratch[place].as_ref().is_none_or(|held| held.buffer.size() < made.buffer.size()) {
            pools.scratch[place] = Some(Arc::clone(&made));
        }
        Ok(made)
    }

    pub(super) fn params(&self, gpu: &Gpu, params: &Params) -> Result<wgpu::Buffer> {
        let mut content = [0; size_of::<Params>()];
        content.copy_from_slice(bytemuck::bytes_of(params));
        if let Some(held) = self.pools().params.get(&content) {
            return Ok(held.buffer.clone());
        }
        let made = allocate(gpu, "elbow params", content.len() as u64, wgpu::BufferUsages::UNIFORM, true)?;
        match made.buffer.get_mapped_range_mut(..) {
            Ok(mut view) => view.copy_from_slice(&content),
            Err(error) => {
                // A lost device returns buffers that cannot be written, without an error.
                gpu.check_alive()?;
                return Err(Error::Wgpu { operation: "writing a parameter block".into(), message: error.to_string() });
            }
        }
        gpu.unmap(&made.buffer)?;
        let mut pools = self.pools();
        if pools.params.len() >= MAX_PARAMS {
            pools.params.clear();
        }
        Ok(pools.params.entry(content).or_insert(made).buffer.clone())
    }

    pub(super) fn nothing(&self, gpu: &Gpu) -> Result<wgpu::Buffer> {
        if let Some(held) = &self.pools().nothing {
            return Ok(held.buffer.clone());
        }
        let made = create(gpu, "elbow nothing", NOTHING, wgpu::BufferUsages::STORAGE)?;
        Ok(self.pools().nothing.get_or_insert(made).buffer.clone())
    }

    /// A buffer to download through; give it back with [`Memory::recycle`], unmapped, or drop it.
    pub(super) fn staging(&self, gpu: &Gpu, bytes: u64) -> Result<Owned> {
        let fits = |held: &Owned| held.buffer.size() >= bytes && held.buffer.size() <= bytes.max(1 << 16) * 4;
        let mut pools = self.pools();
        if let Some(at) = pools.staging.iter().position(fits) {
            return Ok(pools.staging.swap_remove(at));
        }
        drop(pools);
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        create_with_room(gpu, "elbow staging", bytes.max(256), usage)
    }

    pub(super) fn recycle(&self, staging: Owned) {
        let mut pools = self.pools();
        if pools.staging.len() < MAX_STAGING {
            pools.staging.push(staging);
        }
    }
}

/// Bytes of the buffer that is bound in the place of an operand without elements: room for one of any type.
pub(super) const NOTHING: u64 = 256;

/// Rounds the size up to a power of two, if there is memory for it, so that batches that grow slowly don't allocate each time.
fn create_with_room(gpu: &Gpu, label: &str, size: u64, usage: wgpu::BufferUsages) -> Result<Owned> {
    let roomy = size.checked_next_power_of_two().unwrap_or(size).min(gpu.inner.limits.max_buffer_size);
    if roomy > size
        && let Ok(owned) = create(gpu, label, roomy, usage)
    {
        return Ok(owned);
    }
    create(gpu, label, size, usage)
}

/// Creates a buffer that counts against the limit.
pub(super) fn create(gpu: &Gpu, label: &str, size: u64, usage: wgpu::BufferUsages) -> Result<Owned> {
    allocate(gpu, label, size, usage, false)
}

fn allocate(gpu: &Gpu, label: &str, size: u64, usage: wgpu::BufferUsages, mapped: bool) -> Result<Owned> {
    let device = gpu.device();
    let memory = &gpu.inner.memory;
    let limit = gpu.inner.limits.max_buffer_size;
    if size > limit {
        return Err(Error::LimitExceeded { what: "bytes of one buffer".into(), asked: size, limit });
    }
    // Pooled memory only saves time: it is released before a call fails for want of memory.
    let share = memory.budget.take(size).or_else(|_| {
        memory.trim();
        memory.budget.take(size)
    })?;
    let scarce = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let descriptor = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: mapped };
    let buffer = device.create_buffer(&descriptor);
    let creating = || format!("creating {label}, {size} bytes");
    let validation = gpu.caught(validation, creating);
    let scarce = gpu.caught(scarce, creating);
    if scarce.is_some() {
        let asked = memory.budget.used();
        return Err(Error::OutOfMemory { asked, limit: asked.saturating_sub(size) });
    }
    match validation {
        Some(error) => Err(gpu.refused(creating(), &error)),
        None => Ok(Owned { buffer, owner: gpu.inner.number, _share: share }),
    }
}
