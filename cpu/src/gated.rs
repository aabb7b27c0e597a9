//! Gated layers, y = act(gate; α) ⊙ up: the linear layer of all 2N outputs, and passes over the units of z ([`elbow::Gate`] says where they lie). A row
//! goes through in pieces of so many units that all of its arrays stay in the first-level cache.

use elbow::{
    Activation, Gate, Operand,
    activation::Quantity,
    cpu::{ForwardInputs, operands},
    error::{Error, Result},
    request::{AffineRequest, AlphaSource, BackwardRequest, Gradients, Saved, Want},
};

use crate::{
    BackwardInputs, BackwardOutputs, ForwardOutputs, Workspace, affine,
    left::Left,
    outputs::{constant_alpha, gradient, put, slice_mut},
    pass::{Channels, block_rows, in_blocks},
    saved::{SavedIn, SavedOut},
    threads,
    vectors::{add, add_to_sums, multiply, multiply_passed, pass_both, total},
};

/// Units of a piece.
const PIECE: usize = 256;

/// The linear layer of all outputs, or of one of two weights apart.
fn linear(request: &AffineRequest) -> AffineRequest {
    let all = AffineRequest::new(request.m, request.outputs_of_w(), request.k, Activation::IDENTITY);
    all.layout(request.layout).bias(request.bias).saved(Saved::None)
}

/// z of all outputs: of weights apart each side by itself, laid beside the other.
fn sums(request: &AffineRequest, gate: &Gate, inputs: &ForwardInputs<'_>, z: &mut [f32]) -> Result<()> {
    let one = |w, b, y: &mut [f32]| {
        let outputs = ForwardOutputs { y, ..Default::default() };
        affine::forward(&linear(request), ForwardInputs::new(inputs.x, w).b(b), outputs)
    };
    let Some(w_up) = inputs.w_up else { return one(inputs.w, inputs.b, z) };
    let n = request.n;
    let mut side = vec![0.0; request.m * n];
    for (w, b, at) in [(inputs.w, inputs.b, gate.gate_at(0, n)), (w_up, inputs.b_up, gate.up_at(0, n))] {
        one(w, b, &mut side)?;
        for (z, of_side) in z.chunks_mut((2 * n).max(1)).zip(side.chunks(n.max(1))) {
            z[at..at + n].copy_from_slice(of_side);
        }
    }
    Ok(())
}

/// An error unless z is kept, or nothing.
fn enough(saved: Saved) -> Result<()> {
    match saved {
        Saved::Auto | Saved::Z | Saved::None => Ok(()),
        Saved::Y | Saved::Mask => Err(Error::Unsupported {
            what: format!("a gated layer with saved {saved}"),
            why: "its gradients need gate and up; enough would be: z, none (z is computed again)".into(),
        }),
    }
}

/// The piece of a row's units from `first` on: act's argument and the factor, and with a limit their slopes.
struct Units {
    gate: [f32; PIECE],
    up: [f32; PIECE],
    slopes: [[f32; PIECE]; 2],
}

impl Units {
    const NONE: Units = Units { gate: [0.0; PIECE], up: [0.0; PIECE], slopes: [[0.0; PIECE]; 2] };

    /// Of a row of z with so many units.
    fn load(&mut self, gate: &Gate, z: &[f32], units: usize, first: usize, count: usize) {
        for (to, at) in [(&mut self.gate, gate.gate_at(first, units)), (&mut self.up, gate.up_at(first, units))] {
            let to = &mut to[..count];
            match gate.is_interleaved() {
                false => to.copy_from_slice(&z[at..][..count]),
                true => to.iter_mut().zip(z[at..].iter().step_by(2)).for_each(|(to, z)| *to = *z),
            }
        }
        let Some(limit) = gate.limit() else { return };
        let within = |v: f32, inside: bool| if v.is_nan() { v } else { f32::from(u8::from(inside)) };
        for i in 0..count {
            let (z, up) = (self.gate[i], self.up[i]);
            self.slopes[0][i] = within(z, z <= limit);
            self.slopes[1][i] = within(up, up.abs() <= limit);
            self.gate[i] = if z > limit { limit } else { z };
            self.up[i] = up.clamp(-limit, limit) + 1.0;
        }
    }
}

