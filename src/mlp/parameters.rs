//! Where the parameters of an [`Mlp`](super::Mlp) lie: side by side in one tensor, so that one dispatch updates them all.

use crate::{gpu::transfer::Tensor, setters::setters, view::View};

/// A tensor among the parameters.
#[derive(Debug, Clone)]
pub(super) struct Place<const D: usize> {
    /// First element.
    pub(super) at: usize,
    pub(super) shape: [usize; D],
}

impl<const D: usize> Place<D> {
    pub(super) fn of<'a>(&'a self, all: &'a Tensor) -> View<'a> {
        View::new(all.buffer(), self.at as u64 * all.dtype().bytes(), &self.shape, all.dtype())
    }
}

/// The parameters of one layer, or their gradients.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Parameters<'a> {
    /// Weight `[N, K]`.
    pub w: View<'a>,
    /// Bias `[N]`.
    pub b: View<'a>,
    /// α, `[1]` or `[N]`, if it is learnable.
    pub alpha: Option<View<'a>>,
}

impl<'a> Parameters<'a> {
    /// Those of a layer whose α is a constant.
    pub fn new(w: impl Into<View<'a>>, b: impl Into<View<'a>>) -> Self {
        Parameters { w: w.into(), b: b.into(), alpha: None }
    }
}

setters!(Parameters<'a> {
    w: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
    alpha: impl Into<Option<View<'a>>>,
});

/// Every tensor starts where a binding may start on any device (256 bytes, of f16 too), so that vec4 reads and aligned
/// bindings hold.
const ALIGN: usize = 128;

/// Appends a tensor to the parameters.
pub(super) fn place<const D: usize>(
    values: &mut Vec<f32>,
    shape: [usize; D],
    mut value: impl FnMut() -> f32,
) -> Place<D> {
    let at = values.len();
    let elements = shape.iter().product();
    values.extend(std::iter::repeat_with(&mut value).take(elements));
    values.resize(values.len().next_multiple_of(ALIGN), 0.0);
    Place { at, shape }
}
