//! How far images are from being read otherwise, by four roads: two bounds that are sure, the truth, and an attack.

use rand_chacha::ChaCha8Rng;

use super::{
    Lab, Result,
    attack::Attack,
    boxes::Boxes,
    digits::{CLASSES, Digits, PIXELS},
    mixed_integer::{Nearest, Program},
};

/// An image, its class, and the largest change of a pixel after which it is read otherwise.
pub(crate) struct Robustness<'a> {
    pub(crate) image: &'a [f32],
    pub(crate) own: usize,
    pub(crate) intervals: f64,
    pub(crate) relaxed: f64,
    pub(crate) exact: Nearest,
    pub(crate) attack: f64,
    /// Kinks that the device's intervals contain, and binaries of the program.
    pub(crate) binaries: [usize; 2],
}

impl<'a> Robustness<'a> {
    /// Of the first images that the network reads rightly.
    pub(crate) fn of(
        lab: &Lab,
        attack: &Attack<'_>,
        images: &'a Digits,
        count: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<Self>> {
        let (gpu, network, range) = (&lab.gpu, attack.network, attack.range);
        let y = network.outputs(gpu, &gpu.upload(&images.x, &[images.len(), PIXELS])?)?;
        let read = y.chunks(CLASSES).enumerate().map(|(row, y)| (images.image(row), images.labels[row] as usize, y));
        let right: Vec<_> = read.filter(|(_, own, y)| y.iter().all(|other| *other <= y[*own])).take(count).collect();
        // From anywhere on the paper.
        let far = f64::from(range[1][0] - range[0][0]);
        let starts: Vec<_> = right.iter().map(|&(image, own, _)| (image, own, far)).collect();
        let (attacks, boxes) = (attack.run(gpu, rng, &starts, true)?, Boxes::new(gpu, network, range)?);
        let (mut cases, bar) = (Vec::new(), lab.progress(count, "programs"));
        for ((image, own, y), (_, attack)) in right.into_iter().zip(attacks) {
            if attack.is_infinite() {
                return Err("the attack found nothing: no box to search in".into());
            }
            // A little more than the attack's, for the solver's constraints hold to within a tolerance.
            let radius = 1.001 * attack;
            let around = (image, range);
            let program = Program::new(gpu, network, around, (radius, true))?;
            let binaries = [boxes.kinks(gpu, image, radius)?, program.binaries];
            let intervals = boxes.certified(gpu, image, own, (attack, 1000))?;
            let relaxed = Program::relaxed(gpu, network, around, (own, y), (attack, lab.pick(8, 6)))?;
            let exact = program.nearest(own, y)?.ok_or("the program does not have what the attack found")?;
            cases.push(Robustness { image, own, intervals, relaxed, exact, attack, binaries });
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(cases)
    }
}
