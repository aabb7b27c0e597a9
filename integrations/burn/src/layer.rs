//! [`Layer`]: a fused layer of Burn tensors, as a function.

use burn::{
    backend::{Dispatch, DispatchDevice, DispatchTensor},
    tensor::{DType, Device, Tensor},
};
use burn_cubecl::CubeDevice;
use elbow::{Activation, Error, Gate, Operand, Result, Saved, View, WeightLayout, affine::Forward};

use crate::{
    cube, device,
    ops::{Choices, LayerOps, Operands, Optional, y_shape},
    own,
};

/// y = act(x·w + b), fused: x `[.., K]`, w `[K, N]`, b `[N]`, y `[.., N]`. With gradients for x, w and b where Burn asks for them.
///
/// A learnable α or a gated unit: [`Layer`].
///
/// # Errors
/// Those of [`Layer::forward`].
///
/// ```no_run
/// use burn::tensor::{Device, Distribution, Tensor};
/// use elbow_burn::{Activation, linear_act};
/// let device = elbow_burn::open(Device::wgpu_options())?.autodiff();
/// let x = Tensor::<2>::random([32, 64], Distribution::Default, &device);
/// let w = Tensor::<2>::random([64, 10], Distribution::Default, &device).require_grad();
/// let b = Tensor::<1>::zeros([10], &device).require_grad();
/// let y = linear_act(x, w.clone(), Some(b), Activation::GELU_ERF)?;
/// let dw = w.grad(&y.sum().backward());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn linear_act<const D: usize>(
    x: Tensor<D>,
    w: Tensor<2>,
    b: Option<Tensor<1>>,
    activation: Activation,
) -> Result<Tensor<D>> {
    Layer::new(activation, x, w).b(b).forward()
}

/// One layer: its operands and its choices.
///
/// ```text
/// y = act(x·w + b; α)                          dz = dy ⊙ act'(z; α)    dx = dz·wᵀ    dw = xᵀ·dz    db = Σ_rows dz    dα = Σ dy ⊙ ∂act/∂α
/// y = act(x·w + b; α) ⊙ (x·w_up + b_up)        of a gated unit
/// ```
///
/// ```no_run
/// use burn::tensor::{Device, Distribution, Tensor};
/// use elbow_burn::{Activation, Layer};
/// let device = elbow_burn::open(Device::wgpu_options())?;
/// let x = Tensor::<2>::random([32, 64], Distribution::Default, &device);
/// let [w, w_up] = [(); 2].map(|()| Tensor::<2>::random([64, 256], Distribution::Default, &device));
/// let y = Layer::new(Activation::SILU, x, w).w_up(w_up).forward()?; // SwiGLU
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is computed yet"]
pub struct Layer<const D: usize> {
    activation: Activation,
    x: Tensor<D>,
    w: Tensor<2>,
    b: Option<Tensor<1>>,
    alpha: Option<Tensor<1>>,
    w_up: Option<Tensor<2>>,
    b_up: Option<Tensor<1>>,
}

impl<const D: usize> Layer<D> {
    /// y = act(x·w): x `[.., K]`, w `[K, N]`, as Burn's `Linear` has it. A w that is the transposed view of `[N, K]` is taken as it lies in memory.
    pub fn new(activation: Activation, x: Tensor<D>, w: Tensor<2>) -> Self {
        Layer { activation, x, w, b: None, alpha: None, w_up: None, b_up: None }
    }

    /// Bias `[N]`.
    pub fn b(self, b: impl Into<Option<Tensor<1>>>) -> Self {
        Layer { b: b.into(), ..self }
    }

    /// Learnable α in the place of the activation's number: `[1]`, or `[N]` for one in each channel. PReLU is `leaky_relu` with it, Swish `swish`.
    pub fn alpha(self, alpha: impl Into<Option<Tensor<1>>>) -> Self {
        Layer { alpha: alpha.into(), ..self }
    }

    /// Makes a gated unit of it: w `[K, N]` is the gate's weight, this `[K, N]` that of what the gate lets through.
    pub fn w_up(self, w_up: impl Into<Option<Tensor<2>>>) -> Self {
        Layer { w_up: w_up.into(), ..self }
    }

    /// Bias `[N]` of what the gate lets through: there if and only if the gate has one.
    pub fn b_up(self, b_up: impl Into<Option<Tensor<1>>>) -> Self {
        Layer { b_up: b_up.into(), ..self }
    }

