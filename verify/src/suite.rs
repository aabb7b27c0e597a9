//! The checks of `elbow verify`, in groups, each with its worst error and cases that replay its failures.

use std::fmt;

use elbow::{
    Activation, AlphaSource, Float, Gpu, MatrixUnits, Saved, Strategy,
    activation::rows,
    plan::{DeviceClass, Form, Pin, Stage, TILES},
};

#[cfg(not(target_family = "wasm"))]
pub use crate::wait::{replay, run_group};
use crate::{
    Numbers, Part,
    close::Close,
    judge::Judge,
    points::{self, Kernels, Points, WorstPoint},
    run::{Failure, Outcome, Worst, run_async},
    shrink::smallest,
    spec::{Spec, any_exact, any_real},
    special,
    text::bad,
    training::{self, Training},
};
use web_time::Instant;

/// How much is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A sample of the kernels in every group: takes seconds, also on a software adapter.
    Quick,
    /// Every kernel, activation, strategy, saved choice and tile, on odd shapes: takes minutes on a software adapter.
    Full,
}

/// A group of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The start-up self-test.
    SelfTest,
    /// Layers of integers, compared to the last bit.
    Exact,
    /// Layers of real numbers, compared within their bounds.
    Real,
    /// The activations alone, compared in ulp.
    Activations,
    /// NaN and infinities in a layer.
    Special,
    /// Repeated calls give the same bits.
    SameBits,
    /// Losses with each of their choices, compared within their bounds.
    Losses,
    /// Updates over schedules, alike.
    Updates,
}

impl Group {
    /// All groups, in the order in which they run.
    pub const ALL: [Group; 8] = [
        Group::SelfTest,
        Group::Exact,
        Group::Real,
        Group::Activations,
        Group::Special,
        Group::SameBits,
        Group::Losses,
        Group::Updates,
    ];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Group::SelfTest => "self-test",
            Group::Exact => "integer layers",
            Group::Real => "real layers",
            Group::Activations => "activations",
            Group::Special => "NaN and inf",
            Group::SameBits => "same bits",
            Group::Losses => "losses",
            Group::Updates => "updates",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failed check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// What is wrong, in words.
    pub message: String,
    /// The smallest failing case that was found, as text for [`replay`].
    pub case: String,
}

/// The result of a group of checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The group.
    pub group: Group,
    /// Number of checks.
    pub checks: usize,
    /// Number of failed checks.
    pub failed: usize,
    /// The largest error, in words.
    pub worst: String,
    /// The first failures.
    pub broken: Vec<Broken>,
    /// Seconds that the group took.
    pub seconds: f64,
}

/// The most failures of a group that are made smaller and listed: each may compile many kernels.
const LISTED: usize = 3;
/// Number of cases between two calls of `progress`.
const STEP: usize = 24;

/// Runs a part of a group. `progress` is called, and awaited, with the number of finished checks and of all checks.
pub async fn run_group_async(
    gpu: &Gpu,
    group: Group,
    size: Size,
    part: Part,
    progress: &mut impl AsyncFnMut(usize, usize),
) -> Report {
    let start = Instant::now();
    let mut report = match group {
        Group::SelfTest => self_test(gpu).await,
        Group::Exact => layers(gpu, group, part.of_list(&exact_specs(gpu, size)), progress).await,
        Group::Real => layers(gpu, group, part.of_list(&real_specs(gpu, size)), progress).await,
        Group::Activations => activations(gpu, size, part, progress).await,
        Group::Special => special_values(gpu, size, part, progress).await,
        Group::SameBits => same_bits(gpu, size, part, progress).await,
        Group::Losses => trainings(gpu, group, part.of_list(&training::losses(size == Size::Full)), progress).await,
        Group::Updates => trainings(gpu, group, part.of_list(&training::updates(size == Size::Full)), progress).await,
    };
    report.seconds = start.elapsed().as_secs_f64();
    report
}

