//! The programs of the operators: what each of them computes for an element.

pub(super) mod front;
pub(super) mod gated;
mod jet;
mod second;
mod statistics;

pub(super) use second::{Second, dresidual2, joined, tangent, tangent_of_sums, zero};
pub(super) use statistics::{of_rows, statistics};

use crate::{
    activation::{Activation, Quantity},
    dropout::Dropout,
    gate::Gate,
    jet::Jet,
    operand::Operand,
    program::{By, Function, Over, Program, Value, Write},
    request::{AffineRequest, AlphaSource, ResidualAt, Saved, Want},
};

/// The number of the only activation in a kernel.
const ONLY: u8 = 0;

/// Loads α if it is an operand; channels are columns or rows.
fn alpha(p: &mut Program, source: AlphaSource, operand: Operand, channel: By) -> Option<Value> {
    match source {
        AlphaSource::Constant => None,
        AlphaSource::PerLayer => Some(p.load(operand, By::Whole)),
        AlphaSource::PerChannel => Some(p.load(operand, channel)),
    }
}

fn store(p: &mut Program, operand: Operand, want: Want, value: Value) {
    store_at(p, operand, By::Element, want, value);
}

/// Stores a number, if it is wanted.
fn store_at(p: &mut Program, operand: Operand, by: By, want: Want, value: Value) {
    match want {
        Want::No => {}
        Want::Overwrite => p.store(operand, by, Write::Overwrite, value),
        Want::Accumulate => p.store(operand, by, Write::Accumulate, value),
    }
}

/// z = sum + b (+ residual)
fn pre_activation(p: &mut Program, request: &AffineRequest) -> Value {
    let mut z = p.sum_of(0);
    if request.bias {
        let b = p.load(Operand::B, By::Column);
        z = p.add(z, b);
    }
    if request.residual == Some(ResidualAt::BeforeActivation) {
        let residual = p.load(Operand::Residual, By::Element);
        z = p.add(z, residual);
    }
    z
}

/// v, or what a dropout with this state leaves of it: 0 also of an infinite v, and NaN of NaN.
fn dropped(p: &mut Program, dropout: Option<(Operand, Dropout)>, v: Value) -> Value {
    let Some((state, dropout)) = dropout else { return v };
    let factor = p.dropout(state, dropout);
    p.pass(v, factor)
}

/// y = dropout(row_weight[m] · value) (+ residual), stored.
fn output(p: &mut Program, request: &AffineRequest, value: Value) -> Value {
    let mut y = value;
    if request.row_weight {
        let weight = p.load(Operand::RowWeight, By::Row);
        y = p.multiply(weight, y);
    }
    y = dropped(p, request.dropout.map(|dropout| (Operand::DropoutState, dropout)), y);
    if request.residual == Some(ResidualAt::AfterActivation) {
        let residual = p.load(Operand::Residual, By::Element);
        y = p.add(y, residual);
    }
    store(p, Operand::Y, Want::Overwrite, y);
    y
}

/// z = sum + b (+ residual), kept as the request says; y = dropout(row_weight[m] · act(z; α)) (+ residual); the terms of the statistics.
pub(super) fn forward(request: &AffineRequest) -> Program {
    if let Some(jet) = &request.jet {
        return jet::forward(request, jet);
    }
    let mut p = Program::default();
    let saved = request.saved;
    let z = pre_activation(&mut p, request);
    if saved == Saved::Z {
        p.store(Operand::Saved, By::Element, Write::Overwrite, z);
    }
    let alpha = alpha(&mut p, request.alpha, Operand::Alpha, By::Column);
    if saved == Saved::Mask {
        let bit = p.act(ONLY, Function::Bit, z, alpha);
        p.store_bit(Operand::Saved, bit);
    }
    let y = p.act(ONLY, Function::Of(Quantity::Value), z, alpha);
    let y = output(&mut p, request, y);
    statistics::terms(&mut p, &request.statistics, z, y);
    p
}

