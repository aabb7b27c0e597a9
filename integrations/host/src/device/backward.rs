//! Backward on the device.

use elbow::{
    Dtype, Gpu, Operand, Result, View,
    affine::{Forward, Front},
    cpu::operands::alpha_length,
    request::{AffineRequest, AlphaSource, BackwardRequest},
    storage::Storage,
};
use elbow_cpu::{BackwardInputs, BackwardOutputs};

use super::held::{Held, Output, Uploads, fetch, gradient, moments_shape, view, weight_shape};

/// [`elbow_cpu::backward()`] on the device.
pub(crate) fn backward(
    gpu: &Gpu,
    request: &BackwardRequest,
    inputs: BackwardInputs<'_>,
    outputs: BackwardOutputs<'_>,
) -> Result<()> {
    // What was given counts.
    let affine = request.affine.storage(Storage::default()).saved(inputs.saved.kind());
    let asked = request.affine(affine).in_place(false).resolve()?;
    let (AffineRequest { m, n, k, .. }, of_w, wants) = (affine, affine.outputs_of_w(), &request.gradients);
    let uploads = Uploads { gpu, reads: |operand| asked.reads(operand) };
    let (w_shape, apart) = (weight_shape(&affine), affine.is_apart());
    let alphas = [alpha_length(affine.alpha, n)];

    let output = |operand, given, want, shape: &[usize]| Output::wanted(gpu, operand, given, want, shape);
    let dx = output(Operand::Dx, outputs.dx, wants.x, &[m, k])?;
    let dw = output(Operand::Dw, outputs.dw, wants.w, &w_shape)?;
    let db = output(Operand::Db, outputs.db, wants.b, &[of_w])?;
    let dalpha = output(Operand::Dalpha, outputs.dalpha, wants.alpha, &alphas)?;
    let dresidual = output(Operand::Dresidual, outputs.dresidual, wants.residual, &[m, n])?;
    let drow_weight = output(Operand::DrowWeight, outputs.drow_weight, wants.row_weight, &[m])?;
    let dw_up = output(Operand::DwUp, outputs.dw_up, wants.w_up, &w_shape)?;
    let db_up = output(Operand::DbUp, outputs.db_up, wants.b_up, &[of_w])?;

    let [kept_below, y_below] = uploads.kept(Operand::SavedBelow, inputs.saved_below, m, k)?;
    // What a layer below has kept may be its y: that is the x of this one, and one memory.
    let x = match y_below.filter(|_| asked.below.is_some()) {
        Some(y_below) => y_below,
        None => uploads.always(Operand::X, inputs.x, &[m, k])?,
    };
    let w = uploads.always(Operand::W, inputs.w, &w_shape)?;
    let b = uploads.optional(Operand::B, inputs.b, affine.bias, &[of_w])?;
    let w_up = uploads.optional(Operand::WUp, inputs.w_up, apart, &w_shape)?;
    let b_up = uploads.optional(Operand::BUp, inputs.b_up, apart && affine.bias, &[of_w])?;
    let learnable = affine.alpha != AlphaSource::Constant;
    let alpha = uploads.optional(Operand::Alpha, inputs.alpha, learnable, &alphas)?;
    let residual = uploads.optional(Operand::Residual, inputs.residual, affine.residual.is_some(), &[m, n])?;
    let row_weight = uploads.optional(Operand::RowWeight, inputs.row_weight, affine.row_weight, &[m])?;
    let state = uploads.state(Operand::DropoutState, inputs.dropout_state, affine.dropout.is_some())?;
    let dy = uploads.always(Operand::Dy, inputs.dy, &[m, n])?;
    // A mask has the columns of y, z those of all outputs; of a gated layer only z can be kept.
    let [kept, y] = uploads.kept(Operand::Saved, inputs.saved, m, affine.outputs())?;
    let y = y.unwrap_or_else(|| Held::absent(&[m, n], Dtype::F32));

    let of_front = affine.front.map(|front| (front, front.norm, [alpha_length(front.alpha, k)]));
    let (mut dscale, mut dshift, mut dfront_alpha) = (None, None, None);
    let (mut scale, mut shift, mut front_alpha, mut moments) = (None, None, None, None);
    if let Some((front, norm, alphas)) = &of_front {
        dscale = output(Operand::Dscale, outputs.dscale, wants.scale, &[k])?;
        dshift = output(Operand::Dshift, outputs.dshift, wants.shift, &[k])?;
        dfront_alpha = output(Operand::DfrontAlpha, outputs.dfront_alpha, wants.front_alpha, alphas)?;
        scale = uploads.optional(Operand::Scale, inputs.front.scale, front.scale, &[k])?;
        shift = uploads.optional(Operand::Shift, inputs.front.shift, front.shift, &[k])?;
        let learnable = front.alpha != AlphaSource::Constant;
        front_alpha = uploads.optional(Operand::FrontAlpha, inputs.front.alpha, learnable, alphas)?;
        moments = uploads.optional(Operand::Moments, inputs.moments, norm.is_some(), &moments_shape(&affine))?;
    }
    // Backward does not read them, but a norm by running statistics has them.
    let running = Held::absent(&[2, k], Dtype::F32);
    let front = of_front.map(|(front, norm, _)| {
        Front::new(front.activation)
            .norm(norm)
            .moments(view(&moments))
            .running_moments(front.running.then(|| running.view()))
            .scale(view(&scale))
            .shift(view(&shift))
            .alpha(view(&front_alpha))
    });

    let layer = Forward::new(affine.activation, x.view(), w.view(), y.view())
        .layout(affine.layout)
        .saved(affine.saved)
        .save_to(view(&kept))
        .b(view(&b))
        .alpha(view(&alpha))
        .residual(if request.skip { Some(x.view()) } else { view(&residual) })
        .residual_at(affine.residual.unwrap_or_default())
        .row_weight(view(&row_weight))
        .front(front)
        .jet(affine.jet)
        .gate(affine.gate)
        .w_up(view(&w_up))
        .b_up(view(&b_up))
        .dropout(affine.dropout)
        .dropout_state(view(&state));
    let call = if request.upstream_is_dz { layer.backward_from_dz(dy.view()) } else { layer.backward(dy.view()) };
    let call = if request.skip { call.skip() } else { call };
    let call = call
        .dx(gradient(&dx))
        .dw(gradient(&dw))
        .db(gradient(&db))
        .dalpha(gradient(&dalpha))
        .dresidual(gradient(&dresidual))
        .drow_weight(gradient(&drow_weight))
        .dscale(gradient(&dscale))
        .dshift(gradient(&dshift))
        .dfront_alpha(gradient(&dfront_alpha))
        .dw_up(gradient(&dw_up))
        .db_up(gradient(&db_up));

    let Some(below) = asked.below else {
        gpu.submit_pass(|pass| call.record(gpu, pass))?;
        let of_front = [dscale, dshift, dfront_alpha];
        return fetch(gpu, [dx, dw, db, dalpha, dresidual, drow_weight, dw_up, db_up].into_iter().chain(of_front));
    };
    // Of the layer below only what it kept is in memory.
    let alphas = [alpha_length(below.alpha, k)];
    let db_below = output(Operand::DbBelow, outputs.db_below, below.db, &[k])?;
    let dalpha_below = output(Operand::DalphaBelow, outputs.dalpha_below, below.dalpha, &alphas)?;
    let drow_weight_below = output(Operand::DrowWeightBelow, outputs.drow_weight_below, below.drow_weight, &[m])?;
    let learnable = below.alpha != AlphaSource::Constant;
    let alpha_below = uploads.optional(Operand::AlphaBelow, inputs.alpha_below, learnable, &alphas)?;
    let row_weight_below =
        uploads.optional(Operand::RowWeightBelow, inputs.row_weight_below, below.row_weight, &[m])?;
    let state_below = uploads.state(Operand::DropoutStateBelow, inputs.dropout_state_below, below.dropout.is_some())?;
    let gone = |shape: &[usize]| View::absent(shape, Dtype::F32);
    let layer_below = Forward::new(below.activation, gone(&[m, 0]), gone(&[k, 0]), x.view())
        .saved(below.saved)
        .save_to(view(&kept_below))
        .alpha(view(&alpha_below))
        .row_weight(view(&row_weight_below))
        .jet(below.jet)
        .dropout(below.dropout)
        .dropout_state(view(&state_below));
    let call = call
        .below(&layer_below)
        .db_below(gradient(&db_below))
        .dalpha_below(gradient(&dalpha_below))
        .drow_weight_below(gradient(&drow_weight_below));
    gpu.submit_pass(|pass| call.record(gpu, pass))?;
    let of_below = [db_below, dalpha_below, drow_weight_below];
    fetch(gpu, [dx, dw, db, dalpha, dresidual, drow_weight].into_iter().chain(of_below))
}
