//! Softmax cross-entropy against the reference: any number of classes in any order, and what labels may be.

use elbow::{
    Float, Gpu,
    cpu::reference::{self, LossOutputs},
    train::{LossScale, SoftmaxCrossEntropy},
};

use crate::common::{Numbers, as_a_gpu, full, gpu, ulp_of};

/// Ulp that a loss, and that an element of the gradient may be off: the documented bounds.
const LOSS: f64 = 8.0;
const GRADIENT: f64 = 12.0;

struct Case {
    logits: Vec<f32>,
    labels: Vec<u32>,
    classes: usize,
    ignore_index: Option<u32>,
}

impl Case {
    fn new(logits: Vec<f32>, labels: Vec<u32>) -> Self {
        let classes = logits.len() / labels.len();
        Case { logits, labels, classes, ignore_index: None }
    }

    fn run(&self, gpu: &Gpu) -> (Vec<f32>, Vec<f32>) {
        let rows = self.labels.len();
        let logits = gpu.upload(&self.logits, &[rows, self.classes]).unwrap();
        let labels = gpu.upload_words(&self.labels, &[rows]).unwrap();
        // What a call that writes nothing would leave.
        let loss = gpu.upload(&vec![-7.0; rows], &[rows]).unwrap();
        let dlogits = gpu.upload(&vec![-7.0; self.logits.len()], &[rows, self.classes]).unwrap();
        let call = SoftmaxCrossEntropy::new(&logits, &labels, &loss, &dlogits).ignore_index(self.ignore_index);
        gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
        (gpu.download(&loss).unwrap(), gpu.download(&dlogits).unwrap())
    }

    fn reference(&self) -> LossOutputs {
        reference::softmax_cross_entropy(&self.logits, &self.labels, self.classes, self.ignore_index).unwrap()
    }

    /// The worst error of loss and gradient in ulp, and of a row's sum in 2⁻²⁴ of the sum of its absolute values.
    fn check(&self, gpu: &Gpu, name: &str) -> [f64; 3] {
        let ((loss, dlogits), expected) = (self.run(gpu), self.reference());
        let worst = |what: &str, bound: f64, got: &[f32], expected: &[f64]| -> f64 {
            let mut worst = 0.0f64;
            for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
                let off = off(got, expected);
                assert!(off <= bound, "{name}: {what}[{i}] of {} classes is {got:e}, right {expected:e}", self.classes);
                worst = worst.max(off);
            }
            worst
        };
        let of_rows = dlogits.chunks(self.classes).map(|row| {
            let [sum, all] =
                row.iter().fold([0.0, 0.0], |[sum, all], &d| [sum + f64::from(d), all + f64::from(d).abs()]);
            // What is smaller than the smallest normal number may have become 0.
            let flushed = row.len() as f64 * f64::from(f32::MIN_POSITIVE);
            if sum.is_nan() { 0.0 } else { (sum.abs() - flushed).max(0.0) / all.max(1e-300) * f64::from(1 << 24) }
        });
        let rows = of_rows.fold(0.0, f64::max);
        assert!(rows <= 8.0, "{name}: a row of {} classes sums to {rows} · 2^-24 of its terms", self.classes);
        let loss = worst("loss", LOSS, &loss, &expected.loss);
        [loss, worst("dlogits", GRADIENT, &dlogits, &expected.dlogits), rows]
    }
}

/// Distance in ulp. Flushing a subnormal result, or one that rounds across that border, is no error.
fn off(got: f32, expected: f64) -> f64 {
    if expected.is_nan() || got.is_nan() {
        return if expected.is_nan() == got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if expected.is_infinite() || expected.abs() > f64::from(f32::MAX) {
        return if f64::from(got) == expected.signum() * f64::INFINITY { 0.0 } else { f64::INFINITY };
    }
    if expected.abs() < 1.00001 * f64::from(f32::MIN_POSITIVE)
        && f64::from(got.abs()) < 1.0001 * f64::from(f32::MIN_POSITIVE)
    {
        return 0.0;
    }
    (f64::from(got) - expected).abs() / ulp_of(expected)
}

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
        let mut worst = [0.0f64; 3];
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
            let got = Case::new(logits, labels).check(gpu, "any order");
            println!("{classes} classes: loss {:.1} ulp, gradient {:.1} ulp, rows {:.1}", got[0], got[1], got[2]);
            worst = std::array::from_fn(|i| worst[i].max(got[i]));
        }
        println!(
            "worst: loss {:.2} ulp, gradient {:.2} ulp, a row's sum {:.2} · 2^-24 of its terms",
            worst[0], worst[1], worst[2]
        );
    }
}

