//! A binding and its accessors. Kernels access storage only through these, which handle the offset of an operand in its buffer, the layer
//! of a batch, vec4, the storage type and reading in place. To a kernel every number is an f32.
//!
//! - `NAME_at(i)`, `NAME_put(i, v)`: element i.
//! - `NAME_at4(i)`, `NAME_put4(i, v)`: elements i to i + 3; if the binding has groups of four, i is a multiple of 4.
//! - `NAME_of(row, col)`: the index i of an element, if the operand has a row stride.
//! - `NAME_item(i)`, `NAME_set(i, v)`: an element or a group of four, whichever the binding is made of.

use std::fmt::Write as _;

use super::Binding;
use crate::{
    dtype::Float,
    kernel::{Elem, Slot},
};

/// How an element is stored in the binding.
#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    /// As a WGSL type of four bytes.
    Plain(&'static str),
    /// As WGSL's f16, if the device has it.
    Native,
    /// Two numbers in a word.
    Packed(Float),
    /// Two elements in a word, as bits.
    Half,
}

impl Encoding {
    fn of(slot: &Slot, native: bool) -> Self {
        match (slot.elem, slot.dtype) {
            (Elem::Word, _) => Encoding::Plain("u32"),
            (Elem::Half, _) => Encoding::Half,
            (_, Float::F32) => Encoding::Plain("f32"),
            (_, Float::F16) if native => Encoding::Native,
            (_, dtype) => Encoding::Packed(dtype),
        }
    }

    /// WGSL for the number in a stored element.
    fn decoded(self, cell: &str) -> String {
        match self {
            Encoding::Plain(_) => cell.to_owned(),
            Encoding::Native => format!("f32({cell})"),
            Encoding::Packed(dtype) => format!("{dtype}_value({cell} & 0xffffu)"),
            Encoding::Half => format!("({cell} & 0xffffu)"),
        }
    }

    /// WGSL for the stored element of a number.
    fn encoded(self, v: &str) -> String {
        match self {
            Encoding::Plain(_) | Encoding::Half => v.to_owned(),
            // WGSL leaves the rounding of f16(v) open: v is rounded to a number of f16 before.
            Encoding::Native => format!("f16(f16_rounded({v}))"),
            Encoding::Packed(dtype) => format!("{dtype}_bits({v})"),
        }
    }
}

