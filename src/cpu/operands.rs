//! What both CPU roads take, and the checks of it: lengths, and that each operand is there if and only if the request
//! calls for it.

use crate::{
    activation::Activation,
    error::{Error, Result},
    request::{AffineRequest, AlphaSource, Operand},
};

/// The operands of forward: slices of at least the length that the request says; what lies behind is not read.
#[derive(Debug, Clone, Copy, Default)]
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
    /// The same operands, each of exactly its length.
    pub(super) fn checked(&self, request: &AffineRequest) -> Result<ForwardInputs<'a>> {
        request.check_sizes()?;
        let (m, n, k) = (request.m, request.n, request.k);
        Ok(ForwardInputs {
            x: slice(Operand::X, self.x, &[m, k])?,
            w: slice(Operand::W, self.w, &[n, k])?,
            b: optional(Operand::B, self.b, request.bias, &[n])?,
            alpha: alpha(Operand::Alpha, self.alpha, request.alpha, n)?,
            residual: optional(Operand::Residual, self.residual, request.residual.is_some(), &[m, n])?,
            row_weight: optional(Operand::RowWeight, self.row_weight, request.row_weight, &[m])?,
        })
    }
}

/// An activation alone on a tensor [rows, channels]; α per channel goes along the last dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// α of the right length, if it is an operand.
    pub(super) fn checked_alpha<'a>(&self, given: Option<&'a [f32]>) -> Result<Option<&'a [f32]>> {
        if self.alpha != AlphaSource::Constant && !self.activation.has_alpha() {
            return Err(Error::Operand {
                operand: Operand::Alpha,
                expected: format!("no alpha: {} has no learnable parameter", self.activation),
                got: "an alpha operand".into(),
            });
        }
        alpha(Operand::Alpha, given, self.alpha, self.channels)
    }
}

/// The elements of `shape`; sizes are below 2³² after `check_sizes`, a product of two fits u64 and usize of 64 bits.
pub(super) fn length(operand: Operand, shape: &[usize]) -> Result<usize> {
    let elements = crate::shape::elements(operand, shape)?;
    usize::try_from(elements).map_err(|_| Error::LimitExceeded {
        what: format!("elements of {operand}"),
        asked: elements,
        limit: usize::MAX as u64,
    })
}

/// An error: a slice that does not hold the shape.
pub(super) fn too_short(operand: Operand, shape: &[usize], length: usize, got: usize) -> Error {
    Error::Shape { operand, expected: format!("{length} elements, {shape:?}"), got: format!("{got} elements") }
}

/// The first elements of `given`, as many as `shape` has.
pub(super) fn slice<'a, T>(operand: Operand, given: &'a [T], shape: &[usize]) -> Result<&'a [T]> {
    let length = length(operand, shape)?;
    given.get(..length).ok_or_else(|| too_short(operand, shape, length, given.len()))
}

/// An operand that must be there if `wanted`, and must not if not.
pub(super) fn optional<'a>(
    operand: Operand,
    given: Option<&'a [f32]>,
    wanted: bool,
    shape: &[usize],
) -> Result<Option<&'a [f32]>> {
    match (given, wanted) {
        (Some(given), true) => slice(operand, given, shape).map(Some),
        (None, false) => Ok(None),
        (None, true) => {
            Err(Error::Operand { operand, expected: format!("an operand of shape {shape:?}"), got: "none".into() })
        }
        (Some(_), false) => {
            Err(Error::Operand { operand, expected: "none: the request has no such operand".into(), got: "one".into() })
        }
    }
}

/// α by where it comes from.
pub(super) fn alpha(
    operand: Operand,
    given: Option<&[f32]>,
    source: AlphaSource,
    channels: usize,
) -> Result<Option<&[f32]>> {
    optional(operand, given, source != AlphaSource::Constant, &[alpha_length(source, channels)])
}

/// Elements of α, and of its gradient.
pub(super) const fn alpha_length(source: AlphaSource, channels: usize) -> usize {
    match source {
        AlphaSource::Constant | AlphaSource::PerLayer => 1,
        AlphaSource::PerChannel => channels,
    }
}