/// z = sum + b (+ residual), into scratch memory, for a backward that computes z again.
pub(super) fn forward_z(request: &AffineRequest) -> Program {
    if let Some(jet) = &request.jet {
        return jet::forward_z(request, jet);
    }
    let mut p = Program::default();
    let z = pre_activation(&mut p, request);
    store(&mut p, Operand::Z, Want::Overwrite, z);
    p
}

/// Stores the finished sum, and what is added to it.
pub(super) fn sum_around(operand: Operand, want: Want, around: &[Operand]) -> Program {
    let mut p = Program::default();
    let sum = finished(&mut p, around);
    store(&mut p, operand, want, sum);
    p
}

/// The finished sum of a product, and an element of each operand that is added to it.
fn finished(p: &mut Program, around: &[Operand]) -> Value {
    let sum = p.sum_of(0);
    around.iter().fold(sum, |sum, &operand| {
        let other = p.load(operand, By::Element);
        p.add(sum, other)
    })
}

/// What dy is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Upstream<'a> {
    /// An operand.
    Operand,
    /// The finished sums of a product, as dx is in a chain, and operands that are added to them.
    Sums(&'a [Operand]),
}

/// Loads an element of an operand.
pub(super) fn plain(operand: Operand) -> Program {
    let mut p = Program::default();
    p.load(operand, By::Element);
    p
}

/// Stores the finished sum.
pub(super) fn sum(operand: Operand, want: Want) -> Program {
    let mut p = Program::default();
    let sum = p.sum_of(0);
    store(&mut p, operand, want, sum);
    p
}

/// A layer's activation in backward, and where its derivatives come from: z, y or a bit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local {
    pub(super) activation: Activation,
    pub(super) alpha: AlphaSource,
    /// The operand of α, if it is one.
    pub(super) alpha_operand: Operand,
    /// Whether a channel is a column or a row.
    pub(super) channel: By,
    /// What the slope is computed from: z, y or the mask; `None` if the slope is 1.
    pub(super) saved: Saved,
    /// The operand that holds it.
    pub(super) from: Operand,
    /// The operand with a factor for each row, if there is one.
    pub(super) row_weight: Option<Operand>,
    /// Its dropout, and the operand with its state.
    pub(super) dropout: Option<(Operand, Dropout)>,
    /// What the rows of its groups are, if it has jets.
    pub(super) jet: Option<Jet>,
    /// Where gate and up lie in what was kept, if it is gated.
    pub(super) gate: Option<Gate>,
}

/// A layer's α, what it kept and its row weight, loaded once.
struct Loaded {
    local: Local,
    alpha: Option<Value>,
    kept: Option<Value>,
    row_weight: Option<Value>,
}

impl Local {
    /// Of the layer itself, with what was kept in this operand.
    pub(super) const fn of(request: &AffineRequest, saved: Saved, from: Operand) -> Self {
        let AffineRequest { activation, alpha, jet, gate, .. } = *request;
        let row_weight = if request.row_weight { Some(Operand::RowWeight) } else { None };
        let dropout = match request.dropout {
            Some(dropout) => Some((Operand::DropoutState, dropout)),
            None => None,
        };
        let (alpha_operand, channel) = (Operand::Alpha, By::Column);
        Local { activation, alpha, alpha_operand, channel, saved, from, row_weight, dropout, jet, gate }
    }

    /// An activation alone, whose z is an element of x or is made of one.
    pub(super) const fn of_z(activation: Activation, alpha: AlphaSource, alpha_operand: Operand, channel: By) -> Self {
        let (saved, from, row_weight, dropout, jet, gate) = (Saved::Z, Operand::X, None, None, None, None);
        Local { activation, alpha, alpha_operand, channel, saved, from, row_weight, dropout, jet, gate }
    }

    /// Whether the slope is 1 everywhere.
    const fn is_one(&self) -> bool {
        matches!(self.saved, Saved::Auto | Saved::None)
    }

