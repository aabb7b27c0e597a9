//! Softmax cross-entropy against the reference: any number of classes in any order, and what labels may be.

use elbow::{Float, cpu::reference, train::LossScale};
use elbow_verify::{Classes, Close, Losses};

use crate::common::{Numbers, as_a_gpu, full, gpu, right};

/// Logits of one row in an order or of a size that a careless sum does not survive.
fn row(kind: usize, classes: usize, numbers: &mut Numbers) -> Vec<f32> {
    let mut normal = || numbers.normal();
    let at = |c: usize| c as f32 / classes as f32;
    match kind {
        0 => (0..classes).map(|_| 3.0 * normal()).collect(),
        1 => (0..classes).map(|c| 40.0 * at(c) - 20.0).collect(),
        2 => (0..classes).map(|c| 20.0 - 40.0 * at(c)).collect(),
        3 => vec![0.1; classes],
        4 => (0..classes).map(|c| if c == 0 { 16.0 } else { 0.001 * normal() }).collect(),
        5 => (0..classes).map(|_| 0.3 + 30.0 * normal()).collect(),
        6 => (0..classes).map(|c| 10_000.0 * at(c) - 3.3).collect(),
        7 => (0..classes).map(|c| 1e6 + (c % 7) as f32 * 0.25).collect(),
        _ => (0..classes).map(|_| -12.3 + 0.1 * normal()).collect(),
    }
}

const KINDS: usize = 9;

fn sizes() -> Vec<usize> {
    let mut sizes: Vec<usize> =
        (2..12).chain([15, 16, 17, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257]).collect();
    sizes.extend([1000, 1024, 1025, 4095, 4097, 21_844, 21_846, 50_257, 65_536, 65_537, 128_256, 200_000]);
    if !full() {
        sizes.retain(|&s| s < 1100 || [4097, 50_257, 65_537, 200_000].contains(&s));
    }
    sizes
}

/// The label first, in the middle, last, and on top; also with as many lanes a row as on a GPU.
#[test]
fn any_number_of_classes_in_any_order() {
    for gpu in [gpu(), as_a_gpu()] {
        let mut numbers = Numbers::new(11);
        let mut worst = Close::default();
        for classes in sizes() {
            let (mut logits, mut labels) = (Vec::new(), Vec::new());
            for kind in 0..KINDS {
                for label in [0, classes / 2, classes - 1] {
                    let mut row = row(kind, classes, &mut numbers);
                    if kind == KINDS - 1 {
                        row[label] = 0.1;
                    }
                    logits.extend(row);
                    labels.push(label as u32);
                }
            }
            let close = right(&format!("{classes} classes"), Classes::new(logits, labels).check(gpu));
            println!("{classes} classes: {close:?}");
            worst = worst.and(close);
        }
        println!("worst {worst:?}");
    }
}

#[test]
fn losses_that_were_wrong() {
    let gpu = gpu();
    let classes = 50_257;
    let mut confident = vec![-12.0f32; classes];
    confident[classes - 1] = 0.0;
    let case = Classes::new(confident, vec![classes as u32 - 1]);
    right("the last label on top", case.check(gpu));
    let loss = case.run(gpu).unwrap().loss[0];
    assert!((loss - 0.269).abs() < 1e-3, "{loss}");
    // No class is likelier than another: log(classes), whatever the number.
    for classes in [21_845, 128_256, 300_000] {
        let case = Classes::new(vec![1.5; classes], vec![7]);
        right("all the same", case.check(gpu));
        assert!((f64::from(case.run(gpu).unwrap().loss[0]) - (classes as f64).ln()).abs() < 2e-6);
    }
}

/// The gradient of a label that is almost sure does not vanish, nor does its loss.
#[test]
fn small_losses_keep_their_digits() {
    let gpu = gpu();
    for gap in [1.0f32, 5.3, 15.9, 16.1, 20.7, 40.3, 80.1] {
        for classes in [2, 10, 1000] {
            let logits = |label: usize| (0..classes).map(move |c| if c == label { 0.7 } else { 0.7 - gap });
            let labels = [0, classes / 2, classes - 1];
            let case =
                Classes::new(labels.iter().flat_map(|&l| logits(l)).collect(), labels.map(|l| l as u32).to_vec());
            right("a gap", case.check(gpu));
            // And the label far below.
            let logits: Vec<f32> = case.logits.iter().map(|z| -z).collect();
            right("a gap the other way", Classes::new(logits, case.labels).check(gpu));
        }
    }
}

