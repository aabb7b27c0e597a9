//! Layers with a front: what it makes of x goes into scratch memory, from which the layer without it is computed; backward, the layer's dx goes
//! back through it.

mod pass;
mod statistics;

use elbow::{
    Norm, Operand,
    cpu::{ForwardInputs, FrontInputs, operands},
    error::{Error, Result},
    request::{AffineRequest, BackwardRequest, Front, Gradients, ResidualAt, Want},
};

use self::{
    pass::{Back, Way},
    statistics::Statistics,
};
use crate::{
    BackwardInputs, BackwardOutputs, ForwardOutputs, Workspace, affine,
    columns::Columns,
    outputs::{gradient, put, slice_mut},
    pass::Channels,
    vectors::add,
};

/// The operands are checked, or none where they are not read.
fn way<'a>(front: &Front, inputs: &FrontInputs<'a>, k: usize) -> Way<'a> {
    Way {
        scale: inputs.scale.map(Columns::new),
        shift: inputs.shift.map(Columns::new),
        channels: Channels::new(front.activation, front.alpha, inputs.alpha, k),
        bends: !front.activation.needs_nothing(),
    }
}

/// Mean and 1 / √(variance + ε): so many of each.
fn lines(norm: &Norm, m: usize, k: usize) -> usize {
    if norm.of_rows() { m } else { k }
}

/// The error of an operand that must not be there, or must.
pub(crate) fn refused(operand: Operand, expected: &str, given: bool) -> Error {
    let got = if given { "an operand" } else { "none" };
    Error::Operand { operand, expected: expected.into(), got: got.into() }
}

/// y of the layer whose x is act(scale ⊙ norm(x) + shift).
pub(crate) fn forward(
    request: &AffineRequest,
    front: &Front,
    inputs: ForwardInputs<'_>,
    outputs: ForwardOutputs<'_>,
) -> Result<()> {
    let (m, k) = (request.m, request.k);
    let ForwardOutputs { y, saved, moments, running_moments } = outputs;
    // Those that a batch moves are an output alone.
    let follows = front.running && front.norm.is_some_and(|norm| norm.is_batch());
    if follows && inputs.front.running_moments.is_some() {
        return Err(refused(
            Operand::RunningMoments,
            "none among the inputs: forward moves those of its outputs",
            true,
        ));
    }
    let inputs = inputs.checked(&request.front(front.running(front.running && !follows)))?;
    let running = match (running_moments, follows) {
        (Some(running), true) => Some(slice_mut(Operand::RunningMoments, running, &[2, k])?),
        (None, false) => None,
        (given, true) => {
            return Err(refused(Operand::RunningMoments, "an output of shape [2, K], to be moved", given.is_some()));
        }
        (given, false) => {
            let expected = "no output: the request does not say that a batch moves them";
            return Err(refused(Operand::RunningMoments, expected, given.is_some()));
        }
    };
    let kept = match (moments, &front.norm) {
        (Some(moments), Some(norm)) => Some(slice_mut(Operand::Moments, moments, &[2, lines(norm, m, k)])?),
        (None, _) => None,
        (Some(_), None) => return Err(refused(Operand::Moments, "none, because there is no norm", true)),
    };

    let way = way(front, &inputs.front, k);
    let mut fronted = vec![0.0; m * k];
    let mut planes = vec![0.0; front.norm.map_or(0, |norm| 2 * lines(&norm, m, k))];
    let mut of_batch = Vec::new();
    match &front.norm {
        _ if fronted.is_empty() => {}
        None => way.all(None, inputs.x, &mut fronted),
        Some(norm) if norm.of_rows() => way.all_by_rows(norm, &mut planes, inputs.x, &mut fronted),
        Some(norm) => {
            of_batch = match inputs.front.running_moments {
                Some(running) => statistics::of_running(running),
                None => statistics::of_columns(inputs.x, k),
            };
            statistics::put(norm, &of_batch, &mut planes);
            way.all(Some(&Statistics::new(norm, planes.split_at(k).into())), inputs.x, &mut fronted);
        }
    }
    let behind = request.front(None);
    let inputs = inputs.x(&fronted).front(FrontInputs::default());
    affine::forward(&behind, inputs, ForwardOutputs { y, saved, ..ForwardOutputs::default() })?;
    // Of an x without elements there are no statistics.
    if fronted.is_empty() {
        return Ok(());
    }
    if let Some(kept) = kept {
        kept.copy_from_slice(&planes);
    }
    if let (Some(running), Some(norm)) = (running, &front.norm) {
        statistics::follow(norm, &of_batch, m, running);
    }
    Ok(())
}

