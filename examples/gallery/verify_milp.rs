//! The smallest change of an image after which a network reads another digit: found by a solver, met on the device.

use elbow::Activation;

use crate::shared::{
    Chart, Lab, Report, Result,
    attack::Attack,
    digits::{self, CLASSES, PIXELS},
    images::{changed, images},
    reader,
    robustness::Robustness,
};

pub(crate) const TITLE: &str = "Verified by a solver: the smallest change that fools a network";

const THEORY: &str = "The kinks of a unit cut the interval l ≤ z ≤ u into pieces: z = l + Σ rᵢ and y = φ(l) + Σ φ'ᵢrᵢ, where piece i of length dᵢ rises by 0 ≤ rᵢ ≤ dᵢ, \
    and none before the one below is complete: rᵢ ≥ dᵢaᵢ and rᵢ₊₁ ≤ dᵢ₊₁aᵢ with a binary aᵢ (Markowitz and Manne 1957). That is one binary for a ReLU, \
    two for a clipped one, none where [l, u] has no kink. So a network is a mixed-integer program, and the least ε for which an image x' within ε of x \
    in each pixel makes another output as large as that of x's class is its optimum (Tjeng, Xiao and Tedrake 2019): there the two are equal. \
    No attack is smaller; any gives a box in which to search, whose intervals are l and u. With 0 ≤ a ≤ 1 the program is linear, and sure of less (Ehlers \
    2017); intervals alone are sure of even less, in no time (Gowal et al. 2018): *intervals ≤ relaxation ≤ ε ≤ attack*.";

/// In the order that theory says.
type Road = (&'static str, fn(&Robustness<'_>) -> f64);
const ROADS: [Road; 4] = [
    ("intervals", |case| case.intervals),
    ("relaxation", |case| case.relaxed),
    ("ε", |case| case.exact.change),
    ("attack", |case| case.attack),
];

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng, range) = (&lab.gpu, lab.rng(70), &digits::range(&mut lab.rng(7))?);
    // A level of grey, of 16, in the scale of the data.
    let level = f64::from(range[1][0] - range[0][0]) / 16.0;
    let mut chart = Chart::new("What is sure, and what attacks found", "ε, in levels of grey of 16", "bound or attack, over ε");
    let mut strips = Vec::new();
    let clipped = Activation::clipped_relu(2.0)?;
    for (name, activation, units) in [("ReLU", Activation::RELU, vec![12, 8]), ("clipped", clipped, vec![16])] {
        let (network, _, test) = reader(lab, &units, activation, (7, lab.pick(20, 6)))?;
        // Outputs are sums of some dozen terms of order 1: more than this is not rounding.
        let attack = Attack { network: &network, range, starts: lab.pick(8, 2), steps: lab.pick(200, 60), clear: 1e-3 };
        let cases = Robustness::of(lab, &attack, &test, lab.pick(8, 2), &mut rng)?;
        let (count, mut met, mut beyond) = (cases.len() as f64, [0.0f64; 2], 0);
        for Robustness { image, own, exact, .. } in &cases {
            met.iter_mut().zip(exact.met(gpu, &network, *own)?).for_each(|(most, met)| *most = most.max(met));
            let further = |(i, (from, to)): (usize, (&f32, f32))| (to + 0.01 * (to - from)).clamp(range[0][i], range[1][i]);
            let x: Vec<f32> = image.iter().zip(exact.image()).enumerate().map(further).collect();
            let y = network.outputs(gpu, &gpu.upload(&x, &[1, PIXELS])?)?;
            beyond += usize::from(y[exact.class] > y[*own]);
        }
        report.at_most(format!("largest |device - solver| of units at x' / its bound, {name}"), 1.0, met[0], 0.0);
        report.at_most(format!("largest |own - other output| at x' / its bound, {name}"), 1.0, met[1], 0.0);
        report.within(format!("of {count} images, read otherwise 1 % beyond x', {name}"), count, beyond as f64, 0.0);
        let within: Vec<_> = cases.iter().map(|case| (case.image, case.own, 0.99 * case.exact.change)).collect();
        let closer = Attack { clear: 0.0, ..attack };
        let found: usize = closer.run(gpu, &mut rng, &within, false)?.iter().map(|found| found.0).sum();
        let tries = cases.len() * closer.starts * (CLASSES - 1) * closer.steps;
        report.within(format!("read otherwise within 0.99 ε, {tries} tries, {name}"), 0.0, found as f64, 0.0);
        for pair in ROADS.windows(2) {
            let [(less, low), (more, high)] = [pair[0], pair[1]];
            let least = cases.iter().map(|case| high(case) / low(case)).fold(f64::INFINITY, f64::min);
            // Optima of constraints that hold to within 1e-9.
            report.at_least(format!("least {more} / {less}, {name}"), 1.0 - 1e-6, least, 0.0);
        }
        let [kinks, binaries] = [0, 1].map(|of| cases.iter().map(|case| case.binaries[of]).sum::<usize>() as f64);
        report.within(format!("binaries, {name}"), kinks, binaries, 0.0);
        for (road, of) in ROADS.into_iter().filter(|(road, _)| *road != "ε") {
            let share = |case: &Robustness<'_>| (case.exact.change / level, of(case) / case.exact.change, 0.0);
            chart = chart.other_dots(format!("{road}, {name}"), cases.iter().map(share));
        }
        strips.extend(cases.iter().take(4).map(|case| {
            let text = format!("{} → {}: {:.2}", case.own, case.exact.class, case.exact.change / level);
            (text, changed(case.image, &case.exact.image(), range, case.exact.change))
        }));
        let means = ROADS.map(|(_, of)| cases.iter().map(of).sum::<f64>() / count / level);
        report.remark(format!(
            "{name}, {units:?} units, on average, in levels of grey of 16: intervals are sure of {:.2}, the relaxation \
             of {:.2}; {:.2} change what is read, and attacks found {:.2}. {:.1} binaries an image.",
            means[0], means[1], means[2], means[3], binaries / count
        ));
    }
    report.picture("Each column an image: what is sure lies below its ε, which is 1, and what an attack found above", chart.svg()?);
    let rows = ["as written", "change, in ε", "read otherwise"];
    let title = "The smallest changes, their classes and ε in levels of grey";
    report.picture("Left the ReLU network, right the clipped one. Red is more ink, blue is less", images(title, &rows, &strips));
    Ok(report)
}
