//! How many workgroups fill the device: below that number a product gets faster with every one that is added.

use super::Product;
use crate::{
    dtype::Float,
    error::Result,
    gpu::Gpu,
    plan::{Form, Pin, Stage, TILES},
};

/// Steps of the reduction: enough that a workgroup runs for some microseconds, as in a layer.
const K: usize = 1024;
/// A device is full when it multiplies at this share of its highest rate: what is missing costs less than splitting further would.
const FULL: f64 = 0.8;
/// The most workgroups that are tried: 2 to this. A CPU that plays GPU is full with a few.
const MOST: [u32; 2] = [10, 5];

impl Gpu {
    /// Measures how many workgroups of 256 invocations keep the whole device busy ([`Choices::workgroups`](crate::Choices::workgroups)): the
    /// fewest, of powers of two, with which a product of tiles of 64×64 reaches 80 % of the rate that it has with the most. Takes a
    /// second, and changes nothing; [`Gpu::tune`] uses what it finds, except on software adapters, whose plans stay the same in every run.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// println!("{} workgroups fill {gpu}", gpu.measure_workgroups()?);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn measure_workgroups(&self) -> Result<u32> {
        let caps = self.caps();
        let square = |i: &usize| (TILES[*i].bm(), TILES[*i].bn(), TILES[*i].wx * TILES[*i].wy) == (64, 64, 256);
        let plain =
            |i: &usize| matches!(TILES[*i].stage, Stage::Staged { slices: 1, .. }) && TILES[*i].fits(&caps, Form::Nt);
        let Some(tile) = (0..TILES.len()).find(|i| square(i) && plain(i)) else {
            return Ok(caps.choices.workgroups());
        };
        let pin = Pin { tile: Some(tile), splits: Some(1), ..Pin::default() };
        let mut rates = Vec::new();
        // The most first, with which the clock rises.
        for n in (0..=MOST[usize::from(self.is_software())]).rev() {
            let (rows, cols) = (64 << n.div_ceil(2), 64 << (n / 2));
            let product = Product::new(self, Form::Nt, [rows, cols, K], Float::F32)?;
            let prepared = product.prepare_pinned(self, pin)?;
            if rates.is_empty() {
                self.warm_up(&mut || self.submit(|encoder| prepared.record(encoder)).and_then(|()| self.wait()))?;
            }
            rates.push(f64::from(1u32 << n) / self.time(&prepared, None)?.median.as_secs_f64().max(1e-9));
        }
        rates.reverse();
        Ok(full(&rates))
    }
}

/// Of rates with 1, 2, 4, .. workgroups, the fewest that reach the share of the highest.
fn full(rates: &[f64]) -> u32 {
    let highest = rates.iter().copied().fold(0.0, f64::max);
    1 << rates.iter().position(|&rate| rate >= FULL * highest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::full;

    #[test]
    fn full_is_where_the_rate_stops_growing() {
        assert_eq!(full(&[1.0, 2.0, 4.0, 8.0, 15.0, 16.0, 16.1]), 16);
        assert_eq!(full(&[1.0, 1.0, 1.0]), 1);
        // One that is too fast is noise, but a rate beyond it is not the highest.
        assert_eq!(full(&[1.0, 2.0, 3.9, 4.0, 3.8]), 4);
        assert_eq!(full(&[]), 1);
    }
}
