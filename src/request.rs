//! What is asked for, as plain facts: shapes, activation, which gradients. No device in sight; the plan and the CPU road
//! read the same request.

use std::fmt;

use crate::{
    activation::Activation,
    dtype::Storage,
    error::{Error, Result},
    shape,
};

/// The name of an operand, as used in errors, plans, shaders and documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[rustfmt::skip]
pub enum Operand {
    /// Input `[.., K]`.
    X,
    /// Weight `[N, K]`, or `[K, N]`.
    W,
    /// Bias `[N]`.
    B,
    /// Learnable shape parameter, `[1]` or `[N]`.
    Alpha,
    /// Added after the activation, `[.., N]`.
    Residual,
    /// Output `[.., N]`.
    Y,
    /// What forward kept for backward: z, y or the mask.
    Saved,
    /// Upstream gradient ∂L/∂y `[.., N]`.
    Dy,
    /// Pre-activation, computed again into elbow's own scratch memory.
    Z,
    /// dy ⊙ act'(z), in elbow's own scratch memory.
    Dz,
    /// Gradient of x.
    Dx,
    /// Gradient of w.
    Dw,
    /// Gradient of b.
    Db,
    /// Gradient of alpha.
    Dalpha,
    /// Gradient of the residual.
    Dresidual,
    /// What the layer below kept for backward.
    SavedBelow,
    /// Alpha of the layer below.
    AlphaBelow,
    /// Gradient of the bias of the layer below.
    DbBelow,
    /// Gradient of alpha of the layer below.
    DalphaBelow,
    /// Cotangent of dx (double backward).
    Ddx,
    /// Gradient for dy (double backward).
    Ddy,
    /// Gradient for x (double backward).
    Dx2,
    /// Gradient for alpha (double backward).
    Dalpha2,
    /// Partial results in elbow's own scratch memory.
    Partials,
    /// A tensor that belongs to no operator (upload, download, loss, update).
    Tensor,
    /// Parameters in the type that the products read, kept beside those in f32 (training).
    Copy,
    /// State of the loss scale (training).
    LossScale,
}

impl Operand {
    /// Every name.
    #[rustfmt::skip]
    pub const ALL: [Operand; Operand::COUNT] = [
        Operand::X, Operand::W, Operand::B, Operand::Alpha, Operand::Residual, Operand::Y, Operand::Saved, Operand::Dy,
        Operand::Z, Operand::Dz, Operand::Dx, Operand::Dw, Operand::Db, Operand::Dalpha, Operand::Dresidual,
        Operand::SavedBelow, Operand::AlphaBelow, Operand::DbBelow, Operand::DalphaBelow, Operand::Ddx, Operand::Ddy,
        Operand::Dx2, Operand::Dalpha2, Operand::Partials, Operand::Tensor, Operand::Copy, Operand::LossScale,
    ];
    /// How many there are.
    pub const COUNT: usize = Operand::LossScale as usize + 1;

