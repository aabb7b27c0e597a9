//! A network from a file: the parameters of PyTorch's `Sequential(Linear, activation, Linear, ..)`, found as `elbow eval --layers` finds them.

use std::path::Path;

use elbow::{Activation, Operand};
use elbow_measure::{Loss, Perceptron};

use crate::{
    failure::Failure,
    file::{self, Source},
    layers::modules,
};

/// Reads the network: weights `[N, K]` and biases `[N]`, where K is the N of the layer before.
pub(super) fn read(path: &Path, prefix: &str, activation: Activation, loss: Loss) -> Result<Perceptron, Failure> {
    let name = path.display().to_string();
    let bytes = file::bytes(path)?;
    let model = Source::new(&name, &bytes)?;
    let (mut sizes, mut parameters): (Vec<usize>, _) = (Vec::new(), Vec::new());
    for module in modules(prefix, &[], &model)? {
        if let Some(alpha) = &module.alpha {
            return Err(Failure::mismatch(alpha, "no learned slope: those of --activation are constants", "a tensor"));
        }
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{}.{part}", module.name));
        let w = model.tensor(Operand::W, &weight, false)?;
        let before = sizes.last().copied();
        let &[n, k] = w.shape.as_slice() else {
            return Err(Failure::mismatch(weight, "[N, K] of a linear layer", format_args!("{:?}", w.shape)));
        };
        if let Some(before) = before.filter(|before| *before != k) {
            let expected = format_args!("[N, {before}], the columns of the layer before");
            return Err(Failure::mismatch(weight, expected, format_args!("{:?}", w.shape)));
        }
        if model.shape(&bias) != Some(&[n]) {
            let got = model.shape(&bias).map_or("none".into(), |shape| format!("{shape:?}"));
            return Err(Failure::mismatch(bias, format_args!("[{n}]"), got));
        }
        sizes.extend(before.is_none().then_some(k).into_iter().chain([n]));
        parameters.push((w.values, model.tensor(Operand::B, &bias, false)?.values));
    }
    Perceptron::with_parameters(&sizes, activation, loss, parameters)
        .map_err(|why| Failure::new(format_args!("{name}: {why}")))
}
