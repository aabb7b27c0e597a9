//! The fused layer, y = row_weight ⊙ act(x·Wᵀ + b; α) (+ residual), and its gradients.

use elbow::{
    Operand,
    cpu::{ForwardInputs, FrontInputs, operands},
    dtype::Float,
    error::{Error, Result},
    request::{AffineRequest, AlphaSource, BackwardRequest, ResidualAt, Saved, Want, WeightLayout},
};

use crate::{
    Workspace,
    below::BelowParts,
    front, gated, jet,
    left::Left,
    mask,
    outputs::{self, gradient, put},
    pass::{Channels, Descend, Finish},
    product,
    saved::{SavedIn, SavedOut},
    slopes::Slopes,
    threads,
    times::{self, times_transposed, transposed_times},
    vectors,
};

/// The results of [`forward`].
#[derive(Debug, Default)]
pub struct ForwardOutputs<'a> {
    /// y `[M, N]`.
    pub y: &'a mut [f32],
    /// What is kept for backward.
    pub saved: SavedOut<'a>,
    /// Written if there is a norm in front of the layer and a backward follows, which reads it: mean and 1 / √(variance + ε) of each column,
    /// `[2, K]`, or of each row, `[2, M]`. Of an x without elements nothing is written.
    pub moments: Option<&'a mut [f32]>,
    /// Mean and variance of each column over earlier batches, `[2, K]`, moved in place towards those of this one by [`elbow::Norm::batch`], if
    /// and only if the front says that it has running statistics. ([`elbow::Norm::running`] reads them from the inputs.)
    pub running_moments: Option<&'a mut [f32]>,
}

/// The operands of [`backward()`]. An operand that no wanted gradient depends on may be empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct BackwardInputs<'a> {
    /// x `[M, K]`; for dw, and if nothing was saved.
    pub x: &'a [f32],
    /// w `[N, K]` or `[K, N]`; for dx, and if nothing was saved.
    pub w: &'a [f32],
    /// b `[N]`; if nothing was saved.
    pub b: Option<&'a [f32]>,
    /// α `[1]` or `[N]`, if it is not a constant.
    pub alpha: Option<&'a [f32]>,
    /// ∂L/∂y `[M, N]`, or dz if the request says so.
    pub dy: &'a [f32],
    /// What forward kept for backward.
    pub saved: SavedIn<'a>,
    /// What the layer below kept, for M rows and K columns.
    pub saved_below: SavedIn<'a>,
    /// α of the layer below, `[1]` or `[K]`.
    pub alpha_below: Option<&'a [f32]>,
    /// Residual `[M, N]`; if nothing was saved and it joins before the activation.
    pub residual: Option<&'a [f32]>,
    /// Row weight `[M]`, if the request has one.
    pub row_weight: Option<&'a [f32]>,
    /// Row weight of the layer below, `[M]`.
    pub row_weight_below: Option<&'a [f32]>,
    /// The state of the dropout, if the request has one ([`elbow::Dropout::state`]).
    pub dropout_state: Option<[u32; 4]>,
    /// That of the layer below.
    pub dropout_state_below: Option<[u32; 4]>,
    /// Weight of up, as w, if the request has a gate whose weights are apart: for dx, and if nothing was saved.
    pub w_up: Option<&'a [f32]>,
    /// Its bias `[N]`; if nothing was saved.
    pub b_up: Option<&'a [f32]>,
    /// The operands of what is in front of the product; running statistics are not read.
    pub front: FrontInputs<'a>,
    /// What forward wrote to [`ForwardOutputs::moments`], if there is a norm.
    pub moments: Option<&'a [f32]>,
}

