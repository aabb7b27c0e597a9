//! Weights of classes in the softmax cross-entropy, and one number for all rows of any loss, against the reference.

use elbow::{
    Error, Operand,
    cpu::{CrossEntropy, reference},
    criterion::{Criterion, Reduction},
    train::{Loss, SoftmaxCrossEntropy},
};
use elbow_verify::{Classes, Close};

use crate::common::{Numbers, as_a_gpu, gpu, right, ulp_of};

/// Distance in such units; NaN and infinities must be the same.
fn off(got: f32, right: f64, unit: f64) -> f64 {
    let got = f64::from(got);
    if got == right || (got.is_nan() && right.is_nan()) {
        return 0.0;
    }
    // Flushing a subnormal is no error.
    let tiny = 1.001 * f64::from(f32::MIN_POSITIVE);
    let lost = if right.abs() < tiny && got.abs() < tiny { 0.0 } else { (got - right).abs() / unit };
    if lost.is_nan() { f64::INFINITY } else { lost }
}

/// Weights of rare and of common classes, with one that counts nothing.
fn weights(classes: usize) -> Vec<f32> {
    (0..classes).map(|c| [0.7, 12.5, 0.0, 1.0, 0.03][(c + 3) % 5]).collect()
}

#[test]
fn loss_gradient_and_mean_are_weighted() {
    for gpu in [gpu(), as_a_gpu()] {
        let mut numbers = Numbers::new(5);
        let mut worst = Close::default();
        for classes in [2usize, 3, 4, 10, 65, 260, 4097] {
            for (choice, smoothing) in [0.0f32, 0.1, 0.6].into_iter().enumerate() {
                for ignored in [None, Some(1u32)] {
                    let rows = 9;
                    let mut logits: Vec<f32> = (0..rows * classes).map(|_| 4.0 * numbers.normal()).collect();
                    let labels: Vec<u32> = (0..rows).map(|m| (m * 7 % classes.min(8)) as u32).collect();
                    logits[classes + labels[1] as usize] = -30.0;
                    let mut case = Classes::new(logits, labels);
                    (case.ignore_index, case.label_smoothing, case.total) = (ignored, smoothing, true);
                    case.reduction = [Reduction::Mean, Reduction::Sum][(choice + classes) % 2];
                    case.class_weight = Some(weights(classes));
                    let name = format!("{classes} classes, smoothing {smoothing}, {ignored:?}, {:?}", case.reduction);
                    worst = worst.and(right(&name, case.check(gpu)));
                }
            }
        }
        println!("weighted: worst {worst:?}");
    }
}

/// A class without weight, or a label that is none, in a row that another row must not see; and a loss scale, which is not a part of the total.
#[test]
fn rows_without_weight_and_without_class() {
    let gpu = gpu();
    let logits = [[f32::NAN, 1.0, 2.0], [0.0, 1.0, 2.0], [3.0, 0.0, 0.5], [0.0, 0.0, f32::INFINITY]].concat();
    let x = gpu.upload(&logits, &[4, 3]).unwrap();
    let w = gpu.upload(&[0.0, 2.0, 3.0], &[3]).unwrap();
    let state = gpu.upload(&[1024.0, 0.0, 0.0, 0.0], &[4]).unwrap();
    let run = |labels: [u32; 4]| {
        let words = gpu.upload_words(&labels, &[4]).unwrap();
        let (loss, dx, total) =
            (gpu.zeros(&[4]).unwrap(), gpu.upload(&[7.0; 12], &[4, 3]).unwrap(), gpu.zeros(&[1]).unwrap());
        let call = SoftmaxCrossEntropy::new(&x, &words, &loss, &dx).class_weight(&w).loss_scale(&state).total(&total);
        gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
        (gpu.download(&loss).unwrap(), gpu.download(&dx).unwrap(), gpu.download(&total).unwrap()[0])
    };
    // Rows 0 and 3 have the label of weight 0, whatever they hold.
    let (loss, dx, total) = run([0, 1, 2, 0]);
    let request = CrossEntropy::new(3).class_weight(Some(&[0.0, 2.0, 3.0]));
    let right = reference::cross_entropy(&request, &logits, &[0, 1, 2, 0]).unwrap();
    assert!(right.total > 0.0 && off(total, right.total, ulp_of(right.total)) < 8.0, "{total} {}", right.total);
    assert!([0, 3].iter().all(|&m| loss[m] == 0.0 && dx[3 * m..][..3] == [0.0; 3]), "{loss:?} {dx:?}");
    for (got, right) in dx.iter().zip(&right.dlogits) {
        assert!(off(*got, 1024.0 * right, ulp_of(1024.0 * right)) <= 16.0, "{got} {right}");
    }
    // A label that is no class spoils its row, and the total, and no other row.
    let (loss, dx, total) = run([0, 7, 2, 0]);
    assert!(loss[1].is_nan() && total.is_nan() && loss[2].is_finite(), "{loss:?}");
    assert!(dx[3..6].iter().all(|d| d.is_nan()) && dx[6..9].iter().all(|d| d.is_finite() && *d != 0.0), "{dx:?}");
    // No row counts: gradients are 0, and there is no mean.
    let (loss, dx, total) = run([0; 4]);
    assert!(loss == [0.0; 4] && dx == [0.0; 12] && total.is_nan(), "{loss:?} {dx:?} {total}");
}

