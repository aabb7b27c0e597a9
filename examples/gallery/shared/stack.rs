//! Layers one behind the other, each with its own memory; and networks that have learnt the digits, taken apart into such layers.

use elbow::{
    Activation, Gpu, View,
    gpu::transfer::Tensor,
    mlp::{Architecture, Mlp, Optimiser},
    rates::{Rates, Rule},
};

use super::{
    Dense, Gradients, Lab, Result, Trainer,
    digits::{self, CLASSES, Digits, PIXELS},
};

/// y = layer(.. layer(x)).
pub(crate) struct Stack {
    pub(crate) layers: Vec<Dense>,
}

impl Stack {
    /// The layers of a network as it is now.
    pub(crate) fn of(gpu: &Gpu, mlp: &Mlp) -> Result<Self> {
        let mut layers = Vec::new();
        for (index, activation) in (0..mlp.layers()).filter_map(|index| Some((index, mlp.activation(index)?))) {
            let parameters = mlp.parameters(index).ok_or("a layer without parameters")?;
            let copy = |part: View<'_>| gpu.upload(&gpu.download(part)?, part.shape());
            layers.push(Dense::new(activation, copy(parameters.w)?, copy(parameters.b)?));
        }
        Ok(Stack { layers })
    }

    /// What each layer gives; of the last one that is y.
    pub(crate) fn forward(&self, gpu: &Gpu, x: &Tensor) -> Result<Vec<Tensor>> {
        let mut outputs: Vec<Tensor> = Vec::new();
        for layer in &self.layers {
            outputs.push(layer.forward(gpu, outputs.last().unwrap_or(x))?);
        }
        Ok(outputs)
    }

    /// y, on the host.
    pub(crate) fn outputs(&self, gpu: &Gpu, x: &Tensor) -> Result<Vec<f32>> {
        Ok(gpu.download(self.forward(gpu, x)?.last().ok_or("a network without layers")?)?)
    }

    /// dx for dy of the rows of x.
    pub(crate) fn slopes(&self, gpu: &Gpu, x: &Tensor, dy: &Tensor) -> Result<Vec<f32>> {
        let outputs = self.forward(gpu, x)?;
        let first = self.backward(gpu, x, &outputs, dy)?;
        Ok(gpu.download(&first.first().ok_or("a network without layers")?.dx)?)
    }

    /// The same weights with another activation in the hidden layers.
    pub(crate) fn with(&self, activation: Activation) -> Self {
        let of = |l: &Dense| if l.activation == Activation::IDENTITY { l.activation } else { activation };
        Stack { layers: self.layers.iter().map(|l| Dense::new(of(l), l.w.clone(), l.b.clone())).collect() }
    }

    /// The network whose inputs and outputs are the two ends of intervals, lower ends first.
    pub(crate) fn intervals(&self, gpu: &Gpu) -> Result<Stack> {
        let mut layers = Vec::new();
        for layer in &self.layers {
            let (w, [n, k]) = (&gpu.download(&layer.w)?, [layer.w.shape()[0], layer.w.shape()[1]]);
            let row = |end: usize, row: usize| {
                // An end depends on the same end of the input where the weight is positive, else on the other.
                let half = |input: usize| {
                    (0..k).map(move |i| w[row * k + i]).map(move |w| if input == end { w.max(0.0) } else { w.min(0.0) })
                };
                half(0).chain(half(1)).collect::<Vec<f32>>()
            };
            let doubled: Vec<f32> = (0..2 * n).flat_map(|at| row(at / n, at % n)).collect();
            let b = layer.b.as_ref().map(|b| gpu.upload(&gpu.download(b)?.repeat(2), &[2 * n])).transpose()?;
            layers.push(Dense::new(layer.activation, gpu.upload(&doubled, &[2 * n, 2 * k])?, b));
        }
        Ok(Stack { layers })
    }

    /// The gradients of every layer for dy of the rows of x.
    pub(crate) fn backward(&self, gpu: &Gpu, x: &Tensor, outputs: &[Tensor], dy: &Tensor) -> Result<Vec<Gradients>> {
        let mut all: Vec<Gradients> = Vec::new();
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let input = if index == 0 { x } else { &outputs[index - 1] };
            all.push(layer.backward(gpu, input, all.last().map_or(dy, |above| &above.dx))?);
        }
        all.reverse();
        Ok(all)
    }
}

/// A network of these hidden layers that can learn the digits, in batches of 64.
pub(crate) fn classifier(lab: &Lab, hidden: &[usize], activation: Activation, seed: u64) -> Result<Mlp> {
    let sizes: Vec<usize> = [PIXELS].into_iter().chain(hidden.iter().copied()).chain([CLASSES]).collect();
    let optimiser = Optimiser::new(Rule::Nesterov, Rates::sgd(0.03).momentum(0.9));
    let architecture = Architecture::new(&sizes, activation, 64).optimiser(optimiser);
    Ok(Mlp::seeded(&lab.gpu, &architecture, seed)?)
}

/// The layers of a network that has learnt the digits in so many epochs; what it learnt from, and what it did not see.
pub(crate) fn learnt(lab: &Lab, mlp: Mlp, (seed, epochs): (u64, usize)) -> Result<(Stack, Digits, Digits)> {
    let mut rng = lab.rng(seed);
    let (training, test) = digits::split(&mut rng)?;
    let trainer = Trainer::new(&lab.gpu, mlp, PIXELS)?;
    for _ in 0..epochs {
        trainer.epoch(&training, &mut rng)?;
    }
    Ok((Stack::of(&lab.gpu, &trainer.mlp)?, training, test))
}

/// Both.
pub(crate) fn reader(
    lab: &Lab,
    hidden: &[usize],
    activation: Activation,
    (seed, epochs): (u64, usize),
) -> Result<(Stack, Digits, Digits)> {
    learnt(lab, classifier(lab, hidden, activation, seed)?, (seed, epochs))
}
