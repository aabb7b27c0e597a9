//! Measures which tile is the fastest for each size and form of product on this device, and keeps the result in a file for the next start.
//!
//! Nothing here runs unless it is called. All tiles give right results; another tile can change the order of a sum.
//!
//! ```no_run
//! use elbow::{Gpu, native::tune::Tuning};
//! let gpu = Gpu::new()?;
//! if gpu.use_tuning().is_none() {
//!     let tuned = gpu.tune(&Tuning::default(), &mut |timing| println!("{timing:?}"))?;
//!     let best = tuned.decisions.iter().filter_map(|decision| decision.won()).fold(1.0, f64::max);
//!     println!("{tuned}at best {best:.2} times as fast");
//!     gpu.tuning_file().map(|file| gpu.save_tuning(&file)).transpose()?;
//! }
//! # Ok::<(), elbow::Error>(())
//! ```

mod cache;
mod decide;
mod filling;
mod product;

use std::time::{Duration, Instant};

use self::decide::GAIN;
pub use self::{
    decide::{Decision, Spread, Tuned},
    product::Product,
};
use crate::{
    dtype::Float,
    elementwise,
    error::{Error, Result},
    gpu::{Gpu, record::Prepared},
    plan::{Form, Size, Stage, TILES},
    setters::setters,
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
    /// The time of one run; None if the tile was not exact on integers: it is then never chosen on this device.
    pub time: Option<Spread>,
}

/// What is tuned: everything, unless set.
///
/// ```
/// use elbow::{native::tune::Tuning, plan::{Form, Size}};
/// let forward_of_few_rows = Tuning::default().sizes(&[Size::Row, Size::Few]).forms(&[Form::Nt]);
/// assert_eq!(forward_of_few_rows.tiles, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Tuning<'a> {
    /// The sizes that are tuned.
    pub sizes: &'a [Size],
    /// The forms that are tuned.
    pub forms: &'a [Form],
    /// The tiles that are tried beside the usual one, by their places in [`TILES`]; None for all.
    pub tiles: Option<&'a [usize]>,
    /// Operations a second that the device can do at most, two for each multiply-add: near that bound nothing more is tried. Without it
    /// the only bound is that of memory, which tuning measures itself.
    pub operations_per_second: Option<f64>,
}

setters!(Tuning<'a> {
    sizes: &'a [Size],
    forms: &'a [Form],
    tiles: impl Into<Option<&'a [usize]>>,
    operations_per_second: impl Into<Option<f64>>,
});

impl Default for Tuning<'_> {
    fn default() -> Self {
        Tuning { sizes: &Size::ALL, forms: &Form::ALL, tiles: None, operations_per_second: None }
    }
}

