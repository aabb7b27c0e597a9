//! One case: verified, then every part timed with every clock.

use elbow::{Activation, AlphaSource, Float, Pin};
use elbow_measure::{Alone, AlonePart, Budget, Device, Layer, Network, Part, Perceptron, Result, Shape};

use super::results::{AloneResult, BatchResult, LayerResult, PartResult};

/// The parts that are timed on both sides.
const PARTS: [Part; 3] = [Part::Forward, Part::Backward, Part::Step];

/// An activation, and where its α comes from.
pub(super) type Unit = (Activation, AlphaSource);

/// A whole network at one batch.
pub(super) fn network(device: &Device, network: &Perceptron, batch: usize, budget: Budget) -> Result<BatchResult> {
    let case = Network::new(device, network, batch)?;
    let result = BatchResult {
        batch,
        inference: case.compare(Part::Inference, budget)?,
        training: case.compare(Part::Step, budget)?,
        cpu_road: case.road(),
        of_bound: case.errors(),
    };
    drop(case);
    device.gpu.trim();
    Ok(result)
}

/// The layers of a network at each batch, those that are alike once.
pub(super) fn layers_of(network: &Perceptron, batches: &[usize]) -> Vec<(Shape, Unit)> {
    let mut layers = Vec::new();
    for l in 0..network.layers() {
        let [k, n] = network.shape(l);
        for &m in batches {
            let layer = (Shape { m, k, n }, (network.activation_of(l), network.design().alpha_of(l)));
            if !layers.contains(&layer) {
                layers.push(layer);
            }
        }
    }
    layers
}

/// The activations of a network, each once; the identity only if there is no other.
pub(super) fn activations_of(network: &Perceptron) -> Vec<Activation> {
    let mut found: Vec<Activation> = Vec::new();
    for &activation in &network.design().activations {
        if activation != Activation::IDENTITY && !found.contains(&activation) {
            found.push(activation);
        }
    }
    if found.is_empty() { vec![Activation::IDENTITY] } else { found }
}

pub(super) fn layer(
    device: &Device,
    shape: Shape,
    unit: Unit,
    dtype: Float,
    pin: Pin,
    budget: Budget,
) -> Result<LayerResult> {
    let layer = Layer::with_alpha(device, shape, unit, dtype, pin)?;
    let parts = PARTS.into_iter().map(|part| {
        Ok(PartResult {
            part,
            operations: part.operations(shape),
            bytes: layer.bytes(part),
            times: layer.compare(part, budget)?,
        })
    });
    let one = |part| match layer.device_timing(part, budget)? {
        Some(timing) => Ok(timing),
        None => layer.wall_timing(part, budget),
    };
    Ok(LayerResult {
        shape,
        activation: unit.0.to_string(),
        alpha: unit.1.to_string(),
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
