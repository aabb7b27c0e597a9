//! `elbow sweep`: the accuracy of the activations over all bit patterns of f32.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::Instant,
};

use elbow::{Activation, Gpu, gpu::Subnormals};
use elbow_verify::{
    points,
    sweep::{self, CLASSES, Swept},
};
use serde_json::json;

use crate::{args::Sweep, failure::Failure, out, verify::bar};

/// Sweeps each activation and prints a row for each quantity when it is done. Exit code 1 if one is beyond its tolerance.
pub(crate) fn run(args: &Sweep) -> Result<ExitCode, Failure> {
    let activations = match args.activation.is_empty() {
        true => points::defaults(),
        false => args.activation.iter().map(|spec| spec.parse()).collect::<elbow::Result<Vec<Activation>>>()?,
    };
    let gpu = Gpu::new()?;
    if !args.json {
        let total = (1u64 << 32).div_ceil(u64::from(args.stride.get()));
        out::print(&head(&gpu, &gpu.subnormals()?, total))?;
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
        for swept in &found {
            let line = if args.json { as_json(&activation, swept) } else { row(&activation, swept) };
            out::print(&(line + "\n"))?;
        }
        if !args.json {
            log(&activation, start);
        }
    }
    Ok(if beyond == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn log(activation: &Activation, start: Instant) {
    let _ = writeln!(io::stderr(), "{activation}: {:.0} s", start.elapsed().as_secs_f64());
}

fn head(gpu: &Gpu, subnormals: &Subnormals, total: u64) -> String {
    let classes: Vec<String> = CLASSES[1..].iter().map(|end| format!("≤ {end}")).collect();
    format!(
        "{gpu}\nsubnormal numbers: {subnormals}\n{total} inputs each; errors in ulp of the terms\n\n\
         | function | worst | allowed | at | rounded right | {} | more |\n|---|---|---|---|---|{}---|\n",
        classes.join(" | "),
        "---|".repeat(CLASSES.len() - 1)
    )
}

fn row(activation: &Activation, swept: &Swept) -> String {
    let w = swept.worst;
    let total: u64 = swept.histogram.iter().sum();
    let share = |count: &u64| match *count {
        0 => "0".to_owned(),
        count if count == total => "100 %".to_owned(),
        count if count * 1000 < total => format!("{count}"),
        count => format!("{:.1} %", count as f64 * 100.0 / total as f64),
    };
    let classes: Vec<String> = swept.histogram.iter().map(share).collect();
    let allowed = activation.row().tolerance(w.quantity);
    let name = w.quantity.wgsl_name();
    format!("| `{activation}` {name} | {:.2} | {allowed} | {:e} | {} |", w.ulp.max(0.0), w.x, classes.join(" | "))
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
