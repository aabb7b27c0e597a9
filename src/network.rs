//! A whole network in one dispatch: y₀ = x, y_l = act(y_(l−1)·W_lᵀ + b_l; α_l), for networks of narrow layers (16 to 128 columns), where memory
//! and the start of dispatches take longer than arithmetic. What goes from layer to layer never leaves a workgroup.
//!
//! ```no_run
//! use elbow::{Activation, Gpu, network::{Forward, Layers}};
//! let gpu = Gpu::new()?;
//! let layers = Layers::new(&[3, 64, 64, 64, 1], Activation::SILU)?;
//! let mut values = vec![0.0; layers.elements()];
//! for l in 0..layers.count {
//!     let (place, [n, k]) = (layers.place(l), layers.shape(l));
//!     values[place.w..place.w + n * k].fill(0.1); // w [N, K], then b [N] at place.b
//! }
//! let parameters = gpu.upload(&values, &[values.len()])?;
//! let (x, y) = (gpu.zeros(&[100_000, 3])?, gpu.zeros(&[100_000, 1])?);
//! gpu.submit(|encoder| Forward::new(layers, &x, &parameters, &y).record(&gpu, encoder))?;
//! # Ok::<(), elbow::Error>(())
//! ```

#[doc(inline)]
pub use crate::request::{Layers, Place};
use crate::{
    error::Result,
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    operands::{expect_rows, expect_shape, recorded, wrong_shape},
    plan::{self, NetworkForward, Plan},
    setters::setters,
    shape,
    view::View,
};

/// y = the network of x, in one dispatch.
///
/// x `[.., K]` and y `[.., N]` of any type, with any distance from row to row; parameters f32, one tensor of [`Layers::elements`] numbers in the
/// order of [`Layers::place`]. Any number of rows and layers, up to [`Layers::MOST_COLUMNS`] columns of x, of a hidden layer and of y. Sums and
/// what goes from layer to layer are f32, whatever the types.
///
/// With [`Layers::jet`] the rows of x and y are groups of four that carry derivatives along ([`Jet`](crate::Jet)): `[.., 4, K]` and `[.., 4, N]`.
/// Groups of eight rows are an [`Error::Unsupported`](crate::Error::Unsupported).
///
/// [`Error::LimitExceeded`](crate::Error::LimitExceeded) for more columns, and where the device has less than 16 KiB of workgroup memory or
/// 128 invocations: such a network is computed [layer by layer](crate::affine).
///
/// ```no_run
/// use elbow::{Activation, Float, Gpu, network::{Forward, Layers}};
/// let gpu = Gpu::new()?;
/// let layers = Layers::new(&[32, 64, 64, 16], Activation::RELU)?;
/// let parameters = gpu.zeros(&[layers.elements()])?;
/// let half = gpu.zeros_of(Float::F16, &[layers.elements()])?; // the same numbers, of which weights are read
/// let (x, y) = (gpu.zeros_of(Float::F16, &[4096, 32])?, gpu.zeros_of(Float::F16, &[4096, 16])?);
/// let network = Forward::new(layers, &x, &parameters, &y).copy(half.view());
/// println!("{}", network.plan(&gpu)?);
/// gpu.submit(|encoder| network.record(&gpu, encoder))?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Forward<'a> {
    /// Sizes and activations.
    pub layers: Layers,
    /// Input `[.., K]`.
    pub x: View<'a>,
    /// All parameters, f32.
    pub parameters: View<'a>,
    /// The same parameters in another type, of which weights are read instead: half the bytes in f16 or bf16. b and α are f32 always.
    pub copy: Option<View<'a>>,
    /// Output `[.., N]`.
    pub y: View<'a>,
}

setters!(Forward<'a> {
    layers: Layers,
    x: impl Into<View<'a>>,
    parameters: impl Into<View<'a>>,
    copy: impl Into<Option<View<'a>>>,
    y: impl Into<View<'a>>,
});

impl<'a> Forward<'a> {
    /// With weights from the parameters themselves.
    pub fn new(
        layers: Layers,
        x: impl Into<View<'a>>,
        parameters: impl Into<View<'a>>,
        y: impl Into<View<'a>>,
    ) -> Self {
        Forward { layers, x: x.into(), parameters: parameters.into(), copy: None, y: y.into() }
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let Forward { layers, x, parameters, copy, y } = *self;
        let (rows, k) = shape::rows_and_columns(Operand::X, &x.shape)?;
        if k != layers.inputs {
            return Err(wrong_shape(Operand::X, format!("[.., {}], the inputs of the network", layers.inputs), x));
        }
        expect_rows(Operand::Y, y, rows, layers.outputs)?;
        let elements = [layers.elements()];
        expect_shape(Operand::Parameter, Some(parameters), &elements)?;
        expect_shape(Operand::Copy, copy, &elements)?;
        let mut operands = Operands::default();
        operands.add(Operand::X, x).add(Operand::Parameter, parameters).add(Operand::Copy, copy).add(Operand::Y, y);
        let request = NetworkForward { rows, layers, copy: copy.is_some(), storage: operands.storage(false)? };
        Ok((plan::network_forward(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

recorded!(Forward);