    fn load(self, p: &mut Program) -> Loaded {
        let row_weight = self.row_weight.map(|operand| p.load(operand, By::Row));
        if self.is_one() {
            return Loaded { local: self, alpha: None, kept: None, row_weight };
        }
        let alpha = alpha(p, self.alpha, self.alpha_operand, self.channel);
        let kept = match self.saved {
            Saved::Mask => p.load_bit(self.from),
            _ => p.load(self.from, By::Element),
        };
        Loaded { local: self, alpha, kept: Some(kept), row_weight }
    }

    /// Whether the terms of dα are summed over rows or over columns first.
    const fn over(&self) -> Over {
        if matches!(self.channel, By::Row) { Over::Columns } else { Over::Rows }
    }

    /// upstream · derivative; a piecewise derivative of 0 stops an infinite upstream.
    fn times(&self, p: &mut Program, upstream: Value, derivative: Value) -> Value {
        match self.activation.is_piecewise() {
            true => p.pass(upstream, derivative),
            false => p.multiply(upstream, derivative),
        }
    }

    /// v · u · derivative, alike.
    fn times_both(&self, p: &mut Program, [v, u]: [Value; 2], derivative: Value) -> Value {
        if self.activation.is_piecewise() {
            return p.pass_both(v, u, derivative);
        }
        let both = p.multiply(v, u);
        p.multiply(both, derivative)
    }
}

impl Loaded {
    /// The gradient of act(z) from what the dropout has left of dy: row_weight[m] · dy.
    fn upstream(&self, p: &mut Program, dy: Value) -> Value {
        self.row_weight.map_or(dy, |weight| p.multiply(weight, dy))
    }

    /// upstream ⊙ act'(z), with the slope from what was kept.
    fn dz(&self, p: &mut Program, upstream: Value) -> Value {
        let Some(kept) = self.kept else { return upstream };
        let function = match self.local.saved {
            Saved::Mask => Function::SlopeOfBit,
            Saved::Y => Function::SlopeOfY,
            _ => Function::Of(Quantity::Slope),
        };
        let slope = p.act(ONLY, function, kept, self.alpha);
        self.local.times(p, upstream, slope)
    }

    /// A quantity of z.
    fn quantity(&self, p: &mut Program, quantity: Quantity) -> Option<Value> {
        self.kept.map(|z| p.act(ONLY, Function::Of(quantity), z, self.alpha))
    }
}

/// dz = row_weight[m] · dy ⊙ act'(z): the prologue that loads an element of a product's operand.
pub(super) fn dz(local: Local) -> Program {
    let mut p = Program::default();
    let dy = p.load(Operand::Dy, By::Element);
    let dy = dropped(&mut p, local.dropout, dy);
    let loaded = local.load(&mut p);
    let upstream = loaded.upstream(&mut p, dy);
    loaded.dz(&mut p, upstream);
    p
}

/// The gradients that are made from dy, element by element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gradient {
    pub(super) local: Local,
    /// The operand that dz is written to, if any.
    pub(super) dz: Option<(Operand, Want)>,
    /// d(residual), which is dy, or dz if the residual joins before the activation.
    pub(super) dresidual: Want,
    pub(super) residual_before: bool,
    /// Whether the terms of db, of dα and of d(row_weight) are summed; `db_up` for the other side of a gate.
    pub(super) db: bool,
    pub(super) db_up: bool,
    pub(super) dalpha: bool,
    pub(super) drow_weight: bool,
}

impl Gradient {
    /// Only dz.
    pub(super) const fn of(local: Local, dz: Option<(Operand, Want)>) -> Self {
        let (dresidual, residual_before) = (Want::No, false);
        Gradient { local, dz, dresidual, residual_before, db: false, db_up: false, dalpha: false, drow_weight: false }
    }

    /// Whether there is nothing to compute.
    pub(super) const fn is_nothing(&self) -> bool {
        let sums = self.db || self.db_up || self.dalpha || self.drow_weight;
        !(self.dz.is_some() || self.dresidual.wanted() || sums)
    }

