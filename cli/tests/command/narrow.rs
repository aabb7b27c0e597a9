//! Files in F16 and BF16: the same numbers as in F32, rounded once at the end.

use std::fs;

use elbow::Float;

use crate::harness::{Folder, Numbers, Stored, Tensors, fails, file, file_as};

const NARROW: [Float; 2] = [Float::F16, Float::Bf16];

/// Odd everywhere, so that no row of 16-bit numbers ends at a word.
const LAYER: [(&str, &[usize]); 6] =
    [("x", &[3, 3, 7]), ("w", &[5, 7]), ("b", &[5]), ("alpha", &[5]), ("residual", &[3, 3, 5]), ("dy", &[3, 3, 5])];

/// Tensors whose numbers are those of `dtype`; alpha is below 1, which keeps y and z apart from the kinks.
fn numbers(seed: u64, shapes: &[(&str, &[usize])], dtype: impl Fn(&str) -> Float) -> Tensors {
    let mut tensors = Numbers(seed).tensors(shapes);
    for (name, (_, values)) in &mut tensors {
        values.iter_mut().for_each(|v| *v = dtype(name).round(if name == "alpha" { v.abs() / 4.0 + 0.25 } else { *v }));
    }
    tensors
}

/// alpha is always F32.
fn all(dtype: Float) -> impl Fn(&str) -> Float + Copy {
    move |name| if name == "alpha" { Float::F32 } else { dtype }
}

/// Gradients of parameters are F32, whatever x is.
fn written(name: &str, x: Float) -> Float {
    if ["dw", "db", "dalpha", "dalpha2"].contains(&name) { Float::F32 } else { x }
}

/// Both other devices against the reference, and the reference against itself on the same numbers in F32. `kept` is the
/// type in which the GPU keeps what forward saves: F32 where it saves nothing.
fn agree(
    folder: &Folder,
    tensors: &Tensors,
    dtype: impl Fn(&str) -> Float + Copy,
    kept: Float,
    args: &[&str],
) -> Stored {
    let on = |input: &[u8], device: &str| folder.eval_file(input, &[args, &["--device", device]].concat());
    let (wide, narrow) = (file(tensors), file_as(tensors, dtype));
    let exact = on(&wide, "reference");
    for device in ["reference", "cpu", "gpu"] {
        let got = on(&narrow, device);
        assert!(got.keys().eq(exact.keys()), "{device} {args:?}: other names");
        for (name, ((shape, expected), _)) in &exact {
            let ((got_shape, got), stored) = &got[name];
            let what = format!("{device} {args:?}: {name} in {stored}");
            assert_eq!((got_shape, *stored), (shape, written(name, dtype("x"))), "{what}");
            for (i, (&g, &e)) in got.iter().zip(expected).enumerate() {
                let off = f64::from(g) - f64::from(e);
                let allowed = match device {
                    "reference" => 0.0,
                    "gpu" => 2e-5 + if kept == Float::F32 { 0.0 } else { 32.0 * kept.unit_roundoff() },
                    _ => 2e-5,
                };
                let allowed = stored.rounding(f64::from(e)) + allowed * f64::from(e.abs().max(1.0));
                assert!(off.abs() <= allowed, "{what}[{i}]: expected {e}, got {g}, {allowed} allowed");
                assert!(device != "reference" || g == stored.round(e), "{what}[{i}]: {g} is not {e} rounded");
            }
        }
    }
    exact
}

#[test]
fn a_layer_with_everything() {
    let folder = Folder::new("narrow-everything");
    for dtype in NARROW {
        let tensors = numbers(11, &LAYER, all(dtype));
        let out = agree(&folder, &tensors, all(dtype), Float::F32, &["--activation", "swish", "--save", "none"]);
        assert_eq!(out.len(), 6, "a gradient for each operand");
        agree(&folder, &tensors, all(dtype), dtype, &["--activation", "swish", "--save", "z"]);
    }
}

#[test]
fn saved_choices_and_strategies() {
    let folder = Folder::new("narrow-choices");
    let shapes: &[(&str, &[usize])] = &[("x", &[9, 11]), ("w", &[7, 11]), ("b", &[7]), ("dy", &[9, 7])];
    for dtype in NARROW {
        let tensors = numbers(12, shapes, all(dtype));
        for (activation, save, strategy) in [
            ("leaky_relu(0.25)", "mask", "prologue"),
            ("leaky_relu(0.25)", "y", "two_pass"),
            ("tanh", "y", "prologue"),
            ("gelu", "z", "two_pass"),
            ("silu", "auto", "auto"),
        ] {
            let args = ["--activation", activation, "--save", save, "--strategy", strategy];
            agree(&folder, &tensors, all(dtype), dtype, &args);
        }
    }
}

/// Each operand in a type of its own: x alone says what comes out.
#[test]
fn types_mix() {
    let folder = Folder::new("narrow-mixed");
    let types = [Float::F32, Float::F16, Float::Bf16];
    for turn in 0..3 {
        let dtype = move |name: &str| match LAYER.iter().position(|(layer, _)| *layer == name && name != "alpha") {
            // x, w, b and residual, dy: three neighbours have three types.
            Some(at) => types[(at + turn) % 3],
            None => Float::F32,
        };
        let tensors = numbers(13, &LAYER, dtype);
        agree(&folder, &tensors, dtype, Float::F32, &["--activation", "elu", "--save", "none"]);
        agree(&folder, &tensors, dtype, dtype("x"), &["--activation", "elu"]);
    }
}

