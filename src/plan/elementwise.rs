//! The activations alone: value, backward, double backward of a tensor `[.., channels, inner]`.

use super::{
    Along, Builder, Caps, DeviceClass, Grid, Plan,
    builder::workgroups,
    pieces::{self, ELEMENT},
    programs::{self, Gradient, Local},
    reduce::{self, ColumnPass, Fold, Sums},
};
use crate::{
    activation::{Activation, Quantity},
    dropout::Dropout,
    error::{Error, Result},
    kernel::KernelFile,
    operand::Operand,
    program::{By, Program},
    request::{AlphaSource, Want},
    rules, shape,
    storage::Storage,
};

/// y = act(x; α).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementwiseForward {
    /// Product of the dimensions before the channels.
    pub rows: usize,
    /// Length of the dimension along which α runs; of the last one if α is one number.
    pub channels: usize,
    /// Product of the dimensions after the channels; None if the channels are the last dimension.
    pub inner: Option<usize>,
    /// The activation.
    pub activation: Activation,
    /// Whether α is a constant or an operand.
    pub alpha: AlphaSource,
    /// Whether y is the memory of x.
    pub in_place: bool,
    /// Types and strides of all operands, also those of backward; rows are those of the last dimension.
    pub storage: Storage,
}

/// dx = dy ⊙ act'(x) and dα = Σ dy ⊙ ∂act/∂α.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementwiseBackward {
    /// The forward; its `in_place` says whether dx is the memory of dy.
    pub forward: ElementwiseForward,
    /// Whether dx is wanted.
    pub dx: Want,
    /// Whether dα is wanted.
    pub dalpha: Want,
}

/// The double backward, from the gradient ddx that comes back to dx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ElementwiseDouble {
    /// The forward, not in place.
    pub forward: ElementwiseForward,
    /// Whether ddy = ddx ⊙ act'(x) is wanted.
    pub ddy: Want,
    /// Whether dx2 = ddx ⊙ dy ⊙ act''(x) is wanted.
    pub dx2: Want,
    /// Whether dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α is wanted.
    pub dalpha2: Want,
}

/// The gradients of a gated unit y = act(gate; α) ⊙ up: dgate = dy ⊙ up ⊙ act'(gate), dup = dy ⊙ act(gate), dα = Σ dy ⊙ up ⊙ ∂act/∂α.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GatedBackward {
    /// The unit, with the gate for x; its `in_place` says whether y is the memory of the gate.
    pub forward: ElementwiseForward,
    /// Whether dgate is wanted.
    pub dgate: Want,
    /// Whether dup is wanted.
    pub dup: Want,
    /// Whether dα is wanted.
    pub dalpha: Want,
}

/// The tensor as a matrix.
#[derive(Clone, Copy)]
struct Flattened {
    rows: u64,
    cols: u64,
    /// Number of channels, if channels are rows: row r is channel r mod this.
    row_channels: Option<u64>,
}

impl ElementwiseForward {
    fn elements(&self) -> Result<u64> {
        self.storage.check()?;
        let total = shape::elements(Operand::X, &[self.rows, self.channels, self.inner.unwrap_or(1)])?;
        rules::check_alpha(Operand::Alpha, self.activation, self.alpha)?;
        Ok(total)
    }

    /// Where rows end matters only for α per channel and for rows with gaps. Without these the tensor has four columns, or one.
    fn view(&self) -> Result<Flattened> {
        let total = self.elements()?;
        let [rows, channels, inner] = [self.rows, self.channels, self.inner.unwrap_or(1)].map(|dim| dim as u64);
        let matrix = |rows, cols| Flattened { rows, cols, row_channels: None };
        Ok(match self.alpha {
            AlphaSource::PerChannel if self.channel() == By::Row => {
                Flattened { row_channels: Some(channels), ..matrix(rows * channels, inner) }
            }
            AlphaSource::PerChannel => matrix(rows, channels),
            _ if self.has_gaps() => matrix(rows, channels),
            _ if total.is_multiple_of(4) => matrix(total / 4, 4),
            _ => matrix(total, 1),
        })
    }

    /// Whether vec4 are aligned in every row.
    fn keeps(&self, aligned: bool) -> bool {
        aligned && self.storage.keeps_fours()
    }

    fn has_gaps(&self) -> bool {
        Operand::ALL.iter().any(|&operand| self.storage.row_stride(operand).is_some())
    }

    /// Whether a channel is a row or a column.
    fn channel(&self) -> By {
        if self.alpha == AlphaSource::PerChannel && self.inner.is_some() { By::Row } else { By::Column }
    }

    /// The activation with x for z.
    fn local(&self) -> Local {
        let ElementwiseForward { activation, alpha, .. } = *self;
        Local::of_z(activation, alpha, Operand::Alpha, self.channel())
    }

    fn pass(&self, in_place: Option<(Operand, Operand)>) -> Result<ColumnPass> {
        let Flattened { rows, cols, row_channels } = self.view()?;
        let row_numbers = row_channels.unwrap_or(rows);
        Ok(ColumnPass { m: rows, n: cols, row_numbers, storage: self.storage, in_place, fold: Fold::Sum })
    }

    /// The sums of the pass: that of α alone.
    fn sums(&self, operand: Operand, want: Want) -> Result<Sums> {
        let Flattened { row_channels, .. } = self.view()?;
        Ok(Sums::of_alpha((operand, want), self.alpha, row_channels))
    }
}

