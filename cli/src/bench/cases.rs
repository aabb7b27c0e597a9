//! One case: verified, then every part timed with every clock.

use elbow::{Activation, Float, Pin};
use elbow_measure::{Alone, AlonePart, Budget, Device, Layer, Part, Result, Shape};

use super::results::{AloneResult, LayerResult, PartResult};

/// The parts that are timed on both sides.
const PARTS: [Part; 3] = [Part::Forward, Part::Backward, Part::Step];

pub(super) fn layer(
    device: &Device,
    shape: Shape,
    activation: Activation,
    dtype: Float,
    pin: Pin,
    budget: Budget,
) -> Result<LayerResult> {
    let layer = Layer::new(device, shape, activation, dtype, pin)?;
    let parts = PARTS.into_iter().map(|part| {
        Ok(PartResult {
            part,
            operations: part.operations(shape),
            bytes: layer.bytes(part),
            gpu_device: layer.device_timing(part, budget)?,
            gpu_wall: layer.wall_timing(part, budget)?,
            gpu_transfers: layer.transfer_timing(part, budget)?,
            cpu: layer.cpu_timing(part, budget)?,
        })
    });
    let one = |part| match layer.device_timing(part, budget)? {
        Some(timing) => Ok(timing),
        None => layer.wall_timing(part, budget),
    };
    Ok(LayerResult {
        shape,
        activation: activation.to_string(),
        saved: layer.saved().to_string(),
        parts: parts.collect::<Result<_>>()?,
        fused: one(Part::Inference)?,
        unfused: one(Part::Unfused)?,
        errors: layer.errors(),
        ulp: layer.errors().ulp(dtype),
        of_bound: layer.errors().of_bound(dtype, layer.products()),
        cpu_ulp: layer.cpu_errors().ulp(Float::F32),
    })
}

pub(super) fn alone(
    device: &Device,
    elements: usize,
    activation: Activation,
    dtype: Float,
    budget: Budget,
) -> Result<Vec<AloneResult>> {
    let alone = Alone::new(device, elements, activation, dtype)?;
    let parts = AlonePart::ALL.into_iter().map(|part| {
        Ok(AloneResult {
            activation: activation.to_string(),
            elements,
            part,
            bytes: part.bytes(elements, dtype),
            gpu_device: alone.device_timing(part, budget)?,
            gpu_wall: alone.wall_timing(part, budget)?,
            cpu: alone.cpu_timing(part, budget)?,
            error: alone.error(),
        })
    });
    parts.collect()
}
