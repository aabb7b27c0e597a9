//! A kernel variant as WGSL text: pure, so that every permutation can be parsed and validated without a GPU.

mod template;

use std::fmt::Write as _;

pub use template::Flags;

use crate::{
    activation,
    error::{Error, Result},
    kernel::{Elem, Kernel, Slot},
};

/// How the storage bindings are declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binding {
    /// Inputs read-only: the usual case.
    Exclusive,
    /// Everything read_write: an output and an input lie in one buffer, and wgpu tracks usage per buffer.
    Shared,
}

/// The complete text of a kernel: dtype prelude, constants, bindings with their accessors, shared functions, the
/// activation, the kernel itself.
pub fn assemble(kernel: &Kernel, binding: Binding) -> Result<String> {
    let fail = |message: String| Error::ShaderCompile { kernel: kernel.to_string(), message };
    let mut source = String::new();
    let mut seen = vec!["params"];
    paste(kernel.file.text(), &mut seen, &mut source).map_err(fail)?;
    let mut functions = String::new();
    if let Some(kind) = kernel.activation {
        paste(kind.row().wgsl, &mut seen, &mut functions).map_err(fail)?;
    }
    let mut text = String::from("// ");
    let _ = writeln!(text, "{kernel}\n{}", kernel.dtype.prelude());
    for (name, value) in &kernel.flags {
        let _ = writeln!(text, "const {name} = {value}u;");
    }
    text.push_str(include_str!("../shaders/shared/params.wgsl"));
    for (index, slot) in kernel.slots.iter().enumerate() {
        declare(slot, index, binding, kernel.flag("BATCHED") == 1, &mut text);
    }
    text.push_str(&template::expand(&functions, &kernel.flags).map_err(fail)?);
    text.push_str(&template::expand(&source, &kernel.flags).map_err(fail)?);
    Ok(text)
}

/// Pastes a file after the shared files it uses, each once.
fn paste(file: &'static str, seen: &mut Vec<&'static str>, out: &mut String) -> Result<(), String> {
    for name in template::uses(file) {
        if !seen.contains(&name) {
            seen.push(name);
            let text = shared(name).ok_or_else(|| format!("no shared file {name:?}"))?;
            paste(text, seen, out)?;
        }
    }
    out.push_str(file);
    out.push('\n');
    Ok(())
}

fn shared(name: &str) -> Option<&'static str> {
    Some(match name {
        "tile" => include_str!("../shaders/shared/tile.wgsl"),
        "slope" => include_str!("../shaders/shared/slope.wgsl"),
        "product_tile" => include_str!("../shaders/shared/product_tile.wgsl"),
        "operands" => include_str!("../shaders/shared/operands.wgsl"),
        "epilogue" => include_str!("../shaders/shared/epilogue.wgsl"),
        "column_lanes" => include_str!("../shaders/shared/column_lanes.wgsl"),
        _ => return activation::shared_wgsl(name),
    })
}

/// One binding and its accessors. Kernels touch storage through these alone: the offset of an operand in its buffer, the
/// the layer of a batch, vector width and in-place reading are settled here, once.
fn declare(slot: &Slot, index: usize, binding: Binding, batched: bool, text: &mut String) {
    let Slot { role, written, elem, within } = *slot;
    let array = within.unwrap_or(role);
    let place = format!("[{}].{}", index / 4, ["x", "y", "z", "w"][index % 4]);
    let first = if batched { format!("(P.at{place} + entry * P.step{place})") } else { format!("P.at{place}") };
    let (scalar, item) = match elem {
        Elem::Scalar => ("elem", "elem"),
        Elem::Four => ("elem", "elem4"),
        Elem::Word => ("u32", "u32"),
    };
    if within.is_none() {
        let access = if written || binding == Binding::Shared { "read_write" } else { "read" };
        let _ = writeln!(text, "@group(0) @binding({}) var<storage, {access}> {role}: array<{item}>;", index + 1);
    }
    if elem == Elem::Four {
        let _ = writeln!(
            text,
            "fn {role}_at(i: u32) -> {scalar} {{ let j = {first} + i; return {array}[j >> 2u][j & 3u]; }}\n\
             fn {role}_at4(i: u32) -> {item} {{ return {array}[({first} + i) >> 2u]; }}"
        );
    } else {
        let _ = writeln!(text, "fn {role}_at(i: u32) -> {scalar} {{ return {array}[{first} + i]; }}");
    }
    if elem == Elem::Scalar {
        let _ = writeln!(
            text,
            "fn {role}_at4(i: u32) -> elem4 {{ let j = {first} + i; \
             return elem4({array}[j], {array}[j + 1u], {array}[j + 2u], {array}[j + 3u]); }}"
        );
    }
    if written {
        if elem == Elem::Four {
            let _ = writeln!(
                text,
                "fn {role}_put(i: u32, v: {scalar}) {{ let j = {first} + i; {array}[j >> 2u][j & 3u] = v; }}\n\
                 fn {role}_put4(i: u32, v: {item}) {{ {array}[({first} + i) >> 2u] = v; }}"
            );
        } else {
            let _ = writeln!(text, "fn {role}_put(i: u32, v: {scalar}) {{ {array}[{first} + i] = v; }}");
        }
    }
}
