//! The double backward of a layer: gradients of its gradients.

mod pass;

use elbow::{
    Operand,
    cpu::operands,
    error::Result,
    request::{DoubleBackwardRequest, ResidualAt, Want, WeightLayout},
};
use pass::{Results, Second};

use crate::{
    Workspace,
    outputs::{gradient, put},
    pass::Channels,
    saved::SavedIn,
    slopes::Slopes,
    times::{times_transposed, transposed_times},
};

/// The operands of [`double_backward()`]. An operand that no wanted gradient depends on may be empty; what comes back (ddx and so on) is there
/// if and only if the request says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct DoubleBackwardInputs<'a> {
    /// x `[M, K]`; for ddw, for dw2 if the activation bends, and if nothing was saved.
    pub x: &'a [f32],
    /// w `[N, K]` or `[K, N]`; for ddx, for dx2 if the activation bends, and if nothing was saved.
    pub w: &'a [f32],
    /// b `[N]`; if nothing was saved.
    pub b: Option<&'a [f32]>,
    /// α `[1]` or `[N]`, if it is not a constant.
    pub alpha: Option<&'a [f32]>,
    /// Residual `[M, N]`; if nothing was saved and it joins before the activation.
    pub residual: Option<&'a [f32]>,
    /// ∂L/∂y `[M, N]`, from which backward made its gradients.
    pub dy: &'a [f32],
    /// What forward kept for backward.
    pub saved: SavedIn<'a>,
    /// What comes back to dx, `[M, K]`.
    pub ddx: Option<&'a [f32]>,
    /// To dW, `[N, K]` or `[K, N]`, as w.
    pub ddw: Option<&'a [f32]>,
    /// To db, `[N]`.
    pub ddb: Option<&'a [f32]>,
    /// To dα, `[1]` or `[N]`.
    pub ddalpha: Option<&'a [f32]>,
    /// To the gradient of a residual before the activation, `[M, N]`.
    pub ddresidual: Option<&'a [f32]>,
}

/// The results of [`double_backward()`]: every gradient that the request wants must be given.
#[derive(Debug, Default)]
pub struct DoubleBackwardOutputs<'a> {
    /// For dy, `[M, N]`.
    pub ddy: Option<&'a mut [f32]>,
    /// For x, `[M, K]`.
    pub dx2: Option<&'a mut [f32]>,
    /// For W, `[N, K]` or `[K, N]`, as w.
    pub dw2: Option<&'a mut [f32]>,
    /// For b, `[N]`.
    pub db2: Option<&'a mut [f32]>,
    /// For α, `[1]` or `[N]`.
    pub dalpha2: Option<&'a mut [f32]>,
    /// For a residual before the activation, `[M, N]`.
    pub dresidual2: Option<&'a mut [f32]>,
}