/// The results of [`backward()`]: every gradient that the request wants must be given.
#[derive(Debug, Default)]
pub struct BackwardOutputs<'a> {
    /// dx = dz·W `[M, K]`; with a layer below dz of that layer.
    pub dx: Option<&'a mut [f32]>,
    /// dW `[N, K]` or `[K, N]`, as w.
    pub dw: Option<&'a mut [f32]>,
    /// db `[N]`.
    pub db: Option<&'a mut [f32]>,
    /// dα `[1]` or `[N]`.
    pub dalpha: Option<&'a mut [f32]>,
    /// d(residual) `[M, N]`.
    pub dresidual: Option<&'a mut [f32]>,
    /// db of the layer below, `[K]`.
    pub db_below: Option<&'a mut [f32]>,
    /// dα of the layer below, `[1]` or `[K]`.
    pub dalpha_below: Option<&'a mut [f32]>,
    /// d(row_weight) `[M]`.
    pub drow_weight: Option<&'a mut [f32]>,
    /// d(row_weight) of the layer below, `[M]`.
    pub drow_weight_below: Option<&'a mut [f32]>,
    /// dW of up, of a gate whose weights are apart, as its weight; dw is then the gate's.
    pub dw_up: Option<&'a mut [f32]>,
    /// db of up, `[N]`.
    pub db_up: Option<&'a mut [f32]>,
    /// d(scale) of the front, `[K]`.
    pub dscale: Option<&'a mut [f32]>,
    /// d(shift) of the front, `[K]`.
    pub dshift: Option<&'a mut [f32]>,
    /// dα of the front, `[1]` or `[K]`.
    pub dfront_alpha: Option<&'a mut [f32]>,
}

