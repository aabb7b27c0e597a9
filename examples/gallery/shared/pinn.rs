//! Physics-informed networks: points go through a network as jets, and a loss of one's own on their rows trains it.

use elbow::{
    Activation, Gpu, Jet, Tensor,
    mlp::{Architecture, Mlp, Optimiser},
    rates::{Rates, Rule},
};

use super::Result;

/// Rows of a point: u, its derivatives along both coordinates, and the operator.
pub(crate) const ROWS: usize = 4;
/// Steps of Adam begin at this rate, and end at a hundredth of it.
const RATE: f32 = 0.01;

/// Writes the gradient of a loss by all rows.
type Gradient<'a> = &'a dyn Fn(&[f32], &mut [f32]) -> Result<()>;

/// A network of a point of K ≤ 2 coordinates.
pub(crate) struct Pinn<'a, const K: usize> {
    gpu: &'a Gpu,
    mlp: Mlp,
    x: Tensor,
}

impl<'a, const K: usize> Pinn<'a, K> {
    /// Three hidden layers of 32, for so many points at a time.
    pub(crate) fn new(gpu: &'a Gpu, activation: Activation, jet: Jet, points: usize, seed: u64) -> Result<Self> {
        let sizes = [K, 32, 32, 32, 1];
        let adam = Optimiser::new(Rule::AdamW, Rates::adamw(RATE).weight_decay(0.0));
        let architecture = Architecture::new(&sizes, activation, points * ROWS).jet(jet).optimiser(adam);
        Ok(Pinn { gpu, mlp: Mlp::seeded(gpu, &architecture, seed)?, x: gpu.zeros(&[points, ROWS, K])? })
    }

    /// Trains for so many steps on the points of each; `gradient` writes into the last the gradient of the loss by the four rows of point i.
    pub(crate) fn train(
        &self,
        steps: usize,
        mut points: impl FnMut() -> Vec<[f32; K]>,
        gradient: impl Fn(usize, [f32; K], &[f32], &mut [f32]),
    ) -> Result<()> {
        (0..steps).try_for_each(|step| {
            let points = points();
            self.step(step as f32 / steps as f32, &points, &|rows, dy| {
                for (i, (rows, dy)) in rows.chunks_exact(ROWS).zip(dy.chunks_exact_mut(ROWS)).enumerate() {
                    gradient(i, points[i], rows, dy);
                }
                Ok(())
            })
        })
    }

    /// Trains on the same points in each step; `gradient` writes that of all rows.
    pub(crate) fn train_all(
        &self,
        steps: usize,
        points: &[[f32; K]],
        gradient: impl Fn(&[f32], &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        (0..steps).try_for_each(|step| self.step(step as f32 / steps as f32, points, &gradient))
    }

    fn step(&self, done: f32, points: &[[f32; K]], gradient: Gradient<'_>) -> Result<()> {
        let dz = self.mlp.dz(self.mlp.layers() - 1).ok_or("a network without layers")?;
        let rows = self.forward(points)?;
        let mut dy = vec![0.0; rows.len()];
        gradient(&rows, &mut dy)?;
        self.gpu.write(dz, &dy)?;
        self.mlp.set_rate(self.gpu, RATE * 0.01f32.powf(done))?;
        self.gpu.submit_pass(|pass| {
            self.mlp.backward(self.gpu, &mut *pass, self.x.view())?;
            self.mlp.update(self.gpu, pass)
        })?;
        Ok(())
    }

    /// The four rows of each of as many points as the network was made for.
    pub(crate) fn forward(&self, points: &[[f32; K]]) -> Result<Vec<f32>> {
        let tangent = |of: usize| std::array::from_fn::<f32, K, _>(|i| f32::from(u8::from(i == of)));
        let group = |point: &[f32; K]| [*point, tangent(0), tangent(1), [0.0; K]].concat();
        self.gpu.write(&self.x, &points.iter().flat_map(group).collect::<Vec<f32>>())?;
        self.gpu.submit(|encoder| self.mlp.forward_for_backward(self.gpu, encoder, self.x.view()))?;
        Ok(self.gpu.download(self.mlp.output(self.mlp.layers() - 1).ok_or("a network without layers")?)?)
    }
}

/// √(Σ (u - v)² / Σ v²) of u, the first row of each point, and the solution v.
pub(crate) fn relative_error<const K: usize>(rows: &[f32], points: &[[f32; K]], v: impl Fn(&[f32; K]) -> f32) -> f64 {
    let (mut off, mut size) = (0.0, 0.0);
    for (rows, point) in rows.chunks_exact(ROWS).zip(points) {
        off += f64::from(rows[0] - v(point)).powi(2);
        size += f64::from(v(point)).powi(2);
    }
    (off / size).sqrt()
}
