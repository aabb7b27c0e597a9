//! The plans of a training step beside the layers: a loss and a loss scale.

use super::{
    Along, Builder, Caps, DeviceClass, Plan,
    builder::{Stack, workgroups},
    pieces::{self, ELEMENT},
    reduce,
};
use crate::{
    criterion::Reduction,
    error::{Error, Result},
    kernel::{Elem, KernelFile},
    operand::Operand,
    shape,
    storage::Storage,
};

/// Invocations of a workgroup, where the kernel does not ask for another number.
pub(super) const LANES: u32 = 64;

/// Elements of the state of a loss scale.
pub(crate) const LOSS_SCALE: u64 = 4;

/// A softmax cross-entropy, without buffers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftmaxRequest {
    /// M, rows of the logits.
    pub rows: usize,
    /// Columns of the logits.
    pub classes: usize,
    /// The label whose rows are left out.
    pub ignore_index: Option<u32>,
    /// ε of label smoothing.
    pub label_smoothing: f32,
    /// Whether each class has a weight.
    pub class_weight: bool,
    /// What the gradient is that of, and the total.
    pub reduction: Reduction,
    /// Whether the mean or sum of the losses of rows is wanted too.
    pub total: bool,
    /// Whether the gradient is multiplied by a loss scale.
    pub scaled: bool,
    /// The types of the operands.
    pub storage: Storage,
}

/// The plan of the softmax cross-entropy of logits `[rows, classes]` and labels `[rows]`: the loss of each row, the gradient of their mean or sum,
/// multiplied by the loss scale if it is `scaled`, and that mean or sum.
pub fn softmax_cross_entropy(request: &SoftmaxRequest, aligned: bool, caps: &Caps) -> Result<Plan> {
    let SoftmaxRequest { rows, classes, ignore_index, label_smoothing, class_weight, reduction, scaled, .. } = *request;
    let storage = request.storage;
    let in_domain = (0.0..=1.0).contains(&label_smoothing);
    expect("softmax_cross_entropy", "label_smoothing", label_smoothing, "a number from 0 to 1", in_domain)?;
    storage.check()?;
    let elements = shape::elements(Operand::Logits, &[rows, classes])?;
    let mut plan = Plan::default();
    if elements == 0 {
        return Ok(plan);
    }
    let (rows, classes) = (rows as u64, classes as u64);
    let counts = reduction == Reduction::Mean && (ignore_index.is_some() || class_weight);
    let counted = if counts { Some(count_labels(&mut plan, request)?) } else { None };
    let wide = aligned && classes.is_multiple_of(4);
    let (elem, width) = if wide { (Elem::Four, 4) } else { (Elem::Scalar, 1) };
    let (lanes, span) = row_lanes(caps, rows, classes / width);
    let mut k = Builder::storing(KernelFile::SoftmaxCrossEntropy, storage, caps);
    k.flag("LANES", lanes).flag("SPAN", span).on("SHARED_ROWS", span > 1).on("WIDE", wide);
    let row = Along::Rows(classes);
    k.read("logits", elem, Operand::Logits, elements).along(row);
    k.read("labels", Elem::Word, Operand::Labels, rows).along(Along::Rows(1));
    if scaled {
        k.flag("SCALED", 1).read("loss_scale", Elem::Scalar, Operand::LossScale, LOSS_SCALE);
    }
    if let Some(first) = counted {
        k.flag("COUNTED", 1).read("counted", Elem::Scalar, Operand::Partials, 1).from(first);
    }
    k.on("SUM", reduction == Reduction::Sum);
    if let Some(label) = ignore_index {
        k.flag("IGNORE", 1).params.ignored = label;
    }
    if class_weight {
        k.flag("WEIGHTED", 1).read("class_weight", Elem::Scalar, Operand::ClassWeight, classes);
    }
    if label_smoothing > 0.0 {
        // The target of every other class, what the label's lacks of 1, and what it has more than the others.
        let other = label_smoothing / classes as f32;
        let targets = [other, label_smoothing - other, 1.0 - label_smoothing];
        k.flag("SMOOTH", 1).on("TARGETS_DIFFER", class_weight).params.p[..3].copy_from_slice(&targets);
    }
    k.write("loss", Elem::Scalar, Operand::Loss, rows).along(Along::Rows(1));
    k.write("dlogits", elem, Operand::Dlogits, elements).along(row);
    k.cut.rows = u64::from(lanes / span);
    k.cut.work = k.cut.rows * classes * ELEMENT;
    k.params.rows = rows as u32;
    k.params.cols = classes as u32;
    k.params.tiles = workgroups(rows.div_ceil(k.cut.rows))?;
    plan.dispatches.push(k.build());
    if request.total {
        total(&mut plan, rows, reduction, counted)?;
    }
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// Lanes of a workgroup, and how many of them share a row of so many loads. On a GPU a lane has about four loads. On a software adapter,
/// where barriers are expensive and neighbouring loads cost no less, as few lanes as keep the machine busy.
pub(super) fn row_lanes(caps: &Caps, rows: u64, loads: u64) -> (u32, u32) {
    let (lanes, each) = match caps.class {
        DeviceClass::Software if loads <= 1024 && rows >= 1024 => (64, 1024),
        DeviceClass::Software if loads <= 65_536 => (8, 1024),
        _ => (256, 4),
    };
    let span = loads.div_ceil(each).next_power_of_two().min(u64::from(lanes)) as u32;
    (lanes, span)
}

/// Adds the stages that sum the weights of the labels other than the ignored one, each 1 without weights of classes; returns the element of the
/// partials that holds the sum.
fn count_labels(plan: &mut Plan, request: &SoftmaxRequest) -> Result<u64> {
    let SoftmaxRequest { rows, classes, ignore_index, class_weight, .. } = *request;
    let rows = rows as u64;
    let mut k = summing(rows)?;
    k.flag("LABELS", 1).read("labels", Elem::Word, Operand::Labels, rows).along(Along::Rows(1));
    if let Some(label) = ignore_index {
        k.flag("IGNORE", 1).params.ignored = label;
    }
    if class_weight {
        k.flag("WEIGHTED", 1).read("class_weight", Elem::Scalar, Operand::ClassWeight, classes as u64);
        k.params.cols = classes as u32;
    }
    let (_, parts) = blocks(rows);
    k.write("total", Elem::Scalar, Operand::Partials, parts);
    plan.dispatches.push(k.build());
    Ok(reduce::folded(plan, 1, Stack { first: 0, rows: parts, cols: 1 }, 1, reduce::Fold::Sum)?.first)
}

/// Adds the stages that make one number of the losses of rows: their sum, or their mean, over what is counted in an element of the partials.
pub(super) fn total(plan: &mut Plan, rows: u64, reduction: Reduction, counted: Option<u64>) -> Result<()> {
    let (_, parts) = blocks(rows);
    let mut terms = (Operand::Loss, 0);
    if parts > 1 {
        let first = reduce::free(plan);
        let mut k = summing(rows)?;
        k.read("terms", Elem::Scalar, Operand::Loss, rows).along(Along::Rows(1));
        k.write("total", Elem::Scalar, Operand::Partials, parts).from(first);
        plan.dispatches.push(k.build());
        terms = (Operand::Partials, first);
    }
    let left = if parts > 1 { parts } else { rows };
    let mut k = summing(left)?;
    k.read("terms", Elem::Scalar, terms.0, left).from(terms.1);
    match (reduction, counted) {
        (Reduction::Mean, Some(first)) => {
            k.flag("COUNTED", 1).read("counted", Elem::Scalar, Operand::Partials, 1).from(first);
        }
        (Reduction::Mean, None) => k.params.p[0] = (1.0 / rows as f64) as f32,
        (Reduction::Sum, _) => {}
    }
    k.write("total", Elem::Scalar, Operand::Total, 1);
    plan.dispatches.push(k.build());
    Ok(())
}

/// A stage that sums blocks of so many terms.
fn summing(terms: u64) -> Result<Builder> {
    let (chunk, parts) = blocks(terms);
    let mut k = Builder::new(KernelFile::Total);
    k.flag("LANES", LANES);
    k.cut.rows = chunk;
    k.cut.work = chunk * ELEMENT;
    k.params.rows = terms as u32;
    k.params.chunk = chunk as u32;
    k.params.p[0] = 1.0;
    k.params.tiles = workgroups(parts)?;
    Ok(k)
}

/// Blocks of a long operand, one for each workgroup: elements of a block, and number of blocks.
fn blocks(elements: u64) -> (u64, u64) {
    let chunk = elements.div_ceil(1024).max(1024).min(u64::from(LANES) * 16_384);
    (chunk, elements.div_ceil(chunk))
}

pub(super) fn expect(of: &str, parameter: &str, got: impl ToString, expected: &str, holds: bool) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(Error::BadParameter {
            of: of.into(),
            parameter: parameter.into(),
            expected: expected.into(),
            got: got.to_string(),
        }),
    }
}

