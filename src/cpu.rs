//! Layers on the CPU: what is asked for and its operands, and [`reference`](mod@reference), the judge of every result. The fast
//! implementation, the fair opponent in benchmarks, is a crate of its own, `elbow-cpu`: it takes the same and checks it with [`operands`].

pub mod operands;
pub mod reference;

use crate::{
    activation::Activation,
    error::Result,
    operand::Operand,
    request::{AffineRequest, AlphaSource},
    setters::setters,
};

/// The operands of forward: slices of at least the length that the request says; what lies behind is not read.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ForwardInputs<'a> {
    /// `[M, K]`
    pub x: &'a [f32],
    /// `[N, K]` or `[K, N]`
    pub w: &'a [f32],
    /// `[N]`, if the request has a bias.
    pub b: Option<&'a [f32]>,
    /// `[1]` or `[N]`, if α is not a constant.
    pub alpha: Option<&'a [f32]>,
    /// `[M, N]`, if the request has a residual.
    pub residual: Option<&'a [f32]>,
    /// `[M]`, if the request has a row weight.
    pub row_weight: Option<&'a [f32]>,
}

impl<'a> ForwardInputs<'a> {
    /// Of a layer without a bias, with a constant α.
    pub const fn new(x: &'a [f32], w: &'a [f32]) -> Self {
        ForwardInputs { x, w, b: None, alpha: None, residual: None, row_weight: None }
    }
}

setters!(ForwardInputs<'a> {
    x: &'a [f32],
    w: &'a [f32],
    b: Option<&'a [f32]>,
    alpha: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    row_weight: Option<&'a [f32]>,
});

impl<'a> ForwardInputs<'a> {
    /// The same operands, each of exactly its length.
    pub fn checked(&self, request: &AffineRequest) -> Result<ForwardInputs<'a>> {
        request.check_sizes()?;
        let (m, n, k) = (request.m, request.n, request.k);
        Ok(ForwardInputs {
            x: operands::slice(Operand::X, self.x, &[m, k])?,
            w: operands::slice(Operand::W, self.w, &[n, k])?,
            b: operands::optional(Operand::B, self.b, request.bias, &[n])?,
            alpha: operands::alpha(Operand::Alpha, self.alpha, request.alpha, n)?,
            residual: operands::optional(Operand::Residual, self.residual, request.residual.is_some(), &[m, n])?,
            row_weight: operands::optional(Operand::RowWeight, self.row_weight, request.row_weight, &[m])?,
        })
    }
}

/// An activation alone on a tensor [rows, channels]; α per channel goes along the last dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Elementwise {
    /// Leading dimensions, flattened.
    pub rows: usize,
    /// The last dimension.
    pub channels: usize,
    /// The activation.
    pub activation: Activation,
    /// Where its α comes from.
    pub alpha: AlphaSource,
}

impl Elementwise {
    /// With a constant α.
    pub const fn new(rows: usize, channels: usize, activation: Activation) -> Self {
        Elementwise { rows, channels, activation, alpha: AlphaSource::Constant }
    }
}

setters!(Elementwise { rows: usize, channels: usize, activation: Activation, alpha: AlphaSource });

impl Elementwise {
    /// α of the right length, if it is an operand.
    pub fn checked_alpha<'a>(&self, given: Option<&'a [f32]>) -> Result<Option<&'a [f32]>> {
        crate::rules::check_alpha(Operand::Alpha, self.activation, self.alpha)?;
        operands::alpha(Operand::Alpha, given, self.alpha, self.channels)
    }
}
