//! The golden values of every activation, on the adapter: alone and fused, value, slope, curvature and the α-slopes,
//! within the tolerance of the row. NaN, ±inf and the kinks are among the inputs.

use std::{fs, path::Path};

use elbow::{
    Activation, Gpu, Saved, View,
    activation::Quantity,
    affine::{self, Gradient},
    elementwise::{Backward, DoubleBackward, Forward},
    plan::Pin,
};

use crate::common::{gpu, ulp_of};

/// The SPEC of a golden file; `None` for the three building blocks that are no activations.
pub fn spec_of(stem: &str) -> Option<String> {
    let spec = match stem {
        "erf" | "normcdf" | "expm1" => return None,
        "softplus_1_thr20" => "softplus(1,20)".to_owned(),
        "threshold_0.1_20" => "threshold(0.1,20)".to_owned(),
        "hardsigmoid_onnx" => "hardsigmoid(0.2,0.5)".to_owned(),
        _ => match stem.rsplit_once('_') {
            Some((name, number)) if number.parse::<f32>().is_ok() => format!("{name}({number})"),
            _ => stem.to_owned(),
        },
    };
    Some(spec)
}

/// Inputs of one activation and what must come out.
pub struct Golden {
    pub activation: Activation,
    pub x: Vec<f32>,
    /// Columns: f, f1, f2, and where there is a learnable parameter da, d1da.
    pub columns: Vec<Vec<f64>>,
}

fn files() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "tsv") || path.file_stem().unwrap() == "INDEX" {
            continue;
        }
        let Some(spec) = spec_of(path.file_stem().unwrap().to_str().unwrap()) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().skip(1);
        let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
        // x, x_bits, then pairs of value and f32 bits, then kink.
        let values: Vec<usize> = (2..names.len() - 1).step_by(2).collect();
        let mut golden =
            Golden { activation: spec.parse().unwrap(), x: Vec::new(), columns: vec![Vec::new(); values.len()] };
        for line in lines {
            let cells: Vec<&str> = line.split('\t').collect();
            golden.x.push(f32::from_bits(u32::from_str_radix(cells[1], 16).unwrap()));
            for (column, &at) in golden.columns.iter_mut().zip(&values) {
                column.push(cells[at].parse().unwrap());
            }
        }
        files.push(golden);
    }
    assert_eq!(files.len(), 44);
    files
}

