//! Bind and dispatch into the caller's encoder or pass. Nothing is submitted, polled or waited for; everything is checked
//! before anything is recorded, because wgpu would report it in the host's `finish()` and spoil the host's command buffer.

use std::sync::Arc;

use super::{Gpu, check, memory, operands::Operands};
use crate::{
    error::{Error, Result},
    kernel::{GRID_X, Kernel, Slot},
    operand::Operand,
    plan::{Plan, SCRATCH, Use},
    shader::Binding,
};

/// Where to record: the host's encoder (a compute pass is opened and closed in it) or the host's open pass.
#[derive(Debug)]
pub enum Target<'a, 'p> {
    /// An encoder.
    Encoder(&'a mut wgpu::CommandEncoder),
    /// A pass: many operations in one pass cost less.
    Pass(&'a mut wgpu::ComputePass<'p>),
}

impl<'a> From<&'a mut wgpu::CommandEncoder> for Target<'a, 'static> {
    fn from(encoder: &'a mut wgpu::CommandEncoder) -> Self {
        Target::Encoder(encoder)
    }
}

impl<'a, 'p> From<&'a mut wgpu::ComputePass<'p>> for Target<'a, 'p> {
    fn from(pass: &'a mut wgpu::ComputePass<'p>) -> Self {
        Target::Pass(pass)
    }
}

impl Target<'_, '_> {
    /// Records into the pass, or into one pass of the encoder.
    pub(crate) fn in_one_pass(self, f: impl FnOnce(&mut wgpu::ComputePass<'_>) -> Result<()>) -> Result<()> {
        match self {
            Target::Pass(pass) => f(pass),
            Target::Encoder(encoder) => {
                let descriptor = wgpu::ComputePassDescriptor { label: Some("elbow"), timestamp_writes: None };
                f(&mut encoder.begin_compute_pass(&descriptor))
            }
        }
    }
}

/// A binding, resolved: buffer, bytes, and the first element in it.
struct Bound {
    operand: Operand,
    buffer: wgpu::Buffer,
    offset: u64,
    size: u64,
    first: u32,
}

impl Bound {
    fn binding(&self) -> wgpu::BufferBinding<'_> {
        wgpu::BufferBinding { buffer: &self.buffer, offset: self.offset, size: wgpu::BufferSize::new(self.size) }
    }
}

/// A call that is checked, planned and bound: recording it costs the CPU about a microsecond a dispatch, as often as it is
/// recorded. For loops that run the same call on the same buffers.
///
/// It keeps its buffers and its scratch memory alive. What the operands hold may change between two runs; a buffer that is
/// destroyed or mapped meanwhile is wgpu's to refuse, when the work is submitted.
#[must_use = "nothing is recorded yet"]
pub struct Prepared {
    gpu: Gpu,
    ready: Vec<Ready>,
    /// Counted as long as the bind groups hold it.
    _scratch: Vec<(Operand, Arc<memory::Owned>)>,
}

impl Prepared {
    /// Records the call.
    pub fn record<'t, 'p: 't>(&self, target: impl Into<Target<'t, 'p>>) -> Result<()> {
        self.gpu.check()?;
        if self.ready.is_empty() {
            return Ok(());
        }
        target.into().in_one_pass(|pass| {
            for (compiled, group, grid) in &self.ready {
                pass.set_pipeline(&compiled.pipeline);
                pass.set_bind_group(0, group, &[]);
                pass.dispatch_workgroups(grid[0], grid[1], 1);
            }
            Ok(())
        })
    }

    /// Dispatches that one recording makes.
    pub fn dispatches(&self) -> usize {
        self.ready.len()
    }
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("dispatches", &self.ready.len()).finish_non_exhaustive()
    }
}

/// Checks everything, then binds every dispatch of the plan. Nothing is recorded.
pub(crate) fn prepare(gpu: &Gpu, plan: &Plan, operands: &Operands<'_>) -> Result<Prepared> {
    gpu.check()?;
    check::operands(gpu, plan, operands)?;
    let mut scratch = Vec::new();
    for operand in SCRATCH {
        let bytes = plan.scratch(operand) * 4;
        if bytes > 0 {
            scratch.push((operand, gpu.inner.memory.scratch(gpu, operand, bytes)?));
        }
    }
    let mut ready = Vec::with_capacity(plan.dispatches.len());
    for dispatch in &plan.dispatches {
        let mut bound = Vec::with_capacity(dispatch.uses.len());
        for (slot, part) in dispatch.kernel.slots.iter().zip(&dispatch.uses) {
            bound.push(bind(gpu, slot, part, operands, &scratch)?);
        }
        ready.push(bind_dispatch(gpu, &dispatch.kernel, dispatch.params, &bound)?);
    }
    Ok(Prepared { gpu: gpu.clone(), ready, _scratch: scratch })
}