/// PyTorch's answers.
#[test]
fn infinite_and_missing_logits() {
    for gpu in [gpu(), as_a_gpu()] {
        let inf = f32::INFINITY;
        for classes in [3, 4, 5, 10, 70, 260, 3000] {
            let (mut logits, mut labels) = (Vec::new(), Vec::new());
            let mut add = |label: usize, changes: &[(usize, f32)]| {
                let mut row: Vec<f32> = (0..classes).map(|c| (c % 5) as f32 * 0.5 - 1.0).collect();
                changes.iter().for_each(|&(c, z)| row[c % classes] = z);
                logits.extend(row);
                labels.push((label % classes) as u32);
            };
            let last = classes - 1;
            add(0, &[]);
            for (label, other) in [(0, last), (last, 0), (1, 2)] {
                for bad in [f32::NAN, -f32::NAN, inf, -inf, f32::MAX, -f32::MAX] {
                    add(label, &[(other, bad)]);
                    add(label, &[(label, bad)]);
                    add(label, &[(other, bad), (label, bad)]);
                }
            }
            add(1, &(0..classes).map(|c| (c, -inf)).collect::<Vec<_>>());
            add(1, &(0..classes).map(|c| (c, -f32::MAX)).collect::<Vec<_>>());
            add(1, &(0..classes).map(|c| (c, if c == 1 { 3.0 } else { -inf })).collect::<Vec<_>>());
            add(0, &[]);
            let expected = reference::softmax_cross_entropy(&logits, &labels, classes, None).unwrap();
            assert!(expected.loss[0].is_finite() && expected.loss.contains(&f64::INFINITY));
            right(&format!("{classes} classes"), Classes::new(logits, labels).check(gpu));
        }
    }
}

/// A label that is no class: NaN in loss and gradient, and the loss scale leaves the step out.
#[test]
fn a_label_that_is_no_class_spoils_its_row() {
    let gpu = gpu();
    for classes in [3, 4, 129, 1024] {
        let labels = vec![0, classes as u32, 1, u32::MAX, -100i32 as u32, classes as u32 - 1];
        let logits: Vec<f32> = (0..labels.len() * classes).map(|i| (i % 11) as f32 * 0.3).collect();
        let case = Classes::new(logits, labels);
        right("labels that are no class", case.check(gpu));
        let Losses { loss, gradient: dlogits, .. } = case.run(gpu).unwrap();
        for (row, d) in dlogits.chunks(classes).enumerate() {
            let bad = [1, 3, 4].contains(&row);
            assert!(loss[row].is_nan() == bad && d.iter().all(|d| d.is_nan() == bad), "row {row}: {d:?}");
        }
        let gradient = gpu.upload(&dlogits, &[dlogits.len()]).unwrap();
        let state = gpu.upload(&LossScale::INITIAL, &[4]).unwrap();
        gpu.submit(|encoder| LossScale::new(&gradient, &state).record(gpu, encoder)).unwrap();
        assert_eq!(gpu.download(&state).unwrap()[1], 0.0, "the step is left out");
    }
}

/// Loss 0, gradient 0, and the mean over the other rows: any label may be the one, a class or not.
#[test]
fn rows_to_be_ignored() {
    let gpu = gpu();
    for (rows, classes) in [(1, 3), (7, 4), (70, 10), (5, 513), (3000, 2)] {
        for ignored in [0, 1, -100i32 as u32, u32::MAX] {
            for each in [1, 2, 5] {
                let label = |m: usize| if m.is_multiple_of(each) { ignored } else { (m % classes) as u32 };
                let mut logits: Vec<f32> = (0..rows * classes).map(|i| (i % 17) as f32 * 0.25).collect();
                // What an ignored row holds does not matter.
                logits[0] = f32::NAN;
                let usual = Classes::new(logits, (0..rows).map(label).collect());
                let case = Classes { ignore_index: Some(ignored), ..usual };
                right("ignored rows", case.check(gpu));
                let Losses { loss, gradient: dlogits, .. } = case.run(gpu).unwrap();
                for (m, &label) in case.labels.iter().enumerate() {
                    let zero = loss[m] == 0.0 && dlogits[m * classes..][..classes].iter().all(|&d| d == 0.0);
                    assert_eq!(zero, label == ignored, "row {m} of {rows}");
                }
            }
        }
    }
}

/// The rows to be counted are more than one workgroup looks through.
#[test]
fn many_rows_are_counted() {
    let gpu = gpu();
    let rows = 5000;
    let labels: Vec<u32> = (0..rows).map(|m| if m % 3 == 0 { 9 } else { (m % 2) as u32 }).collect();
    let logits = vec![0.5; 2 * rows];
    let case = Classes { ignore_index: Some(9), ..Classes::new(logits, labels) };
    right("many rows", case.check(gpu));
    // 3,333 rows with a gradient of ±1/2 each.
    assert!((case.run(gpu).unwrap().gradient[2].abs() - 0.5 / 3333.0).abs() < 1e-9);
}

/// In f16 and bf16, with a loss scale: what the reference says of the numbers as stored, rounded once.
#[test]
fn narrow_logits_and_a_loss_scale() {
    let gpu = gpu();
    let mut numbers = Numbers::new(3);
    for dtype in [Float::F16, Float::Bf16] {
        for (rows, classes) in [(5, 3), (6, 4), (9, 10), (3, 129), (2, 1028)] {
            let logits: Vec<f32> = (0..rows * classes).map(|_| dtype.round(4.0 * numbers.normal())).collect();
            let labels: Vec<u32> = (0..rows).map(|m| (m * 5 % classes) as u32).collect();
            let case = Classes { dtype, scale: 1024.0, ..Classes::new(logits, labels) };
            right(&format!("{dtype} {rows}x{classes}"), case.check(gpu));
        }
    }
}