/// Any number of rows, in one workgroup and in many; the same bits again, and nothing beside the number.
#[test]
fn one_number_for_all_rows() {
    let gpu = gpu();
    let mut numbers = Numbers::new(8);
    for rows in [1usize, 3, 1024, 1025, 5000, 70_000] {
        let y: Vec<f32> = (0..2 * rows).map(|_| numbers.normal()).collect();
        let t: Vec<f32> = (0..2 * rows).map(|i| (i % 2) as f32).collect();
        let (y_, t_) = (gpu.upload(&y, &[rows, 2]).unwrap(), gpu.upload(&t, &[rows, 2]).unwrap());
        let labels: Vec<u32> = (0..rows as u32).map(|m| m % 3).collect();
        let words = gpu.upload_words(&labels, &[rows]).unwrap();
        let (loss, dy) = (gpu.zeros(&[rows]).unwrap(), gpu.zeros(&[rows, 2]).unwrap());
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let run = |of_classes: bool| {
                let three = gpu.upload(&[-7.0; 3], &[3]).unwrap();
                let total = three.view().slice(0, 1..2).unwrap();
                gpu.submit(|encoder| match of_classes {
                    true => {
                        let call = SoftmaxCrossEntropy::new(&y_, &words, &loss, &dy).ignore_index(2);
                        call.reduction(reduction).total(total).record(gpu, encoder)
                    }
                    false => {
                        let call = Loss::new(Criterion::BinaryCrossEntropy, &y_, &t_, &loss, &dy);
                        call.reduction(reduction).total(total).record(gpu, encoder)
                    }
                })
                .unwrap();
                let got = gpu.download(&three).unwrap();
                assert!(got[0] == -7.0 && got[2] == -7.0, "{got:?}");
                got[1]
            };
            let request = CrossEntropy::new(2).ignore_index(2).reduction(reduction);
            let classes = reference::cross_entropy(&request, &y, &labels).unwrap().total;
            let elements =
                reference::elementwise_loss(Criterion::BinaryCrossEntropy, reduction, 2, [&y, &t], None, None);
            for (of_classes, right) in [(true, classes), (false, elements.unwrap().total)] {
                let got = run(of_classes);
                assert!(off(got, right, ulp_of(right)) <= 8.0, "{rows} rows, {reduction:?}: {got}, right {right}");
                assert_eq!(got.to_bits(), run(of_classes).to_bits());
            }
        }
    }
}

#[test]
fn mistakes_are_told() {
    let gpu = gpu();
    let (x, dx) = (gpu.zeros(&[4, 3]).unwrap(), gpu.upload(&[5.0; 12], &[4, 3]).unwrap());
    let (words, loss) = (gpu.upload_words(&[0; 4], &[4]).unwrap(), gpu.zeros(&[4]).unwrap());
    let three_words = gpu.upload_words(&[0; 3], &[3]).unwrap();
    let usual = SoftmaxCrossEntropy::new(&x, &words, &loss, &dx);
    let of_elements = Loss::new(Criterion::SquaredError, &x, &x, &loss, &dx);
    let errors = [
        (usual.class_weight(&loss).plan(gpu).unwrap_err(), Operand::ClassWeight),
        (usual.class_weight(&three_words).plan(gpu).unwrap_err(), Operand::ClassWeight),
        (usual.total(&loss).plan(gpu).unwrap_err(), Operand::Total),
        (of_elements.total(&loss).plan(gpu).unwrap_err(), Operand::Total),
    ];
    for (error, operand) in errors {
        let named =
            matches!(error, Error::Shape { operand: o, .. } | Error::Operand { operand: o, .. } if o == operand);
        assert!(named, "{error}");
    }
    assert!(gpu.download(&dx).unwrap().iter().all(|&v| v == 5.0), "nothing was written");
}
