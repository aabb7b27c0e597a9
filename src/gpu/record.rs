//! Binds operands and dispatches kernels into the caller's encoder or pass. Nothing is submitted, polled or waited for. Everything is
//! checked before anything is recorded: wgpu would report a mistake only in the host's `finish()`, and drop the whole command buffer.

use std::sync::Arc;

use super::{
    Gpu, check, memory,
    operands::Operands,
    scratch::{self, Place, Supplied},
};
use crate::{
    error::{Error, Result},
    kernel::{GRID_X, Kernel, Slot},
    operand::Operand,
    plan::{Plan, Use},
    shader::Binding,
};

/// Where a call is recorded: a command encoder, or a compute pass that is open. Every `record` takes `&mut` of either.
///
/// # What recording does to the pass
///
/// - **It sets the pipeline and bind group 0**, for each dispatch, and leaves the last ones set: a host that goes on with kernels of its
///   own in this pass sets its pipeline and its bind group 0 again.
/// - **It touches nothing else**: no other bind group, no immediates, no timestamps or other queries, no debug groups or markers.
/// - **In an encoder it opens one compute pass of its own**, labelled `elbow`, and closes it. A call with nothing to compute
///   opens none.
/// - **It needs no barrier.** wgpu puts dispatches in order that use the same buffer, where one of them writes: in a pass, from pass to
///   pass and from submission to submission, elbow's and the host's own.
/// - It submits nothing, and the encoder or pass is as it was after an error.
///
/// ```no_run
/// use elbow::{Activation, Gpu, affine::Forward, wgpu};
/// # fn host(gpu: &Gpu, pass: &mut wgpu::ComputePass<'_>, layer: &Forward<'_>, below: &Forward<'_>,
/// #     pipeline: &wgpu::ComputePipeline, group: &wgpu::BindGroup) -> elbow::Result<()> {
/// below.record(gpu, &mut *pass)?;
/// layer.record(gpu, &mut *pass)?; // reads what the layer below wrote: no barrier between them
/// pass.set_pipeline(pipeline); // the host's own kernel, in the same pass
/// pass.set_bind_group(0, group, &[]);
/// pass.dispatch_workgroups(64, 1, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub enum Target<'a, 'p> {
    /// An encoder: the call gets a compute pass of its own in it.
    Encoder(&'a mut wgpu::CommandEncoder),
    /// An open pass: many calls in one pass cost less than one pass each.
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

/// What a slot of a kernel is bound to: buffer, byte range, and the operand's first element in it.
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

/// A call that has been checked, planned and bound, for loops that run the same call on the same buffers: recording it costs the CPU about
/// a microsecond a dispatch.
///
/// It keeps its buffers and its scratch memory alive. The contents of the operands may change between two runs. A buffer that is
/// destroyed or mapped in the meantime is not noticed here: wgpu refuses it when the work is submitted.
///
/// ```no_run
/// use elbow::{Activation, Gpu, affine::Forward};
/// let gpu = Gpu::new()?;
/// let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[32, 10])?);
/// let layer = Forward::new(Activation::RELU, &x, &w, &y).prepare(&gpu)?;
/// println!("{} dispatches a step", layer.dispatches());
/// for _ in 0..100 {
///     gpu.submit_pass(|pass| layer.record(pass))?;
/// }
/// # Ok::<(), elbow::Error>(())
/// ```
#[must_use = "nothing is recorded yet"]
pub struct Prepared {
    gpu: Gpu,
    ready: Vec<Ready>,
    _scratch: Vec<Place>,
}

impl Prepared {
    /// Records the call into an encoder or an open pass; [`Target`] says what changes there. Nothing is allocated but by wgpu.
    ///
    /// Fails only where the device is known to be lost, or with an [`Error::Late`] of an earlier call. It does not ask the device, as all other calls do:
    /// [`Gpu::submit`] and every download will.
    pub fn record<'t, 'p: 't>(&self, target: impl Into<Target<'t, 'p>>) -> Result<()> {
        self.gpu.check_known()?;
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

    /// Several calls as one, in this order.
    pub(crate) fn joined(gpu: &Gpu, calls: Vec<Prepared>) -> Prepared {
        let mut all = Prepared { gpu: gpu.clone(), ready: Vec::new(), _scratch: Vec::new() };
        for call in calls {
            all.ready.extend(call.ready);
            all._scratch.extend(call._scratch);
        }
        all
    }

    /// Number of dispatches that one recording makes; 0 where there is nothing to compute.
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
    let supplied = scratch::supplied(gpu, plan)?;
    check::operands(gpu, plan, operands, supplied.as_ref().map(Supplied::view))?;
    let scratch = scratch::places(gpu, plan, supplied.as_ref())?;
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
    if gpu.info().backend == wgpu::Backend::BrowserWebGpu {
        let own = kernel.slots.iter().zip(bound).filter(|(slot, _)| slot.within.is_none());
        let own: Vec<_> = own.map(|(slot, bound)| (bound, shared || slot.written)).collect();
        apart(&own, u64::from(gpu.inner.limits.min_storage_buffer_offset_alignment))?;
    }
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

/// What a browser asks of the bindings of one dispatch: two that may be written (`true`) have no byte in common, also where only their
/// beginnings, rounded down to the device's alignment, reach into each other. It would say so late, and without the operands' names.
fn apart(bound: &[(&Bound, bool)], alignment: u64) -> Result<()> {
    let written: Vec<&Bound> = bound.iter().filter(|(_, written)| *written).map(|(bound, _)| *bound).collect();
    for (i, one) in written.iter().enumerate() {
        for other in &written[i + 1..] {
            let [a, b] = [one, other].map(|bound| bound.offset..bound.offset + bound.size);
            if one.buffer == other.buffer && a.start < b.end && b.start < a.end {
                return Err(Error::Buffer {
                    operand: one.operand,
                    expected: format!(
                        "a range of its own in a buffer with {}, in a browser from a multiple of {alignment} bytes on",
                        other.operand
                    ),
                    got: format!("bindings of the bytes {a:?} and {b:?}"),
                });
            }
        }
    }
    Ok(())
}

fn bind(gpu: &Gpu, slot: &Slot, part: &Use, operands: &Operands<'_>, scratch: &[Place]) -> Result<Bound> {
    let operand = part.operand;
    if part.len == 0 {
        let buffer = gpu.inner.memory.nothing(gpu)?;
        return Ok(Bound { operand, buffer, offset: 0, size: memory::NOTHING, first: 0 });
    }
    let (buffer, start) = match scratch.iter().find(|place| place.operand == operand) {
        Some(place) => (place.buffer.clone(), place.offset),
        None => {
            let view = operands.get(operand)?;
            (check::buffer(operand, view)?.clone(), view.offset)
        }
    };
    // A binding must start at a multiple of the device's alignment; the kernel adds the elements from there to the operand.
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
    // Modulo 2³², as the shader adds it to an index: the kernel's index `part.first` is the first element of this window.
    let first = ((start - offset) / bytes) as u32;
    Ok(Bound { operand, buffer, offset, size, first: first.wrapping_sub(part.first as u32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operands of one buffer that are apart, whose bindings are not: a browser's rule, by name.
    #[test]
    fn bindings_of_a_browser_are_apart() {
        let gpu = Gpu::new().expect("an adapter");
        let [buffer, another] = [(); 2].map(|()| gpu.zeros(&[256]).expect("a tensor").buffer().clone());
        let bound = |operand, buffer: &wgpu::Buffer, offset, size| Bound {
            operand,
            buffer: buffer.clone(),
            offset,
            size,
            first: 0,
        };
        let x = bound(Operand::X, &buffer, 0, 300);
        let near = bound(Operand::Dx, &buffer, 256, 100);
        let far = bound(Operand::Dw, &buffer, 512, 4);
        let elsewhere = bound(Operand::Y, &another, 0, 300);
        assert_eq!(apart(&[(&x, true), (&far, true), (&elsewhere, true)], 256), Ok(()));
        assert_eq!(apart(&[(&x, false), (&near, true)], 256), Ok(()), "one of them is not written");
        let error = apart(&[(&elsewhere, true), (&x, true), (&near, true)], 256).expect_err("they overlap");
        assert_eq!(
            error.to_string(),
            "x: expected a range of its own in a buffer with dx, in a browser from a multiple of 256 bytes on, got bindings of the bytes 0..300 and 256..356"
        );
    }
}