    /// y `[.., N]`, in the type of x.
    ///
    /// # Errors
    /// - [`Error::Shape`], [`Error::Operand`]: a shape or a type (f32 and f16 are taken, f32 alone for α and on the CPU) that does not fit, or a tensor on another device than x.
    /// - [`Error::Unsupported`]: a GPU that elbow does not know ([`open`](crate::open), [`share`](crate::share)) or has no road for, or a learnable α of an
    ///   activation that has none.
    ///
    /// Nothing was computed then. What a device refuses later, when the layer runs (its loss, its memory), is an error of Burn's when the result is read
    /// (`try_into_data`; `into_data` panics).
    pub fn forward(self) -> Result<Tensor<D>> {
        let choices = self.check()?;
        let Layer { activation, x, w, b, alpha, w_up, b_up } = self;
        if Road::of(&x.device()) == Road::BurnsOwn {
            return own::forward(activation, own::Operands { x, w, b, alpha, w_up, b_up });
        }
        let one = |tensor: Option<Tensor<1>>| Optional::from(tensor.map(Tensor::into_dispatch));
        let operands = Operands::<Dispatch> {
            x: x.into_dispatch(),
            w: w.into_dispatch(),
            b: one(b),
            alpha: one(alpha),
            w_up: Optional::from(w_up.map(Tensor::into_dispatch)),
            b_up: one(b_up),
        };
        let y: DispatchTensor = <Dispatch as LayerOps>::elbow_layer(operands, choices);
        Ok(Tensor::from_dispatch(y))
    }

    /// Everything that a user can do wrong, before anything is computed; and what backward will need.
    fn check(&self) -> Result<Choices> {
        let on = self.x.device();
        fn some<'a, const R: usize>(
            tensor: &Option<Tensor<R>>,
            operand: Operand,
            on: &Device,
        ) -> Result<Option<View<'a>>> {
            tensor.as_ref().map(|tensor| view(tensor, operand, on)).transpose()
        }
        let gate = self.w_up.as_ref().map(|_| Gate::apart());
        let (x, w) = (view(&self.x, Operand::X, &on)?, view(&self.w, Operand::W, &on)?);
        let y = y_shape(&self.x.shape(), &self.w.shape());
        let layer = Forward::new(self.activation, x, w, View::absent(&y, x.dtype()))
            .layout(WeightLayout::InOut)
            .saved(Saved::Auto)
            .gate(gate)
            .b(some(&self.b, Operand::B, &on)?)
            .alpha(some(&self.alpha, Operand::Alpha, &on)?)
            .w_up(some(&self.w_up, Operand::WUp, &on)?)
            .b_up(some(&self.b_up, Operand::BUp, &on)?);
        let kept = layer.saved_shape()?;
        let kept = kept.map(|(shape, dtype)| View::absent(&shape, dtype));
        let layer = layer.save_to(kept);
        let saved = layer.request()?.saved;
        if Road::of(&on) == Road::Kernels {
            layer.plan(&device::gpu(&on)?)?;
        }
        Ok(Choices { activation: self.activation, gate, saved })
    }
}

/// A tensor's shape and type, if it lies on that device and has a type that is computed there.
fn view<'a, const R: usize>(tensor: &Tensor<R>, operand: Operand, on: &Device) -> Result<View<'a>> {
    let (device, dtype) = (tensor.device(), tensor.dtype());
    if device != *on {
        return Err(Error::Operand {
            operand,
            expected: format!("a tensor on {on:?}, as x"),
            got: format!("{device:?}"),
        });
    }
    if Road::of(on) != Road::Kernels && dtype != DType::F32 {
        return Err(Error::Operand { operand, expected: "f32 on the CPU".into(), got: format!("{dtype:?}") });
    }
    let shape: Vec<usize> = tensor.shape().iter().copied().collect();
    Ok(View::absent(&shape, cube::dtype(operand, dtype)?))
}

/// Where layers on a device are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Road {
    /// By kernels, on a GPU, if it is one that elbow knows.
    Kernels,
    /// By elbow-cpu.
    Cpu,
    /// By Burn's operators.
    BurnsOwn,
}

impl Road {
    fn of(device: &Device) -> Self {
        match device.clone().without_autodiff().as_dispatch() {
            #[cfg(feature = "flex")]
            DispatchDevice::Flex(_) => Road::Cpu,
            DispatchDevice::Cube(CubeDevice::Cpu(_)) => Road::BurnsOwn,
            DispatchDevice::Cube(_) => Road::Kernels,
            // ndarray, LibTorch, ..: which backends there are is for the features of Burn to say.
            #[allow(unreachable_patterns, reason = "there may be none")]
            _ => Road::BurnsOwn,
        }
    }
}
