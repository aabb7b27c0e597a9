//! A fused layer with its own memory, for experiments that look into it.

use elbow::{
    Activation, Gpu, Saved,
    affine::{Forward, Gradient},
    elementwise,
    gpu::transfer::Tensor,
};

use super::Result;

/// y = act(x·Wᵀ + b).
pub(crate) struct Dense {
    pub(crate) activation: Activation,
    /// `[N, K]`
    pub(crate) w: Tensor,
    /// `[N]`
    pub(crate) b: Option<Tensor>,
}

/// dx, dW, db of a layer.
pub(crate) struct Gradients {
    pub(crate) dx: Tensor,
    pub(crate) dw: Tensor,
    pub(crate) db: Tensor,
}

impl Dense {
    pub(crate) fn new(activation: Activation, w: Tensor, b: impl Into<Option<Tensor>>) -> Self {
        Dense { activation, w, b: b.into() }
    }

    /// y and z of the rows of x, `[M, K]`.
    pub(crate) fn forward_with_z(&self, gpu: &Gpu, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let shape = [x.shape()[0], self.w.shape()[0]];
        let (y, z) = (gpu.zeros(&shape)?, gpu.zeros(&shape)?);
        let layer = self.call(x, &y).saved(Saved::Z).save_to(&z);
        gpu.submit(|encoder| layer.record(gpu, encoder))?;
        Ok((y, z))
    }

    /// y of the rows of x, `[M, K]`.
    pub(crate) fn forward(&self, gpu: &Gpu, x: &Tensor) -> Result<Tensor> {
        let y = gpu.zeros(&[x.shape()[0], self.w.shape()[0]])?;
        gpu.submit(|encoder| self.call(x, &y).record(gpu, encoder))?;
        Ok(y)
    }

    /// The gradients for dy of the rows of x; z is computed again.
    pub(crate) fn backward(&self, gpu: &Gpu, x: &Tensor, dy: &Tensor) -> Result<Gradients> {
        let [n, k] = [self.w.shape()[0], self.w.shape()[1]];
        let all = Gradients { dx: gpu.zeros(x.shape())?, dw: gpu.zeros(&[n, k])?, db: gpu.zeros(&[n])? };
        let call = self.call(x, dy).saved(Saved::None).backward(dy);
        let call = call.dx(Gradient::overwrite(&all.dx)).dw(Gradient::overwrite(&all.dw));
        let call = call.db(self.b.as_ref().map(|_| Gradient::overwrite(&all.db)));
        gpu.submit_pass(|pass| call.record(gpu, pass))?;
        Ok(all)
    }

    /// act'(z) of the rows of x: what a gradient is multiplied by on its way back.
    pub(crate) fn slopes(&self, gpu: &Gpu, x: &Tensor) -> Result<Vec<f32>> {
        let (y, z) = self.forward_with_z(gpu, x)?;
        let (ones, dz) = (gpu.upload(&vec![1.0; y.elements()], y.shape())?, gpu.zeros(y.shape())?);
        let back = elementwise::Forward::new(self.activation, &z, &y).backward(&ones).dx(&dz);
        gpu.submit_pass(|pass| back.record(gpu, pass))?;
        Ok(gpu.download(&dz)?)
    }

    fn call<'a>(&'a self, x: &'a Tensor, y: &'a Tensor) -> Forward<'a> {
        Forward::new(self.activation, x, &self.w, y).b(self.b.as_ref().map(Tensor::view))
    }
}
