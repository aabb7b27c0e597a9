//! Assembles the WGSL text of a kernel variant, without a GPU, so that tests can parse and validate every permutation.

mod accessors;
mod lower;
mod paste;
mod template;

use std::fmt::Write as _;

pub use paste::{Numbers, PastedLayer, network};

use crate::{
    activation,
    dtype::Float,
    error::{Error, Result},
    kernel::{Elem, Kernel},
    program::Step,
};

/// How the storage bindings are declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Binding {
    /// Inputs read-only: the usual case.
    Exclusive,
    /// Everything read_write, for an output and an input in the same buffer: wgpu tracks usage by buffer.
    Shared,
}

/// The flag of kernels that bind f16 operands as WGSL's f16, because the device has the type.
pub(crate) const NATIVE_F16: &str = "NATIVE_F16";

/// The complete text of a kernel: constants, dtype preludes, bindings with their accessors, shared functions, the
/// activations, the programs, the kernel itself.
pub fn assemble(kernel: &Kernel, binding: Binding) -> Result<String> {
    let fail = |message: String| Error::ShaderCompile { kernel: kernel.to_string(), message };
    let mut flags = kernel.flags.clone();
    for (name, value) in kernel.facts() {
        flags.insert(name, value);
    }
    let mut seen = vec!["params"];
    let mut source = String::new();
    paste(kernel.file.text(), &mut seen, &mut source).map_err(fail)?;
    let mut functions = String::new();
    for (stage, kind) in kernel.stages.iter().enumerate() {
        let file = kind.row().wgsl;
        for name in template::uses(file) {
            paste_shared(name, &mut seen, &mut functions).map_err(fail)?;
        }
        functions.push_str(&lower::stage(file, stage));
        functions.push('\n');
    }
    let programs = [&kernel.a, &kernel.b, &kernel.finish];
    if programs.iter().flat_map(|p| p.steps()).any(|step| matches!(step, Step::Pass(..) | Step::PassBoth(..))) {
        paste_shared("passed", &mut seen, &mut functions).map_err(fail)?;
    }
    if programs.iter().flat_map(|p| p.steps()).any(|step| matches!(step, Step::Capped(..) | Step::Within(..))) {
        paste_shared("limits", &mut seen, &mut functions).map_err(fail)?;
    }
    if programs.iter().flat_map(|p| p.steps()).any(|step| matches!(step, Step::Dropout(..))) {
        paste_shared("dropout", &mut seen, &mut functions).map_err(fail)?;
    }
    for program in programs {
        program.check().map_err(fail)?;
    }
    let native = kernel.flag(NATIVE_F16) != 0;
    let matrices = kernel.on_matrix_units();
    let rounds = ["ROUND_A", "ROUND_B"].iter().any(|flag| kernel.flag(flag) == 1);
    let mut text = String::from(if native || matrices { "enable f16;\n" } else { "" });
    text.push_str(if matrices { "enable wgpu_cooperative_matrix;\n" } else { "" });
    let _ = writeln!(text, "// {kernel}");
    for dtype in Float::ALL {
        let stored =
            kernel.slots.iter().any(|slot| matches!(slot.elem, Elem::Scalar | Elem::Four) && slot.dtype == dtype);
        if stored || (rounds && dtype == Float::F16) {
            text.push_str(dtype.prelude());
        }
    }
    for (name, value) in &flags {
        let _ = writeln!(text, "const {name} = {value}u;");
    }
    text.push_str(include_str!("../shaders/shared/params.wgsl"));
    for (index, slot) in kernel.slots.iter().enumerate() {
        accessors::declare(slot, index, binding, native, kernel.flag("BATCHED") == 1, &mut text);
    }
    text.push_str(&template::expand(&functions, &flags).map_err(fail)?);
    let inner = |along, across| if kernel.flag(along) == 1 { lower::ALONG } else { across };
    let of_b = if kernel.flag("PAIRED") > kernel.flag("APART") { "(2u * P.cols)" } else { "P.cols" };
    let operands = [("a", &kernel.a, inner("A_ALONG_K", "P.rows")), ("b", &kernel.b, inner("B_ALONG_K", of_b))];
    for (name, program, inner) in operands {
        if !program.is_empty() {
            lower::load(program, &kernel.slots, name, inner, &mut text);
        }
    }
    if kernel.flag("AHEAD") == 1 {
        lower::ahead(operands, &kernel.slots, kernel.flag("VEC") == 1, &mut text);
    }
    if !kernel.finish.is_empty() {
        lower::finish(&kernel.finish, &kernel.slots, kernel.flag("WIDE") == 1, &mut text);
    }
    text.push_str(&template::expand(&source, &flags).map_err(fail)?);
    Ok(text)
}

/// Appends a file, after the shared files that it uses, each once.
fn paste(file: &'static str, seen: &mut Vec<&'static str>, out: &mut String) -> Result<(), String> {
    for name in template::uses(file) {
        paste_shared(name, seen, out)?;
    }
    out.push_str(file);
    out.push('\n');
    Ok(())
}

fn paste_shared(name: &'static str, seen: &mut Vec<&'static str>, out: &mut String) -> Result<(), String> {
    if seen.contains(&name) {
        return Ok(());
    }
    seen.push(name);
    paste(shared(name).ok_or_else(|| format!("no shared file {name:?}"))?, seen, out)
}

fn shared(name: &str) -> Option<&'static str> {
    Some(match name {
        "halves" => include_str!("../shaders/shared/halves.wgsl"),
        "real" => include_str!("../shaders/shared/real.wgsl"),
        "tile" => include_str!("../shaders/shared/tile.wgsl"),
        "passed" => include_str!("../shaders/shared/passed.wgsl"),
        "dropout" => include_str!("../shaders/shared/dropout.wgsl"),
        "limits" => include_str!("../shaders/shared/limits.wgsl"),
        "row_lanes" => include_str!("../shaders/shared/row_lanes.wgsl"),
        "span" => include_str!("../shaders/shared/span.wgsl"),
        "tile_bits" => include_str!("../shaders/shared/tile_bits.wgsl"),
        "product_tile" => include_str!("../shaders/shared/product_tile.wgsl"),
        "finished_rows" => include_str!("../shaders/shared/finished_rows.wgsl"),
        "matrices" => include_str!("../shaders/shared/matrices.wgsl"),
        "gradients" => include_str!("../shaders/shared/gradients.wgsl"),
        "form" => include_str!("../shaders/shared/form.wgsl"),
        "lane_points" => include_str!("../shaders/shared/lane_points.wgsl"),
        "lane_rows" => include_str!("../shaders/shared/lane_rows.wgsl"),
        "layers" => include_str!("../shaders/shared/layers.wgsl"),
        "log" => include_str!("../shaders/shared/log.wgsl"),
        "philox" => include_str!("../shaders/shared/philox.wgsl"),
        "normal_numbers" => include_str!("../shaders/shared/normal_numbers.wgsl"),
        "operands" => include_str!("../shaders/shared/operands.wgsl"),
        "column_lanes" => include_str!("../shaders/shared/column_lanes.wgsl"),
        _ => return activation::shared_wgsl(name),
    })
}
