//! A network whose gradients an experiment may mix: of several losses, or of one network through another.

use elbow::{Activation, Gpu, gpu::transfer::Tensor, train::Sgd};
use rand_chacha::ChaCha8Rng;

use super::{Dense, Gradients, Lab, Result};

pub(crate) struct Stack {
    pub(crate) layers: Vec<Dense>,
    /// Of w and b of each layer.
    velocities: Vec<[Tensor; 2]>,
}

impl Stack {
    /// Layers of these sizes, an activation for each; weights by He's rule with the gain of the activation in front of them, biases 0.
    pub(crate) fn new(lab: &Lab, rng: &mut ChaCha8Rng, sizes: &[usize], activations: &[Activation]) -> Result<Self> {
        let (mut layers, mut velocities, mut gain) = (Vec::new(), Vec::new(), 1.0);
        for (shape, &activation) in sizes.windows(2).zip(activations) {
            let [k, n] = [shape[0], shape[1]];
            let w = lab.normal(rng, gain / (k as f32).sqrt(), &[n, k])?;
            layers.push(Dense::new(activation, w, lab.gpu.zeros(&[n])?));
            velocities.push([lab.gpu.zeros(&[n, k])?, lab.gpu.zeros(&[n])?]);
            gain = activation.gain().he_gain() as f32;
        }
        Ok(Stack { layers, velocities })
    }

    /// The outputs of each layer.
    pub(crate) fn forward(&self, gpu: &Gpu, x: &Tensor) -> Result<Vec<Tensor>> {
        let mut outputs: Vec<Tensor> = Vec::new();
        for layer in &self.layers {
            outputs.push(layer.forward(gpu, outputs.last().unwrap_or(x))?);
        }
        Ok(outputs)
    }

    /// The gradients of each layer, for dy of the last.
    pub(crate) fn backward(&self, gpu: &Gpu, x: &Tensor, outputs: &[Tensor], dy: &Tensor) -> Result<Vec<Gradients>> {
        let mut all: Vec<Gradients> = Vec::new();
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let input = index.checked_sub(1).map_or(x, |below| &outputs[below]);
            all.push(layer.backward(gpu, input, all.last().map_or(dy, |above| &above.dx))?);
        }
        all.reverse();
        Ok(all)
    }

    /// Gradient descent with momentum 0.9.
    pub(crate) fn step(&self, gpu: &Gpu, gradients: &[Gradients], rate: f32) -> Result<()> {
        for ((layer, [of_w, of_b]), gradients) in self.layers.iter().zip(&self.velocities).zip(gradients) {
            gpu.submit_pass(|pass| {
                Sgd::new(&layer.w, &gradients.dw, of_w, rate).momentum(0.9).record(gpu, &mut *pass)?;
                match &layer.b {
                    Some(b) => Sgd::new(b, &gradients.db, of_b, rate).momentum(0.9).record(gpu, pass),
                    None => Ok(()),
                }
            })?;
        }
        Ok(())
    }
}
