//! The sections of the page, each with a sentence that says what it shows.

use elbow_measure::Part;

use super::{
    chart::{Axis, Chart, Series, escape},
    results::{Crossover, Point, Results},
    table::{digits, mib, ms},
};

/// From which M on the GPU is faster.
pub(super) fn crossovers(results: &Results) -> String {
    let mut html = "<h2>From which batch on the GPU wins</h2>\n".to_owned();
    if results.crossovers.is_empty() {
        return html + "<p>Three batches or more of one K and N were not measured; see <code>--shapes</code>.</p>\n";
    }
    html += "<p>Wall time of one call: what the caller waits. <i>With transfers</i> x goes up and y comes back (for a step dy \
             and dx too); the parameters live on the device. A step is forward, backward and descent.</p>\n<div class=\"charts\">\n";
    for crossover in &results.crossovers {
        html += &format!(
            "<section class=\"card\"><p>{}</p>{}</section>\n",
            escape(&crossover.sentence()),
            crossover_chart(crossover).svg()
        );
    }
    html + "</div>\n"
}

fn crossover_chart(crossover: &Crossover) -> Chart {
    let series = |name: &str, class, value: fn(&Point) -> f64| Series {
        name: name.to_owned(),
        class,
        line: true,
        marks: true,
        points: crossover
            .points
            .iter()
            .map(|p| (p.m as f64, value(p) * 1e3, format!("{name}, batch {}: {} ms", p.m, digits(value(p) * 1e3))))
            .collect(),
    };
    Chart {
        title: crossover.sentence(),
        x: Axis { label: "batch M".into(), ticks: crossover.points.iter().map(|p| p.m as f64).collect() },
        y: Axis { label: "milliseconds".into(), ticks: Vec::new() },
        series: vec![
            series("GPU", "gpu", |p| p.gpu),
            series("GPU with transfers", "transfers", |p| p.gpu_transfers),
            series("CPU", "cpu", |p| p.cpu),
        ],
    }
}

/// The layers compared with the limits of the device.
pub(super) fn roofline(results: &Results) -> String {
    let c = &results.ceilings;
    let marks = |part: Part| Series {
        name: part.name().to_owned(),
        class: match part {
            Part::Backward => "backward",
            Part::Step => "step",
            _ => "forward",
        },
        line: false,
        marks: true,
        points: results
            .layers
            .iter()
            .flat_map(|layer| layer.parts.iter().filter(|p| p.part == part).map(move |p| (layer, p)))
            .map(|(layer, p)| {
                let (intensity, rate) = (p.operations as f64 / p.bytes as f64, p.operations as f64 / p.gpu().median);
                let roof = (intensity * c.gpu_bytes).min(c.gpu_flops);
                let says = format!(
                    "{} {} {}: {} GFLOP/s, {:.0} % of the roof",
                    layer.shape,
                    layer.activation,
                    part.name(),
                    digits(rate / 1e9),
                    100.0 * rate / roof
                );
                (intensity, rate / 1e9, says)
            })
            .collect(),
    };
    let points = [Part::Forward, Part::Backward, Part::Step].map(marks);
    let intensities = || points.iter().flat_map(|s| &s.points).map(|p| p.0);
    let ridge = c.gpu_flops / c.gpu_bytes;
    let (low, high) = intensities().fold((ridge / 2.0, ridge * 2.0), |(low, high), i| (low.min(i), high.max(i)));
    let roof = |i: f64| (i, (i * c.gpu_bytes).min(c.gpu_flops) / 1e9, String::new());
    let ceiling = Series {
        name: format!(
            "ceiling: copy {} GB/s, multiply-add {} GFLOP/s",
            digits(c.gpu_bytes / 1e9),
            digits(c.gpu_flops / 1e9)
        ),
        class: "ceiling",
        line: true,
        marks: false,
        points: vec![roof(low), roof(ridge), roof(high)],
    };
    let best = points.iter().flat_map(|s| &s.points).max_by(|a, b| a.1.total_cmp(&b.1));
    let best = best.map_or(String::new(), |p| format!(" The fastest: {}.", p.2));
    let chart = Chart {
        title: "Roofline: operations a second against operations a byte".into(),
        x: Axis { label: "operations per byte that must move".into(), ticks: Vec::new() },
        y: Axis { label: "GFLOP/s".into(), ticks: Vec::new() },
        series: [ceiling].into_iter().chain(points).collect(),
    };
    format!(
        "<h2>How near to the ceilings</h2>\n<p>The line is what this device can do at most, by two small kernels timed in the \
         same run: at the left memory limits, at the right arithmetic. Each point is a layer; bytes are counted as if every \
         operand moved once.{}</p>\n<section class=\"card wide\">{}</section>\n",
        escape(&best),
        chart.svg()
    )
}

/// Forward in one dispatch compared with two.
pub(super) fn fusion(results: &Results) -> String {
    let rows = results.layers.iter().map(|layer| {
        [
            layer.shape.to_string(),
            layer.activation.clone(),
            ms(&layer.fused),
            ms(&layer.unfused),
            digits(layer.unfused.median / layer.fused.median),
        ]
    });
    format!(
        "<h2>Fused against unfused</h2>\n<p>Forward that keeps nothing, in one dispatch, against the product with b followed \
         by the activation on y in place. Milliseconds, median ± half the interquartile range.</p>\n{}",
        table(&["shape", "activation", "fused", "unfused", "unfused / fused"], 2, rows)
    )
}

