//! What is asked for, as plain facts: shapes, activation, which gradients. No device in sight; the plan and the CPU implementation
//! read the same request.

use crate::{activation::Activation, setters::setters, storage::Storage};

/// How the weight matrix lies in memory.
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
    /// The number in the [`Activation`] itself.
    #[default]
    Constant,
    /// One learnable number for the whole layer: an operand of one element.
    PerLayer,
    /// One learnable number for each channel: an operand of N elements.
    PerChannel,
}

/// Where a residual joins the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ResidualAt {
    /// y = act(z) + residual.
    #[default]
    AfterActivation,
    /// y = act(z), z = x·Wᵀ + b + residual.
    BeforeActivation,
}

/// What the statistics of a channel, or of a row, are, in their order in memory. Variances are those of the population (divided by
/// the count).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Statistic {
    /// The share of z ≤ 0: 1 for a dead ReLU.
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
    /// All of them, in order.
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

/// Which statistics of z and y forward leaves on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Those of each channel, over the rows.
    pub channels: bool,
    /// Those of each row, over the channels.
    pub rows: bool,
    /// The variances of channels are summed around numbers that are given.
    pub around: bool,
}

setters!(const Statistics { channels: bool, rows: bool, around: bool });

impl Statistics {
    /// None of them.
    pub const NONE: Statistics = Statistics { channels: false, rows: false, around: false };

    /// Whether there are any.
    pub const fn any(&self) -> bool {
        self.channels || self.rows
    }
}

/// What forward keeps for backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Saved {
    /// The cheapest that is right; [`AffineRequest::resolve_saved`] says which.
    #[default]
    Auto,
    /// The pre-activation z, `[.., N]`. Always enough.
    Z,
    /// The output y itself: no extra memory. Enough where y determines the slope.
    Y,
    /// One bit an element, rows padded to whole u32 words. Enough where the slope has two values.
    /// A bit cannot say NaN: where z was NaN the gradient passes as if the bit were set.
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
    /// The operand is overwritten, whatever was in it.
    Overwrite,
    /// Added to what is there (+=).
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
    /// dz is computed in the prologue of each product, while its tiles are loaded; it never lies in memory.
    Prologue,
    /// One pass writes dz to scratch and reduces db and dα on the way; then two plain products.
    TwoPass,
}

/// The forward request: x is M×K, W is N×K (or K×N), y is M×N.
///
/// ```text
/// z = x·Wᵀ + b (+ residual)        y = row_weight ⊙ act(z; α) (+ residual)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AffineRequest {
    /// Rows of x and y: the batch.
    pub m: usize,
    /// Columns of y: out features.
    pub n: usize,
    /// Columns of x: in features.
    pub k: usize,
    /// How W lies.
    pub layout: WeightLayout,
    /// The activation.
    pub activation: Activation,
    /// Where its α comes from.
    pub alpha: AlphaSource,
    /// Whether b is there.
    pub bias: bool,
    /// Whether a residual is added, and where.
    pub residual: Option<ResidualAt>,
    /// Whether each row of act(z) has a factor.
    pub row_weight: bool,
    /// What else forward leaves.
    pub statistics: Statistics,
    /// What is kept for backward.
    pub saved: Saved,
    /// In which types the operands are stored, those of backward among them.
    pub storage: Storage,
}

setters!(AffineRequest {
    m: usize,
    n: usize,
    k: usize,
    layout: WeightLayout,
    activation: Activation,
    alpha: AlphaSource,
    bias: bool,
    residual: impl Into<Option<ResidualAt>>,
    row_weight: bool,
    statistics: Statistics,
    saved: Saved,
    storage: Storage,
});

impl AffineRequest {
    /// A layer with a bias, no residual, constant α, `Saved::Auto`, all of it in f32.
    pub fn new(m: usize, n: usize, k: usize, activation: Activation) -> Self {
        AffineRequest {
            m,
            n,
            k,
            layout: WeightLayout::OutIn,
            activation,
            alpha: AlphaSource::Constant,
            bias: true,
            residual: None,
            row_weight: false,
            statistics: Statistics::default(),
            saved: Saved::Auto,
            storage: Storage::default(),
        }
    }

    /// Whether y is more than act(z).
    pub fn y_has_more(&self) -> bool {
        self.row_weight || self.residual == Some(ResidualAt::AfterActivation)
    }

    /// Whether dz is dy: the slope is 1, and no row has a factor.
    pub fn is_linear(&self) -> bool {
        self.activation.needs_nothing() && !self.row_weight
    }
}

/// Which gradients of the fused layer are wanted, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Gradients {
    /// dx = dz·W.
    pub x: Want,
    /// dW = dzᵀ·x.
    pub w: Want,
    /// db = Σ_rows dz.
    pub b: Want,
    /// dα = Σ dy ⊙ ∂act/∂α, over everything or over rows.
    pub alpha: Want,
    /// d(residual) = dy, or dz where the residual joins before the activation.
    pub residual: Want,
    /// d(row_weight) = Σ_columns dy ⊙ act(z).
    pub row_weight: Want,
}

setters!(const Gradients { x: Want, w: Want, b: Want, alpha: Want, residual: Want, row_weight: Want });

impl Gradients {
    /// Whether one of them needs z itself.
    pub const fn need_z(&self) -> bool {
        self.alpha.wanted() || self.row_weight.wanted()
    }
}

/// The layer below in a chain: its activation slope is applied in the epilogue of this layer's dx product, so that the
/// dx operand receives dz of the layer below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Below {
    /// Its activation.
    pub activation: Activation,
    /// Where its α comes from.
    pub alpha: AlphaSource,
    /// What it kept: z, y or the mask (not `Auto`, not `None` unless its activation needs nothing).
    pub saved: Saved,
    /// Whether its rows have factors.
    pub row_weight: bool,
    /// The gradient of its bias, reduced from the same tiles.
    pub db: Want,
    /// The gradient of its α.
    pub dalpha: Want,
    /// The gradient of its row weight.
    pub drow_weight: Want,
}

setters!(const Below {
    activation: Activation,
    alpha: AlphaSource,
    saved: Saved,
    row_weight: bool,
    db: Want,
    dalpha: Want,
    drow_weight: Want,
});

impl Below {
    /// Nothing but its slope.
    pub const fn new(activation: Activation, saved: Saved) -> Self {
        Below {
            activation,
            alpha: AlphaSource::Constant,
            saved,
            row_weight: false,
            db: Want::No,
            dalpha: Want::No,
            drow_weight: Want::No,
        }
    }
}

/// The backward request: the forward's facts, and which gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct BackwardRequest {
    /// The forward it belongs to.
    pub affine: AffineRequest,
    /// Which gradients.
    pub gradients: Gradients,
    /// The operand `dy` already holds dz: a chain wrote it.
    pub upstream_is_dz: bool,
    /// Chain: apply the slope of the layer below to dx.
    pub below: Option<Below>,
}

impl BackwardRequest {
    /// From dy, with no layer below.
    pub const fn new(affine: AffineRequest, gradients: Gradients) -> Self {
        BackwardRequest { affine, gradients, upstream_is_dz: false, below: None }
    }
}

setters!(BackwardRequest {
    affine: AffineRequest,
    gradients: Gradients,
    upstream_is_dz: bool,
    below: impl Into<Option<Below>>,
});
