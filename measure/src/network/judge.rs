//! How far a side is from the f64 reference.

use std::ops::Range;

use elbow::{Float, cpu::reference};

use super::{
    Perceptron, RATES, RULE,
    exact::{Exact, Rounding, Scaled, largest},
    rows::Rows,
};
use crate::{error::Result, numbers::worst};

/// The largest error of a layer, relative to the largest sum of the absolute values of an element's terms. Coarse: a row that is left out
/// of a batch of thousands is beyond it, f32 rounding of long sums stays far below.
const TOLERANCE: f64 = 1e-5;

/// What a side should have, and how far from it it may be.
pub(super) struct Expected<'a> {
    network: &'a Perceptron,
    exact: Exact,
    tolerance: f64,
    scale: f32,
}

impl<'a> Expected<'a> {
    /// For a batch of these rows, of a side that rounds so in inference and in training.
    pub(super) fn new(
        network: &'a Perceptron,
        rows: &Rows,
        batch: usize,
        [inference, training]: [Rounding; 2],
    ) -> Result<Self> {
        let exact = Exact::new(network, rows, batch, [inference, training])?;
        // Of a single row a gradient is one product, and a factor of it may be rounded to the other side: two roundings away.
        let stored = if training.ends == Float::F32 { 0.0 } else { 2.5 * training.ends.unit_roundoff() };
        let tolerance = TOLERANCE * network.layers() as f64 + stored;
        Ok(Expected { network, exact, tolerance, scale: training.scale })
    }

    fn judge(&self, what: String, got: &[f32], want: &Scaled) -> Result<f64> {
        let scale = vec![want.scale; got.len()];
        let want: Vec<f64> = want.values.iter().copied().cycle().take(got.len()).collect();
        Ok(worst(&what, self.tolerance, got, &want, &scale)? / self.tolerance)
    }

    fn named(&self, side: &str, what: &str) -> String {
        format!("{} on the {side}: {what}", self.network)
    }

    pub(super) fn judge_inference(&self, side: &str, y: &[f32]) -> Result<f64> {
        self.judge(self.named(side, "y of inference"), y, &self.exact.inferred)
    }

    pub(super) fn judge_y(&self, side: &str, y: &[f32]) -> Result<f64> {
        self.judge(self.named(side, "y"), y, &self.exact.y)
    }

    pub(super) fn judge_loss(&self, side: &str, loss: &[f32]) -> Result<f64> {
        // A loss moves with y by its slope, which is at most about itself and 1.
        let scale = largest(&self.exact.loss).max(1.0) * self.exact.y.scale.max(1.0);
        self.judge(self.named(side, "loss"), loss, &Scaled { values: self.exact.loss.clone(), scale })
    }

    /// Gradients of the loss, as they lie on a side that multiplies it.
    pub(super) fn judge_gradients(&self, side: &str, gradients: &[f32]) -> Result<f64> {
        let mut share = 0.0f64;
        for (l, of_layer) in self.exact.gradients.iter().enumerate() {
            for ((name, place), want) in parts(self.network, l).zip(of_layer) {
                let what = self.named(side, &format!("d{name} of layer {l}"));
                let got: Vec<f32> = gradients[place].iter().map(|gradient| gradient / self.scale).collect();
                share = share.max(self.judge(what, &got, want)?);
            }
        }
        Ok(share)
    }

