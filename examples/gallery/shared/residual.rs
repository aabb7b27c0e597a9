//! What theory has for random residual blocks with batch normalisation and ReLU, in the limit of wide layers and large batches.

use super::statistics::normal_density;

/// σ² of the weights.
pub(crate) const SIGMA2: f64 = 2.0;

/// Mean squares of the gradient in front of each block, over that behind the last one; and, of post-activation, the share of u ≤ 0.
pub(crate) struct Blocks {
    pub(crate) gradient: Vec<f64>,
    pub(crate) closed: Vec<f64>,
}

/// s' = s + W relu(norm(s)).
pub(crate) fn pre_activation(depth: usize) -> Blocks {
    let v = SIGMA2 * (0.5 - 0.5 / std::f64::consts::PI);
    let factors: Vec<f64> = (0..depth).map(|l| 1.0 + 0.5 * SIGMA2 / (1.0 + v * l as f64)).collect();
    Blocks { gradient: (0..depth).map(|l| factors[l..].iter().product()).collect(), closed: Vec::new() }
}

const STEP: f64 = 1.0 / 16.0;

/// u of a block: its density, and how the next one comes of it.
struct Block {
    density: Vec<f64>,
    /// Of s.
    variance: f64,
    /// Mean and standard deviation that the norm takes off, and the deviation of what the product adds: u' = (relu(u) - mean + noise Z) / deviation.
    mean: f64,
    deviation: f64,
    noise: f64,
}

impl Block {
    /// The density of u' at a place, given u.
    fn passes(&self, u: f64, to: f64) -> f64 {
        normal_density((to * self.deviation + self.mean - u.max(0.0)) / self.noise) * self.deviation / self.noise
    }
}

/// x = relu(norm(s)), s' = x + Wx.
///
/// The density of u goes forward. Backward goes e(u), the mean square of the gradient of a unit, given u: its gate is open or not, and through the skip path comes e of the next block at what u has
/// become there, `e(u) = [u > 0] (E[e'(u') | u] + σ² E[e']) / Var s`. An open unit is likely to be open in the next block, too.
pub(crate) fn post_activation(depth: usize) -> Blocks {
    // Midpoints, so that none is at the kink.
    let grid: Vec<f64> = (-160..160).map(|i| (f64::from(i) + 0.5) * STEP).collect();
    let sum = |f: &dyn Fn(usize, f64) -> f64| grid.iter().enumerate().map(|(i, &u)| f(i, u) * STEP).sum::<f64>();
    let (mut blocks, mut closed): (Vec<Block>, _) = (Vec::new(), Vec::new());
    let (mut density, mut variance): (Vec<f64>, _) = (grid.iter().map(|&u| normal_density(u)).collect(), 1.0);
    for _ in 0..depth {
        closed.push(sum(&|i, u| if u < 0.0 { density[i] } else { 0.0 }));
        let mean = sum(&|i, u| u.max(0.0) * density[i]);
        let spread = sum(&|i, u| u.max(0.0).powi(2) * density[i]) - mean * mean;
        let (deviation, noise) = (((1.0 + SIGMA2) * spread).sqrt(), (SIGMA2 * spread).sqrt());
        let block = Block { density, variance, mean, deviation, noise };
        density = grid.iter().map(|&to| sum(&|i, u| block.passes(u, to) * block.density[i])).collect();
        variance = deviation * deviation;
        blocks.push(block);
    }
    let (mut energy, mut all) = (vec![1.0; grid.len()], 1.0);
    let mut gradient = Vec::new();
    for block in blocks.iter().rev() {
        let through = |u: f64| sum(&|i, to| block.passes(u, to) * energy[i]) + SIGMA2 * all;
        energy = grid.iter().map(|&u| if u > 0.0 { through(u) / block.variance } else { 0.0 }).collect();
        all = sum(&|i, _| energy[i] * block.density[i]);
        gradient.insert(0, all);
    }
    Blocks { gradient, closed }
}
