//! What a training step needs beside the layers: a loss and an update.

use super::{
    Along, Builder, Caps, Plan,
    affine::workgroups,
    pieces::{self, ELEMENT},
};
use crate::{
    error::Result,
    kernel::{Elem, KernelFile},
    request::Operand,
    shape,
};

const LANES: u32 = 64;

/// Softmax cross-entropy of logits `[m, classes]` (operand x) against labels `[m]` (operand saved): the loss of each row
/// (operand y) and the gradient of the mean loss (operand dx).
pub fn softmax_cross_entropy(m: usize, classes: usize, caps: &Caps) -> Result<Plan> {
    let total = shape::elements(Operand::X, &[m, classes])?;
    let mut plan = Plan::default();
    if total == 0 {
        return Ok(plan);
    }
    let mut k = Builder::new(KernelFile::SoftmaxCrossEntropy);
    k.flag("LANES", LANES);
    let row = Along::Rows(classes as u64);
    k.read("logits", Elem::Scalar, Operand::X, total).along(row);
    k.read("labels", Elem::Word, Operand::Saved, m as u64).along(Along::Rows(1));
    k.write("loss", Elem::Scalar, Operand::Y, m as u64).along(Along::Rows(1));
    k.write("dlogits", Elem::Scalar, Operand::Dx, total).along(row);
    k.cut.rows = u64::from(LANES);
    k.cut.work = u64::from(LANES) * classes as u64 * ELEMENT;
    k.params.rows = m as u32;
    k.params.cols = classes as u32;
    k.params.tiles = workgroups((m as u64).div_ceil(u64::from(LANES)))?;
    plan.dispatches.push(k.build());
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// velocity (operand y) = momentum · velocity + gradient (operand dw); parameter (operand w) −= rate · velocity.
pub fn sgd(elements: usize, rate: f32, momentum: f32, caps: &Caps) -> Result<Plan> {
    let total = shape::elements(Operand::W, &[elements])?;
    let mut plan = Plan::default();
    if total == 0 {
        return Ok(plan);
    }
    let mut k = Builder::new(KernelFile::Sgd);
    k.flag("LANES", LANES);
    k.read("gradient", Elem::Scalar, Operand::Dw, total).along(Along::Rows(1));
    k.write("parameter", Elem::Scalar, Operand::W, total).along(Along::Rows(1));
    k.write("velocity", Elem::Scalar, Operand::Y, total).along(Along::Rows(1));
    k.cut.rows = u64::from(LANES);
    k.cut.work = u64::from(LANES) * ELEMENT;
    k.params.rows = total as u32;
    k.params.p = [rate, momentum];
    k.params.tiles = workgroups(total.div_ceil(u64::from(LANES)))?;
    plan.dispatches.push(k.build());
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}