    /// Parameters after the first step, from the side's own gradients: those of AdamW turn small errors of a small gradient into large ones.
    pub(super) fn judge_update(&self, side: &str, gradients: &[f32], updated: &[f32]) -> Result<f64> {
        let mut share = 0.0f64;
        for l in 0..self.network.layers() {
            for (name, place) in parts(self.network, l) {
                let before = &self.network.parameters()[place.clone()];
                let decays = f32::from(u8::from(name == "w"));
                let own: Vec<f32> = gradients[place.clone()].iter().map(|gradient| gradient / self.scale).collect();
                let mut state = reference::Updated::new(before);
                state.step(RULE, &RATES, &own, |_| [1.0, decays, 0.0])?;
                const OF_UPDATE: f64 = 1e-6;
                let moved = f64::from(RATES.rate);
                let scale: Vec<f64> = before.iter().map(|&v| f64::from(v).abs() + 100.0 * moved).collect();
                let what = self.named(side, &format!("{name} of layer {l} after a step"));
                let error = worst(&what, OF_UPDATE, &updated[place], &state.parameter, &scale)?;
                share = share.max(error / OF_UPDATE);
            }
        }
        Ok(share)
    }

    /// The weights that products read after a step: the parameters in the storage type, to the last bit.
    pub(super) fn judge_stored(&self, side: &str, layer: usize, stored: &[f32], updated: &[f32]) -> Result<()> {
        let storage = self.network.design().storage;
        let want: Vec<f64> = updated[self.network.weight(layer)].iter().map(|&w| f64::from(storage.round(w))).collect();
        let what = self.named(side, &format!("w of layer {layer} as it is stored after a step"));
        worst(&what, 0.0, stored, &want, &vec![1.0; want.len()]).map(drop)
    }
}

/// Names and places of a layer's parameters.
fn parts(network: &Perceptron, l: usize) -> impl Iterator<Item = (&'static str, Range<usize>)> {
    let all = [("w", Some(network.weight(l))), ("b", Some(network.bias(l))), ("alpha", network.alpha(l))];
    all.into_iter().filter_map(|(name, place)| Some((name, place?)))
}

#[cfg(test)]
mod tests {
    use elbow::{Activation, AlphaSource};

    use super::super::{Data, Design, Loss, Numbers, OnCpu};
    use super::*;

    fn network(sizes: &[usize], specs: &str, with: impl FnOnce(&mut Design)) -> Perceptron {
        let asked: Vec<Activation> = specs.split(',').map(|spec| spec.parse().expect("an activation")).collect();
        let mut design = Design::of(&asked, sizes.len() - 1).expect("as many as there are layers");
        with(&mut design);
        Perceptron::new(sizes, design).expect("a network")
    }

    fn expected(network: &Perceptron, batch: usize) -> (Expected<'_>, Data) {
        let rows = Rows::new(network, batch).expect("rows");
        let expected = Expected::new(network, &rows, batch, [Rounding::NONE; 2]).expect("a reference");
        (expected, rows.data(network, batch))
    }

    #[test]
    fn the_cpu_is_right_on_every_loss_shape_and_design() {
        for (sizes, specs, alpha, storage, loss) in [
            (&[8, 64, 64, 1][..], "gelu", AlphaSource::Constant, Float::F32, Loss::Mse),
            (&[5, 33, 17, 3], "relu", AlphaSource::Constant, Float::F32, Loss::Huber),
            (&[3, 40, 2], "hardswish", AlphaSource::Constant, Float::F32, Loss::Bce),
            (&[7, 24, 24, 10], "tanh", AlphaSource::Constant, Float::F32, Loss::CrossEntropy),
            (&[4, 3], "relu", AlphaSource::Constant, Float::F32, Loss::Mse),
            (&[8, 24, 24, 24, 2], "prelu", AlphaSource::PerChannel, Float::F32, Loss::Mse),
            (&[8, 24, 24, 2], "swish", AlphaSource::PerLayer, Float::F32, Loss::Huber),
            (&[6, 24, 12, 4], "gelu,relu", AlphaSource::Constant, Float::F32, Loss::CrossEntropy),
            (&[6, 24, 24, 4], "tanh,prelu,softplus", AlphaSource::PerChannel, Float::F32, Loss::Mse),
            (&[6, 24, 24, 4], "relu", AlphaSource::Constant, Float::F16, Loss::Mse),
            (&[6, 32, 32, 4], "elu", AlphaSource::PerChannel, Float::Bf16, Loss::Bce),
        ] {
            let network = network(sizes, specs, |design| {
                (design.alpha, design.storage, design.loss) = (alpha, storage, loss);
            });
            for batch in [1, 6, 100, 3000] {
                let (expected, data) = expected(&network, batch);
                let share = OnCpu::new(&network, &data).and_then(|mut cpu| cpu.verify(&expected));
                let share = share.map_err(|error| error.to_string());
                assert!(share.as_ref().is_ok_and(|&share| share < 0.5), "{network}, {batch}: {share:?}");
            }
        }
    }

