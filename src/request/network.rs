//! A network as plain facts: sizes, activations, and where the parameters of each layer lie.

use super::{AffineRequest, AlphaSource};
use crate::{
    activation::Activation,
    error::{Error, Result},
    jet::Jet,
    setters::setters,
};

/// A network of layers y = act(x·Wᵀ + b; α) whose hidden layers all have as many columns and the same activation, and where their
/// parameters lie in one tensor: for each layer w `[N, K]`, b `[N]`, and α `[1]` or `[N]` if it is learnable (the last layer has none), every
/// part from a multiple of [`Layers::ALIGN`] elements on. An [`Mlp`](crate::Mlp) has its parameters so.
///
/// ```
/// use elbow::{Activation, network::Layers};
/// // Position to color, two hidden layers of 64.
/// let layers = Layers::new(&[3, 64, 64, 3], Activation::SILU)?.output(Activation::SIGMOID);
/// assert_eq!((layers.shape(0), layers.shape(2), layers.columns()), ([64, 3], [3, 64], 64));
/// assert_eq!((layers.place(1).w, layers.place(1).b), (384, 384 + 4096)); // behind w 192 and b 64, padded
/// assert_eq!(layers.elements(), 384 + 4096 + 128 + 256 + 128);
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Layers {
    /// Columns of x.
    pub inputs: usize,
    /// Columns of every hidden layer.
    pub hidden: usize,
    /// Columns of y.
    pub outputs: usize,
    /// Number of layers, at least 1: one more than there are hidden ones.
    pub count: usize,
    /// The activation of every hidden layer.
    pub activation: Activation,
    /// Where its α comes from.
    pub alpha: AlphaSource,
    /// The activation of the last layer, with its own α; the identity unless set.
    pub output: Activation,
    /// Whether the rows of x and y are groups that carry derivatives along, through every layer ([`Jet`]).
    pub jet: Option<Jet>,
}

setters!(Layers {
    activation: Activation,
    alpha: AlphaSource, output: Activation, jet: impl Into<Option<Jet>> });

/// The first elements of a layer's parameters among all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// Of w `[N, K]`.
    pub w: usize,
    /// Of b `[N]`.
    pub b: usize,
    /// Of α, if it is learnable.
    pub alpha: Option<usize>,
    /// Of the next layer: one behind this layer's last.
    pub end: usize,
}

impl Layers {
    /// Elements from the beginning of one part of the parameters to that of the next are a multiple of this: 256 bytes in f16.
    pub const ALIGN: usize = 128;

    /// The most columns of x, of a hidden layer and of y in one dispatch.
    pub const MOST_COLUMNS: usize = 128;

    /// Layers of these sizes, features of the input first. [`Error::BadParameter`] if there are fewer than two sizes, a size is 0, or hidden layers
    /// differ.
    pub fn new(sizes: &[usize], activation: Activation) -> Result<Self> {
        let bad = |expected: &str| Error::BadParameter {
            of: "network".into(),
            parameter: "sizes".into(),
            expected: expected.into(),
            got: format!("{sizes:?}"),
        };
        let [inputs, hidden @ .., outputs] = sizes else {
            return Err(bad("at least two: in features and out features"));
        };
        let width = hidden.first().unwrap_or(outputs);
        if sizes.contains(&0) {
            return Err(bad("at least 1 each"));
        }
        if hidden.iter().any(|other| other != width) {
            return Err(bad("hidden layers of one size"));
        }
        let (inputs, hidden, outputs, count) = (*inputs, *width, *outputs, sizes.len() - 1);
        let (alpha, output) = (AlphaSource::Constant, Activation::IDENTITY);
        Ok(Layers { inputs, hidden, outputs, count, activation, alpha, output, jet: None })
    }

    /// `[N, K]` of a layer, counted from 0.
    pub const fn shape(&self, layer: usize) -> [usize; 2] {
        let n = if layer + 1 >= self.count { self.outputs } else { self.hidden };
        [n, if layer == 0 { self.inputs } else { self.hidden }]
    }

    /// Where a layer's parameters lie, counted from 0.
    pub fn place(&self, layer: usize) -> Place {
        let w = match layer.checked_sub(1) {
            None => 0,
            Some(between) => self.parts(0)[2].saturating_add(self.parts(1)[2].saturating_mul(between)),
        };
        let [b, alpha, end] = self.parts(layer).map(|part| w.saturating_add(part));
        Place { w, b, alpha: (alpha < end).then_some(alpha), end }
    }

    /// Where b, α and what is behind begin, from the layer's first element on.
    fn parts(&self, layer: usize) -> [usize; 3] {
        let after = |at: usize, elements: usize| at.saturating_add(elements.next_multiple_of(Self::ALIGN));
        let [n, k] = self.shape(layer);
        let alphas = match self.alpha {
            AlphaSource::PerLayer if layer + 1 < self.count => 1,
            AlphaSource::PerChannel if layer + 1 < self.count => n,
            _ => 0,
        };
        let b = after(0, n.saturating_mul(k));
        let alpha = after(b, n);
        [b, alpha, after(alpha, alphas)]
    }

    /// Elements of all parameters, padding included.
    pub fn elements(&self) -> usize {
        self.place(self.count.saturating_sub(1)).end
    }

    /// The most columns that go in, out or between two layers.
    pub fn columns(&self) -> usize {
        self.inputs.max(self.hidden).max(self.outputs)
    }

    /// An error unless there are layers, the activations have what α and jets need, and the rows are whole groups.
    pub(crate) fn check(&self, rows: usize) -> Result<()> {
        if [self.inputs, self.hidden, self.outputs, self.count].contains(&0) {
            return Err(Error::BadParameter {
                of: "network".into(),
                parameter: "layers".into(),
                expected: "at least one layer, of at least 1 column each".into(),
                got: format!("{} layers of {}, {} and {} columns", self.count, self.inputs, self.hidden, self.outputs),
            });
        }
        let last = AffineRequest::new(rows, self.outputs, self.hidden, self.output).jet(self.jet);
        last.resolve()?;
        if self.count > 1 {
            last.activation(self.activation).alpha(self.alpha).resolve()?;
        }
        Ok(())
    }

    /// Multiply-adds of a row.
    pub(crate) fn work(&self) -> u64 {
        let of = |layer| self.shape(layer).map(|size| size as u64).into_iter().product::<u64>();
        let between = (self.count as u64).saturating_sub(2).saturating_mul(of(1));
        let last = if self.count > 1 { of(self.count - 1) } else { 0 };
        of(0).saturating_add(between).saturating_add(last)
    }
}
