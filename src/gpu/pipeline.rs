//! Compiles the text of each kernel variant once, and keeps the pipelines that were used last.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Checks, Gpu, trusted};
use crate::{
    error::{Error, Result},
    kernel::{Kernel, Params},
    shader::{self, Binding},
};

/// A compiled kernel variant.
pub(super) struct Compiled {
    pub(super) pipeline: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

/// The pipelines that were used last, at most [`MOST`].
#[derive(Default)]
pub(super) struct Pipelines {
    cache: Mutex<Cache<Variant, Compiled>>,
    /// Binaries of the driver, which the host keeps.
    binaries: Mutex<Option<wgpu::PipelineCache>>,
}

struct Cache<K, T> {
    compiled: HashMap<K, Used<T>>,
    /// Number of look-ups so far: the clock of `Used::last`.
    now: u64,
}

impl<K, T> Default for Cache<K, T> {
    fn default() -> Self {
        Cache { compiled: HashMap::new(), now: 0 }
    }
}

/// A pipeline, and the look-up that found it last.
struct Used<T> {
    compiled: Arc<T>,
    last: u64,
}

type Variant = (Kernel, Binding);

/// Pipelines that are kept. A network has dozens; drivers keep megabytes for each, and a program with thousands of variants held 9 GB.
const MOST: usize = 512;

impl<K: Eq + Hash, T> Cache<K, T> {
    fn get(&mut self, key: &K) -> Option<Arc<T>> {
        self.now += 1;
        let used = self.compiled.get_mut(key)?;
        used.last = self.now;
        Some(Arc::clone(&used.compiled))
    }

    /// Keeps a pipeline, unless another thread has compiled the same meanwhile; returns the one that is kept. A full cache first drops the
    /// half that has not been used for longest; prepared calls keep theirs.
    fn put(&mut self, key: K, compiled: Arc<T>) -> Arc<T> {
        if self.compiled.len() >= MOST {
            let mut last: Vec<u64> = self.compiled.values().map(|used| used.last).collect();
            let (_, &mut middle, _) = last.select_nth_unstable(MOST / 2);
            self.compiled.retain(|_, used| used.last > middle);
        }
        let last = self.now;
        Arc::clone(&self.compiled.entry(key).or_insert(Used { compiled, last }).compiled)
    }
}

impl Pipelines {
    fn cache(&self) -> MutexGuard<'_, Cache<Variant, Compiled>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.cache().compiled.len()
    }

    pub(super) fn set_cache(&self, binaries: Option<wgpu::PipelineCache>) {
        *self.binaries.lock().unwrap_or_else(PoisonError::into_inner) = binaries;
    }

    fn binaries(&self) -> Option<wgpu::PipelineCache> {
        self.binaries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drops them all: the next look-up compiles again.
    pub(super) fn clear(&self) {
        self.cache().compiled.clear();
    }

    pub(super) fn holds(&self, kernel: &Kernel, binding: Binding) -> bool {
        self.cache().compiled.contains_key(&(kernel.clone(), binding))
    }

    pub(super) fn get(&self, gpu: &Gpu, kernel: &Kernel, binding: Binding) -> Result<Arc<Compiled>> {
        let key = (kernel.clone(), binding);
        if let Some(compiled) = self.cache().get(&key) {
            return Ok(compiled);
        }
        // Compiled outside the lock, so that other threads need not wait. If two compile the same variant, one result is dropped.
        let text = shader::assemble(kernel, binding)?;
        let compiled = Arc::new(compile(gpu, kernel, binding, &text)?);
        Ok(self.cache().put(key, compiled))
    }
}

fn compile(gpu: &Gpu, kernel: &Kernel, binding: Binding, text: &str) -> Result<Compiled> {
    let device = gpu.device();
    let label = kernel.to_string();
    let internal = device.push_error_scope(wgpu::ErrorFilter::Internal);
    let validation = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let module = trusted::module(gpu, &label, text);
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some(&label),
        entries: &layout_entries(kernel, binding),
    });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label: Some(&label),
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some(&label),
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Every kernel writes its workgroup memory before it reads it.
            zero_initialize_workgroup_memory: gpu.inner.checks == Checks::Checked,
            ..Default::default()
        },
        cache: gpu.inner.pipelines.binaries().as_ref(),
    });
    let compiling = || format!("compiling {label}");
    let errors = [gpu.caught(validation, compiling), gpu.caught(internal, compiling)];
    gpu.check_alive()?;
    match errors.into_iter().flatten().next() {
        Some(error) => Err(Error::ShaderCompile { kernel: label, message: super::loss::one_line(&error) }),
        None => Ok(Compiled { pipeline, layout }),
    }
}

fn layout_entries(kernel: &Kernel, binding: Binding) -> Vec<wgpu::BindGroupLayoutEntry> {
    let entry = |binding, ty, least| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: least },
        count: None,
    };
    let params = std::num::NonZeroU64::new(size_of::<Params>() as u64);
    let mut entries = vec![entry(0, wgpu::BufferBindingType::Uniform, params)];
    for (index, slot) in kernel.slots.iter().enumerate().filter(|(_, s)| s.within.is_none()) {
        let read_only = !slot.written && binding == Binding::Exclusive;
        entries.push(entry(index as u32 + 1, wgpu::BufferBindingType::Storage { read_only }, None));
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_longest_ago_is_forgotten() {
        let mut cache = Cache::default();
        for i in 0..10 * MOST {
            assert!(cache.get(&i).is_none(), "{i} was never put there");
            assert_eq!(*cache.put(i, Arc::new(i)), i);
            // What is asked for all the time stays.
            assert!(cache.get(&0).is_some(), "after {i}");
            assert!(cache.get(&i).is_some() && cache.compiled.len() <= MOST, "after {i}");
        }
        assert!(cache.get(&1).is_none());
        // Two threads that compile the same get the same.
        let first = cache.put(usize::MAX, Arc::new(1));
        assert!(Arc::ptr_eq(&first, &cache.put(usize::MAX, Arc::new(2))));
    }
}