    /// The error of a CPU that has this network where the other is expected.
    fn mistaken(expected: &Expected<'_>, data: &Data, other: &Perceptron) -> String {
        let share = OnCpu::new(other, data).and_then(|mut cpu| cpu.verify(expected));
        share.map_err(|error| error.to_string()).expect_err("another network")
    }

    fn numbers(network: &Perceptron) -> Vec<Numbers> {
        let of = |place: Range<usize>| network.parameters()[place].to_vec();
        let layer = |l| Numbers {
            w: of(network.weight(l)),
            b: of(network.bias(l)),
            alpha: network.alpha(l).map_or(Vec::new(), of),
        };
        (0..network.layers()).map(layer).collect()
    }

    /// A side that computes another network, or a part of it wrong, is found.
    #[test]
    fn what_is_wrong_is_found() {
        let sizes = [8, 32, 32, 3];
        let right = network(&sizes, "silu", |_| {});
        let batch = 2000;
        let (expected, data) = expected(&right, batch);
        assert!(OnCpu::new(&right, &data).and_then(|mut cpu| cpu.verify(&expected)).is_ok());
        mistaken(&expected, &data, &network(&sizes, "gelu_tanh", |_| {}));
        mistaken(&expected, &data, &network(&sizes, "silu", |design| design.loss = Loss::Huber));
        // No bias in one neuron; a row of the batch in the place of another; the last row left out.
        let mut layers = numbers(&right);
        layers[1].b[31] = 0.0;
        let other = Perceptron::with_parameters(&sizes, right.design().clone(), layers).expect("a network");
        mistaken(&expected, &data, &other);
        let mut moved = Data { rows: batch, x: data.x.clone(), targets: data.targets.repeated(batch * 3) };
        moved.x.copy_within(8 * 64..8 * 65, 0);
        mistaken(&expected, &moved, &right);
        let mut cpu = OnCpu::new(&right, &data).expect("memory");
        cpu.step().expect("a step");
        let lost = f64::from(cpu.gradients[right.weight(1).start]) * 1e-3;
        cpu.gradients[right.weight(1).start] -= lost.max(expected.exact.gradients[1][0].scale / batch as f64) as f32;
        assert!(expected.judge_gradients("CPU", &cpu.gradients).is_err(), "one row of {batch} left out of a sum");
        // An update without decay, or by a tenth of the rate.
        for rates in [RATES.weight_decay(0.0), RATES.rate(1e-4)] {
            let mut cpu = OnCpu::new(&right, &data).expect("memory");
            cpu.rates = rates;
            cpu.step().expect("a step");
            assert!(expected.judge_update("CPU", &cpu.gradients, &cpu.parameters).is_err(), "{rates:?}");
        }
    }

