//! The results as text.

use std::fmt::Write as _;

use elbow_measure::Timing;

use super::results::Results;

/// The whole report for a terminal.
pub(super) fn text(results: &Results) -> String {
    let about = &results.about;
    let mut text = format!(
        "elbow {} bench, {}\nadapter: {} ({}, {}, {})\n",
        about.elbow, about.date, about.adapter, about.backend, about.device_type, about.driver
    );
    if about.software {
        text += "SOFTWARE adapter: a CPU plays GPU. These times say nothing about a GPU.\n";
    }
    let _ = writeln!(text, "matrix units: {}; tuning: {}", results.matrix_units, results.tuning);
    let c = &results.ceilings;
    let _ = writeln!(text, "CPU baseline: {} threads of {}", about.threads, about.cpu);
    let _ = writeln!(
        text,
        "ceilings: GPU copy {} GB/s, GPU multiply-add {} GFLOP/s, CPU copy {} GB/s",
        digits(c.gpu_bytes / 1e9),
        digits(c.gpu_flops / 1e9),
        digits(c.cpu_bytes / 1e9)
    );
    let _ = writeln!(
        text,
        "milliseconds: median ± half the interquartile range; shapes are MxKxN; data on the GPU in {}\n",
        results.dtype
    );
    let _ = writeln!(
        text,
        "{:<16}{:<16}{:<10}{:>14}{:>14}{:>16}{:>14}{:>8}{:>9}{:>7}",
        "shape", "activation", "part", "GPU device", "GPU wall", "with transfers", "CPU", "CPU/GPU", "GFLOP/s", "ulp"
    );
    for layer in &results.layers {
        for p in &layer.parts {
            let _ = writeln!(
                text,
                "{:<16}{:<16}{:<10}{:>14}{:>14}{:>16}{:>14}{:>8}{:>9}{:>7.2}",
                layer.shape.to_string(),
                layer.activation,
                p.part.name(),
                p.gpu_device.map_or("-".into(), |t| ms(&t)),
                ms(&p.gpu_wall),
                ms(&p.gpu_transfers),
                ms(&p.cpu),
                digits(p.cpu.median / p.gpu_wall.median),
                digits(p.operations as f64 / p.gpu().median / 1e9),
                layer.ulp
            );
        }
    }
    let _ = writeln!(text, "\nfused (one dispatch) and unfused (product, then activation)");
    for layer in &results.layers {
        let ratio = layer.unfused.median / layer.fused.median;
        let (shape, name) = (layer.shape.to_string(), &layer.activation);
        let (fused, unfused) = (ms(&layer.fused), ms(&layer.unfused));
        let _ = writeln!(text, "{shape:<16}{name:<16}{:>24}{:>14}{:>8}", fused, unfused, digits(ratio));
    }
    let _ = writeln!(text, "\nactivations alone: GB/s, and the share of the device's copy");
    for alone in &results.alone {
        let rate = alone.bytes as f64 / alone.gpu().median;
        let _ = writeln!(
            text,
            "{:<16}{:<16}{:<10}{:>14}{:>8}{:>6.0} %   CPU {:>14}",
            alone.elements,
            alone.activation,
            alone.part.name(),
            ms(&alone.gpu()),
            digits(rate / 1e9),
            100.0 * rate / c.gpu_bytes,
            ms(&alone.cpu)
        );
    }
    text += "\n";
    for crossover in &results.crossovers {
        let _ = writeln!(text, "{}", crossover.sentence());
    }
    for m in &results.memory {
        let _ = writeln!(
            text,
            "memory of a training step, {} layers of {} x {}, batch {}: {} MiB",
            m.layers,
            m.width,
            m.activation,
            m.batch,
            digits(mib(m.total))
        );
    }
    text
}

/// Milliseconds and the spread, such as `1.62 ±3%`.
pub(super) fn ms(timing: &Timing) -> String {
    format!("{} ±{:.0}%", digits(timing.median * 1e3), 50.0 * timing.spread())
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Three significant digits.
pub(super) fn digits(value: f64) -> String {
    let size = value.abs();
    let places = if size >= 100.0 || size == 0.0 {
        0
    } else if size >= 10.0 {
        1
    } else if size >= 1.0 {
        2
    } else {
        // Three digits of 0.00123 are five places.
        (2 - size.log10().floor() as i32).clamp(3, 9) as usize
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn three_digits_are_enough() {
        for (value, text) in
            [(1234.5, "1234"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123"), (0.001234, "0.00123"), (0.0, "0")]
        {
            assert_eq!(digits(value), text);
        }
    }
}
