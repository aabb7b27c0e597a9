//! The feed-forward blocks of a trained encoder of sentences: rounding, the two GELUs, and what becomes of a variance.

use elbow::{Activation, gpu::transfer::Tensor};

use crate::shared::{
    Chart, Dense, Lab, Report, Result,
    feed_forward::Block,
    minilm::{LAYERS, MiniLm, SENTENCES, WIDTH, dot, meanings},
    normal,
    propagation::mean_squares,
    statistics::{columns, mean, normal_expectations},
};

pub(crate) const TITLE: &str = "A trained encoder: its feed-forward blocks, and two GELUs";

const THEORY: &str = "Block by block MiniLM (six layers, 384 numbers a token, 1536 hidden units; the weights of all-MiniLM-L6-v2) computes LN(x + W₂ gelu(W₁x + b₁) + b₂). \
    Rounding of f32 adds up like a random walk: each product and each sum so far is off by up to half of its last place, evenly, so a variance of it goes \
    through the block beside each number. GELU is zΦ(z) (Hendrycks and Gimpel 2016); its usual approximation with tanh differs by d(z), an even function of \
    at most 4.73·10⁻⁴, so outputs move by W₂d(z), at most max|d| times the row's ‖w₂‖₁. A layer norm of normal numbers, x = γ⊙Z + β, makes z of unit j \
    normal with mean ⟨w, β⟩ + b and variance Σ w²γ²: E[gelu(z)²], E[gelu'(z)²] and the mean shift W₂E[d(z)] follow by quadrature from the weights alone. \
    At 0 GELU is a line of slope ½.";

