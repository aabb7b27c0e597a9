//! The tables of the results, for the terminal, Markdown and the page; and all of them as a text.

use elbow_measure::{Comparison, Estimate, Road, Verdict};

use super::results::{BatchResult, NetworkResult, Results};
use crate::{
    document::Document,
    numbers::{digits, mib, ms, times},
    table::{Format, Table},
};

/// The whole report: the answer, what was measured on, and the tables.
pub(super) fn text(results: &Results, format: Format) -> String {
    let (about, c) = (&results.about, &results.ceilings);
    let mut document = Document::new(format);
    document.paragraph(&results.answer);
    let lines = [
        format!("elbow {} bench, {}", about.elbow, about.date),
        format!("adapter: {} ({}, {}, {})", about.adapter, about.backend, about.device_type, about.driver),
        format!("CPU: elbow-cpu on {} threads of {}, in f32", about.threads, about.cpu),
        format!("matrix units: {}", results.matrix_units),
        format!("tuning: {}", results.tuning),
        format!(
            "ceilings: GPU copy {} GB/s, GPU multiply-add {} GFLOP/s, CPU copy {} GB/s",
            digits(c.gpu_bytes / 1e9),
            digits(c.gpu_flops / 1e9),
            digits(c.cpu_bytes / 1e9)
        ),
        "milliseconds: median and half of its 99 % confidence interval".into(),
    ];
    let accuracy = results.network.as_ref().map(accuracy);
    lines.iter().chain(&accuracy).for_each(|line| document.line(line));
    let mut add = |title: &str, table: Table| document.table(title, &table);
    for (title, table) in network(results) {
        add(&title, table);
    }
    add(&format!("layers MxKxN: x is [M, K], y is [M, N]; data on the GPU in {}", results.dtype), layers(results));
    add("fused (one dispatch) and unfused (product, then activation)", fusion(results));
    add("activations alone, beside the device's copy", alone(results));
    add("memory of a training step by AdamW", memory(results));
    document.into_text()
}

/// Training and inference of the network.
pub(super) fn network(results: &Results) -> Vec<(String, Table)> {
    let Some(network) = &results.network else { return Vec::new() };
    let winners = Winners { none: results.about.software };
    let heads = [&["batch"][..], &SIDES, winners.heads()].concat();
    let table = |of: fn(&BatchResult) -> Comparison| {
        Table::new(&heads, 1).with(network.batches.iter().map(|at| {
            let times = of(at);
            [vec![at.batch.to_string()], sides(&times), winners.cells(&times)].concat()
        }))
    };
    let name = &network.name;
    vec![
        (format!("training step of {name} ({}, AdamW), GPU and CPU", network.loss.name()), table(|b| b.training)),
        (format!("inference of {name}, GPU and CPU"), table(|b| b.inference)),
    ]
}

/// How far both sides were from the reference, and how the CPU inferred.
pub(super) fn accuracy(network: &NetworkResult) -> String {
    let worst = |side: usize| network.batches.iter().map(|at| at.of_bound[side]).fold(0.0, f64::max);
    let blocks = network.batches.iter().filter(|at| at.cpu_road == Road::Blocks).map(|at| at.batch.to_string());
    let blocks = blocks.collect::<Vec<_>>().join(", ");
    let road =
        if blocks.is_empty() { String::new() } else { format!("; the CPU infers by blocks of rows at {blocks}") };
    format!(
        "Verified: the largest error is {:.1} % of what is allowed on the GPU, {:.1} % on the CPU{road}",
        100.0 * worst(0),
        100.0 * worst(1)
    )
}

/// The columns of the times.
const SIDES: [&str; 4] = ["device", "wall", "transfers", "CPU"];

fn sides(times: &Comparison) -> Vec<String> {
    let device = times.gpu_device.map_or("–".into(), |time| ms(&time));
    vec![device, ms(&times.gpu_wall), ms(&times.gpu_transfers), ms(&times.cpu)]
}

/// The columns that say which side is faster, and how much; none on a software adapter.
#[derive(Clone, Copy)]
struct Winners {
    none: bool,
}

impl Winners {
    fn heads(self) -> &'static [&'static str] {
        if self.none { &[] } else { &["faster", "transferred"] }
    }

    fn cells(self, times: &Comparison) -> Vec<String> {
        let ratios = [times.speedup, times.speedup_with_transfers];
        ratios.iter().filter(|_| !self.none).map(winner).collect()
    }
}

fn winner(ratio: &Estimate) -> String {
    match ratio.verdict() {
        Verdict::Faster => format!("GPU {}", times(ratio.median)),
        Verdict::Slower => format!("CPU {}", times(1.0 / ratio.median)),
        Verdict::Even => "even".into(),
        Verdict::Noisy => "noisy".into(),
    }
}

pub(super) fn layers(results: &Results) -> Table {
    let winners = Winners { none: results.about.software };
    let of = ["shape", "activation", "part"];
    let figures = ["CPU/GPU", "GFLOP/s", "GPU ulp", "of bound", "CPU ulp"];
    let heads = [&of[..], &SIDES, winners.heads(), &figures].concat();
    let rows = results.layers.iter().flat_map(|layer| {
        layer.parts.iter().map(move |p| {
            let figures = vec![
                digits(p.times.speedup.median),
                digits(p.operations as f64 / p.times.gpu().median / 1e9),
                format!("{:.2}", layer.ulp),
                format!("{:.1} %", 100.0 * layer.of_bound),
                format!("{:.2}", layer.cpu_ulp),
            ];
            let of = vec![layer.shape.to_string(), layer.unit(), p.part.name().to_owned()];
            [of, sides(&p.times), winners.cells(&p.times), figures].concat()
        })
    });
    Table::new(&heads, 3).with(rows)
}

pub(super) fn fusion(results: &Results) -> Table {
    let heads = ["shape", "activation", "fused", "unfused", "unfused / fused"];
    Table::new(&heads, 2).with(results.layers.iter().map(|layer| {
        vec![
            layer.shape.to_string(),
            layer.unit(),
            ms(&layer.fused),
            ms(&layer.unfused),
            digits(layer.unfused.median / layer.fused.median),
        ]
    }))
}

pub(super) fn alone(results: &Results) -> Table {
    let heads = ["activation", "part", "elements", "GPU, ms", "GB/s", "of the copy", "CPU, ms", "error"];
    Table::new(&heads, 2).with(results.alone.iter().map(|alone| {
        let rate = alone.bytes as f64 / alone.gpu().median;
        vec![
            alone.activation.clone(),
            alone.part.name().to_owned(),
            alone.elements.to_string(),
            ms(&alone.gpu()),
            digits(rate / 1e9),
            format!("{:.0} %", 100.0 * rate / results.ceilings.gpu_bytes),
            ms(&alone.cpu),
            if alone.error == 0.0 { "0".into() } else { format!("{:.0e}", alone.error) },
        ]
    }))
}

fn memory(results: &Results) -> Table {
    let heads = ["network", "activation", "batch", "kept", "MiB"];
    Table::new(&heads, 2).with(results.memory.iter().map(|m| {
        vec![sizes(&m.sizes), m.activation.clone(), m.batch.to_string(), m.saved.clone(), digits(mib(m.total))]
    }))
}

/// `8-64-64-1`; of many layers that are alike how many there are.
pub(super) fn sizes(sizes: &[usize]) -> String {
    match sizes {
        [first, rest @ ..] if sizes.len() > 4 && rest.iter().all(|size| size == first) => {
            format!("{} layers of {first}", rest.len())
        }
        _ => sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("-"),
    }
}