    /// With dy for what the dropout has left of it: dz = row_weight[m] · dy ⊙ act'(z), stored; d(residual); the terms of db = Σ dz, dα = Σ row_weight[m] · dy ⊙ ∂act/∂α and
    /// d(row_weight) = Σ dy ⊙ act(z). dy is the finished sum of a product (in a chain it is dx), or an operand.
    pub(super) fn program(&self, upstream: Upstream<'_>) -> Program {
        if let Some(jet) = &self.local.jet {
            return jet::gradient(self, jet, matches!(upstream, Upstream::Sums(_)));
        }
        if let Some(gate) = &self.local.gate {
            return gated::gradient(self, gate);
        }
        let Gradient { local, dz, dresidual, residual_before, db, dalpha, drow_weight, .. } = *self;
        let mut p = Program::default();
        let dy = match upstream {
            Upstream::Sums(around) => finished(&mut p, around),
            Upstream::Operand => p.load(Operand::Dy, By::Element),
        };
        let dz_needed = dz.is_some() || db || (dresidual.wanted() && residual_before);
        if !(dz_needed || dalpha || drow_weight) {
            store(&mut p, Operand::Dresidual, dresidual, dy);
            return p;
        }
        let local = Local { row_weight: local.row_weight.filter(|_| dz_needed || dalpha), ..local };
        let mut of_residual = dy;
        let dy = dropped(&mut p, local.dropout, dy);
        let loaded = local.load(&mut p);
        let upstream = loaded.upstream(&mut p, dy);
        if dz_needed {
            let value = loaded.dz(&mut p, upstream);
            if let Some((operand, want)) = dz {
                store(&mut p, operand, want, value);
            }
            if db {
                p.reduce(Over::Rows, value);
            }
            if residual_before {
                of_residual = value;
            }
        }
        if dalpha && let Some(slope) = loaded.quantity(&mut p, Quantity::AlphaSlope) {
            let term = local.times(&mut p, upstream, slope);
            p.reduce(local.over(), term);
        }
        if drow_weight && let Some(value) = loaded.quantity(&mut p, Quantity::Value) {
            let term = p.multiply(dy, value);
            p.reduce(Over::Columns, term);
        }
        store(&mut p, Operand::Dresidual, dresidual, of_residual);
        p
    }
}

/// y = act(x; α), or another quantity of it.
pub(super) fn activation(quantity: Quantity, source: AlphaSource, channel: By) -> Program {
    let mut p = Program::default();
    let x = p.load(Operand::X, By::Element);
    let alpha = alpha(&mut p, source, Operand::Alpha, channel);
    let y = p.act(ONLY, Function::Of(quantity), x, alpha);
    store(&mut p, Operand::Y, Want::Overwrite, y);
    p
}

/// y = what a dropout leaves of x.
pub(super) fn dropout(dropout: Dropout) -> Program {
    let mut p = Program::default();
    let x = p.load(Operand::X, By::Element);
    let y = dropped(&mut p, Some((Operand::DropoutState, dropout)), x);
    store(&mut p, Operand::Y, Want::Overwrite, y);
    p
}

/// ddy = ddx ⊙ act'(x), dx2 = ddx ⊙ dy ⊙ act''(x), and the terms of dα2 = Σ ddx ⊙ dy ⊙ ∂²act/∂x∂α.
pub(super) fn double_backward(local: Local, ddy: Want, dx2: Want, dalpha2: bool) -> Program {
    let mut p = Program::default();
    let ddx = p.load(Operand::Ddx, By::Element);
    let loaded = local.load(&mut p);
    if ddy.wanted() {
        let value = loaded.dz(&mut p, ddx);
        store(&mut p, Operand::Ddy, ddy, value);
    }
    if !(dx2.wanted() || dalpha2) {
        return p;
    }
    let dy = p.load(Operand::Dy, By::Element);
    if dx2.wanted()
        && let Some(curvature) = loaded.quantity(&mut p, Quantity::SecondDerivative)
    {
        let value = local.times_both(&mut p, [ddx, dy], curvature);
        store(&mut p, Operand::Dx2, dx2, value);
    }
    if dalpha2 && let Some(slope) = loaded.quantity(&mut p, Quantity::MixedDerivative) {
        let term = local.times_both(&mut p, [ddx, dy], slope);
        p.reduce(local.over(), term);
    }
    p
}
