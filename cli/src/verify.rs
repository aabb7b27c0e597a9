//! `elbow verify`: the library's own tests on the user's adapter. Exit code 1 when anything is wrong.

use std::{fmt::Write as _, process::ExitCode};

use elbow::{Gpu, MatrixUnits};
use elbow_verify::{
    Part,
    suite::{self, Broken, Group, Report, Size},
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::{
    args::Verify,
    failure::Failure,
    out,
    table::{Format, Table},
};

/// Runs all groups, or one case, and prints a table or JSON.
pub(crate) fn run(args: &Verify) -> Result<ExitCode, Failure> {
    let options = elbow::Options::default().matrix_units(args.matrix_units);
    let gpu = Gpu::with_options(options.self_test(false).tuning(false))?;
    let reports = match &args.case {
        Some(case) => vec![suite::replay(&gpu, case)?],
        None => groups(&gpu, if args.quick { Size::Quick } else { Size::Full }, args.part),
    };
    let right = reports.iter().all(|report| report.failed == 0);
    let subnormals = gpu.subnormals()?.to_string();
    let text = match args.format {
        Format::Json => as_json(&gpu, &subnormals, &reports, right, args.matrix_units),
        format => as_text(&gpu, &subnormals, &reports, right, args.matrix_units, format),
    };
    out::print(&text)?;
    Ok(if right { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn groups(gpu: &Gpu, size: Size, part: Part) -> Vec<Report> {
    let bar = bar("{spinner} {msg:<16} [{bar:30}] {pos}/{len} {elapsed}");
    let run = |group: Group| {
        bar.set_message(group.name());
        suite::run_group(gpu, group, size, part, &mut |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        })
    };
    let reports = Group::ALL.into_iter().map(run).collect();
    bar.finish_and_clear();
    reports
}

/// A progress bar on stderr, hidden if that is not a terminal.
pub(crate) fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn as_text(gpu: &Gpu, subnormals: &str, reports: &[Report], right: bool, units: MatrixUnits, format: Format) -> String {
    let heads = ["group", "checks", "failed", "seconds", "worst error"];
    let table = Table::new(&heads, 1).noted().with(reports.iter().map(|r| {
        let [checks, failed] = [r.checks, r.failed].map(|count| count.to_string());
        vec![r.group.name().to_owned(), checks, failed, format!("{:.1}", r.seconds), r.worst.clone()]
    }));
    let mut text = format!("{gpu}\nsubnormal numbers: {subnormals}\n\n{}", table.print(format));
    for broken in reports.iter().flat_map(|r| &r.broken) {
        let _ = writeln!(text, "\nWRONG: {}", broken.message);
        if !broken.case.is_empty() {
            let _ = writeln!(text, "  again: {}", command(broken, units));
        }
    }
    let checks: usize = reports.iter().map(|r| r.checks).sum();
    let failed: usize = reports.iter().map(|r| r.failed).sum();
    let _ = match right {
        true => writeln!(text, "\n{checks} checks, all right"),
        false => writeln!(text, "\n{checks} checks, {failed} failed: do not trust this adapter with this driver"),
    };
    text
}

fn command(broken: &Broken, units: MatrixUnits) -> String {
    let units = if units == MatrixUnits::Off { String::new() } else { format!("--matrix-units {units} ") };
    format!("elbow verify {units}--case '{}'", broken.case)
}

fn as_json(gpu: &Gpu, subnormals: &str, reports: &[Report], right: bool, units: MatrixUnits) -> String {
    let info = gpu.info();
    let groups: Vec<_> = reports
        .iter()
        .map(|r| {
            let broken: Vec<_> =
                r.broken.iter().map(|b| json!({"message": b.message, "again": command(b, units)})).collect();
            json!({
                "group": r.group.name(), "checks": r.checks, "failed": r.failed, "seconds": r.seconds,
                "worst": r.worst, "failures": broken,
            })
        })
        .collect();
    let all = json!({
        "elbow": env!("CARGO_PKG_VERSION"), "adapter": info.name, "backend": format!("{:?}", info.backend),
        "driver": format!("{} {}", info.driver, info.driver_info), "device_type": format!("{:?}", info.device_type),
        "subnormals": subnormals, "matrix_units": gpu.matrix_units(), "right": right, "groups": groups,
    });
    format!("{all:#}\n")
}