/// The plan that runs a program without sums on every element.
fn each(
    request: &ElementwiseForward,
    program: &Program,
    in_place: Option<(Operand, Operand)>,
    aligned: bool,
    caps: &Caps,
) -> Result<Plan> {
    if !request.has_gaps() && request.channel() != By::Row {
        return flat(request, program, in_place, aligned, caps);
    }
    let mut plan = Plan::default();
    let pass = request.pass(in_place.filter(|_| request.in_place))?;
    reduce::pass(&mut plan, &pass, program, &[request.activation], aligned, caps)?;
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// [`each`] for a tensor without gaps whose channels are the last dimension.
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
    // On a software adapter a loop costs more than the invocations that it saves.
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
    elementwise_quantity(request, Quantity::Value, aligned, caps)
}

/// The plan of y = a quantity of the activation at x.
pub fn elementwise_quantity(
    request: &ElementwiseForward,
    quantity: Quantity,
    aligned: bool,
    caps: &Caps,
) -> Result<Plan> {
    if !request.activation.row().quantities().contains(&quantity) {
        return Err(Error::Unsupported {
            what: format!("{} of {}", quantity.wgsl_name(), request.activation),
            why: "it has no learnable alpha".into(),
        });
    }
    let (program, aligned) = (programs::activation(quantity, request.alpha, request.channel()), request.keeps(aligned));
    each(request, &program, Some((Operand::Y, Operand::X)), aligned, caps)
}

/// The plan of dx and dα. With dα it is the local gradient pass of the fused layer, with x for z.
pub fn elementwise_backward(request: &ElementwiseBackward, aligned: bool, caps: &Caps) -> Result<Plan> {
    let forward = &request.forward;
    let aligned = forward.keeps(aligned);
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
        return each(forward, &gradient.program(programs::Upstream::Operand), in_place, aligned, caps);
    }
    let mut plan = Plan::default();
    let in_place = in_place.filter(|_| forward.in_place);
    let sums = forward.sums(Operand::Dalpha, request.dalpha)?;
    reduce::gradient_pass(&mut plan, &forward.pass(in_place)?, &gradient, &sums, aligned, caps)?;
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// The plan of the double backward.
pub fn elementwise_double(request: &ElementwiseDouble, aligned: bool, caps: &Caps) -> Result<Plan> {
    let forward = &request.forward;
    let aligned = forward.keeps(aligned);
    check_alpha(forward, Operand::Dalpha2, request.dalpha2)?;
    let ElementwiseDouble { ddy, dx2, dalpha2, .. } = *request;
    let mut plan = Plan::default();
    if !(dalpha2.wanted() || ddy.wanted() || dx2.wanted()) {
        return Ok(plan);
    }
    let program = programs::double_backward(forward.local(), ddy, dx2, dalpha2.wanted());
    let partial = reduce::pass(&mut plan, &forward.pass(None)?, &program, &[forward.activation], aligned, caps)?;
    forward.sums(Operand::Dalpha2, dalpha2)?.finish(&mut plan, &partial)?;
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

/// The plan of what a dropout leaves of x, with the identity for the activation.
pub fn elementwise_dropout(request: &ElementwiseForward, dropout: Dropout, aligned: bool, caps: &Caps) -> Result<Plan> {
    let (program, aligned) = (programs::dropout(dropout), request.keeps(aligned));
    each(request, &program, Some((Operand::Y, Operand::X)), aligned, caps)
}

/// The plan of y = act(gate; α) ⊙ up.
pub fn gated_forward(request: &ElementwiseForward, aligned: bool, caps: &Caps) -> Result<Plan> {
    let (program, aligned) = (programs::gated::forward(request.local()), request.keeps(aligned));
    each(request, &program, Some((Operand::Y, Operand::Gate)), aligned, caps)
}

/// The plan of dgate, dup and dα.
pub fn gated_backward(request: &GatedBackward, aligned: bool, caps: &Caps) -> Result<Plan> {
    let GatedBackward { forward, dgate, dup, dalpha } = request;
    let aligned = forward.keeps(aligned);
    check_alpha(forward, Operand::Dalpha, *dalpha)?;
    let mut plan = Plan::default();
    if !(dgate.wanted() || dup.wanted() || dalpha.wanted()) {
        return Ok(plan);
    }
    let local = Local { from: Operand::Gate, ..forward.local() };
    let program = programs::gated::backward(local, *dgate, *dup, dalpha.wanted());
    if !dalpha.wanted() {
        return each(forward, &program, None, aligned, caps);
    }
    let partial = reduce::pass(&mut plan, &forward.pass(None)?, &program, &[forward.activation], aligned, caps)?;
    forward.sums(Operand::Dalpha, *dalpha)?.finish(&mut plan, &partial)?;
    pieces::cut(&mut plan, caps)?;
    Ok(plan)
}

fn check_alpha(forward: &ElementwiseForward, operand: Operand, want: Want) -> Result<()> {
    if want.wanted() && forward.alpha == AlphaSource::Constant {
        return Err(Error::Operand {
            operand,
            expected: "no gradient of alpha, because the layer has no alpha operand".into(),
            got: format!("{operand} wanted"),
        });
    }
    Ok(())
}
