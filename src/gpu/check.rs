//! Whether a buffer can serve as an operand. Checked before wgpu sees it, as far as wgpu tells; what only wgpu can find, it refuses, and
//! the refusal is traced to the operand.

use std::ops::Range;

use super::{Gpu, operands::Operands};
use crate::{
    error::{Error, Result},
    kernel::Elem,
    operand::Operand,
    plan::Plan,
    shape,
    view::View,
};

/// An operand, the bytes it spans, and whether the plan writes them.
struct Span<'a> {
    operand: Operand,
    view: View<'a>,
    bytes: Range<u64>,
    written: bool,
}

/// Checks type, usage, alignment, length and overlap of every operand of the call, and that none is mapped. Scratch memory that the host supplies
/// is one more that is written.
pub(super) fn operands(gpu: &Gpu, plan: &Plan, operands: &Operands<'_>, scratch: Option<View<'_>>) -> Result<()> {
    // A browser refuses two bindings whose ranges overlap if one is written, also where no element is in both.
    let by_columns = gpu.info().backend != wgpu::Backend::BrowserWebGpu;
    let uses = || plan.dispatches.iter().flat_map(|d| d.kernel.slots.iter().zip(&d.uses));
    let mut spans: Vec<Span<'_>> = Vec::with_capacity(operands.list.len());
    for &(operand, view) in &operands.list {
        let slots = || uses().filter(|(_, part)| part.operand == operand).map(|(slot, _)| slot);
        if let Some(slot) = slots().next() {
            // A slot says whether its kernel reads numbers or words.
            match slot.elem {
                // A copy has checked its types itself; its kernel moves two halves as one word.
                Elem::Word if matches!(operand, Operand::From | Operand::To) => {}
                Elem::Word => view.words(operand)?,
                _ => view.floats(operand).map(drop)?,
            }
        }
        let bytes = span(gpu, operand, view, wgpu::BufferUsages::STORAGE)?;
        // Once for each buffer: the check takes microseconds.
        if !bytes.is_empty() && !spans.iter().any(|s| s.view.buffer == view.buffer) {
            not_mapped(operand, buffer(operand, view)?)?;
        }
        let written = slots().any(|slot| slot.written);
        if written {
            writable(operand, view)?;
        }
        if written && !view.is_injective() {
            let expected = "an output whose elements do not overlap in memory".into();
            let got = format!("{:?} at strides {:?}", view.shape, view.strides());
            return Err(Error::Operand { operand, expected, got });
        }
        spans.push(Span { operand, view, bytes, written });
    }
    if let Some(view) = scratch {
        let bytes = span(gpu, Operand::Scratch, view, wgpu::BufferUsages::STORAGE)?;
        not_mapped(Operand::Scratch, buffer(Operand::Scratch, view)?)?;
        spans.push(Span { operand: Operand::Scratch, view, bytes, written: true });
    }
    for (i, one) in spans.iter().enumerate() {
        for other in &spans[i + 1..] {
            // The output first. What is empty overlaps nothing.
            let (output, other) = if one.written { (one, other) } else { (other, one) };
            let apart = output.view.buffer != other.view.buffer
                || output.bytes.is_empty()
                || other.bytes.is_empty()
                || output.bytes.end <= other.bytes.start
                || other.bytes.end <= output.bytes.start
                || (by_columns && side_by_side(output, other));
            let in_place =
                operands.in_place == Some((output.operand, other.operand)) && output.view.same_memory(&other.view);
            if output.written && !apart && !in_place {
                return Err(Error::Alias {
                    operand: output.operand,
                    other: other.operand,
                    range: output.bytes.clone(),
                    other_range: other.bytes.clone(),
                });
            }
        }
    }
    Ok(())
}

/// Whether two operands are different columns of the same rows, without a byte in common: as in [q | k | v].
fn side_by_side(one: &Span<'_>, other: &Span<'_>) -> bool {
    let Some(((period, width), (same, other_width))) = one.view.columns().zip(other.view.columns()) else {
        return false;
    };
    // The distance from the first column of one to that of the other, modulo the row.
    let way = (other.view.offset % same + same - one.view.offset % same) % same;
    period == same && width <= way && way.saturating_add(other_width) <= period
}

/// The byte range of a view for a copy from the host or to it; an error if its buffer cannot be copied.
pub(super) fn copied(gpu: &Gpu, view: View<'_>, usage: wgpu::BufferUsages) -> Result<Range<u64>> {
    let bytes = span(gpu, Operand::Tensor, view, usage)?;
    if !bytes.is_empty() {
        not_mapped(Operand::Tensor, buffer(Operand::Tensor, view)?)?;
    }
    Ok(bytes)
}

