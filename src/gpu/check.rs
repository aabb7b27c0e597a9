//! What a buffer must be to serve as an operand. Checked before wgpu sees it, where wgpu can be asked; where it can't, its
//! refusal is traced to the operand.

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

/// Type, usage, alignment, length and overlap of every operand of the call; and that none is mapped.
pub(super) fn operands(gpu: &Gpu, plan: &Plan, operands: &Operands<'_>) -> Result<()> {
    // A browser looks at the ranges of bindings alone, and refuses two that overlap where one is written.
    let by_columns = gpu.info().backend != wgpu::Backend::BrowserWebGpu;
    let uses = || plan.dispatches.iter().flat_map(|d| d.kernel.slots.iter().zip(&d.uses));
    let mut spans: Vec<Span<'_>> = Vec::with_capacity(operands.list.len());
    for &(operand, view) in &operands.list {
        let slots = || uses().filter(|(_, part)| part.operand == operand).map(|(slot, _)| slot);
        if let Some(slot) = slots().next() {
            // Kernels read numbers or words; which, their slots say.
            match slot.elem {
                // A copy has looked itself, and moves two halves as a word.
                Elem::Word if matches!(operand, Operand::From | Operand::To) => {}
                Elem::Word => view.words(operand)?,
                _ => view.floats(operand).map(drop)?,
            }
        }
        let bytes = span(operand, view, wgpu::BufferUsages::STORAGE)?;
        // Asked once of each buffer: the answer that it is not mapped takes microseconds.
        if !bytes.is_empty() && !spans.iter().any(|s| s.view.buffer == view.buffer) {
            not_mapped(operand, buffer(operand, view)?)?;
        }
        let written = slots().any(|slot| slot.written);
        if written {
            writable(operand, view)?;
        }
        if written && !view.is_injective() {
            let expected = "an operand of which every element is one of its own: it is written".into();
            let got = format!("{:?} at strides {:?}", view.shape, view.strides());
            return Err(Error::Operand { operand, expected, got });
        }
        spans.push(Span { operand, view, bytes, written });
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

/// Whether two operands that are parts of the same rows have no byte in common: [q | k | v].
fn side_by_side(one: &Span<'_>, other: &Span<'_>) -> bool {
    let Some(((period, width), (same, other_width))) = one.view.columns().zip(other.view.columns()) else {
        return false;
    };
    // From the columns of one on to those of the other, around the period.
    let way = (other.view.offset % same + same - one.view.offset % same) % same;
    period == same && width <= way && way.saturating_add(other_width) <= period
}

/// The bytes that a copy from the host or to it takes, if the buffer can serve for it.
pub(super) fn copied(view: View<'_>, usage: wgpu::BufferUsages) -> Result<Range<u64>> {
    let bytes = span(Operand::Tensor, view, usage)?;
    if !bytes.is_empty() {
        not_mapped(Operand::Tensor, buffer(Operand::Tensor, view)?)?;
    }
    Ok(bytes)
}

/// An error if it may only be read.
pub(super) fn writable(operand: Operand, view: View<'_>) -> Result<()> {
    match view.read_only {
        true => Err(Error::Operand {
            operand,
            expected: "an operand that may be written".into(),
            got: "a view that may only be read".into(),
        }),
        false => Ok(()),
    }
}

/// The buffer, if there is one.
pub(super) fn buffer<'a>(operand: Operand, view: View<'a>) -> Result<&'a wgpu::Buffer> {
    view.buffer.ok_or_else(|| Error::Operand {
        operand,
        expected: format!("a buffer of shape {:?}: this call needs the elements", view.shape),
        got: "its shape alone (View::absent)".into(),
    })
}

/// The bytes of an operand, if its buffer can serve for this use.
fn span(operand: Operand, view: View<'_>, usage: wgpu::BufferUsages) -> Result<Range<u64>> {
    let View { offset, shape, dtype, .. } = view;
    shape::elements(operand, &shape)?;
    let bytes = view.extent().saturating_mul(dtype.bytes());
    if bytes == 0 && view.buffer.is_none() {
        return Ok(0..0);
    }
    let buffer = buffer(operand, view)?;
    if !offset.is_multiple_of(dtype.bytes()) {
        return Err(Error::Misaligned { operand, alignment: dtype.bytes(), offset });
    }
    let end = offset.checked_add(bytes);
    // Whole words are bound: the odd half of the last one with them, and left as it is.
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

/// wgpu would say so only when the host submits, and drop the host's whole command buffer with it.
fn not_mapped(operand: Operand, buffer: &wgpu::Buffer) -> Result<()> {
    match buffer.get_mapped_range(0..0) {
        Ok(_) => {
            Err(Error::Buffer { operand, expected: "a buffer that is not mapped".into(), got: "a mapped one".into() })
        }
        Err(_) => Ok(()),
    }
}

/// Whose buffer wgpu refused to bind: each is bound alone, and the first that is refused again is named.
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

/// wgpu refused this operand's buffer: destroyed, or another device's.
pub(super) fn unfit(gpu: &Gpu, operand: Operand, error: &wgpu::Error) -> Error {
    if let Err(lost) = gpu.check_alive() {
        return lost;
    }
    let text = error.to_string();
    // The innermost cause stands last.
    let cause = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    Error::Buffer { operand, expected: "a buffer of this device, not destroyed, not mapped".into(), got: cause.into() }
}
