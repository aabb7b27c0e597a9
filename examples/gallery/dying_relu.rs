//! Dying ReLUs on digits: units killed by a bias, with and without a slope to come back by.

use elbow::{
    Activation, AlphaSource, Tensor,
    mlp::{Architecture, Mlp, Optimiser, Parameters},
    rates::{Rates, Rule},
};

use crate::shared::{
    Lab, Report, Result, Trainer,
    digits::{self, CLASSES, Digits, PIXELS},
    normal,
};

pub(crate) const TITLE: &str = "Dying ReLUs, and what comes back";

const THEORY: &str = "A unit whose z is at most 0 for all data has a gradient of exactly 0 with ReLU: nothing moves its weights, for ever, as long as what it reads stays the same. So a unit of the first layer \
    that a hostile bias has killed stays dead however long training goes on. A leaky slope a lets dW = a Σ dy x through. A smooth activation does where its slope is not lost in the rounding of f32: \
    at z = -9 ELU's is 10⁻⁴, Swish's -10⁻³, and GELU's -10⁻¹⁷, which is as dead as ReLU.";

/// Units of a hidden layer on digits, and of the first how many are killed, by what bias.
const WIDTH: usize = 16;
const KILLED: usize = 8;
const BIAS: f32 = -16.0;
/// What Wx is below, in the first layer.
const MOST: f32 = 7.0;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let all = [
        ("ReLU", Activation::RELU, AlphaSource::Constant),
        ("leaky 0.1", Activation::leaky_relu(0.1)?, AlphaSource::Constant),
        ("PReLU", Activation::prelu(0.25)?, AlphaSource::PerChannel),
        ("ELU", Activation::elu(1.0)?, AlphaSource::Constant),
        ("GELU", Activation::GELU_ERF, AlphaSource::Constant),
        ("Swish", Activation::SILU, AlphaSource::Constant),
    ];
    let runs: Vec<f32> = lab.pick(vec![0.05, 0.05, 0.05, 0.15, 0.15, 0.15], vec![0.05]);
    let bar = lab.progress(all.len() * runs.len(), "dying_relu");
    for (name, activation, alpha) in all {
        let mut seen = Vec::new();
        for (seed, &rate) in runs.iter().enumerate() {
            let mut rng = lab.rng(100 + seed as u64);
            let (training, test) = digits::split(&mut rng)?;
            let sizes = [PIXELS, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, WIDTH, CLASSES];
            let optimiser = Optimiser::new(Rule::Sgd, Rates::sgd(rate).momentum(0.9));
            let architecture = Architecture::new(&sizes, activation, 128).alpha(alpha).optimiser(optimiser);
            let trainer = Trainer::new(&lab.gpu, Mlp::new(&lab.gpu, &architecture, &mut || normal(&mut rng))?, PIXELS)?;
            let before = kill(lab, &trainer.mlp)?;
            for _ in 0..lab.pick(30, 2) {
                trainer.epoch(&training, &mut rng)?;
            }
            // The largest slope, and the rounding of f32, decide.
            let first = lab.gpu.download(trainer.mlp.parameters(0).ok_or("a network without layers")?.w)?;
            let moved = before.chunks(PIXELS).zip(first.chunks(PIXELS)).take(KILLED).filter(|(before, after)| before != after);
            if seed == 0 {
                let predicted = if activation.slope(f64::from(BIAS + MOST)).abs() > 1e-7 { KILLED as f64 } else { 0.0 };
                report.within(format!("{name}: killed units that moved, of {KILLED}"), predicted, moved.count() as f64, 0.0);
            }
            let (dead, of_first) = dead(lab, &trainer.mlp, &training)?;
            if activation == Activation::RELU {
                report.within(format!("ReLU: killed units that fire, rate {rate}"), 0.0, (KILLED - of_first) as f64, 0.0);
            }
            seen.push(format!("{:.0} % ({dead})", 100.0 * trainer.accuracy(&test)?));
            bar.inc(1);
        }
        report.remark(format!("{name}: test accuracy (dead units of {}), at the rates {runs:?}: {}.", 6 * WIDTH, seen.join(", ")));
    }
    bar.finish_and_clear();
    report.remark("A slope is no cure for everything. A killed unit of slope a feeds the constant -16a to the next layer: at PReLU's 0.25 that alone makes the rate of 0.05 too high and the network diverges, \
        which without the bias learns as well as the others. At 0.15 all diverge, with the bias or without: ReLU, GELU and Swish then die, and the leaky ones become NaN or guess, without a dead unit.");
    Ok(report)
}

/// Hidden units that are dead, z and so y at most 0 for all images; and how many of those that were killed.
fn dead(lab: &Lab, mlp: &Mlp, data: &Digits) -> Result<(usize, usize)> {
    let mut fires = vec![[false; WIDTH]; mlp.layers() - 1];
    for images in data.x.chunks(mlp.max_batch() * PIXELS) {
        let rows = images.len() / PIXELS;
        let x = lab.gpu.upload(images, &[rows, PIXELS])?;
        lab.gpu.submit(|encoder| mlp.forward(&lab.gpu, encoder, x.view()))?;
        for (l, fires) in fires.iter_mut().enumerate() {
            let y = mlp.output(l).ok_or("no such layer")?;
            let y = lab.gpu.download(y.view_as(&[rows, WIDTH]))?;
            // A network that has diverged is NaN, and not dead.
            y.iter().enumerate().for_each(|(i, &y)| fires[i % WIDTH] |= y > 0.0 || y.is_nan());
        }
    }
    let count = |units: &[bool]| units.iter().filter(|fires| !**fires).count();
    Ok((count(fires.as_flattened()), count(&fires[0][..KILLED])))
}

/// Gives the first units of the first layer a bias that kills them; the weights.
fn kill(lab: &Lab, mlp: &Mlp) -> Result<Vec<f32>> {
    let first = mlp.parameters(0).ok_or("a network without layers")?;
    let bias: Vec<f32> = (0..WIDTH).map(|unit| if unit < KILLED { BIAS } else { 0.0 }).collect();
    let (b, w) = (lab.gpu.upload(&bias, &[WIDTH])?, lab.gpu.download(first.w)?);
    // Copies: what is written may not be read by the same call.
    let kept = lab.gpu.upload(&w, &[WIDTH, PIXELS])?;
    let alpha = first.alpha.map(|alpha| lab.gpu.upload(&lab.gpu.download(alpha)?, &[WIDTH])).transpose()?;
    let killed = Parameters::new(&kept, &b).alpha(alpha.as_ref().map(Tensor::view));
    lab.gpu.submit(|encoder| mlp.set_parameters(&lab.gpu, encoder, 0, &killed))?;
    Ok(w)
}

