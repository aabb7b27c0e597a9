//! Which tile is the fastest for which product on this very device: measured, and kept for the next start if asked.
//!
//! Nothing here runs unless it is called. Tuning picks among kernels that are all right; what it changes is the order of a sum.

mod cache;

use std::time::{Duration, Instant};

use crate::{
    activation::Activation,
    affine::Forward,
    error::{Error, Result},
    gpu::{Gpu, record::Prepared, transfer::Tensor},
    plan::{Choices, Form, Pin, Size, TILES},
    request::WeightLayout,
    view::View,
};

/// One tile on one kind of product.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Timing {
    /// Size of the product.
    pub size: Size,
    /// How its operands lie.
    pub form: Form,
    /// Place in [`TILES`].
    pub tile: usize,
    /// The fastest of a few runs; None if the tile gave another result than tile 0, and is not to be trusted here.
    pub time: Option<Duration>,
}

/// Another tile must be this much faster than the one chosen without tuning.
const GAIN: f64 = 0.95;
/// Runs of one tile end here.
const ENOUGH: Duration = Duration::from_millis(150);
const RUNS: usize = 5;
/// An idle GPU runs at a fraction of its clock and takes a while under load to leave it: an H100, at 345 of 1,980 MHz, about
/// 0.3 s. What is timed sooner is timed five times too slow.
const WARM_UP: Duration = Duration::from_millis(700);
/// So many of the tiles that were fastest on many rows are timed on huge products.
const FEW: usize = 3;

impl Gpu {
    /// Repeats the work, which submits and waits, until the device runs at its full clock: for whoever is about to time
    /// something. Once is enough on a software adapter; a GPU gets 0.7 s of it.
    pub fn warm_up(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let begin = Instant::now();
        loop {
            work()?;
            if self.is_software() || begin.elapsed() > WARM_UP {
                return Ok(());
            }
        }
    }

    /// Times every tile on products of each size and form, takes the fastest for plans from now on, and returns them.
    ///
    /// Seconds on a GPU; minutes on a software adapter, whose driver compiles for a CPU. `progress` hears of each tile.
    /// Each is compared with tile 0 on integers first, to the last bit: one that differs is never chosen.
    pub fn tune(&self, progress: &mut dyn FnMut(Timing)) -> Result<Choices> {
        let mut choices = self.choices();
        for form in Form::ALL {
            let mut ranking: Vec<usize> = (0..TILES.len()).collect();
            for size in Size::ALL {
                let usual = choices.get(size, form);
                // What is slow on many rows is slow on more of them, and takes seconds to say so.
                let candidates = if size == Size::Huge { &ranking[..ranking.len().min(FEW)] } else { &ranking };
                let timed = self.rank(size, form, usual, candidates, progress)?;
                let (best, best_time) = timed[0];
                let usual_time = timed.iter().find(|(tile, _)| *tile == usual).map(|(_, time)| *time);
                if usual_time.is_none_or(|usual| best_time.as_secs_f64() < GAIN * usual.as_secs_f64()) {
                    choices.set(size, form, best);
                }
                if size == Size::Many {
                    ranking = timed.iter().map(|(tile, _)| *tile).collect();
                }
            }
        }
        self.set_choices(choices);
        Ok(choices)
    }

    /// The usual tile and the candidates that can run and are right, the fastest first.
    fn rank(
        &self,
        size: Size,
        form: Form,
        usual: usize,
        candidates: &[usize],
        progress: &mut dyn FnMut(Timing),
    ) -> Result<Vec<(usize, Duration)>> {
        let product = Product::new(self, size, form)?;
        let simplest = product.prepare(self, 0)?;
        let right = product.result(self, &simplest)?;
        let others = candidates.iter().copied().filter(|&tile| tile != usual);
        let mut timed: Vec<(usize, Duration)> = Vec::new();
        self.warm_up(&mut || self.submit(|encoder| simplest.record(encoder)).and_then(|()| self.wait()))?;
        for tile in std::iter::once(usual).chain(others) {
            if !TILES[tile].fits(&self.caps(), form) {
                continue;
            }
            let prepared = product.prepare(self, tile)?;
            let trusted = product.result(self, &prepared)? == right;
            let best = timed.iter().map(|(_, time)| *time).min();
            let time = if trusted { Some(self.time(&prepared, best)?) } else { None };
            progress(Timing { size, form, tile, time });
            timed.extend(time.map(|time| (tile, time)));
        }
        if timed.is_empty() {
            // Tile 0 against itself: the device gives other results each time.
            let what = format!("tuning {} products of size {}", form.name(), size.name());
            return Err(Error::Unsupported { what, why: "no tile gives the same result twice on this device".into() });
        }
        timed.sort_by_key(|(_, time)| *time);
        Ok(timed)
    }

    /// The fastest of a few runs; one is enough where it takes twice as long as the best so far.
    fn time(&self, prepared: &Prepared, best: Option<Duration>) -> Result<Duration> {
        let begin = Instant::now();
        let mut fastest = Duration::MAX;
        for _ in 0..RUNS {
            let start = Instant::now();
            self.submit(|encoder| prepared.record(encoder))?;
            self.wait()?;
            fastest = fastest.min(start.elapsed());
            if begin.elapsed() > ENOUGH || best.is_some_and(|best| fastest > 2 * best) {
                break;
            }
        }
        Ok(fastest)
    }
}

/// A product of a size and form, as a layer without activation.
struct Product {
    form: Form,
    a: Tensor,
    b: Tensor,
    c: Tensor,
}

impl Product {
    fn new(gpu: &Gpu, size: Size, form: Form) -> Result<Self> {
        let [rows, cols, k] = match (size, gpu.is_software()) {
            (Size::Row, _) => [1, 1024, 1024],
            (Size::Few, _) => [8, 1024, 1024],
            (Size::Many, true) => [128, 512, 512],
            (Size::Many, false) => [512, 1024, 1024],
            (Size::Huge, true) => [512, 2048, 1024],
            (Size::Huge, false) => [4096, 4096, 1024],
        };
        let (a, b) = match form {
            Form::Nt => ([rows, k], [cols, k]),
            Form::Nn => ([rows, k], [k, cols]),
            Form::Tn => ([k, rows], [k, cols]),
        };
        // Integers from −2 to 2: every partial sum is exact, in any order.
        let integers = |shape: [usize; 2], step: usize| -> Result<Tensor> {
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(|i| (i * step / 7 % 5) as f32 - 2.0).collect();
            gpu.upload(&values, &shape)
        };
        Ok(Product { form, a: integers(a, 3)?, b: integers(b, 11)?, c: gpu.zeros(&[rows, cols])? })
    }

    fn prepare(&self, gpu: &Gpu, tile: usize) -> Result<Prepared> {
        let pin = Pin { tile: Some(tile), ..Pin::default() };
        let Product { form, a, b, c } = self;
        let layout = if *form == Form::Nt { WeightLayout::OutIn } else { WeightLayout::InOut };
        match form {
            Form::Nt | Form::Nn => Forward::new(Activation::IDENTITY, a, b, c).layout(layout).pin(pin).prepare(gpu),
            Form::Tn => {
                let (w, y) = (View::absent(c.shape(), c.dtype()), View::absent(a.shape(), a.dtype()));
                let layer = Forward::new(Activation::IDENTITY, b, w, y).pin(pin);
                layer.backward(a).dw(c).prepare(gpu)
            }
        }
    }

    fn result(&self, gpu: &Gpu, prepared: &Prepared) -> Result<Vec<f32>> {
        gpu.submit(|encoder| prepared.record(encoder))?;
        gpu.download(&self.c)
    }
}
