//! What comes out: the same on all three devices.

use std::fs;

use crate::harness::{Folder, Numbers, Tensors, assert_close};

/// Both other devices against the reference.
fn agree(folder: &Folder, tensors: &Tensors, args: &[&str]) -> Tensors {
    let on = |device: &str| folder.eval(tensors, &[args, &["--device", device]].concat());
    let expected = on("reference");
    for device in ["cpu", "gpu"] {
        assert_close(&on(device), &expected, 2e-5, &format!("{device} {args:?}"));
    }
    expected
}

fn names(tensors: &Tensors) -> Vec<&str> {
    tensors.keys().map(String::as_str).collect()
}

#[test]
fn a_layer_with_everything_keeps_its_shapes() {
    let folder = Folder::new("everything");
    let shapes: &[(&str, &[usize])] = &[
        ("x", &[2, 3, 7]),
        ("w", &[5, 7]),
        ("b", &[5]),
        ("alpha", &[5]),
        ("residual", &[2, 3, 5]),
        ("dy", &[2, 3, 5]),
    ];
    let tensors = Numbers(1).tensors(shapes);
    let out = agree(&folder, &tensors, &["--activation", "prelu"]);
    assert_eq!(names(&out), ["dalpha", "db", "dresidual", "dw", "dx", "y"], "one gradient for each operand");
    for (output, input) in
        [("dx", "x"), ("dw", "w"), ("db", "b"), ("dalpha", "alpha"), ("dresidual", "residual"), ("y", "dy")]
    {
        assert_eq!(out[output].0, tensors[input].0, "{output} must be shaped as {input}");
    }
    assert_eq!(out["dresidual"].1, tensors["dy"].1, "the gradient of the residual is dy");
}

#[test]
fn forward_alone_writes_y_alone() {
    let folder = Folder::new("forward");
    let tensors = Numbers(2).tensors(&[("x", &[9, 33]), ("w", &[4, 33])]);
    let out = agree(&folder, &tensors, &["--activation", "gelu"]);
    assert_eq!(names(&out), ["y"], "no dy, no gradients");
    let fewer = Numbers(3).tensors(&[("x", &[4, 6]), ("w", &[3, 6]), ("dy", &[4, 3])]);
    let out = agree(&folder, &fewer, &["--activation", "silu"]);
    assert_eq!(names(&out), ["dw", "dx", "y"], "gradients only of what is there");
}

#[test]
fn layouts_saved_choices_and_strategies_agree() {
    let folder = Folder::new("choices");
    let mut numbers = Numbers(4);
    let tensors = numbers.tensors(&[("x", &[17, 12]), ("w", &[35, 12]), ("b", &[35]), ("dy", &[17, 35])]);
    let (shape, values) = &tensors["w"];
    let turned: Vec<f32> = (0..shape[1]).flat_map(|k| (0..shape[0]).map(move |n| values[n * 12 + k])).collect();
    let mut in_out = tensors.clone();
    in_out.insert("w".to_owned(), (vec![12, 35], turned));
    for (activation, choices) in [
        ("leaky_relu(0.2)", &["auto", "z", "y", "mask", "none"][..]),
        ("tanh", &["auto", "z", "y", "none"]),
        ("gelu_tanh", &["z", "none"]),
    ] {
        let expected = agree(&folder, &tensors, &["--activation", activation]);
        for save in choices {
            for strategy in ["prologue", "two_pass"] {
                let args = ["--activation", activation, "--save", save, "--strategy", strategy];
                let got = folder.eval(&tensors, &args);
                assert_close(&got, &expected, 2e-5, &format!("{args:?}"));
            }
        }
        let layout = ["--activation", activation, "--weight-layout", "in_out"];
        let got = agree(&folder, &in_out, &layout);
        assert_eq!(got["y"].0, expected["y"].0, "the layout of w does not change y");
        assert_close(&Tensors::from([("dx".into(), got["dx"].clone())]), &only(&expected, "dx"), 2e-5, activation);
        assert_eq!(got["dw"].0, [12, 35], "dw lies as w lies");
    }
}

fn only(tensors: &Tensors, name: &str) -> Tensors {
    Tensors::from([(name.to_owned(), tensors[name].clone())])
}

#[test]
fn alpha_of_one_element_serves_the_layer() {
    let folder = Folder::new("alpha");
    for activation in ["prelu", "elu", "swish", "clipped_relu(1)"] {
        let mut tensors = Numbers(5).tensors(&[("x", &[6, 4]), ("w", &[3, 4]), ("dy", &[6, 3])]);
        tensors.insert("alpha".into(), (vec![1], vec![0.75]));
        let out = agree(&folder, &tensors, &["--activation", activation]);
        assert_eq!(out["dalpha"].0, [1], "dalpha is shaped as alpha");
    }
}

