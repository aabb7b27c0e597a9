//! A whole network: a block of rows at a time goes through all of its layers, and what lies between them stays in the cache.

use elbow::{
    Operand,
    cpu::operands,
    error::Result,
    request::{AlphaSource, Layers, ResidualAt},
};

use crate::{
    outputs,
    panels::Panels,
    pass::{Channels, Finish},
    product,
    saved::SavedOut,
    threads, times,
};

/// Elements that go from layer to layer in a block: what goes in, what comes out and the weights of a layer of 64 columns are in a second-level cache, and
/// most of them in the first.
const BLOCK: usize = 8 * 1024;
/// Rows of a block are a multiple of this: whole register tiles, whole groups of jets.
const ROWS: usize = 24;
/// Of fewer rows turning the weights would take longer than it saves.
const TURN: usize = 16;

/// y `[rows, N]` of a network, y_l = act(y_(l−1)·W_lᵀ + b_l; α_l): what [`elbow::network::Forward`] computes, from the same parameters, f32, in one
/// slice as [`Layers::place`] says. Any number of columns and of layers; jets of four rows and of eight.
///
/// Blocks of rows go through all layers on all threads, so that nothing but x, y and the parameters is in memory. The same bits on any number of threads. An error names the operand that does not
/// fit, and nothing is written.
///
/// ```
/// use elbow::{Activation, network::Layers};
/// let layers = Layers::new(&[1, 2, 1], Activation::RELU)?;
/// let mut parameters = vec![0.0; layers.elements()];
/// let [hidden, last] = [0, 1].map(|l| layers.place(l));
/// parameters[hidden.w..][..2].copy_from_slice(&[1.0, -1.0]);
/// parameters[last.w..][..2].copy_from_slice(&[1.0, 1.0]); // relu(x) + relu(-x)
/// parameters[last.b] = 0.5;
/// let mut y = [0.0; 2];
/// elbow_cpu::network(&layers, 2, &[3.0, -4.0], &parameters, &mut y)?;
/// assert_eq!(y, [3.5, 4.5]);
/// # Ok::<(), elbow::Error>(())
/// ```
pub fn network(layers: &Layers, rows: usize, x: &[f32], parameters: &[f32], y: &mut [f32]) -> Result<()> {
    let [x, parameters] = operands::network(layers, rows, x, parameters)?;
    let y = outputs::slice_mut(Operand::Y, y, &[rows, layers.outputs])?;
    let chain: Vec<Layer<'_>> = (0..layers.count).map(|l| Layer::of(layers, l, parameters, rows >= TURN)).collect();
    let work = rows.saturating_mul(chain.iter().map(|layer| layer.n * layer.k).sum());
    let workers = if work > times::SERIAL { threads::count() } else { 1 };
    let block = (BLOCK / layers.hidden).min(rows.div_ceil(workers)).max(1).next_multiple_of(ROWS);
    let parts = x.chunks(block * layers.inputs).zip(y.chunks_mut(block * layers.outputs)).enumerate();
    let of_block = |(i, (x, y)): (usize, (&[f32], &mut [f32]))| through(&chain, i * block, x, y);
    if workers > 1 {
        threads::each(parts, of_block)
    } else {
        parts.for_each(of_block)
    }
    Ok(())
}

/// Takes the rows of a block, of which `row` is the first, through all layers.
fn through(chain: &[Layer<'_>], row: usize, x: &[f32], y: &mut [f32]) {
    let Some((last, hidden)) = chain.split_last() else { return };
    let rows = y.len() / last.n;
    let widest = hidden.iter().map(|layer| layer.n).max().unwrap_or(0);
    let [mut below, mut above] = [(); 2].map(|()| vec![0.0; rows * widest]);
    let mut input = x;
    for layer in hidden {
        layer.apply(row, input, &mut above[..rows * layer.n]);
        std::mem::swap(&mut below, &mut above);
        input = &below[..rows * layer.n];
    }
    last.apply(row, input, y);
}

/// One layer: its product, and what comes after it.
struct Layer<'a> {
    n: usize,
    k: usize,
    w: &'a [f32],
    turned: Option<Panels>,
    finish: Finish<'a>,
}

impl<'a> Layer<'a> {
    fn of(layers: &Layers, l: usize, parameters: &'a [f32], turn: bool) -> Self {
        let (place, [n, k]) = (layers.place(l), layers.shape(l));
        let w = &parameters[place.w..][..n * k];
        let source = if place.alpha.is_some() { layers.alpha } else { AlphaSource::Constant };
        let activation = if l + 1 < layers.count { layers.activation } else { layers.output };
        let finish = Finish {
            bias: Some(&parameters[place.b..][..n]),
            channels: Channels::new(activation, source, place.alpha.map(|at| &parameters[at..place.end]), n),
            residual: None,
            residual_at: ResidualAt::default(),
            row_weight: None,
            dropout: None,
            jet: layers.jet,
        };
        Layer { n, k, w, turned: turn.then(|| Panels::new(w, n, k)), finish }
    }

    fn apply(&self, row: usize, x: &[f32], y: &mut [f32]) {
        match &self.turned {
            Some(panels) => panels.times(x, y),
            None => {
                let mut rows: Vec<_> = y.chunks_mut(self.n).collect();
                product::rows_times_rows(&mut rows, x, self.w, self.k, false);
            }
        }
        self.finish.block(row, y, &mut SavedOut::None);
    }
}
