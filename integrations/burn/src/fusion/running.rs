//! Runs a layer that was found in a stream, on the memory of the tensors that the stream names.

use burn::backend::{
    fusion::stream::{Context, ScalarId},
    ir::{ScalarIr, TensorIr},
    ops::FloatTensorOps,
};
use burn_cubecl::{CubeBackend, CubeDevice, fusion::CubeFusionHandle, kernel::into_contiguous, tensor::CubeTensor};
use elbow::{Activation, Operand, Saved, View, WeightLayout, affine::Forward};

use super::{reading::Layer, spelling::Number};
use crate::{
    cube, device,
    ops::{Choices, Kept, Operands, Optional, Output, done, y_shape},
};

type B = CubeBackend;
type Stream = Context<CubeFusionHandle>;

/// What elbow computes for the layer, this time; nothing if it is none with these numbers, or has no plan here.
pub(super) fn choices(layer: &Layer, device: &CubeDevice, stream: &Stream) -> Option<Choices> {
    let gpu = device::of(device.to_id())?;
    // A recorded graph would not have the layer in it.
    if device.client().is_capturing() {
        return None;
    }
    let activation = activation(layer, stream)?;
    let saved = if layer.z.is_empty() { Saved::None } else { Saved::Z };
    let (x, w) = (&named(&layer.x, stream).shape, &named(&layer.w, stream).shape);
    let (y, dtype) = (y_shape(x, w), cube::dtype(Operand::X, layer.x.dtype).ok()?);
    let sizes = |shape: &burn::tensor::Shape| shape.iter().copied().collect::<Vec<_>>();
    let (x, w) = (sizes(x), sizes(w));
    let w = &w[w.len() - 2..];
    let b = layer.b.as_ref().map(|_| View::absent(&w[1..], dtype));
    let z = (saved == Saved::Z).then(|| View::absent(&y, dtype));
    Forward::new(activation, View::absent(&x, dtype), View::absent(w, dtype), View::absent(&y, dtype))
        .layout(WeightLayout::InOut)
        .saved(saved)
        .save_to(z)
        .b(b)
        .plan(&gpu)
        .ok()?;
    Some(Choices { activation, gate: None, saved })
}

/// The activation of the numbers that are there this time.
fn activation(layer: &Layer, stream: &Stream) -> Option<Activation> {
    let mut parameters = Vec::new();
    for (name, number) in &layer.numbers {
        let ScalarIr::UInt(value) = *name else { return None };
        let value = stream.scalars.get(&ScalarId { value })?.elem::<f64>() as f32;
        match *number {
            Number::Is(wanted) if value == wanted as f32 => {}
            Number::Is(_) => return None,
            Number::Parameter => parameters.push(value),
        }
    }
    (layer.spelling.activation)(&parameters).ok()
}

/// Computes the layer, behind what stands ahead of it, and Burn's own operations that stand in between, each in its turn.
pub(super) fn run(layer: &Layer, choices: Choices, stream: &mut Stream, burns_own: impl Fn(usize, &mut Stream)) {
    let mut asides = layer.asides.iter().copied().peekable();
    let mut asides_until = |place: usize, stream: &mut Stream| {
        while let Some(at) = asides.next_if(|at| *at < place) {
            burns_own(at, stream);
        }
    };
    let (x, w) = (take(&layer.x, stream), last_dimensions(take(&layer.w, stream), 2));
    let b = layer.b.as_ref().map(|(at, b)| {
        asides_until(*at, stream);
        last_dimensions(take(b, stream), 1)
    });
    asides_until(layer.len, stream);
    let absent = || Optional::Absent;
    let operands = Operands::<B> { x, w, b: b.into(), alpha: absent(), w_up: absent(), b_up: absent() };
    let Output { y, kept } = done(cube::forward(operands, &choices));
    if let Kept::Numbers(z) = kept {
        layer.z.iter().for_each(|name| give(name, z.clone(), stream));
    }
    give(&layer.y, y, stream);
}

/// The tensor that a stream calls so, as this run has it.
fn named<'a>(name: &TensorIr, stream: &'a Stream) -> &'a TensorIr {
    &stream.tensors[&name.id]
}

/// Its memory; where the layer is the last that reads it, the stream has it no longer.
fn take(name: &TensorIr, stream: &mut Stream) -> CubeTensor {
    let tensor = TensorIr { status: name.status, ..named(name, stream).clone() };
    stream.handles.get_float_tensor::<B>(&tensor)
}

/// The stream gets a result, in the shape that it has there.
fn give(name: &TensorIr, tensor: CubeTensor, stream: &mut Stream) {
    let TensorIr { id, shape, .. } = named(name, stream).clone();
    stream.handles.register_float_tensor::<B>(&id, B::float_reshape(tensor, shape));
}

/// The same without leading dimensions, which are 1.
fn last_dimensions(tensor: CubeTensor, rank: usize) -> CubeTensor {
    let mut tensor = if tensor.meta.is_tiled() { into_contiguous(tensor) } else { tensor };
    while tensor.meta.rank() > rank {
        tensor.meta.remove(0);
    }
    tensor
}
