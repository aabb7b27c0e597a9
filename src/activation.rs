//! The activations: one table ([`rows`]), their mathematics in f64, and one WGSL file for each function.
//!
//! ```
//! use elbow::activation::Activation;
//!
//! let leaky: Activation = "leaky_relu(0.01)".parse()?;
//! assert_eq!(leaky, Activation::leaky_relu(0.01)?);
//! assert_eq!(leaky.to_string(), "leaky_relu(0.01)");
//! assert_eq!(leaky.value(3.0), 3.0);
//! # Ok::<(), elbow::error::Error>(())
//! ```

mod gain;
mod kink;
mod math;
mod parse;
mod row;
mod saved;
mod stop;
mod table;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};

pub use gain::Gain;
pub use kink::Kink;
pub use math::Quantity;
pub use row::{Domain, Parameter, Row};
pub use table::rows;
pub(crate) use table::shared_wgsl;

use crate::error::{Error, Result};

/// An activation with its parameters: y = act(z; α), a plain value.
///
/// It parses and prints (`"leaky_relu(0.01)"`), evaluates in f64, and knows its kinks, its Lipschitz constant, its
/// moments under a normal distribution, and what forward must keep for backward.
///
/// ```
/// use elbow::Activation;
/// let leaky: Activation = "Leaky-ReLU(0.5)".parse()?;
/// assert_eq!((leaky, leaky.to_string()), (Activation::leaky_relu(0.5)?, "leaky_relu(0.5)".to_owned()));
/// assert_eq!((leaky.value(-4.0), leaky.slope(-4.0), leaky.alpha_slope(-4.0)), (-2.0, 0.5, -4.0));
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Activation {
    kind: Kind,
    params: [f32; 2],
}

impl Activation {
    fn bits(&self) -> (Kind, [u32; 2]) {
        (self.kind, self.params.map(f32::to_bits))
    }
}

