//! The sections of the page, each with a sentence that says what it shows.

use elbow_measure::{Estimate, Part};

use super::{
    chart::{Axis, Chart, Point, Series, legend},
    results::{Curve, Results},
    tables,
};
use crate::{
    html::escape,
    numbers::{digits, mib, ms},
};

/// A chart for each question: the batch against the time, all on one scale.
pub(super) fn questions(results: &Results) -> String {
    let curves = results.questions();
    let html = "<h2>From which batch on is the GPU faster?</h2>\n".to_owned();
    if curves.is_empty() {
        return html + "<p>Three batches or more of one K and N were not measured; see <code>--shapes</code>.</p>\n";
    }
    let travels = match &results.network {
        Some(_) => "x goes up and y comes back; of a training step x and targets go up, and the losses come back",
        None => "x goes up and y comes back, and in a step dy and dx too",
    };
    let lead = format!(
        "<p>Milliseconds from the call until its result is there; lower is better. <i>With transfers</i> {travels}; the parameters \
         live on the device.</p>\n"
    );
    let mut charts: Vec<Chart> = curves.iter().map(|curve| chart(curve, false)).collect();
    Chart::common(&mut charts);
    let legend = charts.first().map_or(String::new(), |chart| legend(&chart.series));
    let cards = curves.iter().zip(&charts).map(|(curve, chart)| {
        let name = match &results.network {
            Some(_) => curve.question().to_owned(),
            None if curve.part == Part::Step => format!("Training step of a {}", curve.of),
            None => format!("{} of a {}", curve.question(), curve.of),
        };
        format!("<section class=\"card\"><h3>{}</h3>{}</section>\n", escape(&name), chart.svg())
    });
    format!("{html}{lead}{legend}<div class=\"charts\">\n{}</div>\n", cards.collect::<String>())
}

/// The times of a part over the batch, on both sides.
fn chart(curve: &Curve, small: bool) -> Chart {
    let series = |name: &str, class, of: fn(&elbow_measure::Comparison) -> Estimate| Series {
        name: name.to_owned(),
        class,
        line: true,
        marks: true,
        points: curve
            .points
            .iter()
            .map(|(batch, times)| {
                let time = of(times);
                Point {
                    x: *batch as f64,
                    y: time.median * 1e3,
                    bounds: Some([time.low, time.high].map(|bound| bound * 1e3)),
                    says: format!("{name}, batch {batch}: {} ms", ms(&time)),
                }
            })
            .collect(),
    };
    let ticks = curve.points.iter().map(|(batch, _)| *batch as f64).collect();
    Chart {
        title: format!("{} of {} over the batch", curve.question(), curve.of),
        x: Axis { label: "batch".into(), ticks, range: None },
        y: Axis { label: "milliseconds".into(), ..Axis::default() },
        series: vec![
            series("GPU", "gpu", |times| times.gpu_wall),
            series("GPU with transfers", "transfers", |times| times.gpu_transfers),
            series("CPU", "cpu", |times| times.cpu),
        ],
        small,
    }
}

/// Small multiples: a part of each layer, all on one scale.
pub(super) fn layer_charts(results: &Results, part: Part) -> String {
    let curves: Vec<Curve> = results.layer_curves(&[part]).into_iter().filter(|curve| curve.points.len() > 1).collect();
    if curves.is_empty() {
        return String::new();
    }
    let mut charts: Vec<Chart> = curves.iter().map(|curve| chart(curve, true)).collect();
    Chart::common(&mut charts);
    let legend = charts.first().map_or(String::new(), |chart| legend(&chart.series));
    let cards = curves.iter().zip(&charts).map(|(curve, chart)| {
        format!("<section class=\"card\"><h3>{}</h3>{}</section>\n", escape(&curve.of), chart.svg())
    });
    format!(
        "<h2>Layer by layer</h2>\n<p>A training step of each layer alone (forward, backward, update), on one scale: which of them \
         makes the time.</p>\n{legend}<div class=\"charts small\">\n{}</div>\n",
        cards.collect::<String>()
    )
}

