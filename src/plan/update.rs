//! The plans of updates: of parameters by their gradient, and of the rates from step to step.

use super::{
    Along, Builder, Caps, Plan,
    builder::{Stack, workgroups},
    pieces::{self, ELEMENT},
    reduce::{self, ColumnPass, Fold},
    training::{LANES, LOSS_SCALE, expect},
};
use crate::{
    error::Result,
    kernel::{Elem, KernelFile},
    operand::Operand,
    program::{By, Over, Program},
    rates::{Rule, STATE},
    shape,
    storage::Storage,
};

/// Parameters that share four factors.
pub(crate) const RUN: usize = 128;

/// An update with rates on the device, without buffers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateRequest {
    /// Number of parameters.
    pub elements: usize,
    /// How they follow their gradient.
    pub rule: Rule,
    /// Whether SGD has a velocity.
    pub velocity: bool,
    /// Whether runs of parameters have factors of their own.
    pub factors: bool,
    /// Whether the parameters are also written to the operand copy, in its type.
    pub copy: bool,
    /// The types of the operands.
    pub storage: Storage,
}

/// The plan of an update with rates on the device.
pub fn update(request: &UpdateRequest, aligned: bool, caps: &Caps) -> Result<Plan> {
    let UpdateRequest { elements, rule, velocity, factors, copy, storage } = *request;
    let runs = elements.div_ceil(RUN) as u64;
    each(elements, storage, aligned, caps, |k, elem, total| {
        k.flag("RATES", 1).read("rates", Elem::Scalar, Operand::Rates, STATE as u64);
        if factors {
            k.flag("FACTORS", 1).read("factors", Elem::Scalar, Operand::Factors, 4 * runs);
        }
        k.write("parameter", elem, Operand::Parameter, total).along(Along::Rows(1));
        if rule == Rule::AdamW {
            k.flag("ADAMW", 1);
            k.write("first_moment", elem, Operand::FirstMoment, total).along(Along::Rows(1));
            k.write("second_moment", elem, Operand::SecondMoment, total).along(Along::Rows(1));
        } else if velocity {
            k.flag("MOMENTUM", 1).on("NESTEROV", rule == Rule::Nesterov);
            k.write("velocity", elem, Operand::Velocity, total).along(Along::Rows(1));
        }
        if copy {
            k.flag("COPY", 1).write("copy", elem, Operand::Copy, total).along(Along::Rows(1));
        }
    })
}

/// An update by numbers of the call, without buffers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdRequest {
    /// Number of parameters.
    pub elements: usize,
    /// Learning rate.
    pub rate: f32,
    /// Momentum.
    pub momentum: f32,
    /// Whether the gradient is that of a scaled loss.
    pub scaled: bool,
    /// Whether the parameters are also written to the operand copy, in its type.
    pub copy: bool,
    /// The types of the operands.
    pub storage: Storage,
}

impl SgdRequest {
    /// An error for a rate that is not finite, or a momentum that is not finite or negative: it would spoil every parameter.
    pub(crate) fn check_rates(rate: f32, momentum: f32) -> Result<()> {
        expect("sgd", "rate", rate, "a finite number", rate.is_finite())?;
        expect("sgd", "momentum", momentum, "a finite number >= 0", momentum.is_finite() && momentum >= 0.0)
    }
}

/// The plan of velocity = momentum · velocity + gradient; parameter −= rate · velocity.
pub fn sgd(request: &SgdRequest, aligned: bool, caps: &Caps) -> Result<Plan> {
    let SgdRequest { elements, rate, momentum, scaled, copy, storage } = *request;
    SgdRequest::check_rates(rate, momentum)?;
    each(elements, storage, aligned, caps, |k, elem, total| {
        if scaled {
            k.flag("SCALED", 1).read("loss_scale", Elem::Scalar, Operand::LossScale, LOSS_SCALE);
        }
        k.write("parameter", elem, Operand::Parameter, total).along(Along::Rows(1));
        k.write("velocity", elem, Operand::Velocity, total).along(Along::Rows(1));
        if copy {
            k.flag("COPY", 1).write("copy", elem, Operand::Copy, total).along(Along::Rows(1));
        }
        k.params.p[..2].copy_from_slice(&[rate, momentum]);
    })
}

/// One dispatch over all parameters; `bind` binds what there is beside the gradient.
fn each(
    elements: usize,
    storage: Storage,
    aligned: bool,
    caps: &Caps,
    bind: impl FnOnce(&mut Builder, Elem, u64),
) -> Result<Plan> {
    storage.check()?;
    let total = shape::elements(Operand::Parameter, &[elements])?;
    let mut plan = Plan::default();
    if total == 0 {
        return Ok(plan);
    }
    let (width, elem) = if aligned && total.is_multiple_of(4) { (4, Elem::Four) } else { (1, Elem::Scalar) };
    let mut k = Builder::storing(KernelFile::Update, storage, caps);
    k.flag("LANES", LANES).on("WIDE", width == 4);
    k.read("gradient", elem, Operand::ParameterGradient, total).along(Along::Rows(1));
    bind(&mut k, elem, total);
    k.cut.rows = u64::from(LANES) * width;
    k.cut.work = k.cut.rows * ELEMENT;
    k.params.rows = total as u32;
    k.params.tiles = workgroups(total.div_ceil(k.cut.rows))?;
    plan.dispatches.push(k.build());
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// The next step of the rates, without buffers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdvanceRequest {
    /// Elements of the gradient whose norm is wanted; None for no clipping.
    pub clipped: Option<usize>,
    /// Whether the gradient is that of a scaled loss.
    pub scaled: bool,
}

/// The plan that counts a step, and finds what its gradient is multiplied by.
pub fn advance(request: &AdvanceRequest, aligned: bool, caps: &Caps) -> Result<Plan> {
    let mut plan = Plan::default();
    let squares = match request.clipped {
        Some(elements) if elements > 0 => Some(sum_of_squares(&mut plan, elements, aligned, caps)?),
        _ => None,
    };
    let mut k = Builder::new(KernelFile::Advance);
    if let Some(first) = squares {
        k.flag("CLIP", 1).read("partials", Elem::Scalar, Operand::Partials, 1).from(first);
    }
    if request.scaled {
        k.flag("SCALED", 1).read("loss_scale", Elem::Scalar, Operand::LossScale, LOSS_SCALE);
    }
    k.write("rates", Elem::Scalar, Operand::Rates, STATE as u64);
    k.params.tiles = 1;
    plan.dispatches.push(k.build());
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// Adds the stages of the sum of the squares of a gradient, in a fixed order; returns the element of the partials that holds it.
fn sum_of_squares(plan: &mut Plan, elements: usize, aligned: bool, caps: &Caps) -> Result<u64> {
    let total = shape::elements(Operand::ParameterGradient, &[elements])?;
    let n = if total.is_multiple_of(4) { 4 } else { 1 };
    let m = total / n;
    let mut p = Program::default();
    let gradient = p.load(Operand::ParameterGradient, By::Element);
    let square = p.multiply(gradient, gradient);
    p.reduce(Over::Rows, square);
    let (storage, in_place, fold) = (Storage::default(), None, Fold::Sum);
    let pass = ColumnPass { m, n, row_numbers: m, storage, in_place, fold };
    let columns = reduce::pass(plan, &pass, &p, &[], aligned, caps)?.columns;
    let all = Stack { rows: columns.rows * columns.cols, cols: 1, ..columns };
    Ok(reduce::folded(plan, 1, all, 1, Fold::Sum)?.first)
}
