//! [`Load`]: what a call asks of either road, by its shape.

use elbow::{
    Saved, Want,
    request::{AffineRequest, BackwardRequest, DoubleBackwardRequest},
};

/// What a call asks of the road that it goes: operations of its products, and bytes of operands and results, which a GPU's road copies.
///
/// ```
/// use elbow::{Activation, request::AffineRequest};
/// use elbow_host::Load;
/// let load = Load::of_forward(&AffineRequest::new(64, 256, 128, Activation::RELU));
/// assert_eq!(load.operations, 2 * 64 * 256 * 128);
/// assert_eq!(load.up, 4 * (64 * 128 + 256 * 128 + 256)); // x, w, b
/// assert_eq!(load.down, 4 * 64 * 256); // y
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Multiplications and additions of the products.
    pub operations: u64,
    /// Bytes of what is read.
    pub up: u64,
    /// Bytes of what is written.
    pub down: u64,
}

/// The sizes of a layer's operands, in bytes of f32, and the operations of one product.
struct Sizes {
    x: u64,
    w: u64,
    b: u64,
    y: u64,
    z: u64,
    product: u64,
}

fn bytes(rows: usize, columns: usize) -> u64 {
    (rows as u64).saturating_mul(columns as u64).saturating_mul(4)
}

impl Sizes {
    fn of(request: &AffineRequest) -> Self {
        let AffineRequest { m, n, k, .. } = *request;
        let outputs = request.outputs();
        let b = if request.bias { bytes(1, outputs) } else { 0 };
        let product = bytes(m, outputs).saturating_mul(k as u64) / 2;
        Sizes { x: bytes(m, k), w: bytes(outputs, k), b, y: bytes(m, n), z: bytes(m, outputs), product }
    }

    /// What is kept in this form, and the product that makes z again if nothing is.
    fn kept(&self, saved: Saved) -> (u64, u64) {
        match saved {
            Saved::Z => (self.z, 0),
            Saved::Y => (self.y, 0),
            Saved::Mask => (self.y / 32, 0),
            Saved::Auto | Saved::None => (self.b, self.product),
        }
    }
}

fn when(wanted: bool, amount: u64) -> u64 {
    if wanted { amount } else { 0 }
}

/// Bytes of gradients that are written, and of those that are added to, which go up too.
fn gradients(wants: &[(Want, u64)]) -> (u64, u64) {
    let sum = |counts: fn(Want) -> bool| wants.iter().map(|(want, bytes)| when(counts(*want), *bytes)).sum();
    (sum(Want::wanted), sum(|want| want == Want::Accumulate))
}

impl Load {
    /// Of forward.
    pub fn of_forward(request: &AffineRequest) -> Self {
        let sizes = Sizes::of(request);
        let kept = match request.saved {
            Saved::Z => sizes.z,
            Saved::Mask => sizes.y / 32,
            Saved::Auto | Saved::Y | Saved::None => 0,
        };
        let residual = when(request.residual.is_some(), sizes.y);
        Load { operations: sizes.product, up: sizes.x + sizes.w + sizes.b + residual, down: sizes.y + kept }
    }

    /// Of backward, from what was kept.
    pub fn of_backward(request: &BackwardRequest, saved: Saved) -> Self {
        let (sizes, wants) = (Sizes::of(&request.affine), &request.gradients);
        let (kept, again) = if request.affine.is_linear() { (0, 0) } else { sizes.kept(saved) };
        let (dx, dw) = (wants.need_dx(), wants.w.wanted() || wants.w_up.wanted());
        let (down, added) =
            gradients(&[(wants.x, sizes.x), (wants.w, sizes.w), (wants.b, sizes.b), (wants.residual, sizes.y)]);
        Load {
            operations: again + when(dx, sizes.product) + when(dw, sizes.product),
            up: sizes.y + kept + when(dw || again > 0, sizes.x) + when(dx || again > 0, sizes.w) + added,
            down,
        }
    }

    /// Of double backward, from what was kept.
    pub fn of_double_backward(request: &DoubleBackwardRequest, saved: Saved) -> Self {
        let (sizes, wants, there) = (Sizes::of(&request.affine), &request.gradients, &request.returning);
        let (kept, again) = sizes.kept(saved);
        let (dx, dw) = (wants.x.wanted(), wants.w.wanted());
        let products = [there.x, there.w, dx, dx && there.w, dw, dw && there.x];
        let (down, added) =
            gradients(&[(wants.dy, sizes.y), (wants.x, sizes.x), (wants.w, sizes.w), (wants.b, sizes.b)]);
        Load {
            operations: again + products.map(|there| when(there, sizes.product)).iter().sum::<u64>(),
            up: sizes.y + kept + sizes.x + sizes.w + when(there.x, sizes.x) + when(there.w, sizes.w) + added,
            down,
        }
    }
}
