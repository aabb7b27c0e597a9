//! `elbow sweep`: the accuracy of the activations over all bit patterns of f32.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Instant,
};

use elbow::{Activation, Gpu};
use elbow_verify::{
    points,
    sweep::{self, CLASSES, Swept},
};
use serde_json::json;

use crate::{
    args::Sweep,
    failure::Failure,
    out,
    table::{Format, Table},
    verify::bar,
};

/// Sweeps each activation and prints a row for each quantity when it is done. Exit code 1 if one is beyond its tolerance.
pub(crate) fn run(args: &Sweep) -> Result<ExitCode, Failure> {
    let activations = match args.activation.is_empty() {
        true => points::defaults(),
        false => args.activation.iter().map(|spec| spec.parse()).collect::<elbow::Result<Vec<Activation>>>()?,
    };
    let gpu = Gpu::new()?;
    if args.format != Format::Json {
        let total = (1u64 << 32).div_ceil(u64::from(args.stride.get()));
        let subnormals = gpu.subnormals()?;
        out::print(&format!(
            "{gpu}\nsubnormal numbers: {subnormals}\n{total} inputs each; errors in ulp of the terms\n"
        ))?;
    }
    let mut beyond = 0;
    for activation in activations {
        let start = Instant::now();
        let bar = bar("{msg:<20} [{bar:30}] {percent} % {elapsed} (eta {eta})");
        bar.set_message(activation.to_string());
        bar.set_length((1u64 << 32).div_ceil(u64::from(args.stride.get())));
        let found = sweep::sweep(&gpu, activation, args.stride.get(), &mut |done| bar.inc(done))?;
        bar.finish_and_clear();
        beyond += found.iter().map(|s| s.beyond).sum::<u64>();
        let text = match args.format {
            Format::Json => found.iter().map(|swept| as_json(&activation, swept) + "\n").collect(),
            format => format!("\n{}", table(&activation, &found).print(format)),
        };
        out::print(&text)?;
        if args.format != Format::Json {
            log(&activation, start);
        }
    }
    Ok(if beyond == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn log(activation: &Activation, start: Instant) {
    let _ = writeln!(io::stderr(), "{activation}: {:.0} s", start.elapsed().as_secs_f64());
}

/// A row for each function of an activation.
fn table(activation: &Activation, found: &[Swept]) -> Table {
    let classes: Vec<String> = CLASSES[1..].iter().map(|end| format!("≤ {end}")).collect();
    let heads = ["function", "worst", "allowed", "at", "exact"].into_iter().chain(classes.iter().map(String::as_str));
    let heads: Vec<&str> = heads.chain(["more"]).collect();
    Table::new(&heads, 1).with(found.iter().map(|swept| row(activation, swept)))
}

fn row(activation: &Activation, swept: &Swept) -> Vec<String> {
    let w = swept.worst;
    let total: u64 = swept.histogram.iter().sum();
    let share = |count: &u64| match *count {
        0 => "0".to_owned(),
        count if count == total => "100 %".to_owned(),
        count if count * 1000 < total => format!("{count}"),
        count => format!("{:.1} %", count as f64 * 100.0 / total as f64),
    };
    let of = format!("{activation} {}", w.quantity.wgsl_name());
    let allowed = activation.row().tolerance(w.quantity).to_string();
    let figures = [of, format!("{:.2}", w.ulp.max(0.0)), allowed, format!("{:e}", w.x)];
    figures.into_iter().chain(swept.histogram.iter().map(share)).collect()
}

fn as_json(activation: &Activation, swept: &Swept) -> String {
    let w = swept.worst;
    json!({
        "activation": activation.to_string(), "quantity": w.quantity.wgsl_name(), "worst_ulp": w.ulp.max(0.0),
        "allowed_ulp": activation.row().tolerance(w.quantity), "x_bits": format!("{:#010x}", w.x.to_bits()),
        "got": f64::from(w.got), "expected": w.expected, "beyond": swept.beyond, "classes": CLASSES,
        "histogram": swept.histogram,
    })
    .to_string()
}