/// The figures of the network.
pub(super) fn network(results: &Results) -> String {
    let tables = tables::network(results)
        .into_iter()
        .map(|(title, table)| format!("<h3>{}</h3>\n{}", escape(&title), table.html()));
    format!(
        "<h2>The whole network</h2>\n<p>Milliseconds, median and half of the 99 % interval. <i>Device</i> is the GPU's own clock, \
         <i>wall</i> from submission until it is done. {}.</p>\n{}",
        results.network.as_ref().map_or(String::new(), |network| escape(&tables::accuracy(network))),
        tables.collect::<String>()
    )
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
                let time = p.times.gpu();
                let rate = |seconds: f64| p.operations as f64 / seconds / 1e9;
                let intensity = p.operations as f64 / p.bytes as f64;
                let roof = (intensity * c.gpu_bytes).min(c.gpu_flops) / 1e9;
                let says = format!(
                    "{} {} {}: {} GFLOP/s, {:.0} % of the roof",
                    layer.shape,
                    layer.unit(),
                    part.name(),
                    digits(rate(time.median)),
                    100.0 * rate(time.median) / roof
                );
                let bounds = Some([time.high, time.low].map(rate));
                Point { x: intensity, y: rate(time.median), bounds, says }
            })
            .collect(),
    };
    let points = [Part::Forward, Part::Backward, Part::Step].map(marks);
    let all = || points.iter().flat_map(|s| &s.points);
    let ridge = c.gpu_flops / c.gpu_bytes;
    let (low, high) = all().fold((ridge / 2.0, ridge * 2.0), |(low, high), p| (low.min(p.x), high.max(p.x)));
    let roof = |x: f64| Point { x, y: (x * c.gpu_bytes).min(c.gpu_flops) / 1e9, ..Point::default() };
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
    let best = all().max_by(|a, b| a.y.total_cmp(&b.y));
    let best = best.map_or(String::new(), |p| format!(" The fastest: {}.", p.says));
    let chart = Chart {
        title: "Roofline: operations a second against operations a byte".into(),
        x: Axis { label: "operations per byte that must move".into(), ..Axis::default() },
        y: Axis { label: "GFLOP/s".into(), ..Axis::default() },
        series: [ceiling].into_iter().chain(points).collect(),
        small: false,
    };
    format!(
        "<h2>How near to the ceilings</h2>\n<p>The line is what this device can do at most, by two small kernels timed in the \
         same run: at the left memory limits, at the right arithmetic. Each point is a layer at one batch; bytes are counted as if \
         every operand moved once.{}</p>\n{}<section class=\"card wide\">{}</section>\n",
        escape(&best),
        legend(&chart.series),
        chart.svg()
    )
}

/// Every time of a layer, with the accuracy of its result.
pub(super) fn speed_and_accuracy(results: &Results) -> String {
    format!(
        "<h2>Layers: speed, and accuracy beside it</h2>\n<p>Milliseconds, median and half of the 99 % interval; CPU/GPU is the ratio of \
         CPU and wall time, round by round. The error is the worst of y, dx, dW, db and learned dα in a sample of each, in units in the last \
         place of Σ|terms| in the type it is stored in (2<sup>−23</sup> Σ|terms| in f32, as on the CPU), against the f64 reference; the \
         bound is 10<sup>−5</sup> Σ|terms|, and for what is stored in a narrower type its roundings.</p>\n{}",
        tables::layers(results).html()
    )
}

/// Forward in one dispatch compared with two.
pub(super) fn fusion(results: &Results) -> String {
    format!(
        "<h2>Fused against unfused</h2>\n<p>Forward that keeps nothing, in one dispatch, against the product with b followed \
         by the activation on y in place. Milliseconds of the device.</p>\n{}",
        tables::fusion(results).html()
    )
}

/// Activations alone compared with a copy.
pub(super) fn alone(results: &Results) -> String {
    format!(
        "<h2>The activations alone</h2>\n<p>They move memory and little else: the copy is the ceiling. The error is relative to \
         the value, or to 1 where it is smaller.</p>\n{}",
        tables::alone(results).html()
    )
}

/// The memory of a training step, by use.
pub(super) fn memory(results: &Results) -> String {
    let mut html = "<h2>Memory of a training step</h2>\n<p>Device bytes that elbow owns after a step of a network (forward, loss, \
                    backward, update by AdamW), by the library's own accounting; nothing is released within a step, so this is the \
                    peak.</p>\n"
        .to_owned();
    let parts = [
        ("parameters", "gpu"),
        ("gradients and optimiser", "transfers"),
        ("outputs y", "step"),
        ("kept beside y", "cpu"),
        ("dz", "dz"),
        ("batch and scratch", "soft"),
    ];
    for m in &results.memory {
        let bytes =
            [m.parameters + m.copy, m.gradients + m.optimiser, m.outputs, m.kept, m.dz, m.batch_bytes + m.scratch];
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
            "<section class=\"card wide\"><h3>{}, {}, batch {}: {} MiB; a hidden layer keeps {}</h3>\n\
             <div class=\"bars\">{}</div>\n<p class=\"legend\">{}</p></section>\n",
            tables::sizes(&m.sizes),
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
