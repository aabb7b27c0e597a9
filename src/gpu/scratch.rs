//! Scratch memory of a call: how much it takes, and where it lies: in elbow's pool, or in memory that the host supplies.

use std::{ops::Range, sync::Arc};

use super::{Gpu, check, memory};
use crate::{
    dtype::Dtype,
    error::{Error, Result},
    operand::Operand,
    plan::{Plan, SCRATCH},
    view::View,
};

/// The scratch memory that a call takes, known before it is recorded ([`Gpu::scratch_requirement`]).
///
/// Calls that are recorded one after the other for one queue may share it: it is as large as the largest, and holds nothing from one call to the
/// next.
///
/// ```
/// use elbow::gpu::ScratchRequirement;
/// let all = [ScratchRequirement::new(4096, 256), ScratchRequirement::new(512, 256)];
/// assert_eq!(all.into_iter().fold(ScratchRequirement::default(), ScratchRequirement::shared).bytes, 4096);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ScratchRequirement {
    /// Bytes; 0 where the call needs none.
    pub bytes: u64,
    /// What the offset of its first byte must be a multiple of; 0 where it does not matter.
    pub alignment: u64,
}

impl ScratchRequirement {
    /// So many bytes, aligned so.
    pub const fn new(bytes: u64, alignment: u64) -> Self {
        ScratchRequirement { bytes, alignment }
    }

    /// Enough for either of two calls, one after the other.
    pub fn shared(self, other: Self) -> Self {
        ScratchRequirement { bytes: self.bytes.max(other.bytes), alignment: self.alignment.max(other.alignment) }
    }
}

/// Scratch memory of the host's.
#[derive(Debug, Clone)]
pub(super) struct Supplied {
    pub(super) buffer: wgpu::Buffer,
    pub(super) bytes: Range<u64>,
}

impl Supplied {
    /// All of it, as an operand that is written.
    pub(super) fn view(&self) -> View<'_> {
        let words = (self.bytes.end - self.bytes.start).div_ceil(4) as usize;
        View::new(&self.buffer, self.bytes.start, &[words], Dtype::U32)
    }
}

/// Where an operand in scratch memory lies, for as long as a call is prepared.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) operand: Operand,
    pub(super) buffer: wgpu::Buffer,
    pub(super) offset: u64,
    /// Held so that the memory counts against the limit as long as the bind groups use it.
    pub(super) _owned: Option<Arc<memory::Owned>>,
}

/// Bytes of each operand in scratch memory that the plan uses.
fn needed(plan: &Plan) -> impl Iterator<Item = (Operand, u64)> {
    SCRATCH.iter().map(|&operand| (operand, plan.scratch(operand) * 4)).filter(|(_, bytes)| *bytes > 0)
}

/// The alignment of an operand in scratch memory: a binding starts there, and kernels read vectors of four.
fn alignment(gpu: &Gpu) -> u64 {
    u64::from(gpu.inner.limits.min_storage_buffer_offset_alignment).max(16)
}

/// Each operand of the plan's scratch memory and its offset in memory for all, and how long that is.
fn laid_out(gpu: &Gpu, plan: &Plan) -> (Vec<(Operand, u64)>, u64) {
    let mut end = 0;
    let mut places = Vec::new();
    for (operand, bytes) in needed(plan) {
        let offset = u64::next_multiple_of(end, alignment(gpu));
        places.push((operand, offset));
        end = offset + bytes;
    }
    (places, end)
}

/// The part of the host's memory that the plan's scratch takes; an error if it is too short.
pub(super) fn supplied(gpu: &Gpu, plan: &Plan) -> Result<Option<Supplied>> {
    let Some(Supplied { buffer, bytes }) = &gpu.scratch else { return Ok(None) };
    let (_, asked) = laid_out(gpu, plan);
    let given = bytes.end - bytes.start;
    if asked > given {
        return Err(Error::Buffer {
            operand: Operand::Scratch,
            expected: format!("{asked} bytes (Gpu::scratch_requirement)"),
            got: format!("{given} bytes"),
        });
    }
    Ok(Some(Supplied { buffer: buffer.clone(), bytes: bytes.start..bytes.start + asked }))
}

