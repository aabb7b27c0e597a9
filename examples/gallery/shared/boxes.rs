//! Boxes of images: everything within a radius of one in each pixel, and what a network can make of that, by intervals on the device.

use elbow::Gpu;

use super::{
    Result, Stack,
    digits::{CLASSES, PIXELS},
};

/// The network of the ends of intervals, and the least and the largest value of each pixel.
pub(crate) struct Boxes<'a> {
    network: Stack,
    range: &'a [Vec<f32>; 2],
}

impl<'a> Boxes<'a> {
    pub(crate) fn new(gpu: &Gpu, network: &Stack, range: &'a [Vec<f32>; 2]) -> Result<Self> {
        Ok(Boxes { network: network.intervals(gpu)?, range })
    }

    /// The largest radius, of so many equal steps to `most`, up to which the output of class `own` is above all others in the whole box.
    pub(crate) fn certified(&self, gpu: &Gpu, image: &[f32], own: usize, (most, steps): (f64, u32)) -> Result<f64> {
        let radii: Vec<f64> = (0..steps).map(|step| most * f64::from(step) / f64::from(steps)).collect();
        let x: Vec<f32> = radii.iter().flat_map(|&radius| self.ends(image, radius)).collect();
        let y = self.network.outputs(gpu, &gpu.upload(&x, &[radii.len(), 2 * PIXELS])?)?;
        let safe = |y: &[f32]| (0..CLASSES).all(|other| other == own || y[CLASSES + other] < y[own]);
        let held = y.chunks(2 * CLASSES).take_while(|y| safe(y)).count();
        Ok(held.checked_sub(1).map_or(0.0, |last| radii[last]))
    }

    /// How many kinks lie within the intervals of the units, each unit with its own.
    pub(crate) fn kinks(&self, gpu: &Gpu, image: &[f32], radius: f64) -> Result<usize> {
        let (mut x, mut count) = (gpu.upload(&self.ends(image, radius), &[1, 2 * PIXELS])?, 0);
        for layer in &self.network.layers {
            let (y, z) = layer.forward_with_z(gpu, &x)?;
            let z = gpu.download(&z)?;
            let (low, high) = z.split_at(z.len() / 2);
            for kink in layer.activation.kinks() {
                let inside = |(low, high): &(&f32, &f32)| f64::from(**low) < kink.at && kink.at < f64::from(**high);
                count += low.iter().zip(high).filter(inside).count();
            }
            x = y;
        }
        Ok(count)
    }

    /// Both ends of each pixel, lower ones first.
    fn ends(&self, image: &[f32], radius: f64) -> Vec<f32> {
        let moved = |by: f64| {
            let limits = self.range[0].iter().zip(&self.range[1]);
            image.iter().zip(limits).map(move |(x, (low, high))| ((f64::from(*x) + by) as f32).clamp(*low, *high))
        };
        moved(-radius).chain(moved(radius)).collect()
    }
}