    /// So is a wrong α, and what of it is not learned.
    #[test]
    fn what_is_wrong_with_alpha_is_found() {
        let sizes = [6, 16, 16, 3];
        let learned = |alpha| move |design: &mut Design| design.alpha = alpha;
        for source in [AlphaSource::PerLayer, AlphaSource::PerChannel] {
            let right = network(&sizes, "prelu", learned(source));
            let (expected, data) = expected(&right, 500);
            let mut layers = numbers(&right);
            layers[1].alpha[0] += 0.01;
            let other = Perceptron::with_parameters(&sizes, right.design().clone(), layers).expect("a network");
            mistaken(&expected, &data, &other);
            let mut cpu = OnCpu::new(&right, &data).expect("memory");
            cpu.step().expect("a step");
            let last = right.alpha(1).expect("a learned slope").end - 1;
            assert!(cpu.gradients[last] != 0.0 && cpu.parameters[last] != right.parameters()[last], "it is learned");
            let mut lost = cpu.gradients.clone();
            lost[last] = 0.0;
            let error = expected.judge_gradients("CPU", &lost).map_err(|error| error.to_string());
            assert!(error.is_err_and(|error| error.contains("dalpha of layer 1")), "{source}");
            let mut kept = cpu.parameters.clone();
            kept[last] = right.parameters()[last];
            let error = expected.judge_update("CPU", &cpu.gradients, &kept).map_err(|error| error.to_string());
            assert!(error.is_err_and(|error| error.contains("alpha of layer 1 after a step")), "{source}");
        }
        // Neighbours changed places.
        let right = network(&sizes, "swish", learned(AlphaSource::PerChannel));
        let (expected, data) = expected(&right, 500);
        let mut layers = numbers(&right);
        layers[0].alpha.swap(3, 4);
        mistaken(
            &expected,
            &data,
            &Perceptron::with_parameters(&sizes, right.design().clone(), layers).expect("a network"),
        );
    }

    /// The activations of two layers in each other's place; that of the last left out.
    #[test]
    fn activations_in_the_wrong_place_are_found() {
        let sizes = [6, 16, 16, 3];
        let (right, turned) = (network(&sizes, "gelu,silu", |_| {}), network(&sizes, "silu,gelu", |_| {}));
        let (of_right, data) = expected(&right, 99);
        mistaken(&of_right, &data, &turned);
        let right = network(&sizes, "gelu,gelu,softplus", |_| {});
        let (of_right, data) = expected(&right, 99);
        mistaken(&of_right, &data, &network(&sizes, "gelu", |_| {}));
    }

    /// What a narrow type rounds is as large as it is allowed to be; a defect is larger.
    #[test]
    fn a_narrow_type_is_judged_by_its_roundings() {
        for storage in [Float::F16, Float::Bf16] {
            let narrow = network(&[8, 32, 32, 3], "silu", |design| design.storage = storage);
            let rows = Rows::new(&narrow, 500).expect("rows");
            let [exact, stored] = [Float::F32, storage].map(|between| {
                let rounding = Rounding { ends: storage, between, scale: 1024.0 };
                Expected::new(&narrow, &rows, 500, [rounding; 2]).expect("a reference")
            });
            // The two ways of the device, each beside itself and beside the other.
            let y =
                |of: &Expected<'_>| of.exact.y.values.iter().map(|&y| storage.round(y as f32)).collect::<Vec<f32>>();
            let share = |of: &Expected<'_>, y: &[f32]| of.judge_y("GPU", y).expect("near enough");
            let (own, other) = (share(&stored, &y(&stored)), share(&stored, &y(&exact)));
            assert!(own < 0.4 && other > own && other < 0.7, "{storage}: {own}, {other}");
            let mut wrong = y(&stored);
            wrong[5] += 0.1;
            assert!(stored.judge_y("GPU", &wrong).is_err(), "{storage}: a bias of 0.1 left out");
            // A weight that is one rounding away is not the one that is stored.
            let updated = narrow.parameters().to_vec();
            let mut of_layer = updated[narrow.weight(0)].to_vec();
            assert!(stored.judge_stored("GPU", 0, &of_layer, &updated).is_ok());
            of_layer[7] = storage.round(of_layer[7] * (1.0 + 2.0 * storage.unit_roundoff() as f32));
            assert!(stored.judge_stored("GPU", 0, &of_layer, &updated).is_err(), "{storage}");
        }
    }
}