type Ready = (Arc<super::pipeline::Compiled>, wgpu::BindGroup, [u32; 2]);

/// Pipeline, parameter block and bind group of one dispatch.
fn bind_dispatch(gpu: &Gpu, kernel: &Kernel, mut params: crate::kernel::Params, bound: &[Bound]) -> Result<Ready> {
    let device = gpu.device();
    let written = |w: bool| kernel.slots.iter().zip(bound).filter(move |(s, _)| s.written == w).map(|(_, b)| &b.buffer);
    let shared = written(true).any(|output| written(false).any(|input| input == output));
    let binding = if shared { Binding::Shared } else { Binding::Exclusive };
    let compiled = gpu.inner.pipelines.get(gpu, kernel, binding)?;
    let most = gpu.inner.limits.max_compute_workgroups_per_dimension;
    let tiles = (params.tiles - params.first) * params.batch;
    params.grid_x = tiles.min(most).min(GRID_X);
    let grid = [params.grid_x, tiles.div_ceil(params.grid_x.max(1))];
    if grid[1] > most {
        let limit = u64::from(most) * u64::from(most);
        return Err(Error::LimitExceeded { what: "workgroups of one dispatch".into(), asked: u64::from(tiles), limit });
    }
    for (at, b) in params.at.iter_mut().zip(bound) {
        *at = b.first;
    }
    let block = gpu.inner.memory.params(gpu, &params)?;
    let mut entries = vec![wgpu::BindGroupEntry { binding: 0, resource: block.as_entire_binding() }];
    for (index, (_, b)) in kernel.slots.iter().zip(bound).enumerate().filter(|(_, (s, _))| s.within.is_none()) {
        let resource = wgpu::BindingResource::Buffer(b.binding());
        entries.push(wgpu::BindGroupEntry { binding: index as u32 + 1, resource });
    }
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("elbow"),
        layout: &compiled.layout,
        entries: &entries,
    });
    let binding = || format!("binding the operands of {kernel}");
    if let Some(error) = gpu.caught(scope, binding) {
        let own = kernel.slots.iter().zip(bound).filter(|(slot, _)| slot.within.is_none());
        let named = check::culprit(gpu, own.map(|(_, b)| (b.operand, b.binding())));
        return Err(named.unwrap_or_else(|| gpu.refused(binding(), &error)));
    }
    Ok((compiled, group, grid))
}

fn bind(
    gpu: &Gpu,
    slot: &Slot,
    part: &Use,
    operands: &Operands<'_>,
    scratch: &[(Operand, Arc<memory::Owned>)],
) -> Result<Bound> {
    let operand = part.operand;
    if part.len == 0 {
        let buffer = gpu.inner.memory.nothing(gpu)?;
        return Ok(Bound { operand, buffer, offset: 0, size: memory::NOTHING, first: 0 });
    }
    let (buffer, start) = match scratch.iter().find(|(o, _)| *o == operand) {
        Some((_, owned)) => (owned.buffer.clone(), 0),
        None => {
            let view = operands.get(operand)?;
            (check::buffer(operand, view)?.clone(), view.offset)
        }
    };
    // A binding must start at a multiple of the device's alignment: the rest is an element offset.
    let bytes = slot.bytes();
    let start = start + (part.origin + part.first) * bytes;
    let align = u64::from(gpu.inner.limits.min_storage_buffer_offset_alignment);
    let offset = start / align * align;
    let size = (start - offset + part.len * bytes).next_multiple_of(4);
    let limit = gpu.inner.limits.max_storage_buffer_binding_size;
    if size > limit {
        return Err(Error::LimitExceeded { what: format!("bytes of {operand} in one binding"), asked: size, limit });
    }
    let last = (start - offset) / bytes + part.len;
    if last > 1 << 32 {
        return Err(Error::LimitExceeded {
            what: format!("elements of {operand} in one binding"),
            asked: last,
            limit: 1 << 32,
        });
    }
    // Modulo 2³², as the shader adds: index `first` of the kernel is the first element of this window.
    let first = ((start - offset) / bytes) as u32;
    Ok(Bound { operand, buffer, offset, size, first: first.wrapping_sub(part.first as u32) })
}
