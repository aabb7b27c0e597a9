//! The golden values of every activation, on the adapter: alone and fused, value, slope, curvature and the α-slopes,
//! within the tolerance of the row. NaN, ±inf and the kinks are among the inputs.

use std::{fs, path::Path};

use elbow::{Float, Gpu, Saved, activation::Quantity, affine, plan::Pin};
use elbow_verify::points::{self, Kernels, Points};

use crate::common::{gpu, judge};

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

/// Every file; a quantity that a file has no column for is judged by the f64 mathematics, itself tested against the others.
fn files() -> Vec<Points> {
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
        let rows: Vec<Vec<&str>> = lines.map(|line| line.split('\t').collect()).collect();
        let x = rows.iter().map(|cells| f32::from_bits(u32::from_str_radix(cells[1], 16).unwrap())).collect();
        let mut points = Points::new(spec.parse().unwrap(), x);
        // x, x_bits, then pairs of value and f32 bits, then kink.
        for (column, at) in points.expected.iter_mut().zip((2..names.len() - 1).step_by(2)) {
            *column = rows.iter().map(|cells| cells[at].parse().unwrap()).collect();
        }
        files.push(points);
    }
    assert_eq!(files.len(), 44);
    files
}

fn check(points: &Points, quantity: Quantity, got: &[f32], limit: f64, failures: &mut Vec<String>) {
    let worst = points.worst(judge(), quantity, got);
    if worst.ulp > limit {
        failures.push(format!("{}: {worst:?}, allowed {limit}", points.activation));
    }
}

/// z = x·1: the same values through the product, its epilogue, and the prologue or the pass of backward.
fn fused(gpu: &Gpu, golden: &Points, saved: Saved, failures: &mut Vec<String>) {
    let n = golden.x.len();
    let (column, one) = ([n, 1], [1, 1]);
    let x = gpu.upload(&golden.x, &column).unwrap();
    let w = gpu.upload(&[1.0], &one).unwrap();
    let dy = gpu.upload(&vec![1.0; n], &column).unwrap();
    let [y, z, dx] = std::array::from_fn(|_| gpu.zeros(&column).unwrap());
    gpu.submit_pass(|pass| {
        // The smallest tile: its kernels are compiled once for each activation.
        let pin = Pin::default().tile(3);
        let forward = affine::Forward::new(golden.activation, &x, &w, &y)
            .pin(pin)
            .saved(saved)
            .save_to((saved == Saved::Z).then(|| z.view()));
        forward.record(gpu, &mut *pass)?;
        forward.backward(&dy).dx(&dx).record(gpu, &mut *pass)
    })
    .unwrap();
    let row = golden.activation.row();
    for (tensor, quantity) in [(&y, Quantity::Value), (&dx, Quantity::Slope)] {
        let limit = if saved == Saved::Y { 8.0 } else { row.tolerance(quantity) };
        check(golden, quantity, &gpu.download(tensor).unwrap(), limit, failures);
    }
}

#[test]
fn golden_values_alone() {
    let mut failures = Vec::new();
    for golden in files() {
        for (quantity, got) in points::on_device(gpu(), golden.activation, &golden.x, Kernels::All).unwrap() {
            check(&golden, quantity, &got, golden.activation.row().tolerance(quantity), &mut failures);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn golden_values_fused() {
    let mut failures = Vec::new();
    for golden in files() {
        let a = &golden.activation;
        fused(gpu(), &golden, Saved::Z, &mut failures);
        if a.saved_is_enough(Saved::Y, false, false, false, Float::F32).is_ok() && a.slope_of_y_is_accurate() {
            fused(gpu(), &golden, Saved::Y, &mut failures);
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
