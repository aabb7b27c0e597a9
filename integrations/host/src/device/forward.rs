//! Forward on the device.

use elbow::{
    Error, Gpu, Operand, Result, Saved,
    affine::{Forward, Front},
    cpu::ForwardInputs,
    gpu::transfer::Tensor,
    request::AffineRequest,
    storage::Storage,
};
use elbow_cpu::{ForwardOutputs, SavedOut, outputs::slice_mut};

use super::held::{Held, Uploads, kept_as, moments_shape, view, weight_shape};

/// [`elbow_cpu::forward`] on the device.
pub(crate) fn forward(
    gpu: &Gpu,
    request: &AffineRequest,
    inputs: ForwardInputs<'_>,
    outputs: ForwardOutputs<'_>,
) -> Result<()> {
    if request.statistics.any() {
        return Err(Error::Unsupported {
            what: "statistics in the host's memory".into(),
            why: "only elbow::affine and elbow::cpu::reference compute them".into(),
        });
    }
    let request = &request.storage(Storage::default());
    let (AffineRequest { m, n, k, .. }, of_w) = (*request, request.outputs_of_w());
    // Running statistics that a batch moves are an output alone.
    let moved = request.front.filter(|front| front.running && front.norm.is_some_and(|norm| norm.is_batch()));
    let given =
        inputs.checked(&request.front(request.front.map(|front| front.running(front.running && moved.is_none()))))?;
    let ForwardOutputs { y: y_place, saved: saved_place, moments: moments_place, running_moments: running_place } =
        outputs;
    let y_place = slice_mut(Operand::Y, y_place, &[m, n])?;

    let uploads = Uploads { gpu, reads: |_| true };
    let (w_shape, apart) = (weight_shape(request), request.is_apart());
    let x = uploads.always(Operand::X, given.x, &[m, k])?;
    let w = uploads.always(Operand::W, given.w, &w_shape)?;
    let b = uploads.optional(Operand::B, given.b, request.bias, &[of_w])?;
    let w_up = uploads.optional(Operand::WUp, given.w_up, apart, &w_shape)?;
    let b_up = uploads.optional(Operand::BUp, given.b_up, apart && request.bias, &[of_w])?;
    let vector = |operand, given: Option<&[f32]>| {
        uploads.optional(operand, given, given.is_some(), &[given.map_or(0, <[f32]>::len)])
    };
    let alpha = vector(Operand::Alpha, given.alpha)?;
    let residual = uploads.optional(Operand::Residual, given.residual, request.residual.is_some(), &[m, n])?;
    let row_weight = vector(Operand::RowWeight, given.row_weight)?;
    let state = uploads.state(Operand::DropoutState, given.dropout_state, request.dropout.is_some())?;
    let scale = vector(Operand::Scale, given.front.scale)?;
    let shift = vector(Operand::Shift, given.front.shift)?;
    let front_alpha = vector(Operand::FrontAlpha, given.front.alpha)?;

    let y = gpu.zeros(&[m, n])?;
    let norm = request.front.and_then(|front| front.norm);
    let moments = norm.map(|_| gpu.zeros(&moments_shape(request))).transpose()?;
    let moments_place = match (moments_place, norm) {
        (Some(place), Some(_)) => Some(slice_mut(Operand::Moments, place, &moments_shape(request))?),
        (None, _) => None,
        (Some(_), None) => {
            return Err(unasked(Operand::Moments, "none, because there is no norm in front of the layer"));
        }
    };
    let running_place = match (running_place, moved) {
        (Some(place), Some(_)) => Some(slice_mut(Operand::RunningMoments, place, &[2, k])?),
        (None, None) => None,
        (None, Some(_)) => {
            let expected = "an output of shape [2, K], to be moved".into();
            return Err(Error::Operand { operand: Operand::RunningMoments, expected, got: "none".into() });
        }
        (Some(_), None) => {
            let expected = "no output: the request does not say that a batch moves them";
            return Err(unasked(Operand::RunningMoments, expected));
        }
    };
    let running = match (&running_place, given.front.running_moments) {
        (Some(running), _) => Some(gpu.upload(running, &[2, k])?),
        (None, Some(running)) => Some(gpu.upload(running, &[2, k])?),
        (None, None) => None,
    };
    let front = request.front.map(|front| {
        Front::new(front.activation)
            .norm(norm)
            .moments(moments.as_ref().map(Tensor::view))
            .running_moments(running.as_ref().map(Tensor::view))
            .scale(view(&scale))
            .shift(view(&shift))
            .alpha(view(&front_alpha))
    });
    let layer = Forward::new(request.activation, x.view(), w.view(), &y)
        .layout(request.layout)
        .b(view(&b))
        .alpha(view(&alpha))
        .residual(view(&residual))
        .residual_at(request.residual.unwrap_or_default())
        .row_weight(view(&row_weight))
        .front(front)
        .jet(request.jet)
        .gate(request.gate)
        .w_up(view(&w_up))
        .b_up(view(&b_up))
        .dropout(request.dropout)
        .dropout_state(view(&state));

    let (z_shape, words) = ([m, request.outputs()], [m, n.div_ceil(32)]);
    match saved_place {
        SavedOut::None => {
            let saved = if request.saved == Saved::Auto { Saved::None } else { request.saved };
            gpu.submit(|encoder| layer.saved(saved).record(gpu, encoder))?;
        }
        SavedOut::Z(place) => {
            let place = slice_mut(Operand::Saved, place, &z_shape)?;
            let z = Held::of(gpu.zeros(&z_shape)?);
            let layer = layer.saved(kept_as(request, Saved::Z)).save_to(z.view());
            gpu.submit(|encoder| layer.record(gpu, encoder))?;
            gpu.download_into(z.view(), place)?;
        }
        SavedOut::Mask(place) => {
            let place = slice_mut(Operand::Saved, place, &words)?;
            let mask = gpu.zeros_of(elbow::Dtype::U32, &words)?;
            let layer = layer.saved(kept_as(request, Saved::Mask)).save_to(&mask);
            gpu.submit(|encoder| layer.record(gpu, encoder))?;
            gpu.download_into(&mask, place)?;
        }
    }
    gpu.download_into(&y, y_place)?;
    // Of an x without elements there are no statistics.
    for (place, tensor) in [(moments_place, &moments), (running_place, &running)] {
        if let (Some(place), Some(tensor), true) = (place, tensor, m * k > 0) {
            gpu.download_into(tensor, place)?;
        }
    }
    Ok(())
}

fn unasked(operand: Operand, expected: &str) -> Error {
    Error::Operand { operand, expected: expected.into(), got: "an operand".into() }
}
