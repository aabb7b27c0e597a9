//! Requests: a layer as plain facts (shapes, activation, which gradients), without buffers. Plans and the CPU implementations are made from
//! them.

mod double;
mod front;
mod network;

pub use double::{DoubleBackwardRequest, Returning, SecondGradients};
pub use front::Front;
pub use network::{Layers, Place};

use crate::{activation::Activation, dropout::Dropout, gate::Gate, jet::Jet, setters::setters, storage::Storage};

/// The order of the dimensions of w.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WeightLayout {
    /// `[N, K]`, out features first: PyTorch's nn.Linear, ONNX with transB = 1, candle.
    #[default]
    OutIn,
    /// `[K, N]`, in features first: Keras, JAX, Burn.
    InOut,
}

/// Where an activation's shape parameter α comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AlphaSource {
    /// The [`Activation`]'s own number.
    #[default]
    Constant,
    /// One learnable number for the whole layer: an operand of one element.
    PerLayer,
    /// One learnable number for each channel: an operand of N elements.
    PerChannel,
}

/// Where the residual is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResidualAt {
    /// y = act(z) + residual.
    #[default]
    AfterActivation,
    /// y = act(z), z = x·Wᵀ + b + residual.
    BeforeActivation,
}

/// The statistics of a channel, or of a row, in their order in memory. A variance is divided by the count (not the count − 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// The share of z ≤ 0, from 0 to 1; it is 1 for a dead ReLU.
    NotPositive,
    /// The mean of z.
    MeanZ,
    /// The variance of z.
    VarianceZ,
    /// The mean of y.
    MeanY,
    /// The variance of y.
    VarianceY,
}

impl Statistic {
    /// All statistics, in their order in memory.
    pub const ALL: [Statistic; 5] =
        [Statistic::NotPositive, Statistic::MeanZ, Statistic::VarianceZ, Statistic::MeanY, Statistic::VarianceY];

    /// Its name in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Statistic::NotPositive => "share of z <= 0",
            Statistic::MeanZ => "mean of z",
            Statistic::VarianceZ => "variance of z",
            Statistic::MeanY => "mean of y",
            Statistic::VarianceY => "variance of y",
        }
    }
}

/// Which statistics of z and y forward writes.
///
/// ```
/// use elbow::request::Statistics;
/// assert!(Statistics::NONE.firing(true).any() && !Statistics::default().any());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Those of each channel, over the rows.
    pub channels: bool,
    /// Those of each row, over the channels.
    pub rows: bool,
    /// Whether the variances of channels are summed around numbers that the caller gives, near the means.
    pub around: bool,
    /// Whether the rows in which each channel fires, z > 0, are counted over many calls.
    pub firing: bool,
    /// Whether max(−z, 0) of each channel is summed over many calls.
    pub negative_mass: bool,
}

setters!(const Statistics { channels: bool, rows: bool, around: bool, firing: bool, negative_mass: bool });

impl Statistics {
    /// No statistics.
    pub const NONE: Statistics =
        Statistics { channels: false, rows: false, around: false, firing: false, negative_mass: false };

    /// Whether any statistics are written.
    pub const fn any(&self) -> bool {
        self.of_channels() || self.rows
    }

    /// Whether something is summed for each channel.
    pub(crate) const fn of_channels(&self) -> bool {
        self.channels || self.firing || self.negative_mass
    }
}

/// What forward keeps for backward.
///
/// ```
/// use elbow::Saved;
/// assert_eq!(("mask".parse(), Saved::Mask.name()), (Ok(Saved::Mask), "mask"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Saved {
    /// The cheapest choice that gives right gradients; [`AffineRequest::resolve_saved`] says which.
    #[default]
    Auto,
    /// The pre-activation z, `[.., N]`. Always enough.
    Z,
    /// The output y itself, without extra memory. Enough where y determines the slope.
    Y,
    /// One bit an element, each row padded to whole u32 words. Enough where the slope has two values.
    /// A bit cannot represent NaN: where z was NaN the gradient passes as if the bit were set.
    Mask,
    /// Nothing: backward computes z again from x, w and b.
    None,
}

/// Whether a gradient is wanted, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Want {
    /// Not computed.
    #[default]
    No,
    /// The operand is overwritten, whatever it held, NaN included.
    Overwrite,
    /// It is added to what the operand holds (+=).
    Accumulate,
}

impl Want {
    /// True unless it is [`Want::No`].
    pub const fn wanted(self) -> bool {
        !matches!(self, Want::No)
    }
}

/// The two ways to bring dz = dy ⊙ act'(z) to the products dx = dz·W and dW = dzᵀ·x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// The plan chooses by shape and activation.
    #[default]
    Auto,
    /// Each product computes dz in its prologue, while it loads a tile: dz is never written to memory.
    Prologue,
    /// One pass writes dz to scratch memory and sums db and dα; two plain products follow.
    TwoPass,
}

