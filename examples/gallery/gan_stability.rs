//! A small generative adversarial network: units of the generator die, and what gradient it is left with.

use elbow::Activation;
use rand::RngExt;

use crate::shared::{Chart, Lab, Learner, Report, Result, statistics::mean, towards};

pub(crate) const TITLE: &str = "Dead units of a generator";

const THEORY: &str = "A generator learns only by the gradient that comes back through the discriminator, with no data of its own to revive what has died. A \
    hidden ReLU unit that is off for every input has a gradient of exactly 0 and stays as it is; a Leaky unit has slope a at least, so none is ever dead. \
    At first both learn alike: with He's rule gain² E[act'²] = 1 whatever a is, and the gradient of the discriminator's logit for a point has a mean square of exactly 1.";

const SLOPE: f32 = 0.2;
const ROWS: usize = 128;
/// The generator's hidden layers are its first two.
const HIDDEN: usize = 2;

/// What is seen along the way.
#[derive(Default)]
struct Course {
    /// Step, share of dead hidden units of the generator, norm of its gradient.
    points: Vec<(f64, f64, f64)>,
    /// The largest gradient of a weight of a dead unit.
    of_dead: f64,
}

fn train(lab: &Lab, activation: Activation, seed: u64, steps: usize, rate: f32) -> Result<Course> {
    let (gpu, mut rng, mut course) = (&lab.gpu, lab.rng(seed), Course::default());
    let linear = Activation::IDENTITY;
    let generator = Learner::new(lab, &mut rng, &[2, 32, 32, 2], &[activation, activation, linear])?;
    let discriminator = Learner::new(lab, &mut rng, &[2, 64, 64, 1], &[activation, activation, linear])?;
    for step in 0..steps {
        // Eight narrow clouds on a circle.
        let cloud = |_| std::f32::consts::TAU * rng.random_range(0..8u8) as f32 / 8.0;
        let real: Vec<f32> = (0..ROWS).map(cloud).flat_map(|angle| [2.0 * angle.cos(), 2.0 * angle.sin()]).collect();
        let real = gpu.upload(&real, &[ROWS, 2])?;
        let noise = lab.normal(&mut rng, 1.0, &[ROWS, 2])?;
        let made = generator.forward(gpu, &noise)?;
        for (points, target) in [(&real, 1.0), (&made[HIDDEN], 0.0)] {
            let told = discriminator.forward(gpu, points)?;
            let dy = towards(gpu, &told[2], target)?;
            discriminator.step(gpu, &discriminator.backward(gpu, points, &told, &dy)?, rate)?;
        }
        let told = discriminator.forward(gpu, &made[HIDDEN])?;
        let through = discriminator.backward(gpu, &made[HIDDEN], &told, &towards(gpu, &told[2], 1.0)?)?;
        let gradients = generator.backward(gpu, &noise, &made, &through[0].dx)?;
        if step % 50 == 0 {
            let (mut dead, mut square, mut units) = (0, 0.0, 0);
            let mut input = &noise;
            for (index, layer) in generator.layers.iter().enumerate() {
                let (dw, n) = (gpu.download(&gradients[index].dw)?, layer.w.shape()[0]);
                square += dw.iter().map(|dw| f64::from(*dw).powi(2)).sum::<f64>();
                let slopes = layer.slopes(gpu, input)?;
                for unit in 0..if index < HIDDEN { n } else { 0 } {
                    units += 1;
                    if slopes.chunks(n).all(|row| row[unit] == 0.0) {
                        dead += 1;
                        let of_unit = dw[unit * dw.len() / n..(unit + 1) * dw.len() / n].iter();
                        course.of_dead = of_unit.fold(course.of_dead, |most, dw| most.max(f64::from(dw.abs())));
                    }
                }
                input = &made[index];
            }
            course.points.push((step as f64, f64::from(dead) / f64::from(units), square.sqrt()));
        }
        generator.step(gpu, &gradients, rate)?;
    }
    Ok(course)
}

/// The squared gradient of a new discriminator's logit for a point.
fn at_first(lab: &Lab, activation: Activation, seed: u64) -> Result<f64> {
    let (gpu, mut rng) = (&lab.gpu, lab.rng(seed));
    let new = Learner::new(lab, &mut rng, &[2, 64, 64, 1], &[activation, activation, Activation::IDENTITY])?;
    let points = lab.normal(&mut rng, 1.0, &[ROWS, 2])?;
    let told = new.forward(gpu, &points)?;
    let dx = &new.backward(gpu, &points, &told, &gpu.upload(&[1.0; ROWS], &[ROWS, 1])?)?[0].dx;
    Ok(gpu.download(dx)?.iter().map(|dx| f64::from(*dx).powi(2)).sum::<f64>() / ROWS as f64)
}

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (seeds, steps) = (lab.pick(6, 2), lab.pick(601, 51));
    let bar = lab.progress(2 * seeds, "gan_stability");
    let mut chart = Chart::new("Dead hidden units of the generator", "step", "share");
    let mut norms = Chart::new("Norm of the generator's gradient", "step", "norm").log_y();
    for (name, activation) in [("ReLU", Activation::RELU), ("Leaky", Activation::leaky_relu(SLOPE)?)] {
        let mut courses: Vec<Course> = Vec::new();
        for seed in 0..seeds {
            courses.push(train(lab, activation, 300 + seed as u64, steps, 0.005)?);
            bar.inc(1);
        }
        let over_seeds = |of: fn(&(f64, f64, f64)) -> f64| -> Vec<(f64, f64, f64)> {
            let at = |point: usize| {
                let (mean, error) = mean(&courses.iter().map(|one| of(&one.points[point])).collect::<Vec<_>>());
                (courses[0].points[point].0, mean, error)
            };
            (0..courses[0].points.len()).map(at).collect()
        };
        let (dead, norm) = (over_seeds(|point| point.1), over_seeds(|point| point.2));
        let (_, last, error) = dead[dead.len() - 1];
        let of_dead = courses.iter().map(|course| course.of_dead).fold(0.0, f64::max);
        report.within(format!("{name}: largest gradient of a dead unit's weight"), 0.0, of_dead, 0.0);
        if name == "Leaky" {
            let most = dead.iter().map(|point| point.1).fold(0.0, f64::max);
            report.within("Leaky: share of dead units, at any time", 0.0, most, 0.0);
        }
        report.remark(format!("{name}: {:.1} ± {:.1} % of hidden units dead at the end.", 100.0 * last, 100.0 * error));
        let fresh: Result<Vec<f64>> = (0..lab.pick(400, 40)).map(|seed| at_first(lab, activation, 1000 + seed)).collect();
        report.sampled(format!("{name}: mean square of a new logit's gradient"), 1.0, mean(&fresh?), 4.0);
        chart = chart.course(name, dead);
        norms = norms.course(name, norm);
    }
    bar.finish_and_clear();
    report.picture("Means of the seeds and their errors", chart.svg()?);
    report.picture("Means of the seeds and their errors", norms.svg()?);
    Ok(report)
}
