//! A network from a file: the parameters of PyTorch's `Sequential(Linear, activation, Linear, ..)`.

use std::{collections::BTreeMap, path::Path};

use elbow::{Activation, Float};
use elbow_measure::{Loss, Perceptron};
use safetensors::tensor::TensorInfo;

use crate::{failure::Failure, file, header};

/// W and b of a layer, in the order of their numbers.
#[derive(Default)]
struct Pair {
    weight: Option<(Vec<usize>, Vec<f32>)>,
    bias: Option<(Vec<usize>, Vec<f32>)>,
}

/// Reads the network: every tensor must be the weight `[N, K]` or the bias `[N]` of a layer whose K is the N of the one before.
pub(super) fn read(path: &Path, activation: Activation, loss: Loss) -> Result<Perceptron, Failure> {
    let name = path.display().to_string();
    let bytes = file::bytes(path)?;
    let damaged = |what: String| Failure::mismatch(&name, "a safetensors file", format_args!("a damaged one ({what})"));
    let (metadata, data) = header::split(&bytes).map_err(damaged)?;
    let mut pairs: BTreeMap<usize, Pair> = BTreeMap::new();
    for key in metadata.offset_keys() {
        let place =
            metadata.info(&key).and_then(|info| Some((info, data.get(info.data_offsets.0..info.data_offsets.1)?)));
        let (info, bytes) = place.ok_or_else(|| damaged(format!("{key} lies outside of it")))?;
        let shape = info.shape.clone();
        let (number, part) = named(&key).ok_or_else(|| {
            Failure::mismatch(&name, "tensors named 0.weight, 0.bias, 2.weight, 2.bias, ...", format_args!("{key:?}"))
        })?;
        let dimensions = if part == "weight" { 2 } else { 1 };
        if shape.len() != dimensions {
            let expected = if part == "weight" { "[N, K]" } else { "[N]" };
            return Err(Failure::mismatch(
                key,
                format_args!("{expected} of a linear layer"),
                format_args!("{shape:?}"),
            ));
        }
        let tensor = (shape, numbers(&key, info, bytes)?);
        let pair = pairs.entry(number).or_default();
        let place = if part == "weight" { &mut pair.weight } else { &mut pair.bias };
        if place.replace(tensor).is_some() {
            return Err(Failure::mismatch(&name, format_args!("one {number}.{part}"), format_args!("{key:?} too")));
        }
    }
    let (mut sizes, mut layers): (Vec<usize>, _) = (Vec::new(), Vec::new());
    for (number, pair) in pairs {
        let missing = |part: &str| Failure::mismatch(format_args!("{number}.{part}"), "a tensor", "none");
        let (shape, w) = pair.weight.ok_or_else(|| missing("weight"))?;
        let (of_b, b) = pair.bias.ok_or_else(|| missing("bias"))?;
        let [n, k] = [shape[0], shape[1]];
        let before = *sizes.last().unwrap_or(&k);
        if k != before {
            let expected = format!("[N, {before}], the columns of the layer before");
            return Err(Failure::mismatch(format_args!("{number}.weight"), expected, format_args!("{shape:?}")));
        }
        if of_b != [n] {
            return Err(Failure::mismatch(
                format_args!("{number}.bias"),
                format_args!("[{n}]"),
                format_args!("{of_b:?}"),
            ));
        }
        if sizes.is_empty() {
            sizes.push(k);
        }
        sizes.push(n);
        layers.push((w, b));
    }
    Perceptron::with_parameters(&sizes, activation, loss, layers)
        .map_err(|why| Failure::new(format_args!("{name}: {why}")))
}

/// The number of a layer and its part, of a name such as `net.2.weight`.
fn named(key: &str) -> Option<(usize, &'static str)> {
    let (layer, part) = key.rsplit_once('.')?;
    let part = ["weight", "bias"].into_iter().find(|&known| known == part)?;
    Some((layer.rsplit('.').next()?.parse().ok()?, part))
}

fn numbers(key: &str, info: &TensorInfo, bytes: &[u8]) -> Result<Vec<f32>, Failure> {
    let dtype = match info.dtype {
        safetensors::Dtype::F32 => Float::F32,
        safetensors::Dtype::F16 => Float::F16,
        safetensors::Dtype::BF16 => Float::Bf16,
        other => return Err(Failure::mismatch(key, "dtype F32, F16 or BF16", format_args!("{other:?}"))),
    };
    // The header was checked: the bytes are exactly those of the shape.
    Ok(dtype.decode(bytes, bytes.len() / dtype.bytes() as usize))
}
