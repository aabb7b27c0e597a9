//! The checks of operands that the operations share: which shape, and whether it may be given or left out. And gradients: operands that
//! are overwritten or added to.

use crate::{
    dropout::Dropout,
    dtype::Dtype,
    error::{Error, Result},
    gpu::transfer::Tensor,
    operand::Operand,
    request::{AlphaSource, Saved, Want, WeightLayout},
    shape,
    view::View,
};

/// Writes `plan`, `record` and `prepare` for every call that has a `planned`. What recording does to the host's pass is said at `Target`.
macro_rules! recorded {
    ($($call:ident),+) => {$(
        impl $call<'_> {
            /// The dispatches that this call makes on this device, in order, with their scratch memory; it prints as text.
            ///
            /// Fails where [`record`](Self::record) would fail for shapes, types or limits. Nothing is compiled or recorded.
            ///
            /// ```no_run
            /// use elbow::{Activation, Gpu, affine::Forward};
            /// let gpu = Gpu::new()?;
            /// let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[32, 10])?);
            /// println!("{}", Forward::new(Activation::RELU, &x, &w, &y).plan(&gpu)?);
            /// # Ok::<(), elbow::Error>(())
            /// ```
            pub fn plan(&self, gpu: &$crate::Gpu) -> $crate::Result<$crate::plan::Plan> {
                self.planned(gpu).map(|(plan, _)| plan)
            }

            /// Records the call into a command encoder, or into a compute pass that is open. Nothing is submitted.
            ///
            /// What changes in the pass, and what does not: [`Target`](crate::Target). After an error nothing is recorded.
            ///
            /// ```no_run
            /// use elbow::{Activation, Gpu, affine::Forward};
            /// let gpu = Gpu::new()?;
            /// let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[32, 10])?);
            /// let layer = Forward::new(Activation::RELU, &x, &w, &y);
            /// let mut encoder = gpu.device().create_command_encoder(&Default::default());
            /// layer.record(&gpu, &mut encoder)?;
            /// gpu.queue().submit([encoder.finish()]);
            /// # Ok::<(), elbow::Error>(())
            /// ```
            pub fn record<'t, 'p: 't>(
                &self,
                gpu: &$crate::Gpu,
                target: impl Into<$crate::gpu::record::Target<'t, 'p>>,
            ) -> $crate::Result<()> {
                self.prepare(gpu)?.record(target)
            }

            /// Checks, plans and binds the call once, so that each later recording costs about a microsecond a dispatch.
            ///
            /// ```no_run
            /// use elbow::{Activation, Gpu, affine::Forward};
            /// let gpu = Gpu::new()?;
            /// let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[32, 10])?);
            /// let layer = Forward::new(Activation::RELU, &x, &w, &y).prepare(&gpu)?;
            /// for batch in [[0.5; 32 * 64], [1.0; 32 * 64]] {
            ///     gpu.write(&x, &batch)?;
            ///     gpu.submit(|encoder| layer.record(encoder))?;
            /// }
            /// # Ok::<(), elbow::Error>(())
            /// ```
            pub fn prepare(&self, gpu: &$crate::Gpu) -> $crate::Result<$crate::gpu::record::Prepared> {
                let (plan, operands) = self.planned(gpu)?;
                $crate::gpu::record::prepare(gpu, &plan, &operands)
            }
        }
    )+};
}
pub(crate) use recorded;

/// A gradient's operand, and whether it is overwritten or added to. Where a call takes one, a tensor or a view alone is overwritten.
///
/// ```no_run
/// use elbow::{Activation, Gpu, Gradient, affine::Forward};
/// let gpu = Gpu::new()?;
/// let (x, w, y) = (gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?, gpu.zeros(&[32, 10])?);
/// let (dy, dx, dw) = (gpu.zeros(&[32, 10])?, gpu.zeros(&[32, 64])?, gpu.zeros(&[10, 64])?);
/// let backward = Forward::new(Activation::RELU, &x, &w, &y).backward(&dy);
/// let backward = backward.dx(Gradient::overwrite(&dx)).dw(Gradient::accumulate(&dw)); // dx = .. (as `&dx` says), dw += ..
/// gpu.submit(|encoder| backward.record(&gpu, encoder))?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Gradient<'a> {
    /// The operand that it is written to.
    pub view: View<'a>,
    /// Whether it is added to what the operand holds (+=) instead of overwriting it (=).
    pub accumulate: bool,
}