/// A layer: x is M×K, W is N×K (or K×N), y is M×N.
///
/// ```text
/// z = x·Wᵀ + b (+ residual)        y = row_weight ⊙ act(z; α) (+ residual)
/// ```
///
/// With a [`Front`], what it makes of x takes the place of x in the product.
///
/// ```
/// use elbow::{Activation, Gate, ResidualAt, Saved, request::AffineRequest};
/// let layer = AffineRequest::new(32, 10, 64, Activation::SILU).residual(ResidualAt::AfterActivation);
/// assert_eq!(layer.resolve_saved(false)?, Saved::Z); // what Saved::Auto stands for
/// assert!(layer.y_has_more() && !layer.is_linear());
/// let gated = layer.gate(Gate::apart());
/// assert_eq!((gated.outputs(), gated.outputs_of_w(), gated.is_apart()), (20, 10, true));
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AffineRequest {
    /// M, rows of x and y.
    pub m: usize,
    /// N, columns of y: out features.
    pub n: usize,
    /// K, columns of x: in features.
    pub k: usize,
    /// Whether w is `[N, K]` or `[K, N]`.
    pub layout: WeightLayout,
    /// What x goes through in front of the product.
    pub front: Option<Front>,
    /// The activation.
    pub activation: Activation,
    /// Where its α comes from.
    pub alpha: AlphaSource,
    /// Whether there is a b.
    pub bias: bool,
    /// Whether a residual is added, and where.
    pub residual: Option<ResidualAt>,
    /// Whether each row of act(z) has a factor.
    pub row_weight: bool,
    /// Whether the rows are groups that carry derivatives along, and what they are.
    pub jet: Option<Jet>,
    /// Whether the layer is gated, y = act(gate; α) ⊙ up: w, b and z then have 2N rows, numbers and columns, as the gate says; with weights
    /// apart w, b, w_up and b_up have N each, and `bias` says whether there are both biases.
    pub gate: Option<Gate>,
    /// Whether elements of row_weight ⊙ act(z) are left out, before a residual is added to it, and how many.
    pub dropout: Option<Dropout>,
    /// Statistics of z and y that forward writes.
    pub statistics: Statistics,
    /// What is kept for backward.
    pub saved: Saved,
    /// Types and strides of all operands, also those of backward.
    pub storage: Storage,
}

setters!(AffineRequest {
    m: usize,
    n: usize,
    k: usize,
    layout: WeightLayout,
    front: impl Into<Option<Front>>,
    activation: Activation,
    alpha: AlphaSource,
    bias: bool,
    residual: impl Into<Option<ResidualAt>>,
    row_weight: bool,
    jet: impl Into<Option<Jet>>,
    gate: impl Into<Option<Gate>>,
    dropout: impl Into<Option<Dropout>>,
    statistics: Statistics,
    saved: Saved,
    storage: Storage,
});

impl AffineRequest {
    /// A layer with a bias, constant α, w `[N, K]`, `Saved::Auto`, everything in f32; no front, residual, row weight, jet, gate, dropout or statistics.
    pub fn new(m: usize, n: usize, k: usize, activation: Activation) -> Self {
        AffineRequest {
            m,
            n,
            k,
            layout: WeightLayout::OutIn,
            front: None,
            activation,
            alpha: AlphaSource::Constant,
            bias: true,
            residual: None,
            row_weight: false,
            jet: None,
            gate: None,
            dropout: None,
            statistics: Statistics::default(),
            saved: Saved::Auto,
            storage: Storage::default(),
        }
    }

    /// Whether y is not act(z) alone: a row weight or a dropout multiplies it, or a residual is added to it.
    pub fn y_has_more(&self) -> bool {
        self.row_weight || self.dropout.is_some() || self.residual == Some(ResidualAt::AfterActivation)
    }

    /// Columns of z, rows of all weights and numbers of all biases: N, or 2N of a gated layer.
    pub const fn outputs(&self) -> usize {
        if self.gate.is_some() { self.n.saturating_mul(2) } else { self.n }
    }

    /// Whether a gated layer has a weight for each side.
    pub fn is_apart(&self) -> bool {
        self.gate.is_some_and(|gate| gate.is_apart())
    }

    /// Rows of w and numbers of b: as [`AffineRequest::outputs`], or N where another weight has the others.
    pub fn outputs_of_w(&self) -> usize {
        if self.is_apart() { self.n } else { self.outputs() }
    }

    /// Whether dz = dy: the activation is the identity, and there is no row weight, gate or dropout.
    pub fn is_linear(&self) -> bool {
        self.activation.needs_nothing() && !self.row_weight && self.gate.is_none() && self.dropout.is_none()
    }
}

