//! Measures which tile is the fastest for each size and form of product on this device, and keeps the result in a file for the next start.
//!
//! Nothing here runs unless it is called. All tiles give right results; another tile can change the order of a sum.
//!
//! ```no_run
//! use elbow::Gpu;
//! let gpu = Gpu::new()?;
//! let file = gpu.tuning_file();
//! if !file.as_ref().is_some_and(|file| gpu.load_tuning(file)) {
//!     gpu.tune(&mut |timing| println!("{timing:?}"))?;
//!     file.as_ref().map(|file| gpu.save_tuning(file)).transpose()?;
//! }
//! # Ok::<(), elbow::Error>(())
//! ```

mod cache;

use std::time::{Duration, Instant};

use crate::{
    activation::Activation,
    affine::Forward,
    error::{Error, Result},
    gpu::{Gpu, record::Prepared, transfer::Tensor},
    plan::{Choices, Form, Pin, Size, Stage, TILES},
    request::WeightLayout,
    view::View,
};

/// The time of one tile on one size and form of product.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Timing {
    /// How many rows, and multiply-adds, the product has.
    pub size: Size,
    /// Which of its operands lie along the reduction: NT, NN or TN.
    pub form: Form,
    /// The tile, by its place in [`TILES`].
    pub tile: usize,
    /// The fastest of a few runs; None if the tile gave another result than tile 0: it is then never chosen on this device.
    pub time: Option<Duration>,
}

/// Another tile is chosen only if its time is below 95 % of that of the tile chosen without tuning: less is noise.
const GAIN: f64 = 0.95;
/// No further run of a tile begins after this, so that a slow tile is not timed five times.
const ENOUGH: Duration = Duration::from_millis(150);
/// Runs of one tile, of which the fastest counts.
const RUNS: usize = 5;
/// An idle GPU runs at a low clock and needs some time under load to raise it: an H100 goes from 345 to 1,980 MHz in about 0.3 s. Work
/// timed before that seems five times slower.
const WARM_UP: Duration = Duration::from_millis(700);
/// On huge products only this many tiles are timed, those that were fastest on many rows: each run takes long there.
const FEW: usize = 3;

impl Gpu {
    /// Repeats `work`, which submits and waits, until the device runs at its full clock: before something is timed. A GPU needs 0.7 s; on
    /// a software adapter `work` runs once.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, elementwise::Forward};
    /// let gpu = Gpu::new()?;
    /// let (x, y) = (gpu.zeros(&[1 << 20])?, gpu.zeros(&[1 << 20])?);
    /// let relu = Forward::new(Activation::RELU, &x, &y).prepare(&gpu)?;
    /// gpu.warm_up(&mut || gpu.submit(|encoder| relu.record(encoder)).and_then(|()| gpu.wait()))?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn warm_up(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let begin = Instant::now();
        loop {
            work()?;
            if self.is_software() || begin.elapsed() > WARM_UP {
                return Ok(());
            }
        }
    }

    /// Times every tile on products of each size and form, uses the fastest in plans from now on ([`Gpu::set_choices`]), and returns them.
    ///
    /// Takes seconds on a GPU, minutes on a software adapter, whose driver compiles slowly. `progress` is called after each tile. Each
    /// tile's result on integers is first compared with that of tile 0, bit for bit: a tile that differs is never chosen.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// println!("{}", gpu.tune(&mut |_| ())?);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn tune(&self, progress: &mut dyn FnMut(Timing)) -> Result<Choices> {
        let mut choices = self.choices();
        for form in Form::ALL {
            // Tiles on matrix units are not chosen by their time: `Options::matrix_units` asks for them.
            let mut ranking: Vec<usize> = (0..TILES.len()).filter(|&i| TILES[i].stage != Stage::Coop).collect();
            for size in Size::ALL {
                let usual = choices.get(size, form);
                // A tile that is slow on many rows is slow on more of them too, and takes seconds to time.
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

    /// The times of the usual tile and of the candidates, the fastest first, without those that cannot run or are wrong.
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
            // Even tile 0 differs from itself: the device gives another result each time.
            let what = format!("tuning {} products of size {}", form.name(), size.name());
            return Err(Error::Unsupported { what, why: "no tile gives the same result twice on this device".into() });
        }
        timed.sort_by_key(|(_, time)| *time);
        Ok(timed)
    }

    /// The fastest of a few runs. A tile that takes more than twice as long as the best so far runs once.
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

/// A product C = A·B of one size and form, run as a layer without activation.
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
