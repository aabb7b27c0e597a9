//! What is asked for, as plain facts: shapes, activation, which gradients. No device in sight; the plan and the CPU road
//! read the same request.

use std::fmt;

pub use crate::operand::Operand;
use crate::{
    activation::Activation,
    error::{Error, Result},
    shape,
    storage::Storage,
};

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
pub struct Statistics {
    /// Those of each channel, over the rows.
    pub channels: bool,
    /// Those of each row, over the channels.
    pub rows: bool,
    /// The variances of channels are summed around numbers that are given.
    pub around: bool,
}

impl Statistics {
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

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Saved::Auto => "auto",
            Saved::Z => "z",
            Saved::Y => "y",
            Saved::Mask => "mask",
            Saved::None => "none",
        })
    }
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
pub enum Road {
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

    /// Which choice `Saved::Auto` stands for; or an error if the choice is not enough for a right gradient.
    /// `needs_z` says whether a gradient will be wanted that needs z itself ([`Gradients::need_z`]).
    pub fn resolve_saved(&self, needs_z: bool) -> Result<Saved> {
        let learnable = self.alpha != AlphaSource::Constant;
        let (more, y) = (self.y_has_more(), self.storage.of(Operand::Y));
        let enough = |saved, needs_z| self.activation.saved_is_enough(saved, learnable, needs_z, more, y);
        match self.saved {
            Saved::Auto => {
                // Forward does not know which gradients will be asked for; what is learnable will want its own, from z.
                let needs_z = needs_z || learnable || self.row_weight;
                let cheapest = if self.activation.needs_nothing() && !needs_z {
                    Saved::None
                } else if enough(Saved::Y, needs_z).is_ok() && self.activation.slope_of_y_is_accurate() {
                    Saved::Y
                } else if enough(Saved::Mask, needs_z).is_ok() {
                    Saved::Mask
                } else {
                    Saved::Z
                };
                Ok(cheapest)
            }
            saved => enough(saved, needs_z).map(|()| saved),
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

    /// Elements of each operand below 2³², and K·N, M·N, M·K too; and no operand stored in a type that it can't be.
    pub fn check_sizes(&self) -> Result<()> {
        self.storage.check()?;
        shape::elements(Operand::X, &[self.m, self.k])?;
        shape::elements(Operand::W, &[self.n, self.k])?;
        shape::elements(Operand::Y, &[self.m, self.n])?;
        for (operand, dim) in [(Operand::X, self.m), (Operand::Y, self.n), (Operand::W, self.k)] {
            shape::elements(operand, &[dim])?;
        }
        if self.alpha != AlphaSource::Constant && !self.activation.has_alpha() {
            return Err(Error::Operand {
                operand: Operand::Alpha,
                expected: format!("no alpha: {} has no learnable parameter", self.activation),
                got: "an alpha operand".into(),
            });
        }
        Ok(())
    }
}

/// Which gradients of the fused layer are wanted, each by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
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

impl Gradients {
    /// Whether one of them needs z itself.
    pub const fn need_z(&self) -> bool {
        self.alpha.wanted() || self.row_weight.wanted()
    }
}

/// The layer below in a chain: its activation slope is applied in the epilogue of this layer's dx product, so that the
/// dx operand receives dz of the layer below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

    /// What it kept, by name; an error if that is not enough.
    pub(crate) fn resolve_saved(&self, m: usize, k: usize, storage: &Storage) -> Result<Saved> {
        self.layer(m, k, storage).resolve_saved(self.dalpha.wanted() || self.drow_weight.wanted())
    }

    /// The layer below as a request of its own: N is the K of this one, M the same; of `storage`, that of this layer, counts how
    /// what it kept is stored.
    pub(crate) fn layer(&self, m: usize, k: usize, storage: &Storage) -> AffineRequest {
        AffineRequest {
            alpha: self.alpha,
            saved: self.saved,
            row_weight: self.row_weight,
            storage: Storage::default().with(Operand::Y, storage.of(Operand::SavedBelow)),
            ..AffineRequest::new(m, k, 0, self.activation)
        }
    }
}

/// The backward request: the forward's facts, which gradients, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BackwardRequest {
    /// The forward it belongs to.
    pub affine: AffineRequest,
    /// Which gradients.
    pub gradients: Gradients,
    /// Prologue or two passes.
    pub road: Road,
    /// The operand `dy` already holds dz: a chain wrote it.
    pub upstream_is_dz: bool,
    /// Chain: apply the slope of the layer below to dx.
    pub below: Option<Below>,
}

impl BackwardRequest {
    /// Whether these gradients read an operand of forward: x for dW, w for dx, what was kept, α and the row weight for the slope, and
    /// x, w, b and a residual before the activation where nothing was kept and z is computed again.
    pub fn reads(&self, operand: Operand) -> bool {
        let (affine, wants) = (&self.affine, &self.gradients);
        let slope = !(self.upstream_is_dz || affine.is_linear()) && self.needs_dz();
        let kept = (slope && !affine.activation.needs_nothing()) || wants.need_z();
        let again = kept && matches!(affine.resolve_saved(wants.need_z()), Ok(Saved::None));
        match operand {
            Operand::X => again || wants.w.wanted(),
            Operand::W => again || wants.x.wanted(),
            Operand::B => again && affine.bias,
            Operand::Residual => again && affine.residual == Some(ResidualAt::BeforeActivation),
            Operand::Alpha => kept && affine.alpha != AlphaSource::Constant,
            Operand::RowWeight => slope && affine.row_weight,
            Operand::Saved => kept && !again,
            Operand::SavedBelow => self
                .below
                .is_some_and(|below| below.resolve_saved(affine.m, affine.k, &affine.storage) != Ok(Saved::None)),
            Operand::AlphaBelow => self.below.is_some_and(|below| below.alpha != AlphaSource::Constant),
            Operand::RowWeightBelow => self.below.is_some_and(|below| below.row_weight),
            Operand::Dy => true,
            _ => false,
        }
    }

    /// Whether a gradient is wanted that is made from dz.
    pub(crate) fn needs_dz(&self) -> bool {
        let Gradients { x, w, b, alpha, residual, .. } = self.gradients;
        let residual = residual.wanted() && self.affine.residual == Some(ResidualAt::BeforeActivation);
        residual || [x, w, b, alpha].iter().any(|want| want.wanted())
    }
}