/// Which gradients of a layer are wanted; none by default.
///
/// ```
/// use elbow::{Want, request::Gradients};
/// let wants = Gradients::default().x(Want::Overwrite).w(Want::Accumulate);
/// assert!(wants.x.wanted() && wants.need_dx() && !wants.need_z());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Gradients {
    /// dx = dz·W.
    pub x: Want,
    /// dW = dzᵀ·x.
    pub w: Want,
    /// db = Σ_rows dz.
    pub b: Want,
    /// dα = Σ dy ⊙ ∂act/∂α, over all elements or over the rows of each channel.
    pub alpha: Want,
    /// d(residual) = dy, or dz if the residual is added before the activation.
    pub residual: Want,
    /// d(row_weight) = Σ_columns dy ⊙ act(z).
    pub row_weight: Want,
    /// That of the scale in front of the product, Σ_rows dv ⊙ u ([`Front`]).
    pub scale: Want,
    /// That of the shift, Σ_rows dv.
    pub shift: Want,
    /// That of the α in front of the product.
    pub front_alpha: Want,
    /// dW of what a gate lets through, where it has a weight of its own.
    pub w_up: Want,
    /// db of it.
    pub b_up: Want,
}

setters!(const Gradients {
    x: Want,
    w: Want,
    b: Want,
    alpha: Want,
    residual: Want,
    row_weight: Want,
    scale: Want,
    shift: Want,
    front_alpha: Want,
    w_up: Want,
    b_up: Want,
});

impl Gradients {
    /// Whether z itself is needed: for dα and d(row_weight).
    pub const fn need_z(&self) -> bool {
        self.alpha.wanted() || self.row_weight.wanted()
    }

    /// Whether the product that makes dx is needed: for dx, and for the gradients in front of it.
    pub const fn need_dx(&self) -> bool {
        self.x.wanted() || self.scale.wanted() || self.shift.wanted() || self.front_alpha.wanted()
    }
}

/// The layer below in a chain: its slope is applied in the epilogue of this layer's dx product, so that dx receives dz of the layer below.
///
/// ```
/// use elbow::{Activation, Saved, Want, request::Below};
/// let below = Below::new(Activation::RELU, Saved::Y).db(Want::Overwrite);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Below {
    /// The activation of the layer below.
    pub activation: Activation,
    /// Where its α comes from.
    pub alpha: AlphaSource,
    /// What it kept: z, y or the mask; `None` only if its activation needs nothing.
    pub saved: Saved,
    /// Whether it has a row weight.
    pub row_weight: bool,
    /// Its jet, if it has one: groups of as many rows as this layer's.
    pub jet: Option<Jet>,
    /// Its dropout, if it has one.
    pub dropout: Option<Dropout>,
    /// The gradient of its bias, summed in the same product.
    pub db: Want,
    /// The gradient of its α.
    pub dalpha: Want,
    /// The gradient of its row weight.
    pub drow_weight: Want,
}

setters!(Below {
    activation: Activation,
    alpha: AlphaSource,
    saved: Saved,
    row_weight: bool,
    jet: impl Into<Option<Jet>>,
    dropout: impl Into<Option<Dropout>>,
    db: Want,
    dalpha: Want,
    drow_weight: Want,
});

impl Below {
    /// With a constant α and no gradients of its own parameters.
    pub const fn new(activation: Activation, saved: Saved) -> Self {
        Below {
            activation,
            alpha: AlphaSource::Constant,
            saved,
            row_weight: false,
            jet: None,
            dropout: None,
            db: Want::No,
            dalpha: Want::No,
            drow_weight: Want::No,
        }
    }
}

/// A backward: the layer, and which gradients.
///
/// ```
/// use elbow::{Activation, Want, request::{AffineRequest, BackwardRequest, Gradients}};
/// let layer = AffineRequest::new(32, 10, 64, Activation::RELU);
/// let request = BackwardRequest::new(layer, Gradients::default().x(Want::Overwrite));
/// assert!(request.resolve().is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct BackwardRequest {
    /// The layer.
    pub affine: AffineRequest,
    /// Which gradients of it are wanted.
    pub gradients: Gradients,
    /// Whether the operand `dy` holds dz, as a chain leaves it.
    pub upstream_is_dz: bool,
    /// The layer below whose slope is applied to dx, in a chain.
    pub below: Option<Below>,
    /// Whether the residual is x itself: dx is then that of both ways, dz·W + d(residual).
    pub skip: bool,
    /// Whether d(residual) is the very memory of dy.
    pub in_place: bool,
}

impl BackwardRequest {
    /// From dy, with no layer below.
    pub const fn new(affine: AffineRequest, gradients: Gradients) -> Self {
        BackwardRequest { affine, gradients, upstream_is_dz: false, below: None, skip: false, in_place: false }
    }
}

setters!(BackwardRequest {
    affine: AffineRequest,
    gradients: Gradients,
    upstream_is_dz: bool,
    below: impl Into<Option<Below>>,
    skip: bool,
    in_place: bool,
});