/// Runs one case of a report again, from its text.
pub async fn replay_async(gpu: &Gpu, case: &str) -> elbow::Result<Report> {
    if case.starts_with("loss:") || case.starts_with("update:") {
        let training = training::named(case).ok_or_else(|| bad("the name of a loss or an update, as printed", case))?;
        let group = if matches!(training, Training::Updates(_)) { Group::Updates } else { Group::Losses };
        return Ok(trainings(gpu, group, &[training], &mut async |_, _| {}).await);
    }
    if let Some((group, activation)) = case.split_once(':') {
        let activation: Activation = activation.trim().parse()?;
        let mut report = Report::new(Group::Activations);
        match group {
            "activation" => check_points(gpu, activation, Kernels::All, &mut report, &mut None).await,
            "bits" => report.check("bits", &activation, special::same_bits(gpu, activation, 20).await),
            _ => special_case(gpu, activation, &mut report).await,
        }
        return Ok(report);
    }
    let spec: Spec = case.parse()?;
    spec.forward.check_sizes()?;
    Ok(of_outcome(gpu, Group::Real, run_async(gpu, &[spec]).await).await)
}

impl Report {
    fn new(group: Group) -> Self {
        Report { group, checks: 0, failed: 0, worst: String::new(), broken: Vec::new(), seconds: 0.0 }
    }

    /// A group that did not come to its end.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn stopped(group: Group, error: &elbow::Error) -> Self {
        let mut report = Report { checks: 1, ..Report::new(group) };
        report.fail(error.to_string(), String::new());
        report
    }

    fn check(&mut self, kind: &str, activation: &Activation, result: Result<(), String>) {
        self.checks += 1;
        if let Err(message) = result {
            self.fail(format!("{activation}: {message}"), format!("{kind}:{activation}"));
        }
    }

    fn fail(&mut self, message: String, case: String) {
        self.failed += 1;
        if self.broken.len() < LISTED {
            self.broken.push(Broken { message, case });
        }
    }
}

async fn self_test(gpu: &Gpu) -> Report {
    let mut report = Report { checks: 1, worst: "none".into(), ..Report::new(Group::SelfTest) };
    if let Err(error) = gpu.self_test_async().await {
        report.fail(error.to_string(), String::new());
    }
    report
}

/// The tiles that the device can run. A software adapter is never given a staged one unless a caller pins it, and there their texts differ in
/// numbers alone: it runs the smallest and the largest with 8 steps, and the smaller of those on matrix units, whose compilation takes it seconds.
pub fn tiles(gpu: &Gpu) -> Vec<usize> {
    const FOR_SOFTWARE: [usize; 3] = [5, 7, 18];
    let caps = gpu.caps();
    let tried = |i: &usize| {
        let spared =
            caps.class == DeviceClass::Software && matches!(TILES[*i].stage, Stage::Staged { .. } | Stage::Coop);
        TILES[*i].fits(&caps, Form::Nt) && (!spared || FOR_SOFTWARE.contains(i))
    };
    (0..TILES.len()).filter(tried).collect()
}

/// Gives every case sizes around the edges of the tiles.
const SIZES: [usize; 16] = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65, 130];

fn sized(specs: &[Spec], per_spec: usize, numbers: &mut Numbers) -> Vec<Spec> {
    let mut all = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        for j in 0..per_spec {
            let [m, n, k] = std::array::from_fn(|_| numbers.pick(&SIZES));
            all.push(Spec { misalign: (i + j) % 4, shared: j % 8 == 7, ..spec.sized(m, n, k) });
        }
    }
    all
}

fn exact_specs(gpu: &Gpu, size: Size) -> Vec<Spec> {
    let mut numbers = Numbers::new(7);
    let tiles = tiles(gpu);
    match size {
        Size::Quick => {
            let dtypes = [Float::F32, Float::F16, Float::F32, Float::Bf16];
            let spec = |(i, dtype)| Spec { pin: quick_pin(i), dtype, ..any_exact(&mut numbers, i, &tiles) };
            let specs: Vec<Spec> = dtypes.into_iter().enumerate().map(spec).collect();
            sized(&specs, 16, &mut numbers)
        }
        Size::Full => {
            let specs: Vec<Spec> = (0..tiles.len() * 4).map(|i| any_exact(&mut numbers, i, &tiles)).collect();
            sized(&specs, 40, &mut numbers)
        }
    }
}

/// Pins for a quick run: the plan's own choice, and the tile that compiles fastest with both strategies.
fn quick_pin(index: usize) -> Pin {
    match index % 3 {
        0 => Pin::default(),
        1 => Pin::default().tile(3).splits(3).strategy(Strategy::Prologue),
        _ => Pin::default().tile(3).strategy(Strategy::TwoPass),
    }
}

