//! Attacks: small changes of images, found by the slopes of a network, after which it reads another digit.

use elbow::Gpu;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{
    Result, Stack,
    classes::one_hot,
    digits::{CLASSES, PIXELS},
};

/// Projected gradient descent (Madry et al. 2018) from random starts, towards each other class.
pub(crate) struct Attack<'a> {
    pub(crate) network: &'a Stack,
    /// The least and the largest value of each pixel.
    pub(crate) range: &'a [Vec<f32>; 2],
    /// For each image and class.
    pub(crate) starts: usize,
    pub(crate) steps: usize,
    /// Another class is read if its output is above by more than this.
    pub(crate) clear: f32,
}

impl Attack<'_> {
    /// For each image, given with its class and a radius: how many of the changes tried had another class read, and the smallest of them.
    /// All are within the radius; or, if `closing` in, each start goes on within less than the change it has found, or within more.
    pub(crate) fn run(
        &self,
        gpu: &Gpu,
        rng: &mut ChaCha8Rng,
        images: &[(&[f32], usize, f64)],
        closing: bool,
    ) -> Result<Vec<(usize, f64)>> {
        let each = self.starts * (CLASSES - 1);
        let rows = images.len() * each;
        let target = |row: usize| (images[row / each].1 + 1 + row % (CLASSES - 1)) % CLASSES;
        let (to, from) = (one_hot((0..rows).map(target)), one_hot((0..rows).map(|row| images[row / each].1)));
        let dy =
            gpu.upload(&to.iter().zip(from).map(|(to, from)| to - from).collect::<Vec<f32>>(), &[rows, CLASSES])?;
        let mut radii: Vec<f32> = (0..rows).map(|row| images[row / each].2 as f32).collect();
        let mut found = vec![(0, f64::INFINITY); images.len()];
        let mut changes: Vec<f32> =
            (0..rows * PIXELS).map(|at| radii[at / PIXELS] * rng.random_range(-1.0..=1.0f32)).collect();
        for step in 0..self.steps {
            let pixel = |at: usize| {
                let (pixel, radius) = (at % PIXELS, radii[at / PIXELS]);
                let x = images[at / PIXELS / each].0[pixel] + changes[at].clamp(-radius, radius);
                x.clamp(self.range[0][pixel], self.range[1][pixel])
            };
            let x: Vec<f32> = (0..rows * PIXELS).map(pixel).collect();
            let on_device = gpu.upload(&x, &[rows, PIXELS])?;
            let (y, slopes) = (self.network.outputs(gpu, &on_device)?, self.network.slopes(gpu, &on_device, &dy)?);
            // Large steps first, then small ones.
            let stride = 0.5 - 0.49 * step as f32 / self.steps as f32;
            for (row, y) in y.chunks(CLASSES).enumerate() {
                let (image, own, _) = images[row / each];
                let here = row * PIXELS..(row + 1) * PIXELS;
                let moved = x[here.clone()].iter().zip(image).map(|(x, from)| x - from);
                let change = moved.clone().fold(0.0, |most: f32, moved| most.max(moved.abs()));
                if y.iter().any(|other| *other > y[own] + self.clear) {
                    let (count, least) = &mut found[row / each];
                    (*count, *least) = (*count + 1, least.min(f64::from(change)));
                    radii[row] = if closing { 0.9 * change } else { radii[row] };
                } else if closing {
                    radii[row] *= 1.03;
                }
                let further =
                    moved.zip(&slopes[here.clone()]).map(|(moved, slope)| moved + stride * radii[row] * slope.signum());
                changes[here].iter_mut().zip(further).for_each(|(change, further)| *change = further);
            }
        }
        Ok(found)
    }
}
