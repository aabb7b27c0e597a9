//! Where backward has act'(z) from: z, what was kept in its place, or the product of which z is made again.

use elbow::activation::Quantity;

use crate::{
    pass::{Channels, Span},
    saved::SavedIn,
    vectors::add,
};

/// The source of z, or of its slope.
#[derive(Clone, Copy)]
pub(crate) enum Slopes<'a> {
    /// What forward kept.
    Saved(SavedIn<'a>),
    /// The slope is 1.
    Unit,
    /// The memory of dz holds x·Wᵀ, to which bias and residual are added to get z.
    ProductInPlace(Option<&'a [f32]>, Option<&'a [f32]>),
}

impl<'a> Slopes<'a> {
    /// That of a block: of so many rows from `row` on.
    pub(crate) fn block(&self, row: usize, rows: usize, n: usize) -> Slopes<'a> {
        match *self {
            Slopes::Saved(saved) => Slopes::Saved(saved.block(row, rows, n)),
            Slopes::Unit => Slopes::Unit,
            Slopes::ProductInPlace(bias, residual) => {
                Slopes::ProductInPlace(bias, residual.map(|residual| &residual[row * n..(row + rows) * n]))
            }
        }
    }

    /// z of a span, if it is known; where it is made again, it is made in `room`, of the span's `product`.
    pub(crate) fn z<'z>(&self, span: &Span, product: &[f32], room: &'z mut [f32]) -> Option<&'z [f32]>
    where
        'a: 'z,
    {
        match *self {
            Slopes::Saved(SavedIn::Z(z)) => Some(&z[span.range.clone()]),
            Slopes::ProductInPlace(bias, residual) => {
                let z = &mut room[..product.len()];
                z.copy_from_slice(product);
                if let Some(bias) = bias {
                    for z in z.chunks_mut(span.columns) {
                        add(z, &bias[span.column..span.column + span.columns]);
                    }
                }
                if let Some(residual) = residual {
                    add(z, &residual[span.range.clone()]);
                }
                Some(z)
            }
            _ => None,
        }
    }

    /// act'(z) of a span, of its z where that is known.
    pub(crate) fn fill(&self, channels: &Channels<'_>, span: &Span, z: Option<&[f32]>, slopes: &mut [f32]) {
        match (z, *self) {
            (Some(z), _) => channels.evaluate(Quantity::Slope, span, z, slopes),
            (None, Slopes::Saved(SavedIn::Y(y))) => channels.slopes_of_y(span, &y[span.range.clone()], slopes),
            (None, Slopes::Saved(SavedIn::Mask(mask))) => channels.slopes_of_bits(span, mask, slopes),
            _ => slopes.fill(1.0),
        }
    }
}