impl<'a> Gradient<'a> {
    /// Overwrites the operand, whatever it holds, NaN included.
    pub fn overwrite(view: impl Into<View<'a>>) -> Self {
        Gradient { view: view.into(), accumulate: false }
    }

    /// Adds the gradient to what the operand holds.
    pub fn accumulate(view: impl Into<View<'a>>) -> Self {
        Gradient { view: view.into(), accumulate: true }
    }
}

/// A gradient that is wanted, and overwritten.
impl<'a> From<View<'a>> for Option<Gradient<'a>> {
    fn from(view: View<'a>) -> Self {
        Some(Gradient::overwrite(view))
    }
}

/// A gradient that is wanted, and overwritten.
impl<'a> From<&'a Tensor> for Option<Gradient<'a>> {
    fn from(tensor: &'a Tensor) -> Self {
        Some(Gradient::overwrite(tensor))
    }
}

pub(crate) fn want(gradient: &Option<Gradient<'_>>) -> Want {
    match gradient {
        None => Want::No,
        Some(Gradient { accumulate: false, .. }) => Want::Overwrite,
        Some(Gradient { accumulate: true, .. }) => Want::Accumulate,
    }
}

pub(crate) fn view<'a>(gradient: &Option<Gradient<'a>>) -> Option<View<'a>> {
    gradient.map(|g| g.view)
}

pub(crate) fn weight_shape(layout: WeightLayout, n: usize, k: usize) -> [usize; 2] {
    match layout {
        WeightLayout::OutIn => [n, k],
        WeightLayout::InOut => [k, n],
    }
}

pub(crate) fn layout_name(layout: WeightLayout) -> &'static str {
    match layout {
        WeightLayout::OutIn => "[out, in]",
        WeightLayout::InOut => "[in, out]",
    }
}

pub(crate) fn weight_n(w: View<'_>, layout: WeightLayout, k: usize) -> Result<usize> {
    match (layout, &*w.shape) {
        (WeightLayout::OutIn, &[n, in_features]) if in_features == k => Ok(n),
        (WeightLayout::InOut, &[in_features, n]) if in_features == k => Ok(n),
        (layout, _) => {
            let (expected, hint) = match layout {
                WeightLayout::OutIn => (format!("[N, {k}]"), "WeightLayout::InOut"),
                WeightLayout::InOut => (format!("[{k}, N]"), "WeightLayout::OutIn"),
            };
            let transposed = w.shape.len() == 2 && w.shape.contains(&k);
            let hint =
                if transposed { format!("; is it stored the other way round? then {hint}") } else { String::new() };
            Err(wrong_shape(
                Operand::W,
                format!("{expected} ({}) for x with {k} columns{hint}", layout_name(layout)),
                w,
            ))
        }
    }
}

pub(crate) fn wrong_shape(operand: Operand, expected: String, got: View<'_>) -> Error {
    Error::Shape { operand, expected, got: format!("{:?}", got.shape) }
}

/// `[.., n]` with m rows.
pub(crate) fn expect_rows(operand: Operand, view: View<'_>, m: usize, n: usize) -> Result<()> {
    if shape::rows_and_columns(operand, &view.shape)? == (m, n) {
        Ok(())
    } else {
        Err(wrong_shape(operand, format!("[.., {n}] with {m} rows"), view))
    }
}

/// `[N]`, or `[1, N]` and the like, as frameworks broadcast it.
fn vector(shape: &[usize]) -> Option<usize> {
    match shape.split_last() {
        Some((&last, leading)) if leading.iter().all(|&dim| dim == 1) => Some(last),
        _ => None,
    }
}