#[test]
fn elementwise_value_backward_and_double_backward() {
    let folder = Folder::new("elementwise");
    let shape: &[usize] = &[3, 5, 7];
    for (activation, alpha) in [
        ("mish", None),
        ("gelu", None),
        ("softplus(2)", None),
        ("hardtanh(-1,1)", None),
        ("elu", Some(&[7][..])),
        ("swish", Some(&[1])),
        ("celu", Some(&[])),
    ] {
        let mut shapes = vec![("x", shape), ("dy", shape), ("ddx", shape)];
        shapes.extend(alpha.map(|alpha| ("alpha", alpha)));
        let mut tensors = Numbers(6).tensors(&shapes);
        if let Some((_, values)) = tensors.get_mut("alpha") {
            // CELU divides by alpha.
            values.iter_mut().for_each(|a| *a = a.abs() + 0.5);
        }
        let out = agree(&folder, &tensors, &["--activation", activation]);
        match alpha {
            None => assert_eq!(names(&out), ["ddy", "dx", "dx2", "y"], "{activation}"),
            Some(alpha) => {
                assert_eq!(names(&out), ["dalpha", "dalpha2", "ddy", "dx", "dx2", "y"], "{activation}");
                assert_eq!(out["dalpha"].0, alpha, "{activation}: dalpha is shaped as alpha");
                assert_eq!(out["dalpha2"].0, alpha, "{activation}: dalpha2 is shaped as alpha");
            }
        }
        for name in ["y", "dx", "ddy", "dx2"] {
            assert_eq!(out[name].0, shape, "{activation}: {name} is shaped as x");
        }
    }
}

#[test]
fn a_layer_and_its_double_backward() {
    let folder = Folder::new("double");
    for (activation, alpha, save) in
        [("gelu", None, "auto"), ("swish", Some(5), "z"), ("prelu", Some(1), "none"), ("relu", None, "mask")]
    {
        let mut shapes: Vec<(&str, Vec<usize>)> = vec![("x", vec![2, 3, 6]), ("w", vec![5, 6]), ("b", vec![5])];
        shapes.extend([("dy", vec![2, 3, 5]), ("ddx", vec![2, 3, 6])]);
        shapes.extend(alpha.map(|alpha| ("alpha", vec![alpha])));
        let shapes: Vec<(&str, &[usize])> = shapes.iter().map(|(name, shape)| (*name, &shape[..])).collect();
        let out = agree(&folder, &Numbers(9).tensors(&shapes), &["--activation", activation, "--save", save]);
        let of_alpha: &[&str] = if alpha.is_some() { &["dalpha", "dalpha2"] } else { &[] };
        let mut expected = [&["db", "db2", "ddy", "dw", "dw2", "dx", "dx2", "y"][..], of_alpha].concat();
        expected.sort_unstable();
        assert_eq!(names(&out), expected, "{activation}");
        for (name, like) in [("ddy", "y"), ("dx2", "x"), ("dw2", "w"), ("db2", "b")] {
            let shape = shapes.iter().find(|(name, _)| *name == like).map_or(&out["y"].0[..], |(_, shape)| shape);
            assert_eq!(out[name].0, shape, "{activation}: {name}");
        }
    }
}

#[test]
fn sizes_of_zero_and_single_numbers() {
    let folder = Folder::new("sizes");
    for (x, w, dy) in
        [([0, 4], [3, 4], [0, 3]), ([5, 0], [3, 0], [5, 3]), ([5, 4], [0, 4], [5, 0]), ([1, 1], [1, 1], [1, 1])]
    {
        let shapes: &[(&str, &[usize])] =
            &[("x", &x), ("w", &w), ("b", &[w[0]]), ("dy", &dy), ("residual", &dy), ("alpha", &[1])];
        let out = agree(&folder, &Numbers(7).tensors(shapes), &["--activation", "leaky_relu(0.1)"]);
        assert_eq!(out["y"].0, dy, "x {x:?} w {w:?}");
    }
    for shape in [&[][..], &[0], &[1], &[2, 0, 3]] {
        let shapes = [("x", shape), ("dy", shape), ("ddx", shape), ("alpha", &[1])];
        let out = agree(&folder, &Numbers(8).tensors(&shapes), &["--activation", "elu"]);
        assert_eq!(out["dx2"].0, shape, "elementwise {shape:?}");
    }
}

#[test]
fn special_values_pass_through() {
    let folder = Folder::new("special");
    let values = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, f32::MAX, f32::MIN, 1e-45];
    for activation in ["relu", "gelu", "silu", "mish", "tanh", "hardswish"] {
        let mut tensors = Tensors::from([("x".to_owned(), (vec![8], values.clone()))]);
        tensors.insert("dy".to_owned(), (vec![8], vec![1.0; 8]));
        let out = agree(&folder, &tensors, &["--activation", activation]);
        assert!(out["y"].1[0].is_nan() && out["dx"].1[0].is_nan(), "{activation}: NaN in, NaN out");
    }
}

#[test]
fn an_existing_output_is_replaced_through_its_link() {
    let folder = Folder::new("replace");
    let tensors = Numbers(9).tensors(&[("x", &[3])]);
    fs::write(folder.path("out.safetensors"), b"old").expect("an old file");
    folder.eval(&tensors, &["--activation", "relu", "--device", "cpu"]);
    let left: Vec<_> = fs::read_dir(&folder.0).expect("the folder").collect();
    assert_eq!(left.len(), 2, "a temporary file was left behind: {left:?}");
    #[cfg(unix)]
    {
        fs::rename(folder.path("out.safetensors"), folder.path("real")).expect("renamed");
        std::os::unix::fs::symlink("real", folder.path("out.safetensors")).expect("a link");
        folder.eval(&tensors, &["--activation", "relu", "--device", "cpu"]);
        let link = fs::symlink_metadata(folder.path("out.safetensors")).expect("still there");
        assert!(link.is_symlink(), "the link itself was replaced");
    }
}