#[test]
fn losses_that_were_wrong() {
    let gpu = gpu();
    let classes = 50_257;
    let mut confident = vec![-12.0f32; classes];
    confident[classes - 1] = 0.0;
    let case = Case::new(confident, vec![classes as u32 - 1]);
    case.check(gpu, "the last label on top");
    assert!((case.run(gpu).0[0] - 0.269).abs() < 1e-3, "{:?}", case.run(gpu).0);
    // No class is likelier than another: log(classes), whatever the number.
    for classes in [21_845, 128_256, 300_000] {
        let case = Case::new(vec![1.5; classes], vec![7]);
        case.check(gpu, "all the same");
        assert!((f64::from(case.run(gpu).0[0]) - (classes as f64).ln()).abs() < 2e-6);
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
            let case = Case::new(labels.iter().flat_map(|&l| logits(l)).collect(), labels.map(|l| l as u32).to_vec());
            case.check(gpu, "a gap");
            // And the label far below.
            let logits: Vec<f32> = case.logits.iter().map(|z| -z).collect();
            Case::new(logits, case.labels).check(gpu, "a gap the other way");
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
            let case = Case::new(logits, labels);
            let expected = case.reference();
            assert!(expected.loss[0].is_finite() && expected.loss.contains(&f64::INFINITY));
            let (loss, dlogits) = case.run(gpu);
            for (i, (&got, &expected)) in loss.iter().zip(&expected.loss).enumerate() {
                assert!(off(got, expected) <= LOSS, "{classes} classes, row {i}: {got}, right {expected}");
            }
            for (i, (&got, &expected)) in dlogits.iter().zip(&expected.dlogits).enumerate() {
                assert!(
                    off(got, expected) <= GRADIENT,
                    "{classes} classes, row {}: {got}, right {expected}",
                    i / classes
                );
            }
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
        let case = Case::new(logits, labels);
        case.check(gpu, "labels that are no class");
        let (loss, dlogits) = case.run(gpu);
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
                let case = Case { ignore_index: Some(ignored), ..Case::new(logits, (0..rows).map(label).collect()) };
                case.check(gpu, "ignored rows");
                let (loss, dlogits) = case.run(gpu);
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
    let case = Case { ignore_index: Some(9), ..Case::new(logits, labels) };
    case.check(gpu, "many rows");
    // 3,333 rows with a gradient of ±1/2 each.
    assert!((case.run(gpu).1[2].abs() - 0.5 / 3333.0).abs() < 1e-9);
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
            let expected = reference::softmax_cross_entropy(&logits, &labels, classes, None).unwrap();
            let x = gpu.upload_as(dtype, &logits, &[rows, classes]).unwrap();
            let dx = gpu.zeros_of(dtype, &[rows, classes]).unwrap();
            let (labels, loss) = (gpu.upload_words(&labels, &[rows]).unwrap(), gpu.zeros(&[rows]).unwrap());
            let state = gpu.upload(&[1024.0, 0.0, 0.0, 0.0], &[4]).unwrap();
            let call = SoftmaxCrossEntropy::new(&x, &labels, &loss, &dx).loss_scale(state.view());
            gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
            for (&got, &expected) in gpu.download(&loss).unwrap().iter().zip(&expected.loss) {
                assert!(off(got, expected) <= LOSS, "{dtype}: {got}, right {expected}");
            }
            for (&got, &expected) in gpu.download(&dx).unwrap().iter().zip(&expected.dlogits) {
                let expected = 1024.0 * expected;
                let allowed = dtype.rounding(expected) * 1.001 + GRADIENT * ulp_of(expected);
                assert!((f64::from(got) - expected).abs() <= allowed, "{dtype}: {got}, right {expected}");
            }
        }
    }
}
