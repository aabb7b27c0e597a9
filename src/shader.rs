//! A kernel variant as WGSL text: pure, so that every permutation can be parsed and validated without a GPU.

mod accessors;
mod template;

use std::fmt::Write as _;

pub use template::Flags;

use crate::{
    activation,
    dtype::Float,
    error::{Error, Result},
    kernel::{Elem, Kernel},
};

/// How the storage bindings are declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binding {
    /// Inputs read-only: the usual case.
    Exclusive,
    /// Everything read_write: an output and an input lie in one buffer, and wgpu tracks usage per buffer.
    Shared,
}

/// The flag of kernels whose f16 operands are bound as such: the device knows the type.
pub(crate) const NATIVE_F16: &str = "NATIVE_F16";

/// The complete text of a kernel: constants, dtype preludes, bindings with their accessors, shared functions, the
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
    let native = kernel.flag(NATIVE_F16) != 0;
    let mut text = String::from(if native { "enable f16;\n" } else { "" });
    let _ = writeln!(text, "// {kernel}");
    for dtype in Float::ALL {
        if kernel.slots.iter().any(|slot| slot.elem != Elem::Word && slot.dtype == dtype) {
            text.push_str(dtype.prelude());
        }
    }
    for (name, value) in &kernel.flags {
        let _ = writeln!(text, "const {name} = {value}u;");
    }
    text.push_str(include_str!("../shaders/shared/params.wgsl"));
    for (index, slot) in kernel.slots.iter().enumerate() {
        accessors::declare(slot, index, binding, native, kernel.flag("BATCHED") == 1, &mut text);
    }
    text.push_str(&template::expand(&functions, &kernel.flags).map_err(fail)?);
    let source = template::expand(&source, &kernel.flags).map_err(fail)?;
    lift(&source, kernel.flag("WIDE") != 0, &mut text);
    text.push_str(&source);
    Ok(text)
}

/// The functions of the activation as the kernel calls them: `NAME4(v, n)` on four neighbours, channels n to n + 3, and
/// `NAME_item(v, n)` on what an invocation handles at a time.
fn lift(source: &str, wide: bool, text: &mut String) {
    for name in ["act", "act_dz", "act_dzz", "act_da", "act_dzda", "act_dz_of_y"] {
        let item = source.contains(&format!("{name}_item("));
        if source.contains(&format!("{name}4(")) || (item && wide) {
            let four = [("x", 0), ("y", 1), ("z", 2), ("w", 3)];
            let four = four.map(|(lane, q)| format!("{name}(v.{lane}, parameters(n + {q}u))")).join(", ");
            let _ = writeln!(text, "fn {name}4(v: vec4<f32>, n: u32) -> vec4<f32> {{ return vec4<f32>({four}); }}");
        }
        if item {
            let one = if wide { format!("{name}4(v, n)") } else { format!("{name}(v, parameters(n))") };
            let _ = writeln!(text, "fn {name}_item(v: real, n: u32) -> real {{ return {one}; }}");
        }
    }
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
        "real" => include_str!("../shaders/shared/real.wgsl"),
        "tile" => include_str!("../shaders/shared/tile.wgsl"),
        "slope" => include_str!("../shaders/shared/slope.wgsl"),
        "product_tile" => include_str!("../shaders/shared/product_tile.wgsl"),
        "operands" => include_str!("../shaders/shared/operands.wgsl"),
        "epilogue" => include_str!("../shaders/shared/epilogue.wgsl"),
        "column_lanes" => include_str!("../shaders/shared/column_lanes.wgsl"),
        _ => return activation::shared_wgsl(name),
    })
}
