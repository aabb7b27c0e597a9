//! The accuracy table of docs/numerics.md on the CPU baseline: every activation, every quantity, over all finite f32, with
//! default, other and random parameters, and at the golden values. The tolerances themselves are the published ones.
//! The table: `cargo test --test cpu_properties -- accuracy --nocapture`.

use std::{fs, path::Path};

use elbow::activation::{Activation, Quantity, rows};
use proptest::prelude::*;

use crate::common::{activation, defaults, for_every_row, full, inputs, on_baseline, parsed, scales, size, ulp};

/// Parameters beside each row's defaults: of either sign, no powers of two, steep and flat.
const OTHERS: [&str; 27] = [
    "leaky_relu(0.3)",
    "leaky_relu(-0.5)",
    "clipped_relu(1.7)",
    "hardtanh(-0.25,2)",
    "threshold(0.1,20)",
    "elu(1.3)",
    "elu(-0.7)",
    "celu(0.7)",
    "celu(2)",
    "celu(-1.5)",
    "softplus(0.3)",
    "softplus(3.7)",
    "softplus(1,20)",
    "squareplus(0.1)",
    "squareplus(0.5)",
    "swish(0)",
    "swish(0.013)",
    "swish(1.3)",
    "swish(-0.37)",
    "swish(10)",
    "hardsigmoid(0.3,0.4)",
    "hardsigmoid(-0.2,0.5)",
    "softshrink(0.3)",
    "hardshrink(0.3)",
    "celu(1000)",
    "celu(-0.05)",
    "softplus(0.5,0)",
];

/// And α that no parameter may be, but a learnable one may become.
const BECAME: [(&str, f32); 5] =
    [("elu", 3.4e38), ("celu", 1e-40), ("softplus", 1e-20), ("softplus", 3e-39), ("swish", 1e37)];

/// Error of an f32 result in ulp of the terms; infinite for a wrong NaN or infinity.
fn error(exact: f64, size: f64, got: f32) -> f64 {
    let rounded = exact as f32;
    if got == rounded || (got.is_nan() && rounded.is_nan()) {
        return 0.0;
    }
    // What overflows by less than an ulp may be the largest number, and the other way round.
    let got = if got.is_infinite() { 2f64.powi(128).copysign(f64::from(got)) } else { f64::from(got) };
    let exact = exact.clamp(-2f64.powi(128), 2f64.powi(128));
    let error = (got - exact).abs() / ulp(size.max(exact.abs()));
    if error.is_nan() { f64::INFINITY } else { error }
}

/// The worst error of a quantity over all z, and where.
fn worst(activation: &Activation, quantity: Quantity, z: &[f32]) -> (f64, f32) {
    let got = on_baseline(activation, quantity, z);
    let errors = z.iter().zip(got).map(|(&z, got)| {
        let (exact, size) = (activation.evaluate(quantity, f64::from(z)), size(activation, quantity, f64::from(z)));
        (error(exact, size, got), z)
    });
    errors.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((0.0, 0.0))
}