/// The update of a loss scale, without buffers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossScaleRequest {
    /// Elements of the gradient.
    pub elements: usize,
    /// Factor of the scale after `interval` good steps in a row.
    pub growth: f32,
    /// Factor of the scale after a step with a gradient that is not finite.
    pub backoff: f32,
    /// Good steps in a row before the scale grows.
    pub interval: u32,
}

/// The plan that updates the state of the loss scale from the gradient of a step.
pub fn loss_scale(request: &LossScaleRequest, caps: &Caps) -> Result<Plan> {
    let LossScaleRequest { growth, backoff, interval, .. } = *request;
    expect("loss_scale", "growth", growth, "a finite number > 1", growth.is_finite() && growth > 1.0)?;
    expect("loss_scale", "backoff", backoff, "a number > 0 and < 1", backoff > 0.0 && backoff < 1.0)?;
    expect("loss_scale", "interval", interval, "1 or more", interval > 0)?;
    let total = shape::elements(Operand::ParameterGradient, &[request.elements])?;
    let mut plan = Plan::default();
    let (chunk, parts) = blocks(total);
    if parts > 0 {
        let mut k = Builder::new(KernelFile::NonFinite);
        k.flag("LANES", LANES);
        k.read("gradient", Elem::Scalar, Operand::ParameterGradient, total).along(Along::Rows(1));
        k.write("partials", Elem::Scalar, Operand::Partials, parts);
        k.cut.rows = chunk;
        k.cut.work = chunk * ELEMENT;
        k.params.rows = total as u32;
        k.params.chunk = chunk as u32;
        k.params.tiles = workgroups(parts)?;
        plan.dispatches.push(k.build());
    }
    let mut k = Builder::new(KernelFile::LossScale);
    k.flag("LANES", LANES);
    k.read("partials", Elem::Scalar, Operand::Partials, parts);
    k.write("loss_scale", Elem::Scalar, Operand::LossScale, LOSS_SCALE);
    k.params.rows = parts as u32;
    k.params.p[..3].copy_from_slice(&[request.growth, request.backoff, request.interval as f32]);
    k.params.tiles = 1;
    plan.dispatches.push(k.build());
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}
