//! The digits: 1,797 images of 8×8, values 0 to 16, and their labels
//! (UCI "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, 1998, CC BY 4.0; `examples/data`).

use std::error::Error;

use rand::seq::SliceRandom;

/// Pixels of an image.
pub(crate) const PIXELS: usize = 64;
/// Digits.
pub(crate) const CLASSES: usize = 10;

/// Images, row-major, and a label for each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Digits {
    pub(crate) x: Vec<f32>,
    pub(crate) labels: Vec<u32>,
}

impl Digits {
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    pub(crate) fn image(&self, index: usize) -> &[f32] {
        &self.x[index * PIXELS..(index + 1) * PIXELS]
    }

    /// The images of these indices, in their order.
    pub(crate) fn select(&self, indices: &[usize]) -> Digits {
        Digits {
            x: indices.iter().flat_map(|&i| self.image(i)).copied().collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
        }
    }
}

/// All images as they are in the file.
fn read() -> Result<Digits, Box<dyn Error>> {
    let file = flate2::read::GzDecoder::new(&include_bytes!("../data/digits.csv.gz")[..]);
    let mut digits = Digits::default();
    for (line, record) in csv::ReaderBuilder::new().has_headers(false).from_reader(file).records().enumerate() {
        let record = record?;
        if record.len() != PIXELS + 1 {
            return Err(format!("digits.csv line {}: {} columns instead of 65", line + 1, record.len()).into());
        }
        for pixel in record.iter().take(PIXELS) {
            digits.x.push(pixel.trim().parse()?);
        }
        let label: u32 = record[PIXELS].trim().parse()?;
        if label as usize >= CLASSES {
            return Err(format!("digits.csv line {}: label {label}", line + 1).into());
        }
        digits.labels.push(label);
    }
    Ok(digits)
}

/// Centres pixels by their mean over the training part, and divides all by one number, so that their mean square is 1 there: what the
/// initialisation expects. (One number, because some pixels are almost always 0.)
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    mean: [f32; PIXELS],
    deviation: f32,
}

impl Scale {
    fn of(training: &Digits) -> Self {
        let rows = training.len() as f32;
        let mut scale = Scale { mean: [0.0; PIXELS], deviation: 1.0 };
        for image in training.x.chunks(PIXELS) {
            image.iter().zip(&mut scale.mean).for_each(|(x, mean)| *mean += x / rows);
        }
        let mut centred = training.x.clone();
        scale.apply(&mut centred);
        scale.deviation = (centred.iter().map(|x| x * x).sum::<f32>() / centred.len() as f32).sqrt();
        scale
    }

    /// Replaces the pixels of images, 0 to 16.
    pub(crate) fn apply(&self, x: &mut [f32]) {
        for image in x.chunks_mut(PIXELS) {
            image.iter_mut().zip(&self.mean).for_each(|(x, mean)| *x = (*x - mean) / self.deviation);
        }
    }
}

/// (training, test), both scaled, and their scale: a seeded shuffle of all rows, of which the first fifth is held out. The file keeps the
/// images of one writer together; after the shuffle most writers are in both parts.
pub(crate) fn split(rng: &mut impl rand::Rng) -> Result<(Digits, Digits, Scale), Box<dyn Error>> {
    let all = read()?;
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.shuffle(rng);
    let (held_out, training) = order.split_at(all.len() / 5);
    let (mut training, mut test) = (all.select(training), all.select(held_out));
    let scale = Scale::of(&training);
    scale.apply(&mut training.x);
    scale.apply(&mut test.x);
    Ok((training, test, scale))
}