fn real_specs(gpu: &Gpu, size: Size) -> Vec<Spec> {
    let mut numbers = Numbers::new(8);
    let tiles = tiles(gpu);
    let mut specs = Vec::new();
    let defaults = points::defaults();
    let (chosen, per_spec): (Vec<Activation>, usize) = match size {
        Size::Quick => (defaults.into_iter().filter(|a| QUICK[..3].contains(&a.name())).collect(), 3),
        Size::Full => (defaults, 12),
    };
    for (i, &activation) in chosen.iter().enumerate() {
        for data in &crate::Data::ALL[1..] {
            specs.push(Spec { pin: quick_pin(2), data: *data, seed: i as u64, ..Spec::new(1, 1, 1, activation) });
        }
        if size == Size::Full {
            specs.push(Spec { pin: quick_pin(1), ..Spec::new(1, 1, 1, activation) });
            if activation.has_alpha() {
                for alpha in [AlphaSource::PerLayer, AlphaSource::PerChannel] {
                    let mut spec = Spec { pin: quick_pin(2), ..Spec::new(1, 1, 1, activation) };
                    (spec.forward.alpha, spec.gradients.alpha) = (alpha, elbow::Want::Overwrite);
                    specs.push(spec);
                }
            }
        }
    }
    if size == Size::Full {
        specs.extend((0..tiles.len() * 2).map(|i| any_real(&mut numbers, i, &tiles)));
    }
    // Other numbers leave the range of f16 where they are rounded to it.
    let caps = gpu.caps();
    if caps.matrix_size > 0 && caps.matrix_units == MatrixUnits::Rounded {
        specs.retain(|spec| spec.data == crate::Data::Normal);
    }
    sized(&specs, per_spec, &mut numbers)
}

/// The activations of a quick run.
const QUICK: [&str; 6] = ["gelu_erf", "silu", "leaky_relu", "relu", "softplus", "tanh"];

async fn layers(gpu: &Gpu, group: Group, specs: &[Spec], progress: &mut impl AsyncFnMut(usize, usize)) -> Report {
    let mut outcome = Outcome::default();
    for (i, chunk) in specs.chunks(STEP).enumerate() {
        progress(i * STEP, specs.len()).await;
        outcome = outcome.and(run_async(gpu, chunk).await);
    }
    progress(specs.len(), specs.len()).await;
    of_outcome(gpu, group, outcome).await
}

async fn of_outcome(gpu: &Gpu, group: Group, outcome: Outcome) -> Report {
    let mut report = Report { checks: outcome.cases, ..Report::new(group) };
    report.worst = match &outcome.worst {
        Some(Worst { fraction, place, spec }) if *fraction > 0.0 => {
            format!("{:.0} % of the bound, {place} of {spec}", fraction * 100.0)
        }
        _ => "0 differing elements".into(),
    };
    for failure in &outcome.failures {
        match report.broken.len() < LISTED {
            true => {
                let again = async |spec: Spec| run_async(gpu, &[spec]).await.failures.pop();
                let Failure { spec, message } = smallest(failure, again).await;
                report.fail(message, spec.to_string());
            }
            false => report.failed += 1,
        }
    }
    report
}

async fn activations(gpu: &Gpu, size: Size, part: Part, progress: &mut impl AsyncFnMut(usize, usize)) -> Report {
    let mut report = Report::new(Group::Activations);
    let chosen: Vec<Activation> = match size {
        Size::Quick => points::defaults().into_iter().filter(|a| QUICK.contains(&a.name())).collect(),
        Size::Full => points::defaults(),
    };
    let kernels = if size == Size::Quick { Kernels::Few } else { Kernels::All };
    let mut worst = None;
    let chosen = part.of_list(&chosen);
    for (i, &activation) in chosen.iter().enumerate() {
        progress(i, chosen.len()).await;
        check_points(gpu, activation, kernels, &mut report, &mut worst).await;
    }
    progress(chosen.len(), chosen.len()).await;
    report
}

