//! A whole network in one dispatch: y₀ = x, y_l = act(y_(l−1)·W_lᵀ + b_l; α_l), for networks of narrow layers (16 to 128 columns), where memory
//! and the start of dispatches take longer than arithmetic. What goes from layer to layer never leaves a workgroup. Its gradients take two
//! ([`Forward::backward`]).
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
pub use crate::operands::Gradient;
#[doc(inline)]
pub use crate::request::{Layers, Place};
use crate::{
    error::Result,
    gpu::{Gpu, operands::Operands},
    operand::Operand,
    operands::{expect_rows, expect_shape, recorded, view, want, wrong_shape},
    plan::{self, NetworkBackward, NetworkForward, Plan},
    setters::setters,
    shape,
    storage::Storage,
    view::View,
};

/// y = the network of x, in one dispatch.
///
/// x `[.., K]` and y `[.., N]` of any type, with any distance from row to row; parameters f32, one tensor of [`Layers::elements`] numbers in the
/// order of [`Layers::place`]. Any number of rows and layers, up to [`Layers::MOST_COLUMNS`] columns of x, of a hidden layer and of y. Sums and
/// what goes from layer to layer are f32, whatever the types; on matrix units, where [`Options::matrix_units`](crate::Options::matrix_units) asks for them,
/// x, weights and what goes from layer to layer are factors of products there, rounded or split as [`MatrixUnits`](crate::MatrixUnits) says.
///
/// With [`Layers::jet`] the rows of x and y are groups of four or eight that carry derivatives along ([`Jet`](crate::Jet)): `[.., 4, K]` and
/// `[.., 4, N]`, or 8 for 4.
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

    /// The gradients, from dy `[.., N]`: chain `dx` and `gradient` on, then record. Nothing that forward wrote is read, y least of all.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, network::{Forward, Layers}};
    /// let gpu = Gpu::new()?;
    /// let layers = Layers::new(&[3, 32, 32, 1], Activation::SILU)?;
    /// let (parameters, gradient) = (gpu.zeros(&[layers.elements()])?, gpu.zeros(&[layers.elements()])?);
    /// let (x, y, dy) = (gpu.zeros(&[4096, 3])?, gpu.zeros(&[4096, 1])?, gpu.zeros(&[4096, 1])?);
    /// let network = Forward::new(layers, &x, &parameters, &y);
    /// let backward = network.backward(&dy).gradient(&gradient);
    /// println!("{}", backward.plan(&gpu)?);
    /// gpu.submit_pass(|pass| {
    ///     network.record(&gpu, &mut *pass)?; // then dy from y, by a loss
    ///     backward.record(&gpu, pass)
    /// })?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn backward(&self, dy: impl Into<View<'a>>) -> Backward<'a> {
        Backward { forward: *self, dy: dy.into(), dx: None, gradient: None }
    }

    /// The operands that forward and backward read, checked, and the request without their storage.
    fn request(&self) -> Result<(NetworkForward, Operands<'a>)> {
        let Forward { layers, x, parameters, copy, .. } = *self;
        let (rows, k) = shape::rows_and_columns(Operand::X, &x.shape)?;
        if k != layers.inputs {
            return Err(wrong_shape(Operand::X, format!("[.., {}], the inputs of the network", layers.inputs), x));
        }
        let elements = [layers.elements()];
        expect_shape(Operand::Parameter, Some(parameters), &elements)?;
        expect_shape(Operand::Copy, copy, &elements)?;
        let mut operands = Operands::default();
        operands.add(Operand::X, x).add(Operand::Parameter, parameters).add(Operand::Copy, copy);
        Ok((NetworkForward { rows, layers, copy: copy.is_some(), storage: Storage::default() }, operands))
    }

    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let (request, mut operands) = self.request()?;
        expect_rows(Operand::Y, self.y, request.rows, self.layers.outputs)?;
        operands.add(Operand::Y, self.y);
        let request = NetworkForward { storage: operands.storage(false)?, ..request };
        Ok((plan::network_forward(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

/// Gradients of a network: dz_l = dy_l ⊙ act'(z_l; α_l), dW_l = dz_lᵀ·y_(l−1), db_l = Σ_rows dz_l, dα_l = Σ dy_l ⊙ ∂act/∂α, and
/// dy_(l−1) = dz_l·W_l, of which the first is dx. Each is wanted or not, overwritten or added to.
///
/// dy `[.., N]` and dx `[.., K]` of any type, with any distance from row to row; the gradients of all parameters are one f32 tensor, in the order
/// of [`Layers::place`] as the parameters are. Between two parts of it zeros are written (or added).
///
/// Two dispatches: workgroups take their rows forward again and then back, and sum what each row adds to a gradient; then the sums are added, in
/// order. No atomics: the same bits every time. On matrix units, where [`Options::matrix_units`](crate::Options::matrix_units) asks for `Rounded` or `Split`, with 17 to
/// 64 columns and from 17 rows on, without jets: dz is scaled there, so that no gradient is too small. Many rows whose z do not fit into one scratch buffer take a dispatch more for as many as do.
///
/// With [`Layers::jet`] the rows of x, dy and dx are groups, as [`Forward`] has them: dz of a group is that of a layer with
/// [jets](crate::affine::Forward::jet), db the sum over the values' rows, and dy that of any loss of u, its derivatives and the operator.
///
/// [`Error::LimitExceeded`](crate::Error::LimitExceeded) as [`Forward`] has it. [`Forward::backward`] has an example.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Backward<'a> {
    /// The network; its y is not read.
    pub forward: Forward<'a>,
    /// Upstream gradient `[.., N]`.
    pub dy: View<'a>,
    /// Gradient of x `[.., K]`.
    pub dx: Option<Gradient<'a>>,
    /// Gradients of all parameters, f32, of their shape.
    pub gradient: Option<Gradient<'a>>,
}

setters!(Backward<'a> {
    dy: impl Into<View<'a>>,
    dx: impl Into<Option<Gradient<'a>>>,
    gradient: impl Into<Option<Gradient<'a>>>,
});

impl<'a> Backward<'a> {
    fn planned(&self, gpu: &Gpu) -> Result<(Plan, Operands<'a>)> {
        let Backward { forward, dy, dx, gradient } = *self;
        let (request, mut operands) = forward.request()?;
        let Layers { inputs, outputs, .. } = forward.layers;
        expect_rows(Operand::Dy, dy, request.rows, outputs)?;
        operands.add(Operand::Dy, dy);
        if let Some(Gradient { view, .. }) = dx {
            expect_rows(Operand::Dx, view, request.rows, inputs)?;
        }
        expect_shape(Operand::ParameterGradient, view(&gradient), &forward.parameters.shape)?;
        operands.add(Operand::Dx, view(&dx)).add(Operand::ParameterGradient, view(&gradient));
        let forward = NetworkForward { storage: operands.storage(false)?, ..request };
        let request = NetworkBackward { forward, dx: want(&dx), parameters: want(&gradient) };
        Ok((plan::network_backward(&request, operands.aligned(), &gpu.caps())?, operands))
    }
}

recorded!(Forward, Backward);
