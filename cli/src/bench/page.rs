//! The results as an HTML page: the answer on top, a chart for each question, then what it is made of.

use elbow::Float;
use elbow_measure::Part;

use super::{results::Results, sections};
use crate::{
    html::{self, escape, paragraph},
    numbers::digits,
};

/// The whole page.
pub(super) fn html(results: &Results) -> String {
    let about = &results.about;
    let title = match &results.network {
        Some(network) => format!("Is this GPU worth it for {}?", network.name),
        None => "Is this GPU worth it?".into(),
    };
    let mut body = paragraph(if about.software { "answer warn" } else { "answer" }, &results.answer);
    let stored = match results.dtype == Float::F32.name() {
        true => String::new(),
        false => format!(", which compute in f32 from the same numbers; the GPU stores {}", results.dtype),
    };
    body += &paragraph(
        "soft",
        &format!(
            "{} against {} threads of {}{stored}; elbow {}, {}.",
            about.adapter, about.threads, about.cpu, about.elbow, about.date
        ),
    );
    body += &sections::questions(results);
    if results.network.is_some() {
        body += &sections::network(results);
        body += &sections::layer_charts(results, Part::Step);
    }
    for section in
        [sections::roofline, sections::speed_and_accuracy, sections::memory, sections::fusion, sections::alone, how]
    {
        body += &section(results);
    }
    html::page(&title, &body)
}

/// What was measured, on what, and how.
fn how(results: &Results) -> String {
    let (about, c) = (&results.about, &results.ceilings);
    let clock = if c.device_time { "device time" } else { "wall time: the device has no clock" };
    let rows = [
        ("adapter", format!("{}, {}", about.adapter, about.device_type)),
        ("driver", format!("{} ({})", about.driver, about.backend)),
        (
            "CPU",
            format!(
                "elbow-cpu on {} threads of {}; it computes in f32, whatever the GPU stores",
                about.threads, about.cpu
            ),
        ),
        ("data on the GPU", results.dtype.clone()),
        ("matrix units", results.matrix_units.clone()),
        ("tuning", results.tuning.clone()),
        (
            "ceilings",
            format!(
                "GPU copy {} GB/s, GPU multiply-add {} GFLOP/s ({clock}); CPU copy {} GB/s; measured in this run",
                digits(c.gpu_bytes / 1e9),
                digits(c.gpu_flops / 1e9),
                digits(c.cpu_bytes / 1e9)
            ),
        ),
    ];
    let rows: String =
        rows.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value))).collect();
    format!(
        "<h2>How this was measured</h2>\n<p>Every case was verified against an f64 reference before it was timed, in the same \
         run. GPU and CPU take turns, round by round; a figure is a median with its 99 % confidence interval, which is half of \
         the ± and the whiskers of the charts. A winner is named where the interval of the ratio, taken round by round, lies on one \
         side of 1; where the machine was disturbed the rounds were repeated.</p>\n\
         <dl>\n{rows}<dt>command</dt><dd><code>{}</code></dd>\n</dl>\n",
        escape(&about.command)
    )
}