/// The gradients of the layer behind the front, and from its dx those of the front and of x.
pub(crate) fn backward<'i>(
    request: &BackwardRequest,
    front: &Front,
    inputs: &BackwardInputs<'i>,
    outputs: BackwardOutputs<'_>,
    workspace: &mut Workspace,
) -> Result<()> {
    let AffineRequest { m, n, k, residual, .. } = request.affine;
    let wants = request.gradients;
    // What is read follows from what was kept.
    let affine = request.affine.saved(inputs.saved.kind());
    let asked = request.affine(affine).resolve()?;
    let dx = gradient(Operand::Dx, outputs.dx, wants.x, &[m, k])?;
    let dscale = gradient(Operand::Dscale, outputs.dscale, wants.scale, &[k])?;
    let dshift = gradient(Operand::Dshift, outputs.dshift, wants.shift, &[k])?;
    let alphas = operands::alpha_length(front.alpha, k);
    let dalpha = gradient(Operand::DfrontAlpha, outputs.dfront_alpha, wants.front_alpha, &[alphas])?;
    let read = |operand, given: Option<&'i [f32]>, shape: &[usize]| {
        let read = asked.reads(operand);
        operands::optional(operand, given.filter(|_| read), read, shape)
    };
    let read_inputs = FrontInputs::default()
        .scale(read(Operand::Scale, inputs.front.scale, &[k])?)
        .shift(read(Operand::Shift, inputs.front.shift, &[k])?)
        .alpha(read(Operand::FrontAlpha, inputs.front.alpha, &[alphas])?);
    let of_norm = front.norm.map_or(0, |norm| lines(&norm, m, k));
    let moments = read(Operand::Moments, inputs.moments, &[2, of_norm])?;
    let x = if asked.reads(Operand::X) { operands::slice(Operand::X, inputs.x, &[m, k])? } else { &[] };
    let statistics = || {
        let (norm, moments) = front.norm.as_ref().zip(moments)?;
        Some(Statistics::new(norm, moments.split_at(of_norm).into()))
    };

    // Where dz goes around the layer, it is written here, and to the caller's d(residual) from here.
    let before = residual == Some(ResidualAt::BeforeActivation);
    let dz_goes_around = request.skip && before;
    let (dresidual, of_residual) = match dz_goes_around {
        true => (gradient(Operand::Dresidual, outputs.dresidual, wants.residual, &[m, n])?, None),
        false => (None, outputs.dresidual),
    };
    let mut around = std::mem::take(&mut workspace.dz2);
    let mut fronted = std::mem::take(&mut workspace.fronted);
    let mut dfronted = std::mem::take(&mut workspace.dx);
    let result = (|| {
        let wanted = |there: bool| if there { Want::Overwrite } else { Want::No };
        let none = Gradients::default().w(wants.w).b(wants.b).alpha(wants.alpha).row_weight(wants.row_weight);
        let none = none.w_up(wants.w_up).b_up(wants.b_up);
        let residual = if dz_goes_around { Want::Overwrite } else { wants.residual };
        let gradients = none.x(wanted(wants.need_dx())).residual(residual);
        let behind = request.affine(affine.front(None)).gradients(gradients).skip(false);
        let way = way(front, &read_inputs, k);
        let statistics = statistics();
        let x_of_product = match behind.resolve()?.reads(Operand::X) {
            true => {
                let fronted = crate::scratch(&mut fronted, m * k);
                way.all(statistics.as_ref(), x, fronted);
                fronted
            }
            false => &mut [],
        };
        let dfronted = crate::scratch(&mut dfronted, if wants.need_dx() { m * k } else { 0 });
        let around = crate::scratch(&mut around, if dz_goes_around { m * n } else { 0 });
        let outputs = BackwardOutputs {
            dx: wants.need_dx().then_some(&mut *dfronted),
            dw: outputs.dw,
            db: outputs.db,
            dalpha: outputs.dalpha,
            dresidual: if dz_goes_around { Some(&mut *around) } else { of_residual },
            drow_weight: outputs.drow_weight,
            dw_up: outputs.dw_up,
            db_up: outputs.db_up,
            ..BackwardOutputs::default()
        };
        affine::backward(&behind, BackwardInputs { x: x_of_product, ..*inputs }, outputs, workspace)?;
        match dresidual {
            Some((out, Want::Accumulate)) => add(out, around),
            Some((out, _)) => out.copy_from_slice(around),
            None => {}
        }
        let around: Option<&[f32]> = match request.skip {
            true if before => Some(around),
            true => Some(&inputs.dy[..m * n]),
            false => None,
        };
        let back = Back {
            way: &way,
            front,
            statistics,
            x,
            dscale: dscale.is_some(),
            dshift: dshift.is_some(),
            dalpha: dalpha.is_some(),
            around,
        };
        let sums = back.all(dfronted, dx, &mut workspace.partials);
        put(dscale, sums.dscale);
        put(dshift, sums.dshift);
        put(dalpha, sums.dalpha);
        Ok(())
    })();
    (workspace.dz2, workspace.fronted, workspace.dx) = (around, fronted, dfronted);
    result
}