pub(crate) fn expect_vector(operand: Operand, view: Option<View<'_>>, n: usize) -> Result<()> {
    match view {
        Some(view) if vector(&view.shape) != Some(n) => Err(wrong_shape(operand, format!("[{n}]"), view)),
        _ => Ok(()),
    }
}

/// m elements in any shape: one for each row.
pub(crate) fn expect_row_numbers(operand: Operand, view: Option<View<'_>>, m: usize) -> Result<()> {
    match view {
        Some(view) if shape::elements(operand, &view.shape)? != m as u64 => {
            Err(wrong_shape(operand, format!("[..] with {m} elements, one for each row"), view))
        }
        _ => Ok(()),
    }
}

pub(crate) fn expect_shape(operand: Operand, view: Option<View<'_>>, shape: &[usize]) -> Result<()> {
    match view {
        Some(view) if view.shape != *shape => Err(wrong_shape(operand, format!("{shape:?}"), view)),
        _ => Ok(()),
    }
}

/// The state of a dropout: there if and only if the layer has one.
pub(crate) fn expect_dropout_state(dropout: Option<Dropout>, state: Option<View<'_>>) -> Result<()> {
    let operand = Operand::DropoutState;
    let expected = match (dropout, state) {
        (None, None) => return Ok(()),
        (Some(_), Some(view)) if view.shape == [4] && view.dtype == Dtype::U32 => return Ok(()),
        (Some(_), _) => "u32 [4], seed, step and layer, for the layer has a dropout".into(),
        (None, Some(_)) => "none, for the layer has no dropout".into(),
    };
    let got = state.map_or("none".into(), |view| format!("{} {:?}", view.dtype.name(), view.shape));
    Err(Error::Operand { operand, expected, got })
}

/// A gradient has the shape of what it is the gradient of.
pub(crate) fn expect_like(operand: Operand, gradient: Option<View<'_>>, of: Option<View<'_>>) -> Result<()> {
    match (gradient, of) {
        (Some(gradient), Some(of)) if gradient.shape != of.shape => {
            Err(wrong_shape(operand, format!("{:?}", of.shape), gradient))
        }
        (Some(_), None) => Err(Error::Operand {
            operand,
            expected: "no gradient of alpha, because the layer has no alpha operand".into(),
            got: format!("{operand} wanted"),
        }),
        _ => Ok(()),
    }
}

pub(crate) fn alpha_source(operand: Operand, alpha: Option<View<'_>>, n: usize) -> Result<AlphaSource> {
    let Some(view) = alpha else { return Ok(AlphaSource::Constant) };
    match vector(&view.shape) {
        Some(1) => Ok(AlphaSource::PerLayer),
        Some(len) if len == n => Ok(AlphaSource::PerChannel),
        _ => Err(wrong_shape(operand, format!("[1] or [{n}]"), view)),
    }
}

/// `save_to`: there if and only if z or the mask is kept, and of its shape.
pub(crate) fn expect_saved(given: Option<View<'_>>, saved: Saved, m: usize, n: usize) -> Result<()> {
    let operand = Operand::Saved;
    let (what, columns) = match saved {
        Saved::Mask => (format!("the mask, [.., {}] words with {m} rows", n.div_ceil(32)), n.div_ceil(32)),
        _ => (format!("{saved}, [.., {n}] with {m} rows"), n),
    };
    match (given, matches!(saved, Saved::Z | Saved::Mask)) {
        (Some(view), true) => match shape::rows_and_columns(operand, &view.shape)? == (m, columns) {
            true => Ok(()),
            false => Err(wrong_shape(operand, what, view)),
        },
        (None, true) => Err(Error::Operand { operand, expected: what, got: "none".into() }),
        (Some(_), false) => Err(Error::Operand {
            operand,
            expected: format!("no operand, because saved = {saved} keeps nothing but y"),
            got: "an operand".into(),
        }),
        (None, false) => Ok(()),
    }
}
