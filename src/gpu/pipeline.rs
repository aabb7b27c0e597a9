//! Text to pipeline, once for each kernel variant.

use std::{
    collections::HashMap,
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

/// Every pipeline compiled so far.
#[derive(Default)]
pub(super) struct Pipelines {
    cache: Mutex<HashMap<Variant, Arc<Compiled>>>,
}

type Variant = (Kernel, Binding);

impl Pipelines {
    fn cache(&self) -> MutexGuard<'_, HashMap<Variant, Arc<Compiled>>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.cache().len()
    }

    /// They are compiled anew when they are asked for again.
    pub(super) fn clear(&self) {
        self.cache().clear();
    }

    pub(super) fn get(&self, gpu: &Gpu, kernel: &Kernel, binding: Binding) -> Result<Arc<Compiled>> {
        let key = (kernel.clone(), binding);
        if let Some(compiled) = self.cache().get(&key) {
            return Ok(Arc::clone(compiled));
        }
        // Compiled outside the lock: other threads go on with what they have. If two compile the same, one is dropped.
        let text = shader::assemble(kernel, binding)?;
        let compiled = Arc::new(compile(gpu, kernel, binding, &text)?);
        Ok(Arc::clone(self.cache().entry(key).or_insert(compiled)))
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
        cache: None,
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