/// z = x·Wᵀ + b (+ residual), y = row_weight ⊙ act(z; α) (+ residual), where x may have come through a front,
/// act(scale ⊙ norm(x) + shift; α).
///
/// `outputs.saved` says what is kept; it must agree with `request.saved` unless that is [`Saved::Auto`]. Statistics are an
/// [`Error::Unsupported`] here. The crate's first page has an example; this one has a front:
///
/// ```
/// use elbow::{Activation, Norm, Want, request::{AffineRequest, BackwardRequest, Front, Gradients}};
/// use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardInputs, ForwardOutputs, FrontInputs, Workspace};
/// // relu(batch_norm(x))·Wᵀ, and how x and the norm's scale move it.
/// let front = Front::new(Activation::RELU).norm(Norm::batch().epsilon(1e-12)?).scale(true).running(true);
/// let layer = AffineRequest::new(2, 1, 1, Activation::IDENTITY).bias(false).front(front);
/// let (x, w, of_front) = ([1.0, 5.0], [0.5], FrontInputs::default().scale(Some(&[4.0])));
/// let (mut y, mut moments, mut running) = ([0.0; 2], [0.0; 2], [0.0, 1.0]);
/// let outputs = ForwardOutputs {
///     y: &mut y,
///     moments: Some(&mut moments),
///     running_moments: Some(&mut running),
///     ..Default::default()
/// };
/// elbow_cpu::forward(&layer, ForwardInputs::new(&x, &w).front(of_front), outputs)?;
/// assert_eq!((y, moments), ([0.0, 2.0], [3.0, 0.5]));
/// assert_eq!(running, [0.3, 1.7]); // a tenth of the way to 3 and 8
///
/// let request = BackwardRequest::new(layer, Gradients::default().x(Want::Overwrite).scale(Want::Overwrite));
/// let inputs = BackwardInputs {
///     x: &x,
///     w: &w,
///     dy: &[1.0; 2],
///     front: of_front,
///     moments: Some(&moments),
///     ..Default::default()
/// };
/// let (mut dx, mut dscale) = ([9.0; 2], [9.0]);
/// let outputs = BackwardOutputs { dx: Some(&mut dx), dscale: Some(&mut dscale), ..Default::default() };
/// elbow_cpu::backward(&request, inputs, outputs, &mut Workspace::new())?;
/// assert_eq!((dx, dscale), ([0.0; 2], [0.5])); // two numbers are normalised to −1 and 1, whatever they are
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn forward(request: &AffineRequest, inputs: ForwardInputs<'_>, outputs: ForwardOutputs<'_>) -> Result<()> {
    if let Some(front) = &request.front {
        return front::forward(request, front, inputs, outputs);
    }
    let inputs = inputs.checked(request)?;
    for (operand, given) in [(Operand::Moments, &outputs.moments), (Operand::RunningMoments, &outputs.running_moments)]
    {
        if given.is_some() {
            return Err(front::refused(operand, "none, because there is no norm in front of the layer", true));
        }
    }
    if request.statistics.any() {
        return Err(Error::Unsupported {
            what: "statistics in elbow-cpu".into(),
            why: "only the GPU and elbow::cpu::reference compute them".into(),
        });
    }
    if let Some(gate) = &request.gate {
        return gated::forward(request, gate, &inputs, outputs);
    }
    let (m, n, k) = (request.m, request.n, request.k);
    let y = outputs::slice_mut(Operand::Y, outputs.y, &[m, n])?;
    let saved = match outputs.saved {
        SavedOut::None => SavedOut::None,
        SavedOut::Z(z) => SavedOut::Z(outputs::slice_mut(Operand::Saved, z, &[m, n])?),
        SavedOut::Mask(mask) => {
            jet::enough(request.jet, Saved::Mask)?;
            request.activation.saved_is_enough(Saved::Mask, false, false, request.y_has_more(), Float::F32)?;
            SavedOut::Mask(outputs::slice_mut(Operand::Saved, mask, &[m, mask::words(n)])?)
        }
    };
    let agrees = match request.saved {
        Saved::Auto => true,
        Saved::Z => matches!(saved, SavedOut::Z(_)),
        Saved::Mask => matches!(saved, SavedOut::Mask(_)),
        Saved::Y | Saved::None => matches!(saved, SavedOut::None),
    };
    if !agrees {
        return Err(Error::Operand {
            operand: Operand::Saved,
            expected: format!("an output for what the request saves, {}", request.saved),
            got: match saved {
                SavedOut::None => "none",
                SavedOut::Z(_) => "an output for z",
                SavedOut::Mask(_) => "an output for the mask",
            }
            .into(),
        });
    }
    if y.is_empty() {
        return Ok(());
    }
    let finish = Finish {
        bias: inputs.b,
        channels: Channels::new(request.activation, request.alpha, inputs.alpha, n),
        residual: inputs.residual,
        residual_at: request.residual.unwrap_or_default(),
        row_weight: inputs.row_weight,
        dropout: Left::new(request.dropout, inputs.dropout_state),
        jet: request.jet,
    };
    let workers = threads::count();
    let parallel = m.saturating_mul(n).saturating_mul(k) > times::SERIAL && workers > 1;
    let tiles = request.layout == WeightLayout::OutIn && !product::pays_to_pack(m, n, k);
    if tiles && !(parallel && product::is_flat(m, workers)) {
        let rows = product::block_rows(m, k, if parallel { workers } else { 1 });
        // Groups of rows stay together.
        let rows = rows.next_multiple_of(request.jet.map_or(1, |jet| jet.members()));
        let blocks: Vec<_> = y.chunks_mut(rows * n).zip(saved.blocks(rows, n, m.div_ceil(rows))).enumerate().collect();
        let work = |(i, (y, mut saved)): (usize, (&mut [f32], SavedOut<'_>))| {
            let mut c: Vec<_> = y.chunks_mut(n).collect();
            product::rows_times_rows(&mut c, &inputs.x[i * rows * k..], inputs.w, k, false);
            finish.block(i * rows, y, &mut saved);
        };
        if parallel { threads::each(blocks.into_iter(), work) } else { blocks.into_iter().for_each(work) }
    } else {
        times_transposed(y, inputs.x, inputs.w, (m, n, k), request.layout == WeightLayout::OutIn, false);
        finish.all(y, saved);
    }
    Ok(())
}

/// dz = dy ⊙ act'(z; α), then the gradients that the request wants: dx = dz·W, dW = dzᵀ·x, db = Σ_rows dz, dα = Σ dy ⊙ ∂act/∂α. An
/// error names the operand that does not fit, and nothing is written.
///
/// ```
/// use elbow::{Activation, Saved, Want, request::{AffineRequest, BackwardRequest, Gradients}};
/// use elbow_cpu::{BackwardInputs, BackwardOutputs, SavedIn, Workspace};
/// let layer = AffineRequest::new(2, 1, 2, Activation::RELU).saved(Saved::Y);
/// let request = BackwardRequest::new(layer, Gradients::default().x(Want::Overwrite));
/// let (w, y, dy) = ([0.5, 0.25], [2.0, 0.0], [1.0, 1.0]);
/// let inputs = BackwardInputs { w: &w, dy: &dy, saved: SavedIn::Y(&y), ..Default::default() };
/// let mut dx = [0.0; 4];
/// let outputs = BackwardOutputs { dx: Some(&mut dx), ..Default::default() };
/// elbow_cpu::backward(&request, inputs, outputs, &mut Workspace::new())?;
/// assert_eq!(dx, [0.5, 0.25, 0.0, 0.0]); // the ReLU stops the second row
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn backward(
    request: &BackwardRequest,
    inputs: BackwardInputs<'_>,
    outputs: BackwardOutputs<'_>,
    workspace: &mut Workspace,
) -> Result<()> {
    let affine = &request.affine;
    if let Some(front) = &affine.front {
        return front::backward(request, front, &inputs, outputs, workspace);
    }
    affine.check_sizes()?;
    jet::check_chain(request)?;
    // Without a front it has no gradients.
    let of_front = request.gradients.x(Want::No).need_dx();
    if request.skip || request.in_place || of_front {
        request.resolve()?;
    }
    if let Some(gate) = &affine.gate {
        return gated::backward(request, gate, &inputs, outputs, workspace);
    }
    let wants = &request.gradients;
    let (m, n, k) = (affine.m, affine.n, affine.k);
    let Workspace { dz: dz_memory, dx: dx_memory, partials, .. } = workspace;

    let weights: &[usize] = &[n, k];
    let mut dx = gradient(Operand::Dx, outputs.dx, wants.x, &[m, k])?;
    let dw = gradient(Operand::Dw, outputs.dw, wants.w, weights)?;
    let db = gradient(Operand::Db, outputs.db, wants.b, &[n])?;
    let dalpha = gradient(Operand::Dalpha, outputs.dalpha, wants.alpha, &[operands::alpha_length(affine.alpha, n)])?;
    let dresidual = gradient(Operand::Dresidual, outputs.dresidual, wants.residual, &[m, n])?;
    let drow_weight = gradient(Operand::DrowWeight, outputs.drow_weight, wants.row_weight, &[m])?;
    let below = match &request.below {
        Some(below) => {
            let outputs = (outputs.db_below, outputs.dalpha_below, outputs.drow_weight_below);
            Some(BelowParts::new(below, &inputs, outputs, m, k)?)
        }
        None => None,
    };
    let dy = operands::slice(Operand::Dy, inputs.dy, &[m, n])?;
    let alpha = operands::alpha(Operand::Alpha, inputs.alpha, affine.alpha, n)?;
    let weighted = affine.row_weight && !request.upstream_is_dz;
    let row_weight = operands::optional(Operand::RowWeight, inputs.row_weight.filter(|_| weighted), weighted, &[m])?;
    let dropout = affine.dropout.filter(|_| !request.upstream_is_dz);
    let state = inputs.dropout_state.filter(|_| dropout.is_some());
    let dropout = Left::new(dropout, operands::dropout_state(Operand::DropoutState, state, dropout)?);
    let dx_needed = dx.is_some() || below.is_some();
    if wants.alpha.wanted() {
        learnable(Operand::Dalpha, affine.alpha)?;
    }
    let before = affine.residual == Some(ResidualAt::BeforeActivation);
    if request.upstream_is_dz && (wants.need_z() || (wants.residual.wanted() && !before)) {
        return Err(Error::Unsupported {
            what: "dalpha, drow_weight or dresidual in a backward that starts from dz".into(),
            why: "they are made from dy: ask the layer above for dalpha_below or drow_weight_below".into(),
        });
    }
    if wants.row_weight.wanted() && !affine.row_weight {
        return Err(Error::Operand {
            operand: Operand::DrowWeight,
            expected: "none, because the request has no row weight".into(),
            got: "a gradient".into(),
        });
    }
    if wants.residual.wanted() && affine.residual.is_none() {
        return Err(Error::Operand {
            operand: Operand::Dresidual,
            expected: "none, because the request has no residual".into(),
            got: "a gradient".into(),
        });
    }
    let dresidual_is_dz = dresidual.is_some() && before;
    let dz_needed = dx_needed || dw.is_some() || db.is_some() || wants.need_z() || dresidual_is_dz;
    // The slope is 1: dz is given, or the activation is the identity.
    let unit = request.upstream_is_dz || (affine.activation.needs_nothing() && !wants.need_z());
    let ready = unit && !weighted && dropout.is_none();
    let saved = if unit || !dz_needed {
        SavedIn::None
    } else {
        let learnable = affine.alpha != AlphaSource::Constant;
        let given = inputs.saved.kind();
        jet::enough(affine.jet, given)?;
        affine.activation.saved_is_enough(given, learnable, wants.need_z(), affine.y_has_more(), Float::F32)?;
        inputs.saved.checked(Operand::Saved, m, n)?
    };
    let again = dz_needed && !unit && matches!(saved, SavedIn::None);
    let x = if again || dw.is_some() { operands::slice(Operand::X, inputs.x, &[m, k])? } else { &[] };
    let w = if again || dx_needed { operands::slice(Operand::W, inputs.w, &[n, k])? } else { &[] };
    let b = if again { operands::optional(Operand::B, inputs.b, affine.bias, &[n])? } else { None };
    let residual = inputs.residual.filter(|_| again && before);
    let residual = operands::optional(Operand::Residual, residual, again && before, &[m, n])?;
    let across = affine.layout == WeightLayout::OutIn;

    let put_residual = |out: Option<(&mut [f32], Want)>, values: &[f32]| match out {
        Some((out, Want::Accumulate)) => vectors::add(out, values),
        Some((out, _)) => out.copy_from_slice(values),
        None => {}
    };
    let (from_dy, from_dz) = if before { (None, dresidual) } else { (dresidual, None) };
    put_residual(from_dy, dy);
    if !dz_needed {
        return Ok(());
    }
    let descend = |slopes, dy| Descend {
        channels: Channels::new(affine.activation, affine.alpha, alpha, n),
        slopes,
        dy,
        db: db.is_some(),
        dalpha: dalpha.is_some(),
        row_weight,
        dropout,
        jet: affine.jet,
    };
    let mut row_sums = vec![0.0; if drow_weight.is_some() { m } else { 0 }];
    let dz: &[f32] = if ready && db.is_none() {
        dy
    } else {
        let dz = crate::scratch(dz_memory, dy.len());
        let slopes = if unit {
            Slopes::Unit
        } else if again {
            times_transposed(dz, x, w, (m, n, k), across, false);
            Slopes::ProductInPlace(b, residual)
        } else {
            Slopes::Saved(saved)
        };
        let (db_sums, dalpha_sums) = descend(slopes, Some(dy)).all(dz, partials, &mut row_sums);
        put(db, db_sums);
        put(dalpha, dalpha_sums);
        dz
    };
    put(drow_weight, &row_sums);
    put_residual(from_dz, dz);
    if let Some((dw, want)) = dw {
        transposed_times(dw, dz, x, (m, n, k), across, want == Want::Accumulate);
    }
    // With w [K, N] the rows of w in memory are the columns of W that dx = dz·W needs.
    let dx_product = |out: &mut [f32], accumulate: bool| {
        times_transposed(out, dz, w, (m, k, n), !across, accumulate);
        if request.skip {
            vectors::add(out, if before { dz } else { dy });
        }
    };
    match (below, &mut dx) {
        (None, Some((dx, want))) => dx_product(dx, *want == Want::Accumulate),
        (None, None) => {}
        (Some(below), Some((dx, Want::Overwrite))) => {
            dx_product(dx, false);
            below.descend(dx, partials);
        }
        (Some(below), dx) => {
            let scratch = crate::scratch(dx_memory, m * k);
            dx_product(scratch, false);
            below.descend(scratch, partials);
            if let Some((dx, _)) = dx {
                vectors::add(dx, scratch);
            }
        }
    }
    Ok(())
}

pub(crate) fn learnable(operand: Operand, source: AlphaSource) -> Result<()> {
    if source == AlphaSource::Constant {
        return Err(outputs::constant_alpha(operand));
    }
    Ok(())
}