    /// The name, as in the documents and in the shaders.
    #[rustfmt::skip]
    pub const fn name(self) -> &'static str {
        match self {
            Operand::X => "x", Operand::W => "w", Operand::B => "b", Operand::Alpha => "alpha",
            Operand::Residual => "residual", Operand::Y => "y", Operand::Saved => "saved",
            Operand::Dy => "dy", Operand::Z => "z", Operand::Dz => "dz", Operand::Dx => "dx", Operand::Dw => "dw",
            Operand::Db => "db", Operand::Dalpha => "dalpha", Operand::Dresidual => "dresidual",
            Operand::SavedBelow => "saved_below", Operand::AlphaBelow => "alpha_below",
            Operand::DbBelow => "db_below", Operand::DalphaBelow => "dalpha_below",
            Operand::Ddx => "ddx", Operand::Ddy => "ddy", Operand::Dx2 => "dx2", Operand::Dalpha2 => "dalpha2",
            Operand::Partials => "partials", Operand::Tensor => "tensor", Operand::Copy => "copy",
            Operand::LossScale => "loss_scale",
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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

/// y = act(x·Wᵀ + b; α) + residual: the forward request. x is M×K, W is N×K (or K×N), y is M×N.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// Whether a residual is added.
    pub residual: bool,
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
            residual: false,
            saved: Saved::Auto,
            storage: Storage::default(),
        }
    }

    /// Which choice `Saved::Auto` stands for; or an error if the choice is not enough for a right gradient.
    /// `dalpha` says whether the gradient of α will be wanted.
    pub fn resolve_saved(&self, dalpha: bool) -> Result<Saved> {
        let learnable = self.alpha != AlphaSource::Constant;
        let (residual, y) = (self.residual, self.storage.of(Operand::Y));
        let enough = |saved, dalpha| self.activation.saved_is_enough(saved, learnable, dalpha, residual, y);
        match self.saved {
            Saved::Auto => {
                // Forward does not know which gradients will be asked for; a learnable α will want its own, from z.
                let dalpha = dalpha || learnable;
                let cheapest = if self.activation.needs_nothing() && !dalpha {
                    Saved::None
                } else if enough(Saved::Y, dalpha).is_ok() && self.activation.slope_of_y_is_accurate() {
                    Saved::Y
                } else if enough(Saved::Mask, dalpha).is_ok() {
                    Saved::Mask
                } else {
                    Saved::Z
                };
                Ok(cheapest)
            }
            saved => enough(saved, dalpha).map(|()| saved),
        }
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
    /// d(residual) = dy.
    pub residual: Want,
}

/// The layer below in a chain: its activation slope is applied in the epilogue of this layer's dx product, so that the
/// dx operand receives dz of the layer below.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Below {
    /// Its activation.
    pub activation: Activation,
    /// Where its α comes from.
    pub alpha: AlphaSource,
    /// What it kept: z, y or the mask (not `Auto`, not `None` unless its activation needs nothing).
    pub saved: Saved,
    /// The gradient of its bias, reduced from the same tiles.
    pub db: Want,
    /// The gradient of its α.
    pub dalpha: Want,
}

impl Below {
    /// The layer below as a request of its own: N is the K of this one, M the same; of `storage`, that of this layer, counts how
    /// what it kept is stored.
    pub(crate) fn layer(&self, m: usize, k: usize, storage: &Storage) -> AffineRequest {
        AffineRequest {
            alpha: self.alpha,
            saved: self.saved,
            storage: Storage::default().with(Operand::Y, storage.of(Operand::SavedBelow)),
            ..AffineRequest::new(m, k, 0, self.activation)
        }
    }
}

/// The backward request: the forward's facts, which gradients, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// Whether these gradients read an operand of forward: x for dW, w for dx, what was kept and α for the slope, and x, w and
    /// b where nothing was kept and z is computed again.
    pub fn reads(&self, operand: Operand) -> bool {
        let wants = &self.gradients;
        let linear = self.upstream_is_dz || self.affine.activation.needs_nothing();
        let slope = !linear && [wants.x, wants.w, wants.b, wants.alpha].iter().any(|want| want.wanted());
        let again = slope && matches!(self.affine.resolve_saved(wants.alpha.wanted()), Ok(Saved::None));
        match operand {
            Operand::X => again || wants.w.wanted(),
            Operand::W => again || wants.x.wanted(),
            Operand::B => again && self.affine.bias,
            Operand::Alpha => slope && self.affine.alpha != AlphaSource::Constant,
            Operand::Saved => slope && !again,
            Operand::SavedBelow => self.below.is_some_and(|below| {
                let layer = below.layer(self.affine.m, self.affine.k, &self.affine.storage);
                layer.resolve_saved(below.dalpha.wanted()) != Ok(Saved::None)
            }),
            Operand::AlphaBelow => self.below.is_some_and(|below| below.alpha != AlphaSource::Constant),
            Operand::Dy => true,
            _ => false,
        }
    }
}