pub(crate) fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(THEORY);
    let (gpu, mut rng, model) = (&lab.gpu, lab.rng(15), MiniLm::open()?);
    let (layers, rows) = (lab.pick(LAYERS, 2), lab.pick(512, 64));
    let most = (0..8000).map(|i| between(f64::from(i) / 1000.0).abs()).fold(0.0, f64::max);
    let embedded = SENTENCES[..lab.pick(12, 3)].iter().map(|s| model.embed(s)).collect::<Result<Vec<Vec<f64>>>>()?;
    let lengths: Vec<usize> = embedded.iter().map(|sentence| sentence.len() / WIDTH).collect();
    // The hidden states of the tokens, all the way with one GELU and all the way with the other.
    let mut hidden = [embedded.concat(), embedded.concat()];
    let mut curves: [Vec<(f64, f64)>; 2] = Default::default();
    let mut dots: [Vec<(f64, f64, f64)>; 2] = Default::default();
    let bar = lab.progress(layers, "transformer_ffn");
    for layer in 0..layers {
        let at = |what: &str| format!("block {}: {what}", layer + 1);
        let block = Block::of(&model, layer, ERF)?;
        let attended = |hidden: &[f64]| -> Result<(Tensor, Vec<f32>)> {
            let x: Vec<f32> = model.attend(layer, hidden, &lengths)?.into_iter().map(|x| x as f32).collect();
            Ok((gpu.upload(&x, &[x.len() / WIDTH, WIDTH])?, x))
        };
        let ((tokens, x), (tanh_tokens, _)) = (attended(&hidden[0])?, attended(&hidden[1])?);
        let (by_tokens, exact) = (block.forward(gpu, &tokens)?, block.exact(&x));
        let y = gpu.download(&by_tokens.hidden)?;
        let off = |(y, (exact, deviation)): (&f32, (f64, f64))| (f64::from(*y) - exact).abs() / deviation;
        // Of 45,000 normal numbers none goes six deviations far.
        let worst = y.iter().zip(exact).map(off).fold(0.0, f64::max);
        report.at_most(at("|y - y(f64)|, in deviations of its rounding"), 6.0, worst, 0.0);

        let norm = model.attention_norm(layer)?;
        let drawn = |i: usize| norm.0[i % WIDTH] * normal(&mut rng) + norm.1[i % WIDTH];
        let drawn = gpu.upload(&(0..rows * WIDTH).map(drawn).collect::<Vec<f32>>(), &[rows, WIDTH])?;
        let units = block.normal_units(&norm);
        let by_drawn = block.forward(gpu, &drawn)?;
        let square = mean(&normal_expectations(&units, |z| ERF.value(z).powi(2))).0;
        let measured = mean(&mean_squares(gpu, &by_drawn.act)?);
        report.sampled(at("E[gelu(z)²], normal inputs"), square, measured, 4.0);
        let slopes = gpu.upload(&block.first(gpu)?.slopes(gpu, &drawn)?, &[rows, units.len()])?;
        let slope = mean(&normal_expectations(&units, |z| ERF.slope(z).powi(2))).0;
        report.sampled(at("E[gelu'(z)²], normal inputs"), slope, mean(&mean_squares(gpu, &slopes)?), 4.0);
        // Each unit's z as tokens have it, as if it were normal.
        let (_, z) = block.first(gpu)?.forward_with_z(gpu, &tokens)?;
        let like_tokens = normal_expectations(&columns(&gpu.download(&z)?, units.len()), |z| ERF.value(z).powi(2));
        let (place, of_tokens) = ((layer + 1) as f64, mean(&mean_squares(gpu, &by_tokens.act)?));
        curves.iter_mut().zip([square, mean(&like_tokens).0]).for_each(|(curve, y)| curve.push((place, y)));
        dots.iter_mut().zip([measured, of_tokens]).for_each(|(dots, (y, error))| dots.push((place, y, error)));

        let (along, longest) = block.through(&normal_expectations(&units, between));
        let other = block.with(TANH);
        let shift = |sum: &Tensor, x: &Tensor| -> Result<Vec<f64>> {
            let (erf, tanh) = (gpu.download(sum)?, gpu.download(&other.forward(gpu, x)?.sum)?);
            Ok(erf.iter().zip(tanh).map(|(erf, tanh)| f64::from(*erf) - f64::from(tanh)).collect())
        };
        let moved = shift(&by_tokens.sum, &tokens)?.iter().fold(0.0f64, |most, moved| most.max(moved.abs()));
        report.at_most(at("shift between the GELUs, tokens"), most * longest, moved, 0.0);
        let moved = shift(&by_drawn.sum, &drawn)?;
        let shares: Vec<f64> = moved.chunks(WIDTH).map(|row| dot(row, &along) / dot(&along, &along)).collect();
        report.sampled(at("its mean / W₂E[d(z)], normal inputs"), 1.0, mean(&shares), 4.0);
        let y = [y, gpu.download(&other.forward(gpu, &tanh_tokens)?.hidden)?];
        hidden = y.map(|y| y.into_iter().map(f64::from).collect());
        bar.inc(1);
    }
    bar.finish_and_clear();
    for (name, gelu) in [("erf", ERF), ("tanh", TANH)] {
        // Without a bias z is 0 in all units; a slope may be off by 8 units in its last place (docs/numerics.md).
        let first = Block::of(&model, 0, gelu)?.first(gpu)?;
        let slopes = Dense::new(gelu, first.w, None).slopes(gpu, &gpu.zeros(&[1, WIDTH])?)?;
        let most = slopes.into_iter().map(|slope| (f64::from(slope) - 0.5).abs()).fold(0.0, f64::max);
        report.within(format!("largest |slope - 1/2| at z = 0, {name}"), 0.0, most, 5e-7);
    }
    let [erf, tanh] = hidden.map(|hidden| meanings(&hidden, &lengths));
    let moved = erf.iter().flatten().zip(tanh.iter().flatten()).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    let ([first, second, other, ..], alike, unlike) = (SENTENCES, dot(&erf[0], &erf[1]), dot(&erf[0], &erf[2]));
    report.remark(format!(
        "{} tokens of {} sentences, {rows} rows of normal inputs. Behind {layers} blocks the two GELUs have moved what sentences \
         stand for, vectors of length 1, by at most {moved:.1e} in a coordinate. {first:?} and {second:?} have a cosine of \
         {alike:.3}, the first and {other:?} one of {unlike:.3}.",
        lengths.iter().sum::<usize>(),
        lengths.len()
    ));
    let parted = curves[1].iter().zip(&dots[1]).map(|(curve, dot)| curve.1 / dot.1).fold(0.0, f64::max);
    report.remark(format!(
        "Tokens part with theory: with each unit's own mean and variance, but as if z were normal, squares are up to {parted:.2} \
         times what they are."
    ));
    let ([normal_curve, token_curve], [normal_dots, token_dots]) = (curves, dots);
    let chart = Chart::new("What GELU leaves of a unit's square", "block", "mean of gelu(z)²");
    let chart = chart.line("theory, normal inputs", normal_curve).dots("normal inputs, measured", normal_dots);
    let chart = chart.line("each z as tokens, if normal", token_curve).dots("tokens, measured", token_dots);
    report.picture("Lines: each unit's z normal, of the mean and variance that it has; dots: on the device", chart.svg()?);
    Ok(report)
}

const ERF: Activation = Activation::GELU_ERF;
const TANH: Activation = Activation::GELU_TANH;

/// d(z), what the approximation of GELU misses.
fn between(z: f64) -> f64 {
    ERF.value(z) - TANH.value(z)
}
