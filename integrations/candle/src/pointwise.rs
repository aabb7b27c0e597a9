//! The activations alone, on a tensor of any shape.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Error, Layout, Result, Shape, Tensor, backend::BackendStorage};
use elbow::{
    Activation, AlphaSource, Operand,
    cpu::{Elementwise, operands::alpha_length},
};
use elbow_cpu::elementwise;

use crate::{
    layer::{alpha_of, same_type},
    numbers::{Lent, gradient, numbers, operand, refuse_second_gradients, rows, storage},
};

/// y = act(x) of every element, and dx. Always on the CPU: a pass moves each number once, and a GPU behind a bus would move it twice more.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use elbow_candle::{Activation, activation};
/// let x = Tensor::new(&[-1f32, 0.0, 2.0], &Device::Cpu)?;
/// assert_eq!(activation(&x, Activation::RELU)?.to_vec1::<f32>()?, [0.0, 0.0, 2.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let x = operand(Operand::X, x)?;
    let (rows, channels) = rows(x.shape());
    x.apply_op1(Pointwise(Elementwise::new(rows, channels, activation)))
}

/// y = act(x; α) with a learnable α, one number or one for each number of x's last dimension; dx and dα.
///
/// (`candle_nn::PReLU` has one for each number of the second dimension, which is the same for a matrix.)
///
/// ```
/// use candle_core::{Device, Tensor};
/// use elbow_candle::{Activation, activation_alpha};
/// let x = Tensor::new(&[[-1f32, -1.0]], &Device::Cpu)?;
/// let alpha = Tensor::new(&[0.5f32, 0.25], &Device::Cpu)?;
/// let y = activation_alpha(&x, Activation::prelu(0.25).expect("a slope"), &alpha)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-0.5, -0.25]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn activation_alpha(x: &Tensor, activation: Activation, alpha: &Tensor) -> Result<Tensor> {
    same_type(Operand::Alpha, alpha, x.dtype())?;
    let (x, alpha) = (operand(Operand::X, x)?, operand(Operand::Alpha, alpha)?);
    let (rows, channels) = rows(x.shape());
    let source = alpha_of(Some(&alpha), channels)?;
    x.apply_op2(&alpha, Pointwise(Elementwise::new(rows, channels, activation).alpha(source)))
}

struct Pointwise(Elementwise);

const NAME: &str = "elbow activation";

impl Pointwise {
    fn forward(&self, x: &CpuStorage, of_x: &Layout, alpha: Option<&[f32]>) -> Result<(CpuStorage, Shape)> {
        let mut y = vec![0.0; of_x.shape().elem_count()];
        elementwise::forward(&self.0, &numbers(Operand::X, x, of_x)?, alpha, &mut y).map_err(Error::wrap)?;
        Ok((storage(y, x.dtype()), of_x.shape().clone()))
    }

    /// dx and dα, whether candle asks for both or not: one pass makes them.
    fn backward(&self, x: &Tensor, alpha: Option<&Tensor>, dy: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        refuse_second_gradients(NAME)?;
        let dy = dy.contiguous()?;
        let of_alpha = alpha.map(Lent::of);
        let alphas = of_alpha.as_ref().map(|alpha| alpha.numbers(Operand::Alpha)).transpose()?;
        let mut dx = vec![0.0; x.elem_count()];
        let mut dalpha = match self.0.alpha {
            AlphaSource::Constant => None,
            source => Some(vec![0.0; alpha_length(source, self.0.channels)]),
        };
        let (of_x, of_dy) = (Lent::of(x), Lent::of(&dy));
        let (xs, dys) = (of_x.numbers(Operand::X)?, of_dy.numbers(Operand::Dy)?);
        elementwise::backward(&self.0, &xs, alphas.as_deref(), &dys, &mut dx, dalpha.as_deref_mut())
            .map_err(Error::wrap)?;
        let dalpha = dalpha.zip(alpha).map(|(dalpha, alpha)| gradient(dalpha, alpha)).transpose()?;
        Ok((gradient(dx, x)?, dalpha))
    }
}

impl CustomOp1 for Pointwise {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, x: &CpuStorage, of_x: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(x, of_x, None)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        self.backward(x, None, dy).map(|(dx, _)| Some(dx))
    }
}

impl CustomOp2 for Pointwise {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        of_x: &Layout,
        alpha: &CpuStorage,
        of_alpha: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward(x, of_x, Some(&numbers(Operand::Alpha, alpha, of_alpha)?))
    }

    fn bwd(&self, x: &Tensor, alpha: &Tensor, _: &Tensor, dy: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, dalpha) = self.backward(x, Some(alpha), dy)?;
        Ok((x.track_op().then_some(dx), dalpha))
    }
}