/// An error if the view is read-only.
pub(super) fn writable(operand: Operand, view: View<'_>) -> Result<()> {
    match view.read_only {
        true => Err(Error::Operand {
            operand,
            expected: "an operand that may be written".into(),
            got: "a read-only view (View::read_only)".into(),
        }),
        false => Ok(()),
    }
}

/// The buffer; an error if the view is absent.
pub(super) fn buffer<'a>(operand: Operand, view: View<'a>) -> Result<&'a wgpu::Buffer> {
    view.buffer.ok_or_else(|| Error::Operand {
        operand,
        expected: format!("a buffer of shape {:?}, because this call reads or writes the elements", view.shape),
        got: "shape and type alone (View::absent)".into(),
    })
}

/// An error for a tensor of another device, if elbow opened both. wgpu, whose numbers for buffers begin anew in each instance, would take one of this device in its place, or panic.
fn of_this_device(gpu: &Gpu, operand: Operand, view: View<'_>) -> Result<()> {
    match (view.owner, gpu.inner.number) {
        (Some(owner), Some(number)) if owner != number => Err(Error::Buffer {
            operand,
            expected: "a tensor of this device".into(),
            got: "one that another Gpu has made".into(),
        }),
        _ => Ok(()),
    }
}

/// The byte range of an operand; an error if its buffer is of another device, too short, misaligned or lacks the usage.
pub(super) fn span(gpu: &Gpu, operand: Operand, view: View<'_>, usage: wgpu::BufferUsages) -> Result<Range<u64>> {
    let View { offset, shape, dtype, .. } = view;
    shape::elements(operand, &shape)?;
    let bytes = view.extent().saturating_mul(dtype.bytes());
    if bytes == 0 && view.buffer.is_none() {
        return Ok(0..0);
    }
    let buffer = buffer(operand, view)?;
    of_this_device(gpu, operand, view)?;
    if !offset.is_multiple_of(dtype.bytes()) {
        return Err(Error::Misaligned { operand, alignment: dtype.bytes(), offset });
    }
    let end = offset.checked_add(bytes);
    // Whole words are bound, with the spare half of the last one, which no kernel changes.
    let bound = end.and_then(|end| end.checked_next_multiple_of(4)).filter(|bound| *bound <= buffer.size());
    let (Some(end), Some(_)) = (end, bound) else {
        return Err(Error::Buffer {
            operand,
            expected: match view.is_contiguous() {
                true => format!(
                    "{} bytes from offset {offset} on, for shape {shape:?} of {dtype}",
                    bytes.next_multiple_of(4)
                ),
                false => format!(
                    "{bytes} bytes from offset {offset} on, for shape {shape:?} of {dtype} at strides {:?}",
                    view.strides()
                ),
            },
            got: format!("a buffer of {} bytes", buffer.size()),
        });
    };
    if bytes > 0 && !buffer.usage().contains(usage) {
        return Err(Error::Buffer {
            operand,
            expected: format!("a buffer with usage {usage:?}"),
            got: format!("usage {:?}", buffer.usage()),
        });
    }
    Ok(offset..end)
}

/// An error if the buffer is mapped: wgpu would notice it only when the host submits, and drop the whole command buffer.
fn not_mapped(operand: Operand, buffer: &wgpu::Buffer) -> Result<()> {
    match buffer.get_mapped_range(0..0) {
        Ok(_) => {
            Err(Error::Buffer { operand, expected: "a buffer that is not mapped".into(), got: "a mapped one".into() })
        }
        Err(_) => Ok(()),
    }
}

/// Finds the operand whose buffer wgpu refused to bind: each is bound alone, and the first that is refused again is named.
pub(super) fn culprit<'b>(
    gpu: &Gpu,
    bindings: impl Iterator<Item = (Operand, wgpu::BufferBinding<'b>)>,
) -> Option<Error> {
    let device = gpu.device();
    let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("elbow one operand"),
        entries: &[wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage { read_only: true },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        }],
    });
    drop(scope);
    for (operand, binding) in bindings {
        let scope = device.push_error_scope(wgpu::ErrorFilter::Validation);
        let _ = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("elbow one operand"),
            layout: &layout,
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(binding) }],
        });
        if let Some(error) = gpu.caught(scope, || format!("binding {operand}")) {
            return Some(unfit(gpu, operand, &error));
        }
    }
    None
}

/// The error for a buffer that wgpu refused: destroyed, mapped, or of another device.
pub(super) fn unfit(gpu: &Gpu, operand: Operand, error: &wgpu::Error) -> Error {
    if let Err(lost) = gpu.check_alive() {
        return lost;
    }
    let text = error.to_string();
    // wgpu writes the innermost cause last.
    let cause = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    Error::Buffer { operand, expected: "a buffer of this device, not destroyed, not mapped".into(), got: cause.into() }
}
