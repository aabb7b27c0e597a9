//! The layout of the parameters of an [`Mlp`](super::Mlp): all in one tensor, so that one dispatch updates them.

use crate::{gpu::transfer::Tensor, request::Layers, setters::setters, view::View};

/// The part of the tensor that holds one w, b or α.
#[derive(Debug, Clone)]
pub(super) struct Place<const D: usize> {
    /// Its first element.
    pub(super) at: usize,
    pub(super) shape: [usize; D],
}

impl<const D: usize> Place<D> {
    pub(super) fn of<'a>(&'a self, all: &'a Tensor) -> View<'a> {
        View::new(all.buffer(), self.at as u64 * all.dtype().bytes(), &self.shape, all.dtype())
    }
}

/// The parameters of one layer, or their gradients, as views: what [`Mlp::parameters`](super::Mlp::parameters) returns and
/// [`Mlp::set_parameters`](super::Mlp::set_parameters) takes.
///
/// ```no_run
/// use elbow::{Gpu, mlp::Parameters};
/// let gpu = Gpu::new()?;
/// let (w, b, alpha) = (gpu.zeros(&[3, 2])?, gpu.zeros(&[3])?, gpu.zeros(&[3])?);
/// let parameters = Parameters::new(&w, &b).alpha(&alpha);
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Parameters<'a> {
    /// Weight `[N, K]`.
    pub w: View<'a>,
    /// Bias `[N]`.
    pub b: View<'a>,
    /// α `[1]` or `[N]`; None if it is a constant.
    pub alpha: Option<View<'a>>,
}

impl<'a> Parameters<'a> {
    /// The parameters of a layer with a constant α.
    pub fn new(w: impl Into<View<'a>>, b: impl Into<View<'a>>) -> Self {
        Parameters { w: w.into(), b: b.into(), alpha: None }
    }
}

setters!(Parameters<'a> {
    w: impl Into<View<'a>>,
    b: impl Into<View<'a>>,
    alpha: impl Into<Option<View<'a>>>,
});

/// In elements: every part begins at a multiple of 256 bytes, in f16 too. There a binding may begin on any device, and rows of vec4 are
/// aligned. One dispatch of all layers finds them there.
pub(super) const ALIGN: usize = Layers::ALIGN;

/// Appends a part to the parameters, padded with zeros to the next multiple of [`ALIGN`].
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