/// Compares the bits of the parameters: NaN, which a learnable α may become, equals itself, and 0 differs from -0.
impl PartialEq for Activation {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Activation {}

impl Hash for Activation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

/// The row of the table that an activation belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[rustfmt::skip]
pub enum Kind {
    /// y = z
    Identity,
    /// y = max(z, 0)
    Relu,
    /// y = z > 0 ? z : α z
    LeakyRelu,
    /// The same function as leaky_relu; usually with a learnable α.
    Prelu,
    /// y = min(max(z, 0), cap)
    ClippedRelu,
    /// y = min(max(z, 0), 6)
    Relu6,
    /// y = min(max(z, min), max)
    Hardtanh,
    /// y = max(z, 0)²
    ReluSquared,
    /// y = z > θ ? z : 0
    ThresholdedRelu,
    /// y = z > t ? z : v
    Threshold,
    /// y = z > 0 ? z : α (exp(z) - 1)
    Elu,
    /// y = z > 0 ? z : α (exp(z/α) - 1)
    Celu,
    /// y = scale · elu(z; 1.673...), scale = 1.050...
    Selu,
    /// y = log(1 + exp(β z)) / β
    Softplus,
    /// y = (z + √(z² + b)) / 2
    Squareplus,
    /// y = z Φ(z)
    GeluErf,
    /// y = z/2 (1 + tanh(√(2/π) (z + 0.044715 z³)))
    GeluTanh,
    /// y = z sigmoid(1.702 z)
    QuickGelu,
    /// y = z sigmoid(z)
    Silu,
    /// y = z sigmoid(β z)
    Swish,
    /// y = z tanh(softplus(z))
    Mish,
    /// y = z min(max(z + 3, 0), 6) / 6
    Hardswish,
    /// y = min(max(z + 3, 0), 6) / 6
    Hardsigmoid,
    /// y = min(max(slope z + offset, 0), 1); named `hardsigmoid`, with arguments
    HardsigmoidAffine,
    /// y = 1 / (1 + exp(-z))
    Sigmoid,
    /// y = log(sigmoid(z))
    Logsigmoid,
    /// y = tanh(z)
    Tanh,
    /// y = z / (1 + |z|)
    Softsign,
    /// y = z - tanh(z)
    Tanhshrink,
    /// y = sign(z) max(|z| - λ, 0)
    Softshrink,
    /// y = |z| > λ ? z : 0
    Hardshrink,
}

/// The activations without a parameter.
#[rustfmt::skip]
impl Activation {
    /// y = z
    pub const IDENTITY: Activation = Activation::fixed(Kind::Identity, [0.0, 0.0]);
    /// y = max(z, 0)
    pub const RELU: Activation = Activation::fixed(Kind::Relu, [0.0, 0.0]);
    /// y = min(max(z, 0), 6)
    pub const RELU6: Activation = Activation::fixed(Kind::Relu6, [6.0, 0.0]);
    /// y = max(z, 0)²
    pub const RELU_SQUARED: Activation = Activation::fixed(Kind::ReluSquared, [0.0, 0.0]);
    /// y = scale (z > 0 ? z : α (exp(z) - 1))
    pub const SELU: Activation = Activation::fixed(Kind::Selu, [0.0, 0.0]);
    /// y = z Φ(z)
    pub const GELU_ERF: Activation = Activation::fixed(Kind::GeluErf, [0.0, 0.0]);
    /// y = z/2 (1 + tanh(√(2/π) (z + 0.044715 z³)))
    pub const GELU_TANH: Activation = Activation::fixed(Kind::GeluTanh, [0.0, 0.0]);
    /// y = z sigmoid(1.702 z)
    pub const QUICK_GELU: Activation = Activation::fixed(Kind::QuickGelu, [1.702, 0.0]);
    /// y = z sigmoid(z)
    pub const SILU: Activation = Activation::fixed(Kind::Silu, [1.0, 0.0]);
    /// y = z tanh(softplus(z))
    pub const MISH: Activation = Activation::fixed(Kind::Mish, [0.0, 0.0]);
    /// y = z min(max(z + 3, 0), 6) / 6
    pub const HARDSWISH: Activation = Activation::fixed(Kind::Hardswish, [0.0, 0.0]);
    /// y = min(max(z + 3, 0), 6) / 6
    pub const HARDSIGMOID: Activation = Activation::fixed(Kind::Hardsigmoid, [0.0, 0.0]);
    /// y = 1 / (1 + exp(-z))
    pub const SIGMOID: Activation = Activation::fixed(Kind::Sigmoid, [0.0, 0.0]);
    /// y = log(sigmoid(z))
    pub const LOGSIGMOID: Activation = Activation::fixed(Kind::Logsigmoid, [0.0, 0.0]);
    /// y = tanh(z)
    pub const TANH: Activation = Activation::fixed(Kind::Tanh, [0.0, 0.0]);
    /// y = z / (1 + |z|)
    pub const SOFTSIGN: Activation = Activation::fixed(Kind::Softsign, [0.0, 0.0]);
    /// y = z - tanh(z)
    pub const TANHSHRINK: Activation = Activation::fixed(Kind::Tanhshrink, [0.0, 0.0]);
}

/// Constructors. A parameter outside its domain ([`Parameter::domain`]) is an [`Error::BadParameter`].
impl Activation {
    /// Any activation from its parameters, in order; missing ones take their default.
    ///
    /// ```
    /// use elbow::{Activation, activation::Kind};
    /// assert_eq!(Activation::new(Kind::Elu, &[])?, Activation::elu(1.0)?);
    /// assert!(Activation::new(Kind::Hardtanh, &[1.0, -1.0]).is_err()); // min > max
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn new(kind: Kind, parameters: &[f32]) -> Result<Self> {
        let row = kind.row();
        let bad = |parameter: &str, expected: String, got: String| Error::BadParameter {
            of: row.name.into(),
            parameter: parameter.into(),
            expected,
            got,
        };
        if parameters.len() > row.parameters.len() {
            let names: Vec<_> = row.parameters.iter().map(|parameter| parameter.name).collect();
            let expected = match names.len() {
                0 => "no parameter".into(),
                count => format!("at most {count} ({})", names.join(", ")),
            };
            return Err(bad("number of parameters", expected, parameters.len().to_string()));
        }
        let mut params = row.fixed;
        for (slot, parameter) in row.parameters.iter().enumerate() {
            params[slot] = match (parameters.get(slot).copied(), parameter.default) {
                (Some(value), _) if parameter.domain.contains(value) => value,
                (Some(value), _) => {
                    return Err(bad(parameter.name, parameter.domain.to_string(), value.to_string()));
                }
                (None, Some(default)) => default,
                (None, None) => return Err(bad(parameter.name, parameter.domain.to_string(), "nothing".into())),
            };
        }
        if kind == Kind::Hardtanh && params[0] > params[1] {
            return Err(bad("max", format!("a number >= min = {}", params[0]), params[1].to_string()));
        }
        Ok(Activation { kind, params })
    }

    /// y = z > 0 ? z : slope · z. The other constructors are used alike.
    ///
    /// ```
    /// use elbow::Activation;
    /// let layers = [Activation::leaky_relu(0.01)?, Activation::hardtanh(-1.0, 1.0)?, Activation::swish(1.5)?];
    /// assert!(Activation::leaky_relu(f32::NAN).is_err());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn leaky_relu(slope: f32) -> Result<Self> {
        Self::new(Kind::LeakyRelu, &[slope])
    }