/// The rows of a block, each in pieces of its units: row, first unit, units.
fn pieces(rows: usize, units: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..rows).flat_map(move |row| (0..units).step_by(PIECE).map(move |first| (row, first, PIECE.min(units - first))))
}

/// y = row_weight ⊙ act(gate; α) ⊙ up (+ residual); the inputs are checked.
pub(crate) fn forward(
    request: &AffineRequest,
    gate: &Gate,
    inputs: &ForwardInputs<'_>,
    outputs: ForwardOutputs<'_>,
) -> Result<()> {
    let (m, n, width) = (request.m, request.n, request.outputs());
    enough(request.saved)?;
    let y = slice_mut(Operand::Y, outputs.y, &[m, n])?;
    let mut room = Vec::new();
    let z = match (outputs.saved, request.saved) {
        (SavedOut::Z(z), Saved::Z | Saved::Auto) => slice_mut(Operand::Saved, z, &[m, width])?,
        (SavedOut::None, Saved::None | Saved::Auto) => crate::scratch(&mut room, m * width),
        _ => {
            let expected = format!("an output for what the request saves, {}", request.saved);
            return Err(Error::Operand { operand: Operand::Saved, expected, got: "another".into() });
        }
    };
    sums(request, gate, inputs, z)?;
    if y.is_empty() {
        return Ok(());
    }
    let dropout = Left::new(request.dropout, inputs.dropout_state);
    let channels = Channels::new(request.activation, request.alpha, inputs.alpha, n);
    let rows = block_rows(m, width);
    let z: &[f32] = z;
    let work = |(block, (y, z)): (usize, (&mut [f32], &[f32]))| {
        let mut units = Units::NONE;
        for (row, first, count) in pieces(y.len() / n, n) {
            units.load(gate, &z[row * width..][..width], n, first, count);
            let at = row * n + first;
            let y = &mut y[at..at + count];
            channels.evaluate_from(Quantity::Value, first, &units.gate[..count], y);
            for (y, up) in y.iter_mut().zip(&units.up) {
                *y *= up;
            }
            let of_all = block * rows * n + at;
            if let Some(weight) = inputs.row_weight {
                let weight = weight[block * rows + row];
                y.iter_mut().for_each(|y| *y *= weight);
            }
            if let Some(dropout) = &dropout {
                dropout.of(of_all, y);
            }
            if let Some(residual) = inputs.residual {
                add(y, &residual[of_all..of_all + count]);
            }
        }
    };
    threads::each(y.chunks_mut(rows * n).zip(z.chunks(rows * width)).enumerate(), work);
    Ok(())
}

