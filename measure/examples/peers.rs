//! elbow on the work that its peers are timed on, in their format: tab-separated peer, op, shape, median ms, quartiles in ms
//! and samples.
//!
//!     cargo run --release -p elbow-measure --example peers -- cpu|gpu [FILTER]
//!
//! Ops are linear[_ACT]_fwd, which keeps nothing, and linear[_ACT]_fwdbwd, with dx, dW and db, on shapes MxKxN; ACT_fwd and
//! ACT_fwdbwd on 1 M and 16 M elements, the latter the sum of two calls. FILTER is a part of "op shape". Everything is verified
//! against the f64 reference before it is timed. The GPU's times are wall times without transfers.

#![forbid(unsafe_code)]

use std::error::Error;

use elbow::{Float, Gpu, Pin};
use elbow_measure::{About, Alone, AlonePart, Budget, Device, Estimate, Layer, Part, Result, Shape};

const SHAPES: [(usize, usize, usize); 5] =
    [(64, 256, 256), (256, 512, 512), (512, 1024, 1024), (1024, 1024, 4096), (1, 1024, 1024)];
const ACTIVATIONS: [(&str, &str); 5] =
    [("", "identity"), ("relu", "relu"), ("gelu", "gelu_erf"), ("gelu_tanh", "gelu_tanh"), ("silu", "silu")];
const BUDGET: Budget = Budget { samples: 10, seconds: 1.0, most_seconds: 10.0 };

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (cpu, filter) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["cpu"] => (true, ""),
        ["gpu"] => (false, ""),
        ["cpu", filter] => (true, filter),
        ["gpu", filter] => (false, filter),
        _ => return Err("usage: peers cpu|gpu [FILTER]".into()),
    };
    let peer = if cpu { "elbow CPU" } else { "elbow GPU" };
    let wanted = |op: &str, size: &str| format!("{op} {size}").contains(filter);
    // The first round warms up.
    let report = |op: &str, size: &str, timing: &dyn Fn() -> Result<Estimate>| -> Result<()> {
        if wanted(op, size) {
            timing()?;
            let Estimate { median, low, high, samples } = timing()?;
            let [median, low, high] = [median, low, high].map(|seconds| 1e3 * seconds);
            println!("{peer}\t{op}\t{size}\t{median:.4}\t{low:.4}\t{high:.4}\t{samples}");
        }
        Ok(())
    };
    let device = Device::new(Gpu::new()?);
    let about = About::new(&device.gpu, String::new());
    match cpu {
        true => println!("# {peer}, {}: {} threads of {}", about.date, about.threads, about.cpu),
        false => println!("# {peer}, {}: {}", about.date, device.gpu),
    }
    for (m, k, n) in SHAPES {
        for (name, activation) in ACTIVATIONS.into_iter().filter(|(name, _)| *name != "gelu_tanh") {
            let shape = Shape { m, k, n };
            let size = shape.to_string();
            let op = ["linear", name].join(if name.is_empty() { "" } else { "_" });
            let [forward, both] = ["fwd", "fwdbwd"].map(|part| format!("{op}_{part}"));
            if wanted(&forward, &size) || wanted(&both, &size) {
                let layer = Layer::new(&device, shape, activation.parse()?, Float::F32, Pin::default())?;
                let timing = |part| if cpu { layer.cpu_timing(part, BUDGET) } else { layer.wall_timing(part, BUDGET) };
                report(&forward, &size, &|| timing(Part::Inference))?;
                report(&both, &size, &|| timing(Part::Both))?;
            }
        }
    }
    for (size, elements) in [("1M", 1 << 20), ("16M", 16 << 20)] {
        for (name, activation) in ACTIVATIONS.into_iter().filter(|(name, _)| !name.is_empty()) {
            let [forward, both] = ["fwd", "fwdbwd"].map(|part| format!("{name}_{part}"));
            if wanted(&forward, size) || wanted(&both, size) {
                let alone = Alone::new(&device, elements, activation.parse()?, Float::F32)?;
                let timing = |part| if cpu { alone.cpu_timing(part, BUDGET) } else { alone.wall_timing(part, BUDGET) };
                report(&forward, size, &|| timing(AlonePart::Forward))?;
                report(&both, size, &|| {
                    let (f, b) = (timing(AlonePart::Forward)?, timing(AlonePart::Backward)?);
                    let samples = f.samples.min(b.samples);
                    Ok(Estimate { median: f.median + b.median, low: f.low + b.low, high: f.high + b.high, samples })
                })?;
            }
        }
    }
    Ok(())
}