/// No further sample of a tile begins after this, so that a slow tile is not timed five times.
const ENOUGH: Duration = Duration::from_millis(150);
/// Samples of one tile.
const SAMPLES: usize = 5;
/// A sample repeats the product in one submission for about this long: a submission alone takes tens of microseconds, more than a small
/// product.
const SAMPLE: Duration = Duration::from_millis(4);
/// The most repetitions in a sample.
const MOST_REPEATS: u32 = 500;
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

    /// Times every tile on products of each size and form, uses the fastest in plans from now on ([`Gpu::set_choices`]), and returns what
    /// it chose and what that won.
    ///
    /// Takes seconds on a GPU, minutes on a software adapter, whose driver compiles slowly. `progress` is called after each tile. Each
    /// tile must first be exact on integers: one that is not is never chosen. A tile replaces the usual one if it is faster by 5 % and by
    /// more than the noise, in samples of both in turn; and none is tried any more once the fastest is within 5 % of what the device can
    /// do ([`Decision::bound`]).
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// println!("{}", gpu.tune(&Default::default(), &mut |_| ())?);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn tune(&self, tuning: &Tuning<'_>, progress: &mut dyn FnMut(Timing)) -> Result<Tuned> {
        let asked = match tuning.tiles {
            Some(tiles) => tiles.to_vec(),
            // Tiles on matrix units are not chosen by their time: `Options::matrix_units` asks for them.
            None => (0..TILES.len()).filter(|&i| TILES[i].stage != Stage::Coop).collect(),
        };
        if let Some(&tile) = asked.iter().find(|&&tile| TILES.get(tile).is_none_or(|t| t.stage == Stage::Coop)) {
            let plain = TILES.iter().take_while(|tile| tile.stage != Stage::Coop).count();
            let why = format!("expected a plain tile, 0 to {}", plain - 1);
            return Err(Error::Unsupported { what: format!("tuning with tile {tile}"), why });
        }
        let mut choices = self.choices();
        if !self.is_software() {
            choices.set_workgroups(self.measure_workgroups()?);
            self.set_choices(choices);
        }
        let mut decisions = Vec::new();
        for &form in tuning.forms {
            let mut ranking = asked.clone();
            for &size in tuning.sizes {
                // A tile that is slow on many rows is slow on more of them too, and takes seconds to time.
                let huge = size == Size::Huge && tuning.sizes.contains(&Size::Many);
                let candidates = if huge { &ranking[..ranking.len().min(FEW)] } else { &ranking };
                let usual = choices.get(size, form);
                let (decision, ranked) = self.decide(size, form, usual, candidates, tuning, progress)?;
                choices.set(size, form, decision.chosen.0);
                decisions.push(decision);
                if size == Size::Many {
                    ranking = ranked;
                }
            }
        }
        self.set_choices(choices);
        Ok(Tuned { choices, decisions })
    }

    /// The decision, and the tiles from the fastest on, without those that cannot run or are wrong.
    fn decide(
        &self,
        size: Size,
        form: Form,
        usual: usize,
        candidates: &[usize],
        tuning: &Tuning<'_>,
        progress: &mut dyn FnMut(Timing),
    ) -> Result<(Decision, Vec<usize>)> {
        let product = Product::new(self, form, shape(size, self.is_software()), Float::F32)?;
        let simplest = product.prepare(self, Some(0))?;
        self.warm_up(&mut || self.submit(|encoder| simplest.record(encoder)).and_then(|()| self.wait()))?;
        let bound = self.bound(&product, tuning)?;
        let others = candidates.iter().copied().filter(|&tile| tile != usual);
        let tiles: Vec<usize> =
            std::iter::once(usual).chain(others).filter(|&tile| TILES[tile].fits(&self.caps(), form)).collect();
        let mut timed: Vec<(usize, Spread, Prepared)> = Vec::new();
        let mut tried = 0;
        for &tile in &tiles {
            let best = timed.iter().map(|(_, time, _)| time.median).min();
            // Then no tile could win what would be accepted.
            if best.is_some_and(|best| GAIN * best.as_secs_f64() <= bound.as_secs_f64()) {
                break;
            }
            tried += 1;
            let prepared = product.prepare(self, Some(tile))?;
            let exact = product.wrong(self, &prepared)?.is_none();
            let time = if exact { Some(self.time(&prepared, best)?) } else { None };
            progress(Timing { size, form, tile, time });
            timed.extend(time.map(|time| (tile, time, prepared)));
        }
        timed.sort_by_key(|(_, time, _)| time.median);
        let Some((fastest, time, prepared)) = timed.first() else {
            let what = format!("tuning {} products of size {}", form.name(), size.name());
            return Err(Error::Unsupported { what, why: "no tile is exact on integers on this device".into() });
        };
        let (mut usual_time, mut chosen) = (None, (*fastest, *time));
        if let Some((_, before, by_usual)) = timed.iter().find(|(tile, ..)| *tile == usual) {
            // What was timed first may have run at another clock: only samples in turn can be compared.
            let both = if *fastest == usual { [*before; 2] } else { self.duel([by_usual, prepared])? };
            usual_time = Some(both[0]);
            chosen = if both[1].beats(&both[0]) { (*fastest, both[1]) } else { (usual, both[0]) };
        }
        let spared = tiles.len() - tried;
        let decision = Decision { size, form, usual: (usual, usual_time), chosen, bound, spared };
        Ok((decision, timed.iter().map(|(tile, ..)| *tile).collect()))
    }

    /// The time that the product takes at least: that of a copy of as many bytes (in the caches, if they fit there), and that of its
    /// operations.
    fn bound(&self, product: &Product, tuning: &Tuning<'_>) -> Result<Duration> {
        let half = product.bytes().div_ceil(8) as usize;
        let (from, to) = (self.zeros(&[half])?, self.zeros(&[half])?);
        let copy = elementwise::copy(&from, &to).prepare(self)?;
        let copied = self.time(&copy, None)?.median;
        let rate = tuning.operations_per_second.filter(|rate| *rate > 0.0);
        let multiplied = rate.map_or(0.0, |rate| product.operations() as f64 / rate);
        Ok(copied.max(Duration::try_from_secs_f64(multiplied).unwrap_or(Duration::ZERO)))
    }

    /// Samples of both in turn.
    fn duel(&self, both: [&Prepared; 2]) -> Result<[Spread; 2]> {
        let mut samples = [Vec::new(), Vec::new()];
        let repeats = [self.repeats(both[0])?, self.repeats(both[1])?];
        for round in 0..SAMPLES {
            for turn in 0..2 {
                let i = (round + turn) % 2;
                samples[i].push(self.sample(both[i], repeats[i])?);
            }
        }
        Ok(samples.map(Spread::of))
    }

    /// A tile that takes more than twice as long as the best so far runs once.
    fn time(&self, prepared: &Prepared, best: Option<Duration>) -> Result<Spread> {
        let repeats = self.repeats(prepared)?;
        let begin = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < SAMPLES {
            let sample = self.sample(prepared, repeats)?;
            samples.push(sample);
            if begin.elapsed() > ENOUGH || best.is_some_and(|best| sample > 2 * best) {
                break;
            }
        }
        Ok(Spread::of(samples))
    }

    fn repeats(&self, prepared: &Prepared) -> Result<u32> {
        let once = self.sample(prepared, 1)?.max(Duration::from_nanos(100));
        // Most of a short one is the submission, not the product.
        let rough = (SAMPLE.as_secs_f64() / once.as_secs_f64()).ceil().clamp(1.0, f64::from(MOST_REPEATS)) as u32;
        let better = self.sample(prepared, rough)?.max(Duration::from_nanos(100));
        Ok((SAMPLE.as_secs_f64() / better.as_secs_f64()).ceil().clamp(1.0, f64::from(MOST_REPEATS)) as u32)
    }

    /// The time of one repetition.
    fn sample(&self, prepared: &Prepared, repeats: u32) -> Result<Duration> {
        let start = Instant::now();
        self.submit_pass(|pass| (0..repeats).try_for_each(|_| prepared.record(&mut *pass)))?;
        self.wait()?;
        Ok(start.elapsed() / repeats)
    }
}

/// `[rows, cols, k]` of the product that stands for a size.
const fn shape(size: Size, software: bool) -> [usize; 3] {
    match (size, software) {
        (Size::Row, _) => [1, 1024, 1024],
        (Size::Few, _) => [8, 1024, 1024],
        (Size::Many, true) => [128, 512, 512],
        (Size::Many, false) => [512, 1024, 1024],
        (Size::Huge, true) => [512, 2048, 1024],
        (Size::Huge, false) => [4096, 4096, 1024],
    }
}