/// Finds memory for every operand of the plan's scratch: what the host supplies, else the pool's.
pub(super) fn places(gpu: &Gpu, plan: &Plan, supplied: Option<&Supplied>) -> Result<Vec<Place>> {
    let Some(Supplied { buffer, bytes }) = supplied else {
        let of_pool = |(operand, bytes)| {
            let owned = gpu.inner.memory.scratch(gpu, operand, bytes)?;
            Ok(Place { operand, buffer: owned.buffer.clone(), offset: 0, _owned: Some(owned) })
        };
        return needed(plan).map(of_pool).collect();
    };
    let start = bytes.start;
    let of_host = |(operand, offset)| Place { operand, buffer: buffer.clone(), offset: start + offset, _owned: None };
    Ok(laid_out(gpu, plan).0.into_iter().map(of_host).collect())
}

impl Gpu {
    /// The scratch memory of a call with this plan on this device.
    ///
    /// ```no_run
    /// use elbow::{Activation, Dtype, Gpu, View, affine::Forward};
    /// let gpu = Gpu::new()?;
    /// // Shapes alone: the buffers need not exist yet.
    /// let [x, w, y] = [[32, 64], [10, 64], [32, 10]].map(|shape| View::absent(&shape, Dtype::F32));
    /// let plan = Forward::new(Activation::RELU, x, w, y).plan(&gpu)?;
    /// println!("{} bytes", gpu.scratch_requirement(&plan).bytes);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn scratch_requirement(&self, plan: &Plan) -> ScratchRequirement {
        match laid_out(self, plan).1 {
            0 => ScratchRequirement::default(),
            bytes => ScratchRequirement::new(bytes, alignment(self)),
        }
    }

    /// The same device, with the host's memory as scratch for the calls that are made with what is returned: elbow allocates none for them. A call that needs
    /// more is an [`Error::Buffer`] that says how much.
    ///
    /// Every call writes its scratch before it reads it, and leaves nothing there. So all calls for one queue may have the same memory, and between them it is
    /// the host's. It may be a part of the buffer in which the operands are, but none of them.
    ///
    /// [`Error::Buffer`] if the buffer has no usage `STORAGE` or is too short for the view; [`Error::Misaligned`] if the view does not start at a
    /// multiple of [`ScratchRequirement::alignment`].
    ///
    /// ```no_run
    /// use elbow::{Activation, Dtype, Gpu, Saved, View, affine::Forward, wgpu};
    /// # fn host(gpu: &Gpu, arena: &wgpu::Buffer, at: u64, layer: &Forward<'_>, dy: View<'_>, dw: View<'_>) -> elbow::Result<()> {
    /// let backward = layer.backward(dy).dw(dw);
    /// let need = gpu.scratch_requirement(&backward.plan(gpu)?);
    /// let words = need.bytes.div_ceil(4) as usize;
    /// let gpu = gpu.with_scratch(View::new(arena, at.next_multiple_of(need.alignment.max(1)), &[words], Dtype::U32))?;
    /// let backward = backward.prepare(&gpu)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_scratch<'a>(&self, scratch: impl Into<View<'a>>) -> Result<Gpu> {
        let view = scratch.into();
        view.contiguous(Operand::Scratch)?;
        check::writable(Operand::Scratch, view)?;
        let bytes = check::span(self, Operand::Scratch, view, wgpu::BufferUsages::STORAGE)?;
        let alignment = alignment(self);
        if !view.offset.is_multiple_of(alignment) {
            return Err(Error::Misaligned { operand: Operand::Scratch, alignment, offset: view.offset });
        }
        let buffer = check::buffer(Operand::Scratch, view)?.clone();
        Ok(Gpu { inner: Arc::clone(&self.inner), scratch: Some(Supplied { buffer, bytes }) })
    }
}
