//! The names of operands in errors, plans, programs, shaders and documents, one line each.

use std::fmt;

macro_rules! operands {
    ($($(#[doc = $about:literal])+ $variant:ident = $name:literal,)+) => {
        /// The name of an operand.
        ///
        /// ```
        /// use elbow::Operand;
        /// assert_eq!(Operand::Dalpha.name(), "dalpha");
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Operand {
            $($(#[doc = $about])+ $variant,)+
        }

        impl Operand {
            /// Every operand, in the order of their declaration.
            pub const ALL: [Operand; Operand::COUNT] = [$(Operand::$variant),+];
            /// The number of operands, for tables that are indexed by one.
            pub const COUNT: usize = [$($name),+].len();

            /// The name in errors, documents and shaders.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Operand::$variant => $name,)+
                }
            }
        }
    };
}

operands! {
    /// Input `[.., K]`.
    X = "x",
    /// Weight `[N, K]`, or `[K, N]`.
    W = "w",
    /// Bias `[N]`.
    B = "b",
    /// Learnable shape parameter α, `[1]` or `[N]`.
    Alpha = "alpha",
    /// Added after the activation or before it, `[.., N]`.
    Residual = "residual",
    /// A factor for each row of act(z), `[..]`.
    RowWeight = "row_weight",
    /// Seed, step and layer of a dropout, u32 `[4]`.
    DropoutState = "dropout_state",
    /// What multiplies each column of x in front of the product, `[K]`.
    Scale = "scale",
    /// What is added to it, `[K]`.
    Shift = "shift",
    /// α of the activation in front of the product, `[1]` or `[K]`.
    FrontAlpha = "front_alpha",
    /// Mean and 1 / √(variance + ε) of each column of x, `[2, K]`, or of each row, `[2, M]`.
    Moments = "moments",
    /// Mean and variance of each column over earlier batches, `[2, K]`.
    RunningMoments = "running_moments",
    /// The first row of x, around which the variances of its columns are summed.
    FirstRow = "first_row",
    /// What the front makes of x, in elbow's scratch memory.
    Fronted = "fronted",
    /// Output `[.., N]`.
    Y = "y",
    /// What forward kept for backward: z, y or the mask.
    Saved = "saved",
    /// Statistics of each channel of z and y, `[5, N]`.
    ChannelStatistics = "channel_statistics",
    /// Statistics of each row of z and y, `[5, M]`.
    RowStatistics = "row_statistics",
    /// In how many rows each channel has fired, z > 0, over all calls so far, `[N]`.
    Firing = "firing",
    /// The sum of max(−z, 0) of each channel over all calls so far, `[N]`.
    NegativeMass = "negative_mass",
    /// The numbers around which the variances of channels are summed: near the means of z and y, `[2, N]`.
    Around = "around",
    /// Upstream gradient ∂L/∂y `[.., N]`.
    Dy = "dy",
    /// Pre-activation z that backward computes again, in elbow's scratch memory.
    Z = "z",
    /// dz = dy ⊙ act'(z), in elbow's scratch memory.
    Dz = "dz",
    /// Gradient of x.
    Dx = "dx",
    /// Gradient of w.
    Dw = "dw",
    /// Gradient of b.
    Db = "db",
    /// Gradient of alpha.
    Dalpha = "dalpha",
    /// Gradient of the residual.
    Dresidual = "dresidual",
    /// Gradient of the row weight.
    DrowWeight = "drow_weight",
    /// Gradient of the scale in front of the product.
    Dscale = "dscale",
    /// Gradient of the shift.
    Dshift = "dshift",
    /// Gradient of alpha of the activation in front of the product.
    DfrontAlpha = "dfront_alpha",
    /// The gradient of what the front makes of x, on its way back through it, in elbow's scratch memory.
    Dfronted = "dfronted",
    /// The means of that over rows or columns by which a norm moves, in elbow's scratch memory.
    DfrontedMeans = "dfronted_means",
    /// What the layer below kept for backward.
    SavedBelow = "saved_below",
    /// Alpha of the layer below.
    AlphaBelow = "alpha_below",
    /// Row weight of the layer below.
    RowWeightBelow = "row_weight_below",
    /// Seed, step and layer of the dropout of the layer below.
    DropoutStateBelow = "dropout_state_below",
    /// Gradient of the bias of the layer below.
    DbBelow = "db_below",
    /// Gradient of alpha of the layer below.
    DalphaBelow = "dalpha_below",
    /// Gradient of the row weight of the layer below.
    DrowWeightBelow = "drow_weight_below",
    /// The gradient that comes back to dx (double backward).
    Ddx = "ddx",
    /// Gradient for dy (double backward).
    Ddy = "ddy",
    /// Gradient for x (double backward), `[.., K]`.
    Dx2 = "dx2",
    /// Gradient for alpha (double backward).
    Dalpha2 = "dalpha2",
    /// The gradient that comes back to dw (double backward).
    Ddw = "ddw",
    /// The gradient that comes back to db (double backward).
    Ddb = "ddb",
    /// The gradient that comes back to dalpha (double backward).
    Ddalpha = "ddalpha",
    /// The gradient that comes back to dresidual (double backward).
    Ddresidual = "ddresidual",
    /// Gradient for w (double backward).
    Dw2 = "dw2",
    /// Gradient for b (double backward).
    Db2 = "db2",
    /// Gradient for the residual (double backward).
    Dresidual2 = "dresidual2",
    /// The change of z along the gradients that come back, then the gradient for z (double backward), in elbow's scratch memory.
    Dz2 = "dz2",
    /// The first product of a sum of two, in elbow's scratch memory.
    Half = "half",
    /// What goes through the activation of a gated unit.
    Gate = "gate",
    /// What the gate of a gated unit lets through.
    Up = "up",
    /// Weight of what a gate lets through, as w, where both sides have weights apart.
    WUp = "w_up",
    /// Its bias `[N]`.
    BUp = "b_up",
    /// Gradient of that weight.
    DwUp = "dw_up",
    /// Gradient of that bias.
    DbUp = "db_up",
    /// dz of what a gate lets through, where both sides have weights apart, in elbow's scratch memory.
    DzUp = "dz_up",
    /// Gradient of the gate.
    Dgate = "dgate",
    /// Gradient of what the gate lets through.
    Dup = "dup",
    /// The source of a copy.
    From = "from",
    /// The destination of a copy.
    To = "to",
    /// Scores of each class, `[.., C]` (softmax cross-entropy).
    Logits = "logits",
    /// A class for each row, u32 words (softmax cross-entropy).
    Labels = "labels",
    /// The loss of each row.
    Loss = "loss",
    /// The mean of these losses, or their sum, `[1]`.
    Total = "total",
    /// A factor of the rows with each label, `[C]` (softmax cross-entropy).
    ClassWeight = "class_weight",
    /// Gradient of the logits (softmax cross-entropy).
    Dlogits = "dlogits",
    /// What outputs should be, `[.., N]` (elementwise losses).
    Targets = "targets",
    /// A factor of the positive part of a binary cross-entropy, `[N]`.
    PositiveWeight = "positive_weight",
    /// Parameters that are updated (training).
    Parameter = "parameter",
    /// Their gradient (training).
    ParameterGradient = "gradient",
    /// The velocity of the parameters (training).
    Velocity = "velocity",
    /// Mean of the gradients (AdamW).
    FirstMoment = "first_moment",
    /// Mean of their squares (AdamW).
    SecondMoment = "second_moment",
    /// Rates and step count of an update (training).
    Rates = "rates",
    /// What multiplies the rates of some parameters (training).
    Factors = "factors",
    /// Partial sums, in elbow's scratch memory.
    Partials = "partials",
    /// Largest magnitudes of the rows and columns that a product scales, in elbow's scratch memory.
    Scales = "scales",
    /// All scratch memory of a call, where the host supplies it ([`crate::Gpu::with_scratch`]).
    Scratch = "scratch",
    /// A tensor outside a call of a layer: of an upload, a download or a view.
    Tensor = "tensor",
    /// The parameters rounded to the type that layers read, kept beside those in f32 (training).
    Copy = "copy",
    /// State of the loss scale (training).
    LossScale = "loss_scale",
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