#[test]
fn accuracy_over_all_finite_inputs() {
    let mut z = if full() { inputs(1_031, 2_000_000) } else { inputs(97_001, 20_000) };
    z.extend([f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN, 1e-45, -1e-45]);
    println!("{} inputs each; worst ulp of the terms", z.len());
    println!(
        "| activation | act | act' | act'' | act''' | ∂act/∂α | ∂²act/∂z∂α | ∂³act/∂z²∂α | ∂²act/∂α² |\n|---|---|---|---|---|---|---|---|---|"
    );
    let mut failures = Vec::new();
    let became = BECAME.map(|(text, alpha)| parsed(text).with_alpha(alpha));
    for activation in defaults().chain(OTHERS.map(parsed)).chain(became) {
        let cells = Quantity::ALL.map(|quantity| {
            let (ulp, at) = worst(&activation, quantity, &z);
            let tolerance = activation.row().tolerance(quantity);
            if ulp > tolerance {
                failures.push(format!("{activation} {quantity:?}: {ulp:.2} ulp at {at:e}, allowed {tolerance}"));
            }
            if quantity.is_by_alpha() && !activation.has_alpha() { String::new() } else { format!("{ulp:.2}") }
        });
        println!("| `{activation}` | {} |", cells.join(" | "));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// z on each scale of an activation, up to where its exponentials have vanished.
fn scaled(activation: &Activation, seed: u32) -> impl Iterator<Item = f32> {
    (0..256u32).flat_map(move |i| {
        // The golden ratio spreads them evenly; both signs, and magnitudes down to 2^-20.
        let even = |i: u32| f64::from(i.wrapping_mul(2_654_435_769)) / 2f64.powi(32);
        let magnitude = 1024.0 * 2f64.powf(-30.0 * even(i.wrapping_add(seed)));
        let u = if i % 2 == 0 { magnitude } else { -magnitude };
        scales(activation).map(|scale| (u * scale) as f32)
    })
}

#[test]
fn accuracy_with_any_parameters() {
    let everywhere = inputs(8_000_009, 200);
    let with_seed = |row| (activation(row), any::<u32>());
    for_every_row(48, with_seed, |(activation, seed)| {
        let z: Vec<f32> =
            scaled(&activation, seed).chain(everywhere.iter().copied()).filter(|z| z.is_finite()).collect();
        for quantity in Quantity::ALL {
            let (ulp, at) = worst(&activation, quantity, &z);
            let tolerance = activation.row().tolerance(quantity);
            prop_assert!(ulp <= tolerance, "{activation} {quantity:?}: {ulp:.2} ulp at {at:e}, allowed {tolerance}");
        }
        Ok(())
    });
}

/// docs/numerics.md, in the order of [`BY_ORDER`].
const BY_ORDER: [Quantity; 4] = [Quantity::Value, Quantity::Slope, Quantity::SecondDerivative, Quantity::AlphaSlope];

const PUBLISHED: &[(&str, &[f64])] = &[
    ("relu", &[0.0, 0.0]),
    ("relu6", &[0.0, 0.0]),
    ("clipped_relu", &[0.0, 0.0]),
    ("hardtanh", &[0.0, 0.0]),
    ("thresholded_relu", &[0.0, 0.0]),
    ("threshold", &[0.0, 0.0]),
    ("hardshrink", &[0.0, 0.0]),
    ("leaky_relu", &[0.5]),
    ("prelu", &[0.5]),
    ("elu", &[2.0]),
    ("sigmoid", &[5.0, 8.0]),
    ("tanh", &[3.0, 8.0]),
    ("silu", &[6.0, 8.0, 8.0]),
    ("swish", &[6.0, 8.0, 8.0, 8.0]),
    ("softplus", &[6.0]),
    ("logsigmoid", &[6.0]),
    ("mish", &[8.0, 8.0, 16.0]),
    ("gelu_erf", &[8.0, 8.0, 6.0]),
    ("gelu_tanh", &[8.0, 10.0, 8.0]),
];

#[test]
fn no_tolerance_is_looser_than_published() {
    for (name, published) in PUBLISHED {
        let row = rows().iter().find(|row| row.name == *name).unwrap();
        for (quantity, published) in BY_ORDER.into_iter().zip(*published) {
            assert!(row.tolerance(quantity) <= *published, "{name} {quantity:?}: {}", row.tolerance(quantity));
        }
    }
}

/// `leaky_relu_0.01` is `leaky_relu(0.01)`; the building blocks are none.
fn of_golden_file(stem: &str) -> Option<Activation> {
    let text = match stem {
        "erf" | "normcdf" | "expm1" => return None,
        "hardsigmoid_onnx" => "hardsigmoid(0.2,0.5)".to_owned(),
        "softplus_1_thr20" => "softplus(1,20)".to_owned(),
        "silu" => "swish(1)".to_owned(),
        _ => {
            let parts: Vec<&str> = stem.split('_').collect();
            let names = parts.iter().take_while(|part| part.parse::<f32>().is_err()).count();
            let (name, parameters) = (parts[..names].join("_"), parts[names..].join(","));
            if parameters.is_empty() { name } else { format!("{name}({parameters})") }
        }
    };
    Some(parsed(&text))
}

#[test]
fn golden_values() {
    let mut failures = Vec::new();
    let mut checked = 0;
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")).unwrap() {
        let path = file.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|extension| extension != "tsv") || stem == "INDEX" {
            continue;
        }
        let Some(activation) = of_golden_file(stem) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
        let names = lines.next().unwrap();
        let table: Vec<Vec<&str>> = lines.collect();
        let of_bits = |bits: &str| f32::from_bits(u32::from_str_radix(bits, 16).unwrap());
        let z: Vec<f32> = table.iter().map(|cells| of_bits(cells[1])).collect();
        for (column, name) in names.iter().enumerate() {
            let quantity = match *name {
                "f" => Quantity::Value,
                "f1" => Quantity::Slope,
                "f2" => Quantity::SecondDerivative,
                "f3" => Quantity::ThirdDerivative,
                "da" | "db" => Quantity::AlphaSlope,
                "d1da" | "d1db" => Quantity::MixedDerivative,
                "d2da" | "d2db" => Quantity::MixedThirdDerivative,
                "dada" | "dbdb" => Quantity::SecondAlphaDerivative,
                _ => continue,
            };
            for ((cells, &z), got) in table.iter().zip(&z).zip(on_baseline(&activation, quantity, &z)) {
                let exact: f64 = cells[column].parse().unwrap();
                checked += 1;
                let ulp = error(exact, activation.terms(quantity, f64::from(z)), got);
                if ulp > activation.row().tolerance(quantity) {
                    failures.push(format!("{stem} {name} at {z:e}: {got:e}, exact {exact:e}, {ulp:.2} ulp"));
                }
            }
        }
    }
    assert!(checked > 130_000, "{checked}");
    assert!(failures.is_empty(), "{}\n{}", failures.len(), failures[..failures.len().min(60)].join("\n"));
}