/// dz of both sides, from which the gradients of the linear layer follow, and those of α, of the row weight and of the residual.
pub(crate) fn backward(
    request: &BackwardRequest,
    gate: &Gate,
    inputs: &BackwardInputs<'_>,
    outputs: BackwardOutputs<'_>,
    workspace: &mut Workspace,
) -> Result<()> {
    let (affine, wants) = (&request.affine, &request.gradients);
    let (m, n, k, width) = (affine.m, affine.n, affine.k, affine.outputs());
    request.resolve()?;
    if request.below.is_some() {
        return Err(Error::Unsupported {
            what: "a chain from a gated layer in elbow-cpu".into(),
            why: "only the GPU and elbow::cpu::reference compute it".into(),
        });
    }
    enough(inputs.saved.kind())?;
    let dy = operands::slice(Operand::Dy, inputs.dy, &[m, n])?;
    let alpha = operands::alpha(Operand::Alpha, inputs.alpha, affine.alpha, n)?;
    let row_weight = operands::optional(Operand::RowWeight, inputs.row_weight, affine.row_weight, &[m])?;
    let state = operands::dropout_state(Operand::DropoutState, inputs.dropout_state, affine.dropout)?;
    let alphas = operands::alpha_length(affine.alpha, n);
    let dalpha = gradient(Operand::Dalpha, outputs.dalpha, wants.alpha, &[alphas])?;
    if dalpha.is_some() && affine.alpha == AlphaSource::Constant {
        return Err(constant_alpha(Operand::Dalpha));
    }
    let dresidual = gradient(Operand::Dresidual, outputs.dresidual, wants.residual, &[m, n])?;
    let drow_weight = gradient(Operand::DrowWeight, outputs.drow_weight, wants.row_weight, &[m])?;
    let BackwardOutputs { mut dx, dw, db, dw_up, db_up, .. } = outputs;
    let of_w = affine.outputs_of_w();
    let of_parameters = [wants.w, wants.b, wants.w_up, wants.b_up].iter().any(|want| want.wanted());
    let needed = wants.x.wanted() || of_parameters || wants.need_z();
    let saved = if needed { inputs.saved.checked(Operand::Saved, m, width)? } else { SavedIn::None };
    let again = needed && matches!(saved, SavedIn::None);
    // What the products read is checked before anything is written.
    let x_needed = again || wants.w.wanted() || wants.w_up.wanted();
    let x = if x_needed { operands::slice(Operand::X, inputs.x, &[m, k])? } else { &[] };
    let w_needed = again || wants.x.wanted();
    let w = if w_needed { operands::slice(Operand::W, inputs.w, &[of_w, k])? } else { &[] };
    let apart = affine.is_apart();
    let w_up = inputs.w_up.filter(|_| w_needed || !apart);
    let w_up = operands::optional(Operand::WUp, w_up, apart && w_needed, &[of_w, k])?;
    for (operand, given, want, shape) in [
        (Operand::Dx, &dx, wants.x, [m, k]),
        (Operand::Dw, &dw, wants.w, [of_w, k]),
        (Operand::Db, &db, wants.b, [1, of_w]),
        (Operand::DwUp, &dw_up, wants.w_up, [of_w, k]),
        (Operand::DbUp, &db_up, wants.b_up, [1, of_w]),
    ] {
        if want.wanted() {
            operands::slice(operand, given.as_deref().unwrap_or_default(), &shape)?;
        }
    }
    match dresidual {
        Some((out, Want::Accumulate)) => add(out, dy),
        Some((out, _)) => out.copy_from_slice(dy),
        None => {}
    }
    if !needed {
        return Ok(());
    }
    let mut dz_memory = std::mem::take(&mut workspace.dz);
    let dz = crate::scratch(&mut dz_memory, m * width);
    let z = match saved {
        SavedIn::Z(z) => Some(z),
        _ => {
            let b = operands::optional(Operand::B, inputs.b, affine.bias, &[of_w])?;
            let b_up = operands::optional(Operand::BUp, inputs.b_up, affine.bias && apart, &[of_w])?;
            sums(affine, gate, &ForwardInputs::new(x, w).b(b).w_up(w_up).b_up(b_up), dz)?;
            None
        }
    };
    let pass = Pass {
        gate,
        dy,
        row_weight,
        channels: Channels::new(affine.activation, affine.alpha, alpha, n),
        width,
        dropout: Left::new(affine.dropout, state),
        dalpha: dalpha.is_some(),
        drow_weight: drow_weight.is_some(),
    };
    let rows = block_rows(m, width);
    let mut row_sums = vec![0.0; m];
    let blocks: Vec<_> = dz.chunks_mut((rows * width).max(1)).zip(row_sums.chunks_mut(rows)).enumerate().collect();
    let sums = in_blocks(
        blocks,
        if dalpha.is_some() { alphas } else { 0 },
        &mut workspace.partials,
        |_, (i, (dz, of_rows)), sums| {
            let first = i * rows;
            let z = z.map(|z| &z[first * width..][..dz.len()]);
            pass.block(first, z, dz, of_rows, sums);
        },
    );
    put(dalpha, sums);
    put(drow_weight, &row_sums);
    let mut product = |dz: &[f32], w, want_x, [want_w, want_b]: [Want; 2], [dw, db]: [Option<&mut [f32]>; 2]| {
        let wants = Gradients::default().x(want_x).w(want_w).b(want_b);
        let request = BackwardRequest::new(linear(affine), wants).upstream_is_dz(true);
        let inputs = BackwardInputs { x, w, dy: dz, ..BackwardInputs::default() };
        let outputs = BackwardOutputs { dx: dx.as_deref_mut(), dw, db, ..BackwardOutputs::default() };
        affine::backward(&request, inputs, outputs, workspace)
    };
    let result = match apart {
        false => product(dz, w, wants.x, [wants.w, wants.b], [dw, db]),
        true => {
            let side =
                |at: usize| dz.chunks(width.max(1)).flat_map(|row| &row[at..at + n]).copied().collect::<Vec<_>>();
            let [of_gate, of_up] = [gate.gate_at(0, n), gate.up_at(0, n)].map(side);
            let added = if wants.x.wanted() { Want::Accumulate } else { Want::No };
            product(&of_gate, w, wants.x, [wants.w, wants.b], [dw, db]).and_then(|()| {
                product(&of_up, w_up.unwrap_or_default(), added, [wants.w_up, wants.b_up], [dw_up, db_up])
            })
        }
    };
    workspace.dz = dz_memory;
    if let (true, Some(dx)) = (request.skip && result.is_ok(), dx) {
        add(&mut dx[..m * k], dy);
    }
    result
}

