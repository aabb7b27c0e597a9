//! A trained network that names the type of a file, on elbow's kernels, beside onnxruntime.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use crate::shared::{
    Chart, Lab, Report, Result,
    magika::{Exact, Magika, OnCpu, OnDevice, Recorded, Road, Tokens, as_the_graph, in_two_sweeps, largest, tokens},
    statistics::median,
};

pub(crate) const TITLE: &str = "File types: a trained network on any file";

const THEORY: &str = "Magika (Fratantonio et al. 2024) reads a kibibyte from each end of a file. Each byte goes through a layer 257→64 as a one-hot row, with the GELU of tanh: a table \
    of 257 rows. Four bytes side by side are 256 channels of 512 positions; after a norm of each channel a convolution over five positions is one product, \
    [508, 1280]·[1280, 512], whose rows are the windows: in memory they overlap, and none is copied. Of each of the 512 outputs, with GELU, the largest of all \
    positions goes through a layer norm and a layer to 214 labels, and softmax. The same weights on two implementations give scores apart by rounding alone: a logit \
    that is off by δ moves a score p by p(1 - p)δ at most, to first order.";

/// Files at once.
const BATCH: usize = 16;

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, magika) = (&lab.gpu, Magika::open()?);
    let (device, cpu, exact) = (OnDevice::new(gpu, &magika)?, OnCpu::new(&magika)?, Exact::new(&magika));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/file_types");
    let recorded = Recorded::all(&folder)?;
    let recorded = &recorded[..lab.pick(recorded.len(), 6)];
    let inputs = recorded.iter().map(|file| tokens(&folder.join(&file.name))?.ok_or("a file of few bytes".into()));
    let inputs = inputs.collect::<Result<Vec<Tokens>>>()?;
    let inputs: Vec<&Tokens> = inputs.iter().collect();

    // In front of the largest. A sum of 1280 products is rounded 1280 times, by up to 2⁻²⁴ of the largest: √1280 of that in all.
    let x = magika.inputs(&device, &inputs[..1], in_two_sweeps);
    let (y, of_exact) = (device.convolved(&x)?, exact.convolved(&x)?);
    let bound = 1280f64.sqrt() / f64::from(1 << 24) * largest(&of_exact).into_iter().fold(0.0, f64::max);
    report.at_most("largest |gelu(convolution) - f64's|, one file", bound, apart(&y, &of_exact), 0.0);
    let least = largest(&y).into_iter().fold(f64::MAX, f64::min);
    // As the graph computes its variances, and as they are meant; all 214 scores of the latter have a judge.
    let scores = magika.scores(&device, &inputs, as_the_graph)?;
    let meant = magika.scores(&device, &inputs, in_two_sweeps)?;
    let (mut dots, mut other_dots, mut right) = (Vec::new(), Vec::new(), 0);
    for (file, (scores, meant)) in recorded.iter().zip(scores.iter().zip(&meant)) {
        right += usize::from(magika.best(scores)[0].0 == file.scores[0].0);
        dots.extend(file.beside(&magika, scores)?);
        other_dots.extend(file.beside(&magika, meant)?);
    }
    let most = |dots: &[(f64, f64, f64)]| dots.iter().map(|dot| dot.1).fold(0.0, f64::max);
    let count = recorded.len();
    report.within(format!("labels as onnxruntime's, of {count} files"), count as f64, right as f64, 0.0);
    report.at_most("largest |score - onnxruntime's|, five labels each", 1e-4, most(&dots), 0.0);
    let judged = &inputs[..lab.pick(count, 2)];
    let judge = magika.scores(&exact, judged, in_two_sweeps)?.concat();
    // 6e-8 of logits of up to 20, some ten of them, and at most a quarter of that in a score.
    for (name, scores) in [("the device's", &meant), ("elbow-cpu's", &magika.scores(&cpu, judged, in_two_sweeps)?)] {
        let what = format!("largest |score - f64's|, {name}, {} files", judged.len());
        report.at_most(what, 3e-6, apart(&scores[..judged.len()].concat(), &judge), 0.0);
    }
    report.remark(format!(
        "A variance as mean of squares less square of mean, in f32 as the graph has it, moves scores by up to {:.1e}: in a short \
         file nearly all positions are alike, and much of what is left is rounding. To agree with onnxruntime is to round as it \
         does; the f64 judge takes the variance around the mean. The largest of each filter, in the first file, is {least:.1} or more, where GELU \
         is a line to f32, as Φ(-5.4) = 2⁻²⁵: to the scores it is all the same whether it is there.",
        most(&other_dots)
    ));
    let ends = [dots.iter().map(|dot| dot.0).fold(1.0, f64::min), 1.0];
    let chart = Chart::new("Scores beside onnxruntime's", "score", "difference").log_x().log_y();
    let chart = chart.line("promised: 1e-4", ends.map(|score| (score, 1e-4))).other_dots("variance of the graph", dots);
    let chart = chart.other_dots("variance around the mean", other_dots);
    report.picture("Each dot a label of a file: how far elbow's score is from onnxruntime's", chart.svg()?);

    // Turn by turn, so that what else the machine does meets both.
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..lab.pick(7, 1) {
        for (road, rates) in [&device as &dyn Road, &cpu].into_iter().zip(&mut rates) {
            let started = Instant::now();
            magika.scores(road, &inputs, as_the_graph)?;
            rates.push(count as f64 / started.elapsed().as_secs_f64());
        }
    }
    let adapter = if gpu.is_software() { "a software adapter" } else { "the device" };
    let (rounds, [by_device, by_cpu]) = (rates[0].len(), rates.each_mut().map(|rates| median(rates)));
    report.remark(format!(
        "{count} files at once, median of {rounds} rounds in turn: {by_device:.0} files a second on {adapter}, transfers \
         included, {by_cpu:.0} by elbow-cpu. What is read of a file, the rows of the table, the norm of positions and the largest of \
         them are the host's on both roads."
    ));
    answers(&magika, &device, &lab.files)?.into_iter().for_each(|line| report.remark(line));
    Ok(report)
}

/// The largest difference.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// What the network says of each file.
fn answers(magika: &Magika, device: &OnDevice<'_>, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for files in files.chunks(BATCH) {
        let inputs = files.iter().map(|file| tokens(file)).collect::<Result<Vec<Option<Tokens>>>>()?;
        let scores = magika.scores(device, &inputs.iter().flatten().collect::<Vec<_>>(), as_the_graph)?;
        let mut scores = scores.iter();
        for (file, input) in files.iter().zip(&inputs) {
            let line = match input.as_ref().and_then(|_| scores.next()) {
                Some(scores) => magika.best(scores)[..2].iter().map(|(label, score)| format!("{label} {score:.4}")).collect::<Vec<_>>().join(", "),
                None => "too few bytes to say".into(),
            };
            lines.push(format!("{}: {line}", file.display()));
        }
    }
    Ok(lines)
}
