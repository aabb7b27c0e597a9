//! [`Buckets`]: gradients of all layers, summed over the processes while the layers below still compute.

use std::ops::Range;

use elbow::{Error, Result};
use mpi::{collective::SystemOperation, request::multiple_scope, traits::*};

use crate::exchange::{MOST, place};

/// Gradients that are sent together: those of some neighbouring layers, the last layer first.
#[derive(Debug, Default)]
struct Bucket {
    /// Each layer, and its place.
    layers: Vec<(usize, Range<usize>)>,
    own: Vec<f32>,
    sum: Vec<f32>,
}

/// The gradients of a network whose processes have other rows of x and the same parameters.
///
/// Backward goes from the last layer to the first. When the gradients of a bucket are there, a non-blocking all-reduce of them starts, and
/// the layers below go on; at the end all of them are waited for.
///
/// ```no_run
/// use elbow_mpi::{Buckets, mpi::{Threading, initialize_with_threading}};
/// let (universe, _) = initialize_with_threading(Threading::Funneled).expect("MPI");
/// let world = universe.world();
/// let mut buckets = Buckets::new(&[8320, 8256, 650], 1 << 20)?;
/// buckets.backward(&world, |layer, gradients| {
///     // dW, db and dα of this layer, of this process's rows, go to `gradients`
///     Ok(())
/// })?;
/// let mean = buckets.gradients(0);
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug)]
pub struct Buckets {
    /// In the order in which they are sent.
    buckets: Vec<Bucket>,
    /// Bucket and place of each layer.
    places: Vec<(usize, Range<usize>)>,
}

impl Buckets {
    /// For layers with so many parameters, in the order of forward. A bucket is full when it has this many bytes: few are overlapped less, many
    /// cost a message each. A layer is never split; one that MPI cannot count is an error.
    pub fn new(parameters: &[usize], bytes: usize) -> Result<Self> {
        if let Some(many) = parameters.iter().find(|&&count| count > MOST) {
            return Err(Error::Unsupported {
                what: format!("a bucket of {many} gradients"),
                why: format!("MPI counts up to {MOST} here, and a layer is never split"),
            });
        }
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut places = vec![(0, 0..0); parameters.len()];
        for (layer, &count) in parameters.iter().enumerate().rev() {
            if buckets.last().is_none_or(|bucket| 4 * bucket.own.len() >= bytes || bucket.own.len() + count > MOST) {
                buckets.push(Bucket::default());
            }
            let index = buckets.len() - 1;
            let bucket = &mut buckets[index];
            let place = bucket.own.len()..bucket.own.len() + count;
            bucket.own.resize(place.end, 0.0);
            bucket.sum.resize(place.end, 0.0);
            bucket.layers.push((layer, place.clone()));
            places[layer] = (index, place);
        }
        Ok(Buckets { buckets, places })
    }

    /// How many all-reduces a step has.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether there is no layer.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// Bytes that a step sums over the processes.
    pub fn bytes(&self) -> usize {
        self.buckets.iter().map(|bucket| 4 * bucket.own.len()).sum()
    }

    /// Calls `layer` for each layer, the last first, with the place for the gradients of this process's rows, and leaves the mean over the
    /// processes in [`Buckets::gradients`]. An error of `layer` ends it, after the all-reduces that had started; the other processes then wait for
    /// one that does not come, so the program should end, which makes MPI end them.
    pub fn backward<C: Communicator>(
        &mut self,
        world: &C,
        mut layer: impl FnMut(usize, &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let (processes, _) = place(world);
        let sum = SystemOperation::sum();
        let outcome = multiple_scope(self.buckets.len(), |scope, requests| {
            let mut done = Vec::new();
            let mut outcome = Ok(());
            'all: for Bucket { layers, own, sum: sums } in &mut self.buckets {
                for (index, place) in layers.iter() {
                    outcome = layer(*index, &mut own[place.clone()]);
                    if outcome.is_err() {
                        break 'all;
                    }
                    // Many MPI libraries move messages only inside of their calls.
                    // (Of none at all this MPI crate takes the answer for a mistake.)
                    if requests.incomplete() > 0 {
                        requests.test_some(&mut done);
                    }
                }
                requests.add(world.immediate_all_reduce_into(scope, &own[..], &mut sums[..], sum));
            }
            requests.wait_all(&mut done);
            outcome
        });
        for number in self.buckets.iter_mut().flat_map(|bucket| &mut bucket.sum) {
            *number /= processes as f32;
        }
        outcome
    }

    /// The mean gradients of a layer over the processes, empty if there is no such layer.
    pub fn gradients(&self, layer: usize) -> &[f32] {
        match self.places.get(layer) {
            Some((bucket, place)) => &self.buckets[*bucket].sum[place.clone()],
            None => &[],
        }
    }
}