/// Every time, with the accuracy of its result.
pub(super) fn speed_and_accuracy(results: &Results) -> String {
    let rows = results.layers.iter().flat_map(|layer| {
        layer.parts.iter().map(move |p| {
            [
                layer.shape.to_string(),
                layer.activation.clone(),
                p.part.name().to_owned(),
                p.gpu_device.map_or("–".into(), |t| ms(&t)),
                ms(&p.gpu_wall),
                ms(&p.gpu_transfers),
                ms(&p.cpu),
                digits(p.cpu.median / p.gpu_wall.median),
                digits(p.operations as f64 / p.gpu().median / 1e9),
                format!("{:.2}", layer.ulp),
                format!("{:.1} %", 100.0 * layer.of_bound),
                format!("{:.2}", layer.cpu_ulp),
            ]
        })
    });
    let heads = [
        "shape M×K×N",
        "activation",
        "part",
        "GPU device",
        "GPU wall",
        "with transfers",
        "CPU",
        "CPU/GPU",
        "GFLOP/s",
        "GPU ulp",
        "of bound",
        "CPU ulp",
    ];
    format!(
        "<h2>Speed, and accuracy beside it</h2>\n<p>Milliseconds, median ± half the interquartile range. CPU/GPU is of wall times. The error is the worst \
         of y, dx, dW and db in a sample of each, in units in the last place of Σ|terms| in the type it is stored in (2<sup>−23</sup> Σ|terms| \
         in f32, as on the CPU), against the f64 reference; the bound is 10<sup>−5</sup> Σ|terms|, and for what is stored in a \
         narrower type its roundings.</p>\n{}",
        table(&heads, 3, rows)
    )
}

/// Activations alone compared with a copy.
pub(super) fn alone(results: &Results) -> String {
    let rows = results.alone.iter().map(|a| {
        let rate = a.bytes as f64 / a.gpu().median;
        [
            a.activation.clone(),
            a.part.name().to_owned(),
            a.elements.to_string(),
            ms(&a.gpu()),
            digits(rate / 1e9),
            format!("{:.0} %", 100.0 * rate / results.ceilings.gpu_bytes),
            ms(&a.cpu),
            if a.error == 0.0 { "0".into() } else { format!("{:.0e}", a.error) },
        ]
    });
    let heads = ["activation", "part", "elements", "GPU, ms", "GB/s", "of the copy", "CPU, ms", "error"];
    format!(
        "<h2>The activations alone</h2>\n<p>They move memory and little else: the copy is the ceiling. The error is relative to \
         the value, or to 1 where it is smaller.</p>\n{}",
        table(&heads, 2, rows)
    )
}

/// The memory of a training step, by use.
pub(super) fn memory(results: &Results) -> String {
    let mut html = "<h2>Memory of a training step</h2>\n<p>Device bytes that elbow owns after a step of a network (forward, loss, \
                    backward, descent), by the library's own accounting; nothing is released within a step, so this is the \
                    peak.</p>\n"
        .to_owned();
    let parts = [
        ("parameters", "gpu"),
        ("gradients and velocities", "transfers"),
        ("outputs y", "step"),
        ("kept beside y", "cpu"),
        ("dz", "dz"),
        ("batch and scratch", "soft"),
    ];
    for m in &results.memory {
        let bytes =
            [m.parameters + m.copy, m.gradients + m.velocity, m.outputs, m.kept, m.dz, m.batch_bytes + m.scratch];
        let bars = parts.iter().zip(bytes).map(|((name, class), bytes)| {
            let share = 100.0 * bytes as f64 / m.total.max(1) as f64;
            format!(
                "<div class=\"bar {class}\" style=\"width:{share:.2}%\" title=\"{name}: {} MiB\"></div>",
                digits(mib(bytes))
            )
        });
        let keys = parts.iter().zip(bytes).map(|((name, class), bytes)| {
            format!("<span><i class=\"key {class}\"></i>{name} {} MiB</span> ", digits(mib(bytes)))
        });
        html += &format!(
            "<section class=\"card wide\"><h3>{} layers of {}, {}, batch {}: {} MiB; a hidden layer keeps {}</h3>\n\
             <div class=\"bars\">{}</div>\n<figcaption class=\"keys\">{}</figcaption></section>\n",
            m.layers,
            m.width,
            escape(&m.activation),
            m.batch,
            digits(mib(m.total)),
            escape(&m.saved),
            bars.collect::<String>(),
            keys.collect::<String>()
        );
    }
    html
}

/// The first columns are words, the others numbers.
fn table<const N: usize>(heads: &[&str; N], words: usize, rows: impl Iterator<Item = [String; N]>) -> String {
    let line = |tag: &str, cells: &mut dyn Iterator<Item = &str>| -> String {
        let cell = |(i, cell): (usize, &str)| {
            let class = if i < words { " class=\"left\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escape(cell))
        };
        format!("<tr>{}</tr>\n", cells.enumerate().map(cell).collect::<String>())
    };
    let head = line("th", &mut heads.iter().copied());
    let body: String = rows.map(|row| line("td", &mut row.iter().map(String::as_str))).collect();
    format!("<div class=\"scroll\"><table><thead>{head}</thead><tbody>\n{body}</tbody></table></div>\n")
}
