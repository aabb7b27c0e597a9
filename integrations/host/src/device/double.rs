//! Double backward on the device.

use elbow::{
    Dtype, Gpu, Operand, Result,
    affine::Forward,
    cpu::operands::{self, alpha_length},
    request::{AffineRequest, AlphaSource, DoubleBackwardRequest},
    storage::Storage,
};
use elbow_cpu::{DoubleBackwardInputs, DoubleBackwardOutputs};

use super::held::{Held, Output, Uploads, fetch, gradient, view, weight_shape};

/// [`elbow_cpu::double_backward()`] on the device.
pub(crate) fn double_backward(
    gpu: &Gpu,
    request: &DoubleBackwardRequest,
    inputs: DoubleBackwardInputs<'_>,
    outputs: DoubleBackwardOutputs<'_>,
) -> Result<()> {
    // What was given counts.
    let affine = request.affine.storage(Storage::default()).saved(inputs.saved.kind());
    let asked = request.affine(affine).resolve()?;
    let (AffineRequest { m, n, k, .. }, wants, there) = (affine, asked.gradients, asked.returning);
    let (w_shape, alphas) = (weight_shape(&affine), [alpha_length(affine.alpha, n)]);

    let output = |operand, given, want, shape: &[usize]| Output::wanted(gpu, operand, given, want, shape);
    let ddy = output(Operand::Ddy, outputs.ddy, wants.dy, &[m, n])?;
    let dx2 = output(Operand::Dx2, outputs.dx2, wants.x, &[m, k])?;
    let dw2 = output(Operand::Dw2, outputs.dw2, wants.w, &w_shape)?;
    let db2 = output(Operand::Db2, outputs.db2, wants.b, &[n])?;
    let dalpha2 = output(Operand::Dalpha2, outputs.dalpha2, wants.alpha, &alphas)?;
    let dresidual2 = output(Operand::Dresidual2, outputs.dresidual2, wants.residual, &[m, n])?;

    let uploads = Uploads { gpu, reads: |operand| asked.reads(operand) };
    let learnable = affine.alpha != AlphaSource::Constant;
    let x = uploads.always(Operand::X, inputs.x, &[m, k])?;
    let w = uploads.always(Operand::W, inputs.w, &w_shape)?;
    let b = uploads.optional(Operand::B, inputs.b, affine.bias, &[n])?;
    let alpha = uploads.optional(Operand::Alpha, inputs.alpha, learnable, &alphas)?;
    let residual = uploads.optional(Operand::Residual, inputs.residual, affine.residual.is_some(), &[m, n])?;
    let dy = uploads.always(Operand::Dy, inputs.dy, &[m, n])?;
    let [kept, y] = uploads.kept(Operand::Saved, inputs.saved, m, n)?;
    let y = y.unwrap_or_else(|| Held::absent(&[m, n], Dtype::F32));
    // What comes back is there if and only if the request says so, read or not.
    let back = |operand, given: Option<&[f32]>, there, shape: &[usize]| {
        operands::optional(operand, given, there, shape)?;
        uploads.optional(operand, given, there, shape)
    };
    let ddx = back(Operand::Ddx, inputs.ddx, there.x, &[m, k])?;
    let ddw = back(Operand::Ddw, inputs.ddw, there.w, &w_shape)?;
    let ddb = back(Operand::Ddb, inputs.ddb, there.b, &[n])?;
    let ddalpha = back(Operand::Ddalpha, inputs.ddalpha, there.alpha, &alphas)?;
    let ddresidual = back(Operand::Ddresidual, inputs.ddresidual, there.residual, &[m, n])?;

    let call = Forward::new(affine.activation, x.view(), w.view(), y.view())
        .layout(affine.layout)
        .saved(affine.saved)
        .save_to(view(&kept))
        .b(view(&b))
        .alpha(view(&alpha))
        .residual(view(&residual))
        .residual_at(affine.residual.unwrap_or_default())
        .double_backward(dy.view())
        .ddx(view(&ddx))
        .ddw(view(&ddw))
        .ddb(view(&ddb))
        .ddalpha(view(&ddalpha))
        .ddresidual(view(&ddresidual))
        .ddy(gradient(&ddy))
        .dx2(gradient(&dx2))
        .dw2(gradient(&dw2))
        .db2(gradient(&db2))
        .dalpha2(gradient(&dalpha2))
        .dresidual2(gradient(&dresidual2));
    gpu.submit_pass(|pass| call.record(gpu, pass))?;
    fetch(gpu, [ddy, dx2, dw2, db2, dalpha2, dresidual2])
}