/// The gradients of [`backward`](crate::backward()), from what comes back to its dx, dW, db, dα and d(residual):
///
/// ```text
/// ż = ddx·Wᵀ + x·ddWᵀ + ddb (+ ddresidual)
/// ddy = ż ⊙ act'(z) + ddα ∂act/∂α
/// dz2 = dy ⊙ (ż ⊙ act''(z) + ddα ∂²act/∂z∂α)             dz = dy ⊙ act'(z)
/// dx2 = dz2·W + dz·ddW        dW2 = dz2ᵀ·x + dzᵀ·ddx        db2 = Σ_rows dz2        dresidual2 = dz2
/// dα2 = Σ dy ⊙ (ż ⊙ ∂²act/∂z∂α + ddα ∂²act/∂α²)
/// ```
///
/// What was kept must be enough for act'': z, or nothing; of ReLU and its like also y or the mask. An error names the operand that does not
/// fit, and nothing is written.
///
/// ```
/// use elbow::{Activation, Saved, Want, request::{AffineRequest, DoubleBackwardRequest, Returning, SecondGradients}};
/// use elbow_cpu::{DoubleBackwardInputs, DoubleBackwardOutputs, SavedIn, Workspace};
/// // y = max(z, 0)² at z = x·w = 2, so dx = 2 max(z, 0) dy w: of a loss of dx[0] the gradient for w.
/// let layer = AffineRequest::new(1, 1, 2, Activation::RELU_SQUARED).bias(false).saved(Saved::Z);
/// let wants = SecondGradients::default().w(Want::Overwrite);
/// let request = DoubleBackwardRequest::new(layer, Returning::default().x(true), wants);
/// let inputs = DoubleBackwardInputs {
///     x: &[2.0, 1.0],
///     w: &[0.5, 1.0],
///     dy: &[1.0],
///     saved: SavedIn::Z(&[2.0]),
///     ddx: Some(&[1.0, 0.0]),
///     ..Default::default()
/// };
/// let mut dw2 = [0.0; 2];
/// let outputs = DoubleBackwardOutputs { dw2: Some(&mut dw2), ..Default::default() };
/// elbow_cpu::double_backward(&request, inputs, outputs, &mut Workspace::new())?;
/// assert_eq!(dw2, [2.0 * 0.5 * 2.0 + 4.0, 2.0 * 0.5 * 1.0]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn double_backward(
    request: &DoubleBackwardRequest,
    inputs: DoubleBackwardInputs<'_>,
    outputs: DoubleBackwardOutputs<'_>,
    workspace: &mut Workspace,
) -> Result<()> {
    // What was given counts, as in backward.
    let affine = request.affine.saved(inputs.saved.kind());
    let request = request.affine(affine).resolve()?;
    let (wants, there) = (request.gradients, request.returning);
    let (m, n, k) = (affine.m, affine.n, affine.k);
    let weights: &[usize] = &[n, k];
    let alphas: &[usize] = &[operands::alpha_length(affine.alpha, n)];

    let ddy = gradient(Operand::Ddy, outputs.ddy, wants.dy, &[m, n])?;
    let dx2 = gradient(Operand::Dx2, outputs.dx2, wants.x, &[m, k])?;
    let dw2 = gradient(Operand::Dw2, outputs.dw2, wants.w, weights)?;
    let db2 = gradient(Operand::Db2, outputs.db2, wants.b, &[n])?;
    let dalpha2 = gradient(Operand::Dalpha2, outputs.dalpha2, wants.alpha, alphas)?;
    let dresidual2 = gradient(Operand::Dresidual2, outputs.dresidual2, wants.residual, &[m, n])?;
    let ddx = operands::optional(Operand::Ddx, inputs.ddx, there.x, &[m, k])?;
    let ddw = operands::optional(Operand::Ddw, inputs.ddw, there.w, weights)?;
    let ddb = operands::optional(Operand::Ddb, inputs.ddb, there.b, &[n])?;
    let ddalpha = operands::optional(Operand::Ddalpha, inputs.ddalpha, there.alpha, alphas)?;
    let ddresidual = operands::optional(Operand::Ddresidual, inputs.ddresidual, there.residual, &[m, n])?;
    let alpha = operands::alpha(Operand::Alpha, inputs.alpha, affine.alpha, n)?;
    let read = |operand: Operand, given, shape: &[usize]| {
        if request.reads(operand) { operands::slice(operand, given, shape) } else { Ok(&[][..]) }
    };
    let dy = read(Operand::Dy, inputs.dy, &[m, n])?;
    let x = read(Operand::X, inputs.x, &[m, k])?;
    let w = read(Operand::W, inputs.w, weights)?;
    let kept = request.reads_kept();
    let saved = if kept { inputs.saved.checked(Operand::Saved, m, n)? } else { SavedIn::None };
    let again = kept && matches!(saved, SavedIn::None);
    let b = operands::optional(Operand::B, inputs.b.filter(|_| again), again && affine.bias, &[n])?;
    let before = again && affine.residual == Some(ResidualAt::BeforeActivation);
    let residual = operands::optional(Operand::Residual, inputs.residual.filter(|_| before), before, &[m, n])?;

    let Workspace { dz, dz2, partials, .. } = workspace;
    let across = affine.layout == WeightLayout::OutIn;
    let bends = request.bends();
    let moves_z = request.needs_tangent();
    let products = moves_z && (there.x || there.w);
    // Of the identity dz is dy.
    let writes_dz = request.needs_dz() && !affine.is_linear();
    let writes_dz2 = bends && (wants.x.wanted() || wants.w.wanted());
    let dz = crate::scratch(dz, if again || writes_dz { m * n } else { 0 });
    let dz2 = crate::scratch(dz2, if products || writes_dz2 { m * n } else { 0 });
    if again {
        times_transposed(dz, x, w, (m, n, k), across, false);
    }
    if let (true, Some(ddx)) = (products, ddx) {
        times_transposed(dz2, ddx, w, (m, n, k), across, false);
    }
    if let (true, Some(ddw)) = (products, ddw) {
        times_transposed(dz2, x, ddw, (m, n, k), across, there.x);
    }

    // Without a curve, and without ddα, the gradient for z is 0.
    let (bent, straight) = if bends { (dresidual2, None) } else { (None, dresidual2) };
    if let Some((dresidual2, Want::Overwrite)) = straight {
        dresidual2.fill(0.0);
    }
    let second = Second {
        channels: Channels::new(affine.activation, affine.alpha, alpha, n),
        slopes: match (kept, again) {
            (false, _) => Slopes::Unit,
            (true, true) => Slopes::ProductInPlace(b, residual),
            (true, false) => Slopes::Saved(saved),
        },
        rows: m,
        dy: request.reads(Operand::Dy).then_some(dy),
        moves_z,
        products,
        ddb: ddb.filter(|_| moves_z),
        ddresidual: ddresidual.filter(|_| moves_z),
        ddalpha,
        flat: affine.activation.is_flat(),
        sums: [db2.is_some(), dalpha2.is_some()],
    };
    if ddy.is_some() || writes_dz || writes_dz2 || bent.is_some() || db2.is_some() || dalpha2.is_some() {
        let results = Results { dz, writes_dz, dz2, writes_dz2, ddy, dresidual2: bent };
        let (db2_sums, dalpha2_sums) = second.all(results, partials);
        put(db2, db2_sums);
        put(dalpha2, dalpha2_sums);
    }

    let dz = if affine.is_linear() { dy } else { &*dz };
    if let Some((dx2, want)) = dx2 {
        let terms = [bends.then_some((&*dz2, w)), ddw.map(|ddw| (dz, ddw))];
        sum(dx2, want, terms, |out, (dz, w), add| times_transposed(out, dz, w, (m, k, n), !across, add));
    }
    if let Some((dw2, want)) = dw2 {
        let terms = [bends.then_some((&*dz2, x)), ddx.map(|ddx| (dz, ddx))];
        sum(dw2, want, terms, |out, (dz, x), add| transposed_times(out, dz, x, (m, n, k), across, add));
    }
    Ok(())
}

/// out (+)= the products that are there; each says whether it is added to what is there already.
fn sum<T>(out: &mut [f32], want: Want, products: [Option<T>; 2], product: impl Fn(&mut [f32], T, bool)) {
    let mut accumulate = want == Want::Accumulate;
    for term in products.into_iter().flatten() {
        product(out, term, accumulate);
        accumulate = true;
    }
    if !accumulate {
        out.fill(0.0);
    }
}
