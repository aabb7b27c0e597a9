//! The activations alone: value, backward, double backward of a tensor `[.., channels]`.

use super::{
    Along, Builder, Caps, DeviceClass, Grid, Plan,
    pieces::{self, ELEMENT},
    product::workgroups,
    programs::{self, Gradient, Local},
    reduce::{self, ColumnPass, Sums},
};
use crate::{
    activation::Activation,
    dtype::Storage,
    error::{Error, Result},
    kernel::KernelFile,
    program::Program,
    request::{AlphaSource, Operand, Saved, Want},
    shape,
};

/// y = act(x; α).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementwiseForward {
    /// Leading dimensions, flattened.
    pub rows: usize,
    /// The last dimension.
    pub channels: usize,
    /// The activation.
    pub activation: Activation,
    /// Where its α comes from.
    pub alpha: AlphaSource,
    /// y is the memory of x.
    pub in_place: bool,
    /// In which types the operands are stored, those of backward among them.
    pub storage: Storage,
}

/// dx = dy ⊙ act'(x) and dα = Σ dy ⊙ ∂act/∂α.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementwiseBackward {
    /// The forward's facts; `in_place` says that dx is the memory of dy.
    pub forward: ElementwiseForward,
    /// dx.
    pub dx: Want,
    /// dα.
    pub dalpha: Want,
}

/// Given the cotangent ddx of dx: gradients for dy, x and α.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementwiseDouble {
    /// The forward's facts (never in place).
    pub forward: ElementwiseForward,
    /// For dy: ddx ⊙ act'(x).
    pub ddy: Want,
    /// For x: ddx ⊙ dy ⊙ act''(x).
    pub dx2: Want,
    /// For α: Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α.
    pub dalpha2: Want,
}

/// The tensor as a matrix.
#[derive(Clone, Copy)]
struct Matrix {
    rows: u64,
    cols: u64,
}

impl ElementwiseForward {
    fn elements(&self) -> Result<u64> {
        self.storage.check()?;
        let total = shape::elements(Operand::X, &[self.rows, self.channels])?;
        if self.alpha != AlphaSource::Constant && !self.activation.has_alpha() {
            return Err(Error::Operand {
                operand: Operand::Alpha,
                expected: format!("no alpha: {} has no learnable parameter", self.activation),
                got: "an alpha operand".into(),
            });
        }
        Ok(total)
    }

    /// Only a per-channel α cares where the rows end; without one the tensor is four columns, or one.
    fn view(&self) -> Result<Matrix> {
        let total = self.elements()?;
        Ok(match self.alpha {
            AlphaSource::PerChannel => Matrix { rows: self.rows as u64, cols: self.channels as u64 },
            _ if total.is_multiple_of(4) => Matrix { rows: total / 4, cols: 4 },
            _ => Matrix { rows: total, cols: 1 },
        })
    }

    /// x is z, and always there.
    const fn local(&self) -> Local {
        let ElementwiseForward { activation, alpha, .. } = *self;
        Local { activation, alpha, alpha_operand: Operand::Alpha, saved: Saved::Z, from: Operand::X, row_weight: None }
    }
}