/// The worst error in ulp of the sum of terms; an error text for a wrong NaN or infinity or one above `limit`.
fn worst(golden: &Golden, quantity: Quantity, got: &[f32], expected: &[f64], limit: f64) -> Result<f64, String> {
    let mut worst = 0.0f64;
    for ((&x, &got), &expected) in golden.x.iter().zip(got).zip(expected) {
        let rounded = expected as f32;
        let right = if expected.is_nan() { got.is_nan() } else { got == rounded };
        if right {
            continue;
        }
        let scale = expected.abs().max(golden.activation.terms(quantity, f64::from(x)));
        // What overflows f32 by less than its tolerance may round either way.
        let got = if got.is_infinite() && !expected.is_infinite() {
            f64::from(f32::MAX).copysign(f64::from(got))
        } else {
            f64::from(got)
        };
        let error = (got - expected).abs() / ulp_of(if scale.is_finite() { scale } else { f64::from(f32::MAX) });
        if error > limit || error.is_nan() {
            return Err(format!(
                "{} {quantity:?} at {x:e}: {got:e}, expected {expected:e}, {error:.1} ulp, allowed {limit}",
                golden.activation
            ));
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

/// The elementwise operators on the golden inputs; the worst ulp of each quantity, and every failure.
pub fn alone(gpu: &Gpu, golden: &Golden, failures: &mut Vec<String>) -> [f64; 5] {
    let n = golden.x.len();
    let shape = [n];
    let learnable = golden.activation.has_alpha();
    let x = gpu.upload(&golden.x, &shape).unwrap();
    let ones = gpu.upload(&vec![1.0; n], &shape).unwrap();
    // One α for each element: its gradient is then that of each element alone.
    let alpha = gpu.upload(&vec![golden.activation.params()[0]; n], &shape).unwrap();
    let alpha: Option<View<'_>> = learnable.then(|| alpha.view());
    let out: Vec<_> = (0..6).map(|_| gpu.zeros(&shape).unwrap()).collect();
    gpu.submit_pass(|pass| {
        Forward { alpha, ..Forward::new(golden.activation, &x, &out[0]) }.record(gpu, &mut *pass)?;
        let backward = Backward {
            alpha,
            dx: Gradient::overwrite(&out[1]),
            dalpha: if learnable { Gradient::overwrite(&out[2]) } else { None },
            ..Backward::new(golden.activation, &x, &ones)
        };
        backward.record(gpu, &mut *pass)?;
        let double = DoubleBackward {
            alpha,
            ddy: Gradient::overwrite(&out[3]),
            dx2: Gradient::overwrite(&out[4]),
            dalpha2: if learnable { Gradient::overwrite(&out[5]) } else { None },
            ..DoubleBackward::new(golden.activation, &x, &ones, &ones)
        };
        double.record(gpu, &mut *pass)
    })
    .unwrap();
    let row = golden.activation.row();
    let quantities = [(0, 0), (1, 1), (3, 1), (4, 2), (2, 3), (5, 4)];
    let mut figures = [0.0f64; 5];
    for (tensor, quantity) in quantities {
        if quantity >= 3 && !learnable {
            continue;
        }
        let got = gpu.download(&out[tensor]).unwrap();
        let what = Quantity::ALL[quantity];
        let expected: Vec<f64> = match golden.columns.get(quantity) {
            Some(column) => column.clone(),
            // No golden column: the f64 mathematics, itself tested against the others.
            None => golden.x.iter().map(|&x| golden.activation.evaluate(what, f64::from(x))).collect(),
        };
        match worst(golden, what, &got, &expected, row.tolerance(what)) {
            Ok(ulp) => figures[quantity] = figures[quantity].max(ulp),
            Err(failure) => failures.push(failure),
        }
    }
    figures
}

/// z = x·1: the same values through the product, its epilogue, and the prologue or the pass of backward.
fn fused(gpu: &Gpu, golden: &Golden, saved: Saved, failures: &mut Vec<String>) {
    let n = golden.x.len();
    let (column, one) = ([n, 1], [1, 1]);
    let x = gpu.upload(&golden.x, &column).unwrap();
    let w = gpu.upload(&[1.0], &one).unwrap();
    let dy = gpu.upload(&vec![1.0; n], &column).unwrap();
    let [y, z, dx] = std::array::from_fn(|_| gpu.zeros(&column).unwrap());
    gpu.submit_pass(|pass| {
        // The smallest tile: its kernels are compiled once for each activation.
        let pin = Pin { tile: Some(3), ..Pin::default() };
        let forward = affine::Forward {
            pin,
            saved,
            save_to: (saved == Saved::Z).then(|| z.view()),
            ..affine::Forward::new(golden.activation, &x, &w, &y)
        };
        forward.record(gpu, &mut *pass)?;
        let backward = affine::Backward {
            pin,
            x: Some(x.view()),
            w: Some(w.view()),
            saved_from: match saved {
                Saved::Z => Some(z.view()),
                Saved::Y => Some(y.view()),
                _ => None,
            },
            dx: Gradient::overwrite(&dx),
            ..affine::Backward::new(golden.activation, saved, &dy)
        };
        backward.record(gpu, &mut *pass)
    })
    .unwrap();
    let row = golden.activation.row();
    for (tensor, quantity) in [(&y, 0), (&dx, 1)] {
        let what = Quantity::ALL[quantity];
        let got = gpu.download(tensor).unwrap();
        let limit = if saved == Saved::Y { 8.0 } else { row.tolerance(what) };
        failures.extend(worst(golden, what, &got, &golden.columns[quantity], limit).err());
    }
}

#[test]
fn golden_values_alone() {
    let mut failures = Vec::new();
    for golden in files() {
        alone(gpu(), &golden, &mut failures);
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn golden_values_fused() {
    let mut failures = Vec::new();
    for golden in files() {
        let a = &golden.activation;
        fused(gpu(), &golden, Saved::Z, &mut failures);
        if a.saved_is_enough(Saved::Y, false, false, false).is_ok() && a.slope_of_y_is_accurate() {
            fused(gpu(), &golden, Saved::Y, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