#[test]
fn elementwise_and_twice() {
    let folder = Folder::new("narrow-elementwise");
    for dtype in NARROW {
        for shape in [&[3, 5, 7][..], &[1], &[], &[2, 0, 3]] {
            let tensors = numbers(14, &[("x", shape), ("dy", shape), ("ddx", shape), ("alpha", &[1])], all(dtype));
            let out = agree(&folder, &tensors, all(dtype), Float::F32, &["--activation", "swish"]);
            assert_eq!(out.len(), 6, "y, dx, dalpha, ddy, dx2, dalpha2");
        }
        let mixed = move |name: &str| if name == "dy" { dtype } else { Float::F32 };
        let shapes: &[(&str, &[usize])] = &[("x", &[7]), ("dy", &[7]), ("ddx", &[7])];
        agree(&folder, &numbers(15, shapes, mixed), mixed, Float::F32, &["--activation", "mish"]);
    }
}

#[test]
fn sizes_of_zero_and_one() {
    let folder = Folder::new("narrow-sizes");
    for (x, w, y) in
        [([0, 3], [5, 3], [0, 5]), ([5, 0], [3, 0], [5, 3]), ([5, 3], [0, 3], [5, 0]), ([1, 1], [1, 1], [1, 1])]
    {
        let shapes: &[(&str, &[usize])] = &[("x", &x), ("w", &w), ("b", &[w[0]]), ("residual", &y), ("dy", &y)];
        for dtype in NARROW {
            agree(&folder, &numbers(16, shapes, all(dtype)), all(dtype), dtype, &["--activation", "silu"]);
        }
    }
}

/// What the types hold at their ends, through an activation that changes nothing.
#[test]
fn the_ends_of_the_types() {
    let folder = Folder::new("narrow-ends");
    let zeros = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    for (dtype, ends) in
        [(Float::F16, [65504.0, -65504.0, 6e-8, 6.1e-5]), (Float::Bf16, [3.38e38, -3.38e38, 1.2e-38, 65536.0])]
    {
        let values: Vec<f32> = zeros.into_iter().chain(ends.map(|v| dtype.round(v))).collect();
        let tensors = Tensors::from([("x".to_owned(), (vec![values.len()], values.clone()))]);
        for device in ["reference", "cpu", "gpu"] {
            let args = ["--activation", "identity", "--device", device];
            let out = folder.eval_file(&file_as(&tensors, |_| dtype), &args);
            let ((_, got), stored) = &out["y"];
            assert_eq!(*stored, dtype, "{device}");
            for (g, e) in got.iter().zip(&values) {
                assert!(g == e || (g.is_nan() && e.is_nan()), "{device} {dtype}: expected {e}, got {g}");
            }
        }
    }
}

/// 300 · 300 is no number of F16: it becomes infinite on every device, and the sums stay in F32.
#[test]
fn beyond_f16_is_infinite() {
    let folder = Folder::new("narrow-overflow");
    let one = |value: f32| (vec![1, 1], vec![value]);
    let tensors =
        Tensors::from([("x", one(300.0)), ("w", one(300.0)), ("dy", one(300.0))].map(|(n, t)| (n.to_owned(), t)));
    for device in ["reference", "cpu", "gpu"] {
        let out = folder.eval_file(&file_as(&tensors, |_| Float::F16), &["--activation", "relu", "--device", device]);
        assert_eq!((&out["y"].0.1[..], &out["dw"].0.1[..]), (&[f32::INFINITY][..], &[90000.0][..]), "{device}");
    }
}

#[test]
fn alpha_is_refused_by_name() {
    let folder = Folder::new("narrow-alpha");
    let alone: &[(&str, &[usize])] = &[("x", &[7]), ("alpha", &[1])];
    for dtype in NARROW {
        for shapes in [&LAYER[..], alone] {
            let input = file_as(&numbers(17, shapes, |_| dtype), |_| dtype);
            let says = format!("elbow: alpha: expected dtype F32, got {}", dtype.name().to_uppercase());
            for device in ["reference", "cpu", "gpu"] {
                let args = ["--activation", "prelu", "--device", device];
                fails(&folder, &input, &args, &[&says]);
            }
        }
    }
}

/// What was written is read: the second layer takes the y of the first.
#[test]
fn an_output_is_an_input() {
    let folder = Folder::new("narrow-again");
    let tensors = numbers(18, &[("x", &[5, 3])], all(Float::Bf16));
    folder.eval_file(&file_as(&tensors, all(Float::Bf16)), &["--activation", "tanh", "--device", "cpu"]);
    let bytes = fs::read(folder.path("out.safetensors")).expect("an output file");
    // The name of the one tensor, at the same place in the header.
    let renamed = String::from_utf8_lossy(&bytes[..16]).replace("\"y\"", "\"x\"");
    assert!(renamed.contains("\"x\""), "the header begins with the name");
    let input = [renamed.as_bytes(), &bytes[16..]].concat();
    let out = folder.eval_file(&input, &["--activation", "tanh", "--device", "reference"]);
    assert_eq!(out["y"].1, Float::Bf16, "y is as x is");
}
