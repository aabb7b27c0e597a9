//! The results as they come: one line of JSON for each case, so that what was measured is there if the run is cut off. Only the GPU.

use elbow::Float;
use elbow_measure::{About, Alone, AlonePart, Budget, Device, Estimate, Layer, Part, Result, Shape, probe};
use serde_json::{Value, json};

use super::Options;
use crate::{failure::Failure, out};

/// Measures and prints. A case that fails is a line too, and the others go on; the number of those.
pub(super) fn run(
    device: &Device,
    options: &Options,
    shapes: &[Shape],
    elements: usize,
    budget: Budget,
    about: &About,
) -> std::result::Result<usize, Failure> {
    let mut failed = 0;
    let clock = if device.has_clock() { "device" } else { "wall" };
    let units = device.gpu.matrix_units();
    print(&json!({
        "line": "about", "about": about, "clock": clock, "matrix_units": units, "tuning": options.tuning.says(),
    }))?;
    let mut case = |what: Value, measured: std::result::Result<Value, String>| {
        failed += usize::from(measured.is_err());
        print(&joined(what, measured))
    };
    case(json!({"line": "ceilings"}), ceilings(device, budget).map_err(|error| error.to_string()))?;
    for &activation in &options.activations {
        let name = activation.to_string();
        for &shape in shapes {
            let Shape { m, k, n } = shape;
            let what = json!({
                "line": "layer", "m": m, "k": k, "n": n, "activation": name, "dtype": options.dtype().name(),
                "tile": options.tile, "clock": clock,
            });
            let layer = Layer::new(device, shape, activation, options.dtype(), options.pin());
            let measured = layer.and_then(|layer| parts(device, &layer, options.dtype(), budget));
            case(what, measured.map_err(|error| error.to_string()))?;
        }
        let alone = Alone::new(device, elements, activation, options.dtype()).map_err(|error| error.to_string());
        for part in AlonePart::ALL {
            let bytes = part.bytes(elements, options.dtype());
            let what = json!({
                "line": "alone", "activation": name, "part": part, "elements": elements, "bytes": bytes,
                "dtype": options.dtype().name(), "clock": clock,
            });
            let measured = match &alone {
                Ok(alone) => elementwise(alone, part, budget),
                Err(why) => Err(why.clone()),
            };
            case(what, measured)?;
        }
    }
    Ok(failed)
}

pub(crate) fn print(line: &Value) -> std::result::Result<(), Failure> {
    out::print(&format!("{line}\n"))
}

/// What was measured beside what it is of; or why it was not.
pub(crate) fn joined(mut what: Value, measured: std::result::Result<Value, String>) -> Value {
    let measured = measured.unwrap_or_else(|why| json!({ "failed": why }));
    if let (Some(all), Value::Object(more)) = (what.as_object_mut(), measured) {
        all.extend(more);
    }
    what
}

fn ceilings(device: &Device, budget: Budget) -> Result<Value> {
    let (bytes, flops) = (probe::copied_bytes(device, budget)?, probe::multiply_add(device, budget)?);
    Ok(json!({ "gpu_bytes": bytes, "gpu_flops": flops }))
}

/// Every part of a layer that was verified when it was made.
fn parts(device: &Device, layer: &Layer<'_>, dtype: Float, budget: Budget) -> Result<Value> {
    let mut times = serde_json::Map::new();
    for part in [Part::Inference, Part::Unfused, Part::Forward, Part::Backward, Part::Both, Part::Step] {
        let timing = timed(layer.device_timing(part, budget)?, || layer.wall_timing(part, budget))?;
        times.insert(part.name().into(), json!(timing));
    }
    let of_bound = layer.errors().of_bound(dtype, layer.products());
    let operations = Part::Forward.operations(layer.shape());
    let saved = layer.saved().to_string();
    device.gpu.trim();
    Ok(json!({
        "times": times, "operations": operations, "saved": saved, "ulp": layer.errors().ulp(dtype), "of_bound": of_bound,
    }))
}

fn elementwise(alone: &Alone<'_>, part: AlonePart, budget: Budget) -> std::result::Result<Value, String> {
    let device = alone.device_timing(part, budget);
    let time = device.and_then(|device| timed(device, || alone.wall_timing(part, budget)));
    time.map(|time| json!({ "time": time, "error": alone.error() })).map_err(|error| error.to_string())
}

/// Device time, or wall time without a clock.
fn timed(device: Option<Estimate>, wall: impl FnOnce() -> Result<Estimate>) -> Result<Estimate> {
    device.map_or_else(wall, Ok)
}