/// Checks every quantity of an activation at its probes. `worst` is the largest error so far as a share of its tolerance.
async fn check_points(
    gpu: &Gpu,
    activation: Activation,
    kernels: Kernels,
    report: &mut Report,
    worst: &mut Option<f64>,
) {
    let points = Points::new(activation, points::probes(&activation));
    let got = async {
        let judge = Judge::of_async(gpu).await?;
        Ok::<_, elbow::Error>((judge, points::on_device_async(gpu, activation, &points.x, kernels).await?))
    };
    let (judge, got) = match got.await {
        Ok(got) => got,
        Err(error) => return report.check("activation", &activation, Err(error.to_string())),
    };
    for (quantity, got) in got {
        let WorstPoint { ulp, x, got, expected, .. } = points.worst(judge, quantity, &got);
        let allowed = activation.row().tolerance(quantity);
        let name = quantity.wgsl_name();
        let said = format!("{ulp:.2} ulp of {allowed}, {name} of {activation} at {x:e}");
        report.check(
            "activation",
            &activation,
            match ulp <= allowed {
                true => Ok(()),
                false => Err(format!("{said}: is {got:e}, expected {expected:e}")),
            },
        );
        let share = if ulp > 0.0 { ulp / allowed } else { 0.0 };
        if worst.is_none_or(|worst| share > worst) {
            *worst = Some(share);
            report.worst = said;
        }
    }
}

async fn special_values(gpu: &Gpu, size: Size, part: Part, progress: &mut impl AsyncFnMut(usize, usize)) -> Report {
    let mut report = Report { worst: "none".into(), ..Report::new(Group::Special) };
    let names: Vec<&str> = match size {
        Size::Quick => vec!["relu", "gelu_erf"],
        Size::Full => rows().iter().map(|row| row.name).collect(),
    };
    let defaults: Vec<Activation> = points::defaults().into_iter().filter(|a| names.contains(&a.name())).collect();
    let defaults = part.of_list(&defaults);
    for (i, &activation) in defaults.iter().enumerate() {
        progress(i, defaults.len()).await;
        special_case(gpu, activation, &mut report).await;
    }
    progress(defaults.len(), defaults.len()).await;
    report
}

async fn special_case(gpu: &Gpu, activation: Activation, report: &mut Report) {
    for saved in [Saved::Z, Saved::Y, Saved::Mask, Saved::None] {
        if activation.saved_is_enough(saved, false, false, false, Float::F32).is_ok() {
            report.check("special", &activation, special::nan_and_inf(gpu, activation, saved, Strategy::TwoPass).await);
        }
    }
    report.check("special", &activation, special::nan_and_inf(gpu, activation, Saved::Z, Strategy::Prologue).await);
}

async fn same_bits(gpu: &Gpu, size: Size, part: Part, progress: &mut impl AsyncFnMut(usize, usize)) -> Report {
    let mut report = Report { worst: "none".into(), ..Report::new(Group::SameBits) };
    let (names, times): (&[&str], usize) = match size {
        Size::Quick => (&["gelu_erf"], 20),
        Size::Full => (&QUICK, 100),
    };
    let chosen: Vec<Activation> = points::defaults().into_iter().filter(|a| names.contains(&a.name())).collect();
    let chosen = part.of_list(&chosen);
    for (i, &activation) in chosen.iter().enumerate() {
        progress(i, chosen.len()).await;
        report.check("bits", &activation, special::same_bits(gpu, activation, times).await);
    }
    progress(chosen.len(), chosen.len()).await;
    report
}

async fn trainings(
    gpu: &Gpu,
    group: Group,
    cases: &[Training],
    progress: &mut impl AsyncFnMut(usize, usize),
) -> Report {
    let mut report = Report { checks: cases.len(), worst: "none".into(), ..Report::new(group) };
    let mut worst = -1.0;
    for (i, case) in cases.iter().enumerate() {
        progress(i, cases.len()).await;
        match case.check(gpu).await {
            Ok(Close { fraction, place }) if fraction > worst => {
                worst = fraction;
                report.worst = format!("{:.0} % of the bound, {place} of {case}", fraction * 100.0);
            }
            Ok(_) => {}
            Err(message) => report.fail(format!("{case}: {message}"), case.to_string()),
        }
    }
    progress(cases.len(), cases.len()).await;
    report
}
