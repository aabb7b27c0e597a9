use super::*;
use crate::{dtype::Float, request::Saved};

/// The golden file of each activation, by its text.
const GOLDEN: &[(&str, &str)] = &[
    ("relu", "relu"),
    ("leaky_relu_0.01", "leaky_relu(0.01)"),
    ("leaky_relu_0.1", "leaky_relu(0.1)"),
    ("leaky_relu_0.2", "leaky_relu(0.2)"),
    ("prelu_0.25", "prelu(0.25)"),
    ("prelu_-0.5", "prelu(-0.5)"),
    ("relu6", "relu6"),
    ("clipped_relu_1", "clipped_relu(1)"),
    ("clipped_relu_20", "clipped_relu(20)"),
    ("hardtanh", "hardtanh"),
    ("relu_squared", "relu_squared"),
    ("thresholded_relu_1", "thresholded_relu"),
    ("threshold_0.1_20", "threshold(0.1,20)"),
    ("elu_1", "elu"),
    ("elu_0.5", "elu(0.5)"),
    ("elu_2", "elu(2)"),
    ("celu_1", "celu"),
    ("celu_2", "celu(2)"),
    ("celu_0.5", "celu(0.5)"),
    ("selu", "selu"),
    ("gelu_erf", "gelu"),
    ("gelu_tanh", "gelu_tanh"),
    ("silu", "silu"),
    ("silu", "swish"),
    ("swish_0.5", "swish(0.5)"),
    ("swish_2", "swish(2)"),
    ("swish_-1", "swish(-1)"),
    ("swish_10", "swish(10)"),
    ("swish_0", "swish(0)"),
    ("quick_gelu", "quick_gelu"),
    ("mish", "mish"),
    ("softplus_1", "softplus"),
    ("softplus_2", "softplus(2)"),
    ("softplus_1_thr20", "softplus(1,20)"),
    ("hardswish", "hardswish"),
    ("hardsigmoid", "hardsigmoid"),
    ("hardsigmoid_onnx", "hardsigmoid(0.2)"),
    ("sigmoid", "sigmoid"),
    ("logsigmoid", "logsigmoid"),
    ("tanh", "tanh"),
    ("softsign", "softsign"),
    ("tanhshrink", "tanhshrink"),
    ("softshrink_0.5", "softshrink"),
    ("hardshrink_0.5", "hardshrink"),
    ("squareplus_4", "squareplus"),
];

fn activation(text: &str) -> Activation {
    text.parse().unwrap()
}

/// One of each row, with parameters that are not the default too.
fn samples() -> Vec<Activation> {
    let mut texts: Vec<&str> = GOLDEN.iter().map(|(_, text)| *text).collect();
    texts.extend(["identity", "celu(0.7)", "elu(1.3)", "swish(1.3)", "swish(-0.37)", "softplus(0.3)", "softplus(3.7)"]);
    texts.extend([
        "leaky_relu(0.3)",
        "squareplus(0.5)",
        "hardsigmoid(0.3,0.4)",
        "hardtanh(-0.3,2)",
        "celu(-2)",
        "elu(-1)",
    ]);
    texts.into_iter().map(activation).collect()
}

/// The columns of a golden file: x, x's bits, then value and f32 bits of each quantity, then kink.
fn golden(file: &str) -> Vec<(f64, Vec<f64>)> {
    let path = format!("{}/tests/golden/{file}.tsv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            let x = f32::from_bits(u32::from_str_radix(cells[1], 16).unwrap());
            let values = cells[2..cells.len() - 1].iter().step_by(2).map(|cell| cell.parse().unwrap());
            (f64::from(x), values.collect())
        })
        .collect()
}

