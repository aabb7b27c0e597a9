//! The activations alone: value, backward, double backward of a tensor `[.., channels]`.

use super::{
    Along, Builder, Caps, DeviceClass, Plan,
    pieces::{self, ELEMENT},
    product::workgroups,
    reduce::{self, ColumnPass, Columns},
};
use crate::{
    activation::Activation,
    dtype::Storage,
    error::{Error, Result},
    kernel::{Elem, KernelFile},
    request::{AffineRequest, AlphaSource, Operand, Saved, Want},
    shape,
};

/// y = act(x; α).
#[derive(Debug, Clone, Copy, PartialEq)]
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ElementwiseBackward {
    /// The forward's facts; `in_place` says that dx is the memory of dy.
    pub forward: ElementwiseForward,
    /// dx.
    pub dx: Want,
    /// dα.
    pub dalpha: Want,
}

/// Given the cotangent ddx of dx: gradients for dy, x and α.
#[derive(Debug, Clone, Copy, PartialEq)]
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

    fn facts(&self, view: Matrix) -> AffineRequest {
        AffineRequest {
            alpha: self.alpha,
            storage: self.storage,
            ..AffineRequest::new(view.rows as usize, view.cols as usize, 0, self.activation)
        }
    }
}

/// The part that forward and backward share: lanes, groups of four, the activation with its α.
fn flat(request: &ElementwiseForward, aligned: bool, caps: &Caps) -> Result<(Builder, Elem, u64)> {
    let total = request.elements()?;
    let channels = request.channels as u64;
    let per_channel = request.alpha == AlphaSource::PerChannel;
    let vec = aligned && total.is_multiple_of(4) && (!per_channel || channels.is_multiple_of(4));
    // A loop costs a software adapter more than the invocations it saves.
    let (lanes, per_lane) = (256, if caps.class == DeviceClass::Software { 1 } else { 4 });
    let mut k = Builder::storing(KernelFile::Elementwise, request.storage, caps);
    k.flag("LANES", lanes).flag("PER_LANE", per_lane).on("WIDE", vec);
    k.activation(&request.activation).alpha(request.alpha, Operand::Alpha, channels);
    k.params.rows = total as u32;
    k.params.channels = channels as u32;
    k.cut.rows = u64::from(lanes * per_lane) * if vec { 4 } else { 1 };
    k.cut.work = k.cut.rows * ELEMENT;
    k.params.tiles = workgroups(total.div_ceil(k.cut.rows))?;
    Ok((k, if vec { Elem::Four } else { Elem::Scalar }, total))
}

/// The plan of y = act(x; α).
pub fn elementwise_forward(request: &ElementwiseForward, aligned: bool, caps: &Caps) -> Result<Plan> {
    let mut plan = Plan::default();
    if request.elements()? == 0 {
        return Ok(plan);
    }
    let (mut k, elem, total) = flat(request, aligned, caps)?;
    k.write("y", elem, Operand::Y, total).along(Along::Rows(1));
    k.read_within("x", elem, Operand::X, total, request.in_place.then_some("y")).along(Along::Rows(1));
    plan.dispatches.push(k.build());
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
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
    let mut plan = Plan::default();
    if request.dalpha.wanted() {
        let pass = ColumnPass {
            request: &forward.facts(view),
            m: view.rows,
            n: view.cols,
            from: Operand::X,
            slope: Saved::Z,
            dz: request.dx.wanted().then_some((Operand::Dx, request.dx)),
            dy_in_place: forward.in_place,
            dresidual: Want::No,
            db: Want::No,
            dalpha: request.dalpha,
        };
        reduce::column_pass(&mut plan, &pass, aligned, caps)?;
    } else if request.dx.wanted() && forward.elements()? > 0 {
        let (mut k, elem, total) = flat(forward, aligned, caps)?;
        k.flag("BACKWARD", 1).read("x", elem, Operand::X, total).along(Along::Rows(1));
        k.write("dx", elem, Operand::Dx, total).along(Along::Rows(1));
        k.read_within("dy", elem, Operand::Dy, total, forward.in_place.then_some("dx")).along(Along::Rows(1));
        k.params.accumulate = u32::from(request.dx == Want::Accumulate);
        plan.dispatches.push(k.build());
    }
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// The plan of the double backward.
pub fn elementwise_double(request: &ElementwiseDouble, aligned: bool, caps: &Caps) -> Result<Plan> {
    let forward = &request.forward;
    let view = forward.view()?;
    check_alpha(forward, Operand::Dalpha2, request.dalpha2)?;
    let (m, n) = (view.rows, view.cols);
    let sums = request.dalpha2.wanted();
    let mut plan = Plan::default();
    if !(sums || request.ddy.wanted() || request.dx2.wanted()) {
        return Ok(plan);
    }
    let mut parts = 0;
    if m > 0 && n > 0 {
        let columns = Columns::new(m, n, aligned, caps);
        let elem = columns.elem();
        parts = columns.parts;
        let mut k = Builder::storing(KernelFile::DoubleBackward, forward.storage, caps);
        columns.apply(&mut k, m, n)?;
        k.on("SUMS", sums);
        k.on("OUT_DDY", request.ddy.wanted()).on("OUT_DX2", request.dx2.wanted());
        k.read("x", elem, Operand::X, m * n).along(Along::Rows(n));
        k.read("ddx", elem, Operand::Ddx, m * n).along(Along::Rows(n));
        if sums || request.dx2.wanted() {
            k.read("dy", elem, Operand::Dy, m * n).along(Along::Rows(n));
        }
        k.activation(&forward.activation).alpha(forward.alpha, Operand::Alpha, n);
        if request.ddy.wanted() {
            k.write("ddy", elem, Operand::Ddy, m * n).along(Along::Rows(n));
            k.params.accumulate |= u32::from(request.ddy == Want::Accumulate);
        }
        if request.dx2.wanted() {
            k.write("dx2", elem, Operand::Dx2, m * n).along(Along::Rows(n));
            k.params.accumulate |= u32::from(request.dx2 == Want::Accumulate) << 1;
        }
        if sums {
            k.write("partials", elem, Operand::Partials, parts * n);
        }
        plan.dispatches.push(k.build());
    }
    if sums {
        match forward.alpha {
            AlphaSource::PerChannel if n == 0 => {}
            AlphaSource::PerChannel => {
                reduce::column_sum(&mut plan, 0, parts, n, Operand::Dalpha2, request.dalpha2)?;
            }
            _ => reduce::column_sum(&mut plan, 0, parts * n, 1, Operand::Dalpha2, request.dalpha2)?,
        }
    }
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
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