/// A program on every element, nothing of which is summed.
fn flat(
    request: &ElementwiseForward,
    program: &Program,
    in_place: Option<(Operand, Operand)>,
    aligned: bool,
    caps: &Caps,
) -> Result<Plan> {
    let total = request.elements()?;
    let channels = request.channels as u64;
    let mut plan = Plan::default();
    if total == 0 {
        return Ok(plan);
    }
    let per_channel = request.alpha == AlphaSource::PerChannel;
    let wide = aligned && total.is_multiple_of(4) && (!per_channel || channels.is_multiple_of(4));
    // A loop costs a software adapter more than the invocations it saves.
    let (lanes, per_lane) = (256, if caps.class == DeviceClass::Software { 1 } else { 4 });
    let mut k = Builder::storing(KernelFile::Flat, request.storage, caps);
    k.flag("LANES", lanes).flag("PER_LANE", per_lane).on("WIDE", wide);
    let grid = Grid { channels, by_column: |_| Along::All, ..Grid::output(total, 1, wide) };
    k.finish(program, &grid, in_place.filter(|_| request.in_place)).stages(&[request.activation]);
    k.params.rows = total as u32;
    k.params.channels = channels as u32;
    k.cut.rows = u64::from(lanes * per_lane) * if wide { 4 } else { 1 };
    k.cut.work = k.cut.rows * ELEMENT;
    k.params.tiles = workgroups(total.div_ceil(k.cut.rows))?;
    plan.dispatches.push(k.build());
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// The plan of y = act(x; α).
pub fn elementwise_forward(request: &ElementwiseForward, aligned: bool, caps: &Caps) -> Result<Plan> {
    flat(request, &programs::activation(request.alpha), Some((Operand::Y, Operand::X)), aligned, caps)
}

/// The plan of dx and dα. With dα it is the local gradient pass of the fused layer, with x for z.
pub fn elementwise_backward(request: &ElementwiseBackward, aligned: bool, caps: &Caps) -> Result<Plan> {
    let forward = &request.forward;
    let view = forward.view()?;
    check_alpha(forward, Operand::Dalpha, request.dalpha)?;
    if forward.in_place && request.dx == Want::Accumulate {
        return Err(Error::Unsupported {
            what: "dx accumulated in place of dy".into(),
            why: "the sum would start from dy itself; give dx memory of its own".into(),
        });
    }
    let dalpha = request.dalpha.wanted();
    let dx = request.dx.wanted().then_some((Operand::Dx, request.dx));
    let gradient = Gradient { dalpha, ..Gradient::of(forward.local(), dx) };
    let in_place = Some((Operand::Dx, Operand::Dy));
    if !dalpha && request.dx.wanted() {
        return flat(forward, &gradient.program(false), in_place, aligned, caps);
    }
    let mut plan = Plan::default();
    let in_place = in_place.filter(|_| forward.in_place);
    let pass = ColumnPass { m: view.rows, n: view.cols, storage: forward.storage, in_place };
    let sums = sums(Operand::Dalpha, request.dalpha, forward.alpha);
    reduce::gradient_pass(&mut plan, &pass, &gradient, &sums, aligned, caps)?;
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// The plan of the double backward.
pub fn elementwise_double(request: &ElementwiseDouble, aligned: bool, caps: &Caps) -> Result<Plan> {
    let forward = &request.forward;
    let view = forward.view()?;
    check_alpha(forward, Operand::Dalpha2, request.dalpha2)?;
    let ElementwiseDouble { ddy, dx2, dalpha2, .. } = *request;
    let mut plan = Plan::default();
    if !(dalpha2.wanted() || ddy.wanted() || dx2.wanted()) {
        return Ok(plan);
    }
    let program = programs::double_backward(forward.local(), ddy, dx2, dalpha2.wanted());
    let pass = ColumnPass { m: view.rows, n: view.cols, storage: forward.storage, in_place: None };
    let partial = reduce::pass(&mut plan, &pass, &program, &forward.activation, aligned, caps)?;
    sums(Operand::Dalpha2, dalpha2, forward.alpha).finish(&mut plan, &partial)?;
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// The gradient of α is the only sum here.
const fn sums(operand: Operand, want: Want, alpha: AlphaSource) -> Sums {
    Sums { db: (Operand::Db, Want::No), dalpha: (operand, want), alpha, drow_weight: (Operand::DrowWeight, Want::No) }
}

fn check_alpha(forward: &ElementwiseForward, operand: Operand, want: Want) -> Result<()> {
    if want.wanted() && forward.alpha == AlphaSource::Constant {
        return Err(Error::Operand {
            operand,
            expected: "no gradient of alpha: no alpha operand was given".into(),
            got: format!("{operand} wanted"),
        });
    }
    Ok(())
}