#[test]
fn every_golden_file_is_read() {
    let folder = std::fs::read_dir(format!("{}/tests/golden", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for entry in folder {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(stem) = name.strip_suffix(".tsv") {
            let ours = GOLDEN.iter().any(|(file, _)| *file == stem);
            assert!(ours || ["INDEX", "erf", "normcdf", "expm1"].contains(&stem), "{stem}");
        }
    }
}

#[test]
fn mathematics_agrees_with_the_golden_values() {
    let mut worst = (0.0, String::new());
    for (file, text) in GOLDEN {
        let act = activation(text);
        for (z, values) in golden(file) {
            for (quantity, expected) in Quantity::ALL.into_iter().zip(&values) {
                let got = act.evaluate(quantity, z);
                // silu.tsv carries swish's α columns, which silu itself does not have.
                let absent = !act.has_alpha() && quantity.is_by_alpha();
                if absent || (expected.is_nan() && got.is_nan()) || got == *expected {
                    continue;
                }
                let place = format!("{act} {quantity:?} at {z:e}: expected {expected:e}, got {got:e}");
                let terms = act.terms(quantity, z).max(expected.abs());
                // The smallest f32 is 1.4e-45; below 1e-290 f64 itself loses digits.
                let error = (got - expected).abs() / terms.max(1e-290) / f64::EPSILON;
                assert!(error < 8.0, "{place}: {error:.1} f64 ulp");
                if error > worst.0 {
                    worst = (error, place);
                }
            }
        }
    }
    println!("worst: {:.2} f64 ulp: {}", worst.0, worst.1);
}

#[test]
fn rows_stand_in_the_order_of_kind() {
    for (index, row) in rows().iter().enumerate() {
        assert_eq!(row.kind as usize, index, "{}", row.name);
        assert!(!row.source.is_empty() && !row.formula.is_empty());
        assert!(!row.learnable || !row.parameters.is_empty(), "{}", row.name);
    }
}

#[test]
fn every_name_finds_its_row_alone() {
    let mut seen = std::collections::HashMap::new();
    for row in rows() {
        for name in row.names() {
            let other = seen.insert(name, row.kind);
            assert!(other.is_none() || name == "hardsigmoid", "{name} twice");
        }
    }
}

#[test]
fn text_and_back() {
    for act in samples() {
        assert_eq!(act.to_string().parse::<Activation>().unwrap(), act, "{act}");
    }
    let odd = [0.1f32, 1.18e-38, 3.4e38, 1.0 / 3.0, 123456.79, -0.0, 1e-7];
    for value in odd {
        let act = Activation::leaky_relu(value).unwrap();
        let back: Activation = act.to_string().parse().unwrap();
        assert_eq!(back.params()[0].to_bits(), value.to_bits(), "{act}");
        assert!(act.to_string().len() < 28, "{act}");
    }
    for (text, printed) in [
        ("  Leaky-ReLU ( 0.01 ) ", "leaky_relu(0.01)"),
        ("LeakyReLU", "leaky_relu(0.01)"),
        ("gelu", "gelu_erf"),
        ("GELU", "gelu_erf"),
        ("gelu_new", "gelu_tanh"),
        ("gelu_pytorch_tanh", "gelu_tanh"),
        ("swish", "swish(1)"),
        ("hard_swish", "hardswish"),
        ("hard-sigmoid", "hardsigmoid"),
        ("hardsigmoid()", "hardsigmoid"),
        ("hardsigmoid(0.25)", "hardsigmoid(0.25,0.5)"),
        ("Hard Tanh(-1, 1)", "hardtanh(-1,1)"),
        ("relu2", "relu_squared"),
        ("linear", "identity"),
        ("softplus(2)", "softplus(2)"),
        ("softplus(1, 20)", "softplus(1,20)"),
        ("softplus(1, inf)", "softplus(1)"),
        ("log_sigmoid", "logsigmoid"),
        ("QuickGELU", "quick_gelu"),
        ("relu6", "relu6"),
    ] {
        assert_eq!(activation(text).to_string(), printed);
    }
}

#[test]
fn bad_texts_say_what_would_do() {
    let error = |text: &str| text.parse::<Activation>().unwrap_err();
    for text in [
        "leaky_relu(nan)",
        "leaky_relu(inf)",
        "leaky_relu(x)",
        "leaky_relu(0.1,2)",
        "leaky_relu(0.1,)",
        "relu(1)",
        "celu(0)",
        "celu(1e-45)",
        "leaky_relu(1e-40)",
        "hardtanh(-1e-40,1)",
        "softplus(0)",
        "softplus(1e-40)",
        "softplus(1,-1)",
        "softplus(-1)",
        "softplus(1,nan)",
        "squareplus(-1)",
        "squareplus(0)",
        "hardtanh(2,1)",
        "clipped_relu(-1)",
        "softshrink(-0.1)",
        "hardshrink(-0.1)",
        "threshold",
        "threshold(1)",
        "swish(inf)",
        "elu(nan)",
        "silu(1)",
    ] {
        assert!(matches!(error(text), Error::BadParameter { .. }), "{text}: {}", error(text));
    }
    for text in ["", "foo", "relu(", "relu)", "relu(1))", "(1)", "leaky_relu(0.1)x"] {
        assert!(matches!(error(text), Error::UnknownActivation { .. }), "{text}: {}", error(text));
    }
    assert_eq!(error("celu(0)").to_string(), "celu: alpha: expected a number from 1e-10 to 1e10 in magnitude, got 0");
    assert!(error("gleu").to_string().contains("expected gelu? or one of identity, relu,"), "{}", error("gleu"));
}

#[test]
fn nan_stays_nan() {
    for act in samples() {
        for quantity in Quantity::ALL {
            assert!(act.evaluate(quantity, f64::NAN).is_nan(), "{act} {quantity:?}");
        }
        assert!(act.slope_of_y(f64::NAN).is_nan());
        assert!(act.bit(f64::NAN));
    }
}

#[test]
fn slope_from_y_and_from_the_bit() {
    let mut from_y = 0;
    let mut from_bit = 0;
    for act in samples() {
        let y_is_enough = act.saved_is_enough(Saved::Y, false, false, false, Float::F32).is_ok();
        let bit_is_enough = act.saved_is_enough(Saved::Mask, false, false, false, Float::F32).is_ok();
        from_y += u32::from(y_is_enough);
        from_bit += u32::from(bit_is_enough);
        for i in -4000..=4000 {
            let z = f64::from(i) / 160.0;
            let slope = act.slope(z);
            if y_is_enough {
                let error = (act.slope_of_y(act.value(z)) - slope).abs();
                let scale = if act.slope_of_y_is_accurate() { slope.abs() } else { 1.0 };
                // y itself carries half an ulp, which its slope sees.
                assert!(error <= 1e-14 * scale.max(1e-300), "{act} at {z}: {error:e} of {slope:e}");
            }
            if bit_is_enough {
                assert_eq!(act.slope_of_bit(act.bit(z)), slope, "{act} at {z}");
            }
        }
    }
    assert!(from_y > 20 && from_bit > 15);
}

#[test]
fn what_is_saved_must_be_enough() {
    let enough = |text: &str, saved, learnable, dalpha, residual| {
        activation(text).saved_is_enough(saved, learnable, dalpha, residual, Float::F32).is_ok()
    };
    for act in samples() {
        for saved in [Saved::Auto, Saved::Z, Saved::None] {
            assert!(act.saved_is_enough(saved, true, true, true, Float::F32).is_ok());
        }
        let learns = act.has_alpha();
        assert!(!learns || act.saved_is_enough(Saved::Y, true, true, false, Float::F32).is_err());
        assert!(!learns || act.saved_is_enough(Saved::Mask, true, true, false, Float::F32).is_err());
    }
    assert!(enough("relu", Saved::Y, false, false, false));
    assert!(!enough("relu", Saved::Y, false, false, true));
    assert!(enough("relu", Saved::Mask, false, false, true));
    assert!(enough("leaky_relu(0)", Saved::Y, false, false, false));
    assert!(!enough("leaky_relu(-0.1)", Saved::Y, false, false, false));
    assert!(enough("leaky_relu(-0.1)", Saved::Mask, false, false, false));
    assert!(!enough("prelu", Saved::Y, true, false, false));
    assert!(!enough("elu(-1)", Saved::Y, false, false, false));
    assert!(!enough("elu(0)", Saved::Y, false, false, false));
    assert!(enough("softplus", Saved::Y, false, false, false));
    assert!(!enough("softplus(1,20)", Saved::Y, false, false, false));
    assert!(!enough("softplus", Saved::Y, true, false, false));
    assert!(!enough("squareplus", Saved::Y, true, false, false));
    assert!(!enough("gelu", Saved::Y, false, false, false));
    assert!(!enough("gelu", Saved::Mask, false, false, false));
    assert!(enough("identity", Saved::Mask, false, false, true));
    let error = activation("relu").saved_is_enough(Saved::Y, false, false, true, Float::F32).unwrap_err();
    let text = "backward of relu from saved y is not possible: y includes a residual or a row weight, so it does not \
                determine the slope; enough would be: z, none (z is computed again), mask";
    assert_eq!(error.to_string(), text);
}

/// The slope from a y that was rounded when it was stored is as far off as docs/numerics.md says: a multiple of the unit
/// roundoff, of the slope itself or absolute.
#[test]
fn slope_from_a_rounded_y() {
    let rows: [(&str, f64, bool); 13] = [
        ("softplus", 1.0, true),
        ("softplus(0.3)", 1.0, true),
        ("logsigmoid", 1.0, true),
        ("squareplus", 2.0, true),
        ("squareplus(0.5)", 2.0, true),
        ("elu", 1.0, false),
        ("elu(0.3)", 0.3, false),
        ("celu(2)", 1.0, false),
        ("selu", 1.7581, false),
        ("sigmoid", 1.0, false),
        ("tanh", 2.0, false),
        ("softsign", 0.5, false),
        ("celu(0.3)", 1.0, false),
    ];
    for (text, factor, relative) in rows {
        let act = activation(text);
        assert_eq!(act.slope_of_y_is_accurate(), relative, "{text}");
        for dtype in [Float::F16, Float::Bf16] {
            let u = dtype.unit_roundoff();
            let mut worst = 0.0f64;
            // Where y neither overflows nor is subnormal in this type.
            let inside = |y: f64| (6.2e-5..6.5e4).contains(&y.abs());
            for z in (-4000..=4000).map(|i| f64::from(i) / 100.0).filter(|&z| inside(act.value(z))) {
                let stored = f64::from(dtype.round(act.value(z) as f32));
                let scale = if relative { act.slope(z) } else { 1.0 };
                worst = worst.max((act.slope_of_y(stored) - act.slope(z)).abs() / scale / u);
            }
            assert!(worst <= factor * 1.01, "{text} in {dtype}: {worst} u");
            assert!(worst >= factor * 0.4, "{text} in {dtype}: {worst} u, the bound {factor} could be smaller");
        }
    }
    // What is clipped says nothing at its bounds: refused, whatever the bound.
    for text in ["relu6", "clipped_relu(0.1)", "hardtanh(-0.7,0.7)"] {
        for dtype in [Float::F16, Float::Bf16] {
            let error = activation(text).saved_is_enough(Saved::Y, false, false, false, dtype).unwrap_err().to_string();
            assert!(error.contains(dtype.name()) && error.contains("mask") && !error.contains(", y"), "{error}");
        }
    }
}

/// That they are reached and not passed: tests/cpu_properties/shape.rs.
#[test]
fn lipschitz_constants() {
    assert!((Activation::GELU_ERF.lipschitz() - 1.12890).abs() < 1e-5);
    assert!((Activation::GELU_TANH.lipschitz() - 1.12899).abs() < 1e-5);
    assert!((Activation::SILU.lipschitz() - 1.09984).abs() < 1e-5);
    assert!((Activation::MISH.lipschitz() - 1.08850).abs() < 1e-5);
    assert!(Activation::RELU_SQUARED.lipschitz().is_infinite());
}

#[test]
fn kinks_are_those_of_the_golden_files() {
    for (file, text) in GOLDEN {
        let act = activation(text);
        let path = format!("{}/tests/golden/{file}.tsv", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let mut declared = Vec::new();
        for line in text.lines().skip(2).filter(|line| line.ends_with("\t1")) {
            let cells: Vec<&str> = line.split('\t').collect();
            declared.push((cells[0].parse::<f64>().unwrap(), cells[4].parse::<f64>().unwrap()));
        }
        declared.dedup_by(|a, b| a.0 == b.0);
        let ours = act.kinks();
        assert_eq!(ours.len(), declared.len(), "{act}");
        for (kink, (at, slope)) in ours.iter().zip(declared) {
            assert!((kink.at - at).abs() <= 1e-7 * at.abs(), "{act}: {kink:?} {at}");
            // ONNX's hardsigmoid has its kinks between floats.
            let between = matches!(act.kind(), Kind::HardsigmoidAffine);
            assert!(between || (kink.slope - slope).abs() < 1e-15, "{act}: {kink:?} {slope}");
        }
    }
}

#[test]
fn gains_of_known_moments() {
    let close = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-12, "{got} {expected}");
    let relu = Activation::RELU.gain();
    close(relu.value_moment, 0.5);
    close(relu.slope_moment, 0.5);
    close(relu.he_gain(), std::f64::consts::SQRT_2);
    let leaky = Activation::leaky_relu(0.25).unwrap().gain();
    close(leaky.he_gain(), (2.0f64 / (1.0 + 0.0625)).sqrt());
    close(Activation::IDENTITY.gain().value_moment, 1.0);
    close(Activation::RELU_SQUARED.gain().value_moment, 1.5);
    close(Activation::RELU_SQUARED.gain().slope_moment, 2.0);
    // E|z|>λ: 2 (λ φ(λ) + Φ(-λ)).
    let phi = (-0.125f64).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let tail = 0.5 * libm::erfc(0.5 / std::f64::consts::SQRT_2);
    close(activation("hardshrink(0.5)").gain().value_moment, 2.0 * (0.5 * phi + tail));
    // selu is made to keep mean 0 and variance 1.
    close(Activation::SELU.gain().value_moment, 1.0);
    // A steep swish is close to relu.
    let steep = activation("swish(1e6)").gain();
    assert!((steep.value_moment - 0.5).abs() < 1e-10, "{steep:?}");
}

#[test]
fn shared_files_are_all_known() {
    let mut pending: Vec<&str> = rows().iter().map(|row| row.wgsl).collect();
    let mut seen = std::collections::HashSet::new();
    while let Some(text) = pending.pop() {
        for name in text.lines().filter_map(|line| line.strip_prefix("#use ")) {
            let shared = shared_wgsl(name.trim()).unwrap_or_else(|| panic!("{name}"));
            if seen.insert(name) {
                pending.push(shared);
            }
        }
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn every_file_defines_its_functions() {
    for row in rows() {
        let defines = |name: &str| row.wgsl.contains(&format!("\nfn {name}("));
        for name in row.quantities().iter().map(|quantity| quantity.wgsl_name()) {
            assert!(defines(name), "{} lacks {name}", row.file);
        }
        assert_eq!(row.from_y, defines("act_dz_of_y"), "{}", row.file);
        assert_eq!(row.from_bit, defines("act_bit") && defines("act_dz_of_bit"), "{}", row.file);
        for banned in ["exp(", "log(", "tanh(", "pow(", "fma(", "clamp(", "f16"] {
            let code = row.wgsl.lines().map(|line| line.split("//").next().unwrap());
            assert!(!code.clone().any(|line| line.contains(&format!(" {banned}"))), "{} calls {banned}", row.file);
        }
    }
}

#[test]
fn finite_inputs_never_give_nan() {
    let mut samples = samples();
    samples.extend(["celu(-2)", "celu(-0.3)", "elu(-1.5)", "swish(-3)"].map(activation));
    for a in samples {
        for exponent in -40..127 {
            for fraction in [1.0, 1.3, 1.77] {
                for z in [fraction * 2f64.powi(exponent), -fraction * 2f64.powi(exponent)] {
                    for quantity in Quantity::ALL {
                        assert!(!a.evaluate(quantity, z).is_nan(), "{a} {quantity:?} at {z}");
                    }
                }
            }
        }
    }
}