/// What makes dz of a block of rows.
struct Pass<'a> {
    gate: &'a Gate,
    dy: &'a [f32],
    row_weight: Option<&'a [f32]>,
    channels: Channels<'a>,
    width: usize,
    dropout: Option<Left>,
    dalpha: bool,
    drow_weight: bool,
}

impl Pass<'_> {
    /// Replaces dz of the rows from this one on, which holds z unless that is given, and adds the terms of dα and of the row weights.
    fn block(&self, first_row: usize, z: Option<&[f32]>, dz: &mut [f32], of_rows: &mut [f64], sums: &mut [f64]) {
        let Pass { gate, channels, width, .. } = self;
        let (n, stops, width) = (channels.n(), channels.stops(), *width);
        let mut units = Units::NONE;
        let [mut upstream, mut value, mut derivative, mut passed, mut kept] = [[0.0; PIECE]; 5];
        for (row, first, count) in pieces(dz.len() / width.max(1), n) {
            let dz = &mut dz[row * width..][..width];
            units.load(gate, z.map_or(&*dz, |z| &z[row * width..][..width]), n, first, count);
            let dy = &mut kept[..count];
            let at = (first_row + row) * n + first;
            dy.copy_from_slice(&self.dy[at..at + count]);
            if let Some(dropout) = &self.dropout {
                dropout.of(at, dy);
            }
            let (of_gate, up) = (&units.gate[..count], &units.up[..count]);
            let [value, derivative, passed] = [&mut value, &mut derivative, &mut passed].map(|room| &mut room[..count]);
            channels.evaluate_from(Quantity::Value, first, of_gate, value);
            if self.drow_weight {
                multiply(value, up, passed);
                of_rows[row] += dy.iter().zip(&*passed).map(|(dy, y)| f64::from(*dy) * f64::from(*y)).sum::<f64>();
            }
            let upstream = &mut upstream[..count];
            let weight = self.row_weight.map_or(1.0, |s| s[first_row + row]);
            upstream.iter_mut().zip(&*dy).for_each(|(upstream, dy)| *upstream = weight * dy);
            multiply(upstream, value, passed);
            self.through(&units, 1, passed);
            channels.evaluate_from(Quantity::Slope, first, of_gate, derivative);
            pass_both(stops, derivative, upstream, up);
            self.through(&units, 0, derivative);
            for (at, gradient) in [(gate.gate_at(first, n), &*derivative), (gate.up_at(first, n), &*passed)] {
                match gate.is_interleaved() {
                    false => dz[at..][..count].copy_from_slice(gradient),
                    true => dz[at..].iter_mut().step_by(2).zip(gradient).for_each(|(dz, gradient)| *dz = *gradient),
                }
            }
            if self.dalpha {
                channels.evaluate_from(Quantity::AlphaSlope, first, of_gate, derivative);
                pass_both(stops, derivative, upstream, up);
                match &mut *sums {
                    [sum] => *sum += total(derivative),
                    sums => add_to_sums(&mut sums[first..first + count], derivative),
                }
            }
        }
    }

    /// Beyond a limit nothing passes.
    fn through(&self, units: &Units, side: usize, gradient: &mut [f32]) {
        if self.gate.limit().is_some() {
            let mut given = [0.0; PIECE];
            let given = &mut given[..gradient.len()];
            given.copy_from_slice(gradient);
            multiply_passed(true, given, &units.slopes[side][..gradient.len()], gradient);
        }
    }
}
