//! A network whose gradients an experiment may mix before it learns by them: of several losses, or of one network through another.

use std::ops::Deref;

use elbow::{Activation, Gpu, gpu::transfer::Tensor, train::Sgd};
use rand_chacha::ChaCha8Rng;

use super::{Dense, Gradients, Lab, Result, stack::Stack};

pub(crate) struct Learner {
    stack: Stack,
    /// Of w and b of each layer.
    velocities: Vec<[Tensor; 2]>,
}

impl Learner {
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
        Ok(Learner { stack: Stack { layers }, velocities })
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

impl Deref for Learner {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}
