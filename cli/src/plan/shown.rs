//! Plans as text, as Markdown, and as JSON.

use std::fmt::Write as _;

use elbow::{
    kernel::Kernel,
    plan::{Dispatch, Plan},
    program::Program,
    shader::{self, Binding},
};
use serde_json::{Value, json};

use crate::{
    document::Document,
    failure::Failure,
    table::{Format, Table},
};

/// A plan and what it is of: `forward` or `backward`, then what there is to say of it.
pub(super) struct Shown {
    pub(super) name: &'static str,
    pub(super) says: String,
    pub(super) plan: Plan,
}

/// The programs of a kernel that it has, by what they compute.
fn programs(kernel: &Kernel) -> impl Iterator<Item = (&'static str, &'static str, &Program)> {
    let all =
        [("a", "element of A", &kernel.a), ("b", "element of B", &kernel.b), ("finish", "each result", &kernel.finish)];
    all.into_iter().filter(|(.., program)| !program.is_empty())
}

/// The kernels of a plan, each once.
fn kernels(plan: &Plan) -> Vec<&Kernel> {
    let mut kernels: Vec<&Kernel> = Vec::new();
    for dispatch in &plan.dispatches {
        if !kernels.contains(&&dispatch.kernel) {
            kernels.push(&dispatch.kernel);
        }
    }
    kernels
}

fn wgsl_of(kernel: &Kernel) -> Result<String, Failure> {
    Ok(shader::assemble(kernel, Binding::Exclusive)?.to_string())
}

/// For a terminal: the plan as it prints itself.
pub(super) fn text(shown: &[Shown], wgsl: bool) -> Result<String, Failure> {
    let mut text = String::new();
    for (number, Shown { name, says, plan }) in shown.iter().enumerate() {
        let before = if number > 0 { "\n" } else { "" };
        let _ = writeln!(text, "{before}{name}{says}:\n{plan}");
        for kernel in kernels(plan) {
            let _ = writeln!(text, "\n{kernel}");
            for (_, of, program) in programs(kernel) {
                let _ = writeln!(text, "  {of}:");
                program.to_string().lines().for_each(|line| {
                    let _ = writeln!(text, "    {line}");
                });
            }
            if wgsl {
                let _ = write!(text, "\n{}", wgsl_of(kernel)?);
            }
        }
    }
    Ok(text)
}

/// The operands of a dispatch, by the names of their slots.
fn operands(dispatch: &Dispatch) -> impl Iterator<Item = (&'static str, &'static str, &'static str, u64, bool)> {
    let slots = dispatch.kernel.slots.iter().zip(&dispatch.uses);
    slots.map(|(slot, part)| (slot.role, part.operand.name(), slot.dtype.name(), part.len, slot.written))
}

pub(super) fn markdown(shown: &[Shown], wgsl: bool) -> Result<Document, Failure> {
    let mut document = Document::new(Format::Md);
    for Shown { name, says, plan } in shown {
        document.title(&format!("{name}{says}"));
        let heads = ["kernel", "operands", "tiles", "rows", "columns", "k", "chunk", "layers", "loops, at most"];
        let row = |d: &Dispatch| {
            let operands = operands(d).map(|(role, operand, dtype, ..)| match dtype {
                "f32" => format!("{role}={operand}"),
                dtype => format!("{role}={operand}:{dtype}"),
            });
            let p = &d.params;
            let figures = [p.tiles - p.first, p.rows, p.cols, p.k, p.chunk, p.batch].map(|figure| figure.to_string());
            let words = vec![d.kernel.to_string(), operands.collect::<Vec<_>>().join(" ")];
            [words, figures.to_vec(), vec![d.trips().to_string()]].concat()
        };
        document.line(&format!("scratch: {} bytes", plan.scratch_bytes()));
        document.line(&format!("moved at least: {} bytes", plan.bytes()));
        let plain = plan.dispatches.iter().enumerate().filter_map(|(i, d)| Some((i, d.plain_because?)));
        plain.for_each(|(i, why)| document.line(&format!("dispatch {i} is not on matrix units: {why}")));
        document.table("dispatches", &Table::new(&heads, 2).with(plan.dispatches.iter().map(row)));
        for kernel in kernels(plan) {
            document.title(&kernel.to_string());
            for (_, of, program) in programs(kernel) {
                document.line(&format!("{of}:"));
                document.code("", &program.to_string());
            }
            if wgsl {
                document.code("wgsl", &wgsl_of(kernel)?);
            }
        }
    }
    Ok(document)
}

/// Bytes and dispatches are what a script compares.
pub(super) fn json(shown: &[Shown], wgsl: bool) -> Result<Value, Failure> {
    let mut all = json!({"elbow": env!("CARGO_PKG_VERSION")});
    for Shown { name, says, plan } in shown {
        let mut dispatches = Vec::with_capacity(plan.dispatches.len());
        for d in &plan.dispatches {
            let p = &d.params;
            let operands = operands(d).map(|(role, operand, dtype, elements, written)| {
                json!({"slot": role, "operand": operand, "dtype": dtype, "elements": elements, "written": written})
            });
            let programs = programs(&d.kernel).map(|(name, _, program)| {
                let lines: Vec<String> = program.to_string().lines().map(str::to_owned).collect();
                (name.to_owned(), lines.into())
            });
            dispatches.push(json!({
                "kernel": d.kernel.file.name(), "variant": d.kernel.to_string(), "first_tile": p.first,
                "tiles": p.tiles - p.first, "rows": p.rows, "columns": p.cols, "k": p.k, "chunk": p.chunk, "layers": p.batch,
                "loops": d.trips(), "not_on_matrix_units": d.plain_because, "operands": operands.collect::<Vec<_>>(),
                "programs": programs.collect::<serde_json::Map<String, Value>>(),
                "wgsl": if wgsl { Some(wgsl_of(&d.kernel)?) } else { None },
            }));
        }
        all[*name] = json!({
            "says": says.trim_start_matches([',', ' ']), "saved": plan.saved.name(), "strategy": plan.strategy.name(),
            "bytes": plan.bytes(), "scratch_bytes": plan.scratch_bytes(), "dispatches": dispatches,
        });
    }
    Ok(all)
}