    /// y = z > 0 ? z : α z. α is usually learnable; this is its start value.
    pub fn prelu(alpha: f32) -> Result<Self> {
        Self::new(Kind::Prelu, &[alpha])
    }

    /// y = min(max(z, 0), cap), cap ≥ 0
    pub fn clipped_relu(cap: f32) -> Result<Self> {
        Self::new(Kind::ClippedRelu, &[cap])
    }

    /// y = min(max(z, min), max), min ≤ max
    pub fn hardtanh(min: f32, max: f32) -> Result<Self> {
        Self::new(Kind::Hardtanh, &[min, max])
    }

    /// y = z > theta ? z : 0
    pub fn thresholded_relu(theta: f32) -> Result<Self> {
        Self::new(Kind::ThresholdedRelu, &[theta])
    }

    /// y = z > threshold ? z : value
    pub fn threshold(threshold: f32, value: f32) -> Result<Self> {
        Self::new(Kind::Threshold, &[threshold, value])
    }

    /// y = z > 0 ? z : α (exp(z) - 1)
    pub fn elu(alpha: f32) -> Result<Self> {
        Self::new(Kind::Elu, &[alpha])
    }

    /// y = z > 0 ? z : α (exp(z/α) - 1), |α| from 1e-10 to 1e10
    pub fn celu(alpha: f32) -> Result<Self> {
        Self::new(Kind::Celu, &[alpha])
    }

    /// y = log(1 + exp(β z)) / β, β from 1e-10 to 1e10, without a threshold. PyTorch's default threshold of 20 changes value and slope by
    /// less than a tenth of an ulp of f32.
    pub fn softplus(beta: f32) -> Result<Self> {
        Self::new(Kind::Softplus, &[beta])
    }

    /// [`Activation::softplus`], but y = z where β z > threshold: PyTorch's exact form.
    pub fn softplus_with_threshold(beta: f32, threshold: f32) -> Result<Self> {
        Self::new(Kind::Softplus, &[beta, threshold])
    }

    /// y = (z + √(z² + b)) / 2, b from 1e-10 to 1e10
    pub fn squareplus(b: f32) -> Result<Self> {
        Self::new(Kind::Squareplus, &[b])
    }

    /// y = z sigmoid(β z)
    pub fn swish(beta: f32) -> Result<Self> {
        Self::new(Kind::Swish, &[beta])
    }

    /// y = min(max(slope z + offset, 0), 1), ONNX's form; PyTorch's is [`Activation::HARDSIGMOID`].
    pub fn hardsigmoid(slope: f32, offset: f32) -> Result<Self> {
        Self::new(Kind::HardsigmoidAffine, &[slope, offset])
    }

    /// y = z > λ ? z - λ : z < -λ ? z + λ : 0, λ ≥ 0
    pub fn softshrink(lambda: f32) -> Result<Self> {
        Self::new(Kind::Softshrink, &[lambda])
    }

    /// y = |z| > λ ? z : 0, λ ≥ 0
    pub fn hardshrink(lambda: f32) -> Result<Self> {
        Self::new(Kind::Hardshrink, &[lambda])
    }

    const fn fixed(kind: Kind, params: [f32; 2]) -> Self {
        Activation { kind, params }
    }
}

impl Kind {
    /// Its row of the table: name, formula, parameters, tolerances.
    ///
    /// ```
    /// use elbow::activation::Kind;
    /// assert_eq!((Kind::Relu.row().name, Kind::Relu.row().formula), ("relu", "max(z, 0)"));
    /// ```
    pub fn row(self) -> &'static Row {
        &rows()[self as usize]
    }
}

impl Activation {
    /// Which function it is, without its parameters.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its row of the table: formula, parameters, tolerances.
    pub fn row(&self) -> &'static Row {
        self.kind.row()
    }

    /// The name of its row, such as `leaky_relu`, without parameters.
    pub fn name(&self) -> &'static str {
        self.row().name
    }

    /// `[α, second parameter]`, as the kernels get them; 0 where there is none.
    pub const fn params(&self) -> [f32; 2] {
        self.params
    }

    /// The same activation with another α. Not checked against its domain, because a learnable α may leave it on the device.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!(Activation::prelu(0.25)?.with_alpha(-0.5).value(-2.0), 1.0);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub const fn with_alpha(self, alpha: f32) -> Self {
        Activation { kind: self.kind, params: [alpha, self.params[1]] }
    }

    /// Whether α can be learnable: an operand with a gradient.
    pub fn has_alpha(&self) -> bool {
        self.row().learnable
    }
}
