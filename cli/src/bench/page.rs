//! The results as an HTML page: one file that loads no others, for light and dark mode, large and small screens.

use super::{chart::escape, results::Results, sections, table::digits};

/// The whole page.
pub(super) fn html(results: &Results) -> String {
    let style = include_str!("page.css");
    let about = &results.about;
    let title = format!("elbow bench: {}", about.adapter);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{0}</title>\n\
         <style>\n{style}</style>\n</head>\n<body>\n<h1>{0}</h1>\n\
         <p class=\"soft\">Fused affine + activation layers, GPU against CPU. Every case was verified against an f64 reference \
         before it was timed, in the same run.</p>\n",
        escape(&title)
    );
    if about.software {
        page += "<p class=\"warn\">SOFTWARE adapter: a CPU plays GPU here. These times say nothing about a GPU.</p>\n";
    }
    page += &header(results);
    for section in [
        sections::crossovers,
        sections::roofline,
        sections::fusion,
        sections::speed_and_accuracy,
        sections::alone,
        sections::memory,
    ] {
        page += &section(results);
    }
    page + "</body>\n</html>\n"
}

fn header(results: &Results) -> String {
    let (about, c) = (&results.about, &results.ceilings);
    let clock = if c.device_time { "device time" } else { "wall time: the device has no clock" };
    let rows = [
        ("adapter", about.adapter.clone()),
        ("driver", format!("{} ({})", about.driver, about.backend)),
        ("device type", about.device_type.clone()),
        ("CPU baseline", format!("{} threads of {}", about.threads, about.cpu)),
        ("data on the GPU", results.dtype.to_owned()),
        ("date", about.date.clone()),
        ("elbow", about.elbow.to_owned()),
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
    format!("<dl>\n{rows}<dt>command</dt><dd><code>{}</code></dd>\n</dl>\n", escape(&about.command))
}