pub(super) fn declare(slot: &Slot, index: usize, binding: Binding, native: bool, batched: bool, text: &mut String) {
    let Slot { role, written, elem, within, .. } = *slot;
    let encoding = Encoding::of(slot, native);
    let packed = matches!(encoding, Encoding::Packed(_) | Encoding::Half);
    // Two invocations may write the two halves of one word: each clears and sets its own bits atomically.
    let atomic = packed && elem != Elem::Four && (written || within.is_some());
    if within.is_none() {
        let access = if written || binding == Binding::Shared { "read_write" } else { "read" };
        let item = match (encoding, elem) {
            (Encoding::Plain(scalar), Elem::Scalar | Elem::Word | Elem::Half) => scalar.to_owned(),
            (Encoding::Plain(scalar), Elem::Four) => format!("vec4<{scalar}>"),
            (Encoding::Native, Elem::Four) => "vec4<f16>".into(),
            (Encoding::Native, _) => "f16".into(),
            (Encoding::Packed(_) | Encoding::Half, Elem::Four) => "vec2<u32>".into(),
            (Encoding::Packed(_) | Encoding::Half, _) if atomic => "atomic<u32>".into(),
            (Encoding::Packed(_) | Encoding::Half, _) => "u32".into(),
        };
        let _ = writeln!(text, "@group(0) @binding({}) var<storage, {access}> {role}: array<{item}>;", index + 1);
    }
    let array = within.unwrap_or(role);
    let number = if matches!(elem, Elem::Word | Elem::Half) { "u32" } else { "f32" };
    let slot_at = format!("[{}].{}", index / 4, ["x", "y", "z", "w"][index % 4]);
    let layer = if batched { format!(" + batch_index * P.batch_stride{slot_at}") } else { String::new() };
    let place = format!("let j = P.at{slot_at}{layer} + i;");
    if slot.strided {
        let _ =
            writeln!(text, "fn {role}_of(row: u32, col: u32) -> u32 {{ return row * P.row_stride{slot_at} + col; }}");
    }
    let word = |word: &str| match atomic {
        true => format!("atomicLoad(&{word})"),
        false => word.to_owned(),
    };
    let cell = match (packed, elem) {
        (false, Elem::Four) => format!("{array}[j >> 2u][j & 3u]"),
        (false, _) => format!("{array}[j]"),
        (true, Elem::Four) => format!("({array}[j >> 2u][(j >> 1u) & 1u] >> ((j & 1u) << 4u))"),
        (true, _) => format!("({} >> ((j & 1u) << 4u))", word(&format!("{array}[j >> 1u]"))),
    };
    let _ = writeln!(text, "fn {role}_at(i: u32) -> {number} {{ {place} return {}; }}", encoding.decoded(&cell));
    match (elem, packed) {
        (Elem::Word | Elem::Half, _) => {}
        (Elem::Scalar, _) => {
            let four = [0, 1, 2, 3].map(|q| format!("{role}_at(i + {q}u)")).join(", ");
            let _ = writeln!(text, "fn {role}_at4(i: u32) -> vec4<f32> {{ return vec4<f32>({four}); }}");
            let _ = writeln!(text, "fn {role}_item(i: u32) -> f32 {{ return {role}_at(i); }}");
        }
        (Elem::Four, packed) => {
            let four = match packed {
                false => format!("return vec4<f32>({array}[j >> 2u]);"),
                true => {
                    let lanes =
                        ["w.x", "(w.x >> 16u)", "w.y", "(w.y >> 16u)"].map(|cell| encoding.decoded(cell)).join(", ");
                    format!("let w = {array}[j >> 2u]; return vec4<f32>({lanes});")
                }
            };
            let _ = writeln!(text, "fn {role}_at4(i: u32) -> vec4<f32> {{ {place} {four} }}");
            let _ = writeln!(text, "fn {role}_item(i: u32) -> vec4<f32> {{ return {role}_at4(i); }}");
        }
    }
    if !written {
        return;
    }
    let one = encoding.encoded("v");
    let put = match (elem, packed) {
        (Elem::Four, true) => None,
        (_, false) => Some(format!("{cell} = {one};")),
        (_, true) => Some(format!(
            "let shift = (j & 1u) << 4u; atomicAnd(&{array}[j >> 1u], ~(0xffffu << shift)); \
             atomicOr(&{array}[j >> 1u], {one} << shift);"
        )),
    };
    if let Some(put) = put {
        let _ = writeln!(text, "fn {role}_put(i: u32, v: {number}) {{ {place} {put} }}");
    }
    if elem == Elem::Four {
        let [x, y, z, w] = ["v.x", "v.y", "v.z", "v.w"].map(|lane| encoding.encoded(lane));
        let four = match encoding {
            Encoding::Plain(_) => "v".to_owned(),
            Encoding::Native => format!("vec4<f16>({x}, {y}, {z}, {w})"),
            Encoding::Packed(_) | Encoding::Half => format!("vec2<u32>({x} | ({y} << 16u), {z} | ({w} << 16u))"),
        };
        let _ = writeln!(text, "fn {role}_put4(i: u32, v: vec4<f32>) {{ {place} {array}[j >> 2u] = {four}; }}");
        let _ = writeln!(text, "fn {role}_set(i: u32, v: vec4<f32>) {{ {role}_put4(i, v); }}");
    } else if elem == Elem::Scalar {
        let _ = writeln!(text, "fn {role}_set(i: u32, v: f32) {{ {role}_put(i, v); }}");
    }
}
