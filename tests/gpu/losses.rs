//! The elementwise losses against the reference, and label smoothing: tails, targets between 0 and 1, weights, types, gaps, and what is
//! no loss.

use elbow::{
    Error, Float, Gpu, Operand,
    cpu::reference,
    criterion::{Criterion, Reduction},
    train::{Loss, SoftmaxCrossEntropy},
};

use crate::common::{Numbers, as_a_gpu, gpu, ulp_of};

const CRITERIA: [Criterion; 4] = [
    Criterion::SquaredError,
    Criterion::Huber { delta: 1.0 },
    Criterion::Huber { delta: 0.3 },
    Criterion::BinaryCrossEntropy,
];
/// Ulp of an element, as documented; a row's sum of many adds some.
const ULP: f64 = 8.0;

struct Case {
    criterion: Criterion,
    reduction: Reduction,
    columns: usize,
    y: Vec<f32>,
    targets: Vec<f32>,
    row_weight: Option<Vec<f32>>,
    positive_weight: Option<Vec<f32>>,
    scale: f32,
    dtype: Float,
}

impl Case {
    fn new(criterion: Criterion, columns: usize, y: Vec<f32>, targets: Vec<f32>) -> Self {
        let (reduction, dtype) = (Reduction::Mean, Float::F32);
        Case { criterion, reduction, columns, y, targets, row_weight: None, positive_weight: None, scale: 1.0, dtype }
    }

    /// Loss and gradient, with a row of canaries behind each.
    fn run(&self, gpu: &Gpu) -> (Vec<f32>, Vec<f32>) {
        let (n, rows) = (self.columns, self.y.len() / self.columns);
        let y = gpu.upload_as(self.dtype, &self.y, &[rows, n]).unwrap();
        let targets = gpu.upload_as(self.dtype, &self.targets, &[rows, n]).unwrap();
        let loss = gpu.upload(&vec![f32::NAN; rows + 1], &[rows + 1]).unwrap();
        let dy = gpu.upload_as(self.dtype, &vec![f32::NAN; (rows + 1) * n], &[rows + 1, n]).unwrap();
        gpu.write(loss.view().slice(0, rows..rows + 1).unwrap(), &[-7.0]).unwrap();
        gpu.write(dy.view().slice(0, rows..rows + 1).unwrap(), &vec![-7.0; n]).unwrap();
        let vector = |v: &Option<Vec<f32>>| v.as_ref().map(|v| gpu.upload(v, &[v.len()]).unwrap());
        let (row_weight, positive_weight) = (vector(&self.row_weight), vector(&self.positive_weight));
        let state = (self.scale != 1.0).then(|| gpu.upload(&[self.scale, 0.0, 0.0, 0.0], &[4]).unwrap());
        let (here, there) = ([rows], [rows, n]);
        let call = Loss::new(self.criterion, &y, &targets, loss.view_as(&here), dy.view_as(&there))
            .reduction(self.reduction)
            .row_weight(row_weight.as_ref().map(|v| v.view()))
            .positive_weight(positive_weight.as_ref().map(|v| v.view()))
            .loss_scale(state.as_ref().map(|v| v.view()));
        gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
        let (mut loss, mut dy) = (gpu.download(&loss).unwrap(), gpu.download(&dy).unwrap());
        assert!(loss.pop() == Some(-7.0) && dy.split_off(rows * n).iter().all(|&v| v == -7.0), "written outside");
        (loss, dy)
    }

    fn check(&self, gpu: &Gpu, name: &str) -> f64 {
        let (loss, dy) = self.run(gpu);
        let parts = [self.y.as_slice(), &self.targets];
        let (weights, positive) = (self.row_weight.as_deref(), self.positive_weight.as_deref());
        let right = reference::elementwise_loss(self.criterion, self.reduction, self.columns, parts, weights, positive)
            .unwrap();
        let mut worst = 0.0f64;
        let n = self.columns;
        for (m, (&got, &right)) in loss.iter().zip(&right.loss).enumerate() {
            // All terms of a row have one sign; f32 sums of up to 1024 terms a lane.
            let off = off(got, right, ulp_of(right) * (1.0 + (n as f64).log2() / 4.0));
            assert!(off <= ULP + 4.0, "{name}: {:?} loss[{m}] is {got:e}, right {right:e}", self.criterion);
            worst = worst.max(off);
        }
        let f32_of = |v: f64| v * f64::from(self.scale);
        for (i, (&got, &right)) in dy.iter().zip(&right.dy).enumerate() {
            let right = f32_of(right);
            // What cancels in σ(y) − t is the target's ulp: the factor of an element makes it small.
            let factor = self.reduction_factor() * f64::from(self.scale) * self.weight_of(i);
            let between =
                self.criterion == Criterion::BinaryCrossEntropy && self.targets[i] > 0.0 && self.targets[i] < 1.0;
            let unit = if between { ulp_of(factor.abs().max(right.abs())) } else { ulp_of(right) };
            let unit = unit + self.dtype.rounding(right) * if self.dtype == Float::F32 { 0.0 } else { 1.001 / ULP };
            let off = off(got, right, unit);
            assert!(
                off <= ULP,
                "{name}: {:?} dy[{i}] is {got:e}, right {right:e}: y {}, target {}",
                self.criterion,
                self.y[i],
                self.targets[i]
            );
            worst = worst.max(off);
        }
        worst
    }

    fn reduction_factor(&self) -> f64 {
        if self.reduction == Reduction::Mean { 1.0 / self.y.len() as f64 } else { 1.0 }
    }

    fn weight_of(&self, i: usize) -> f64 {
        let row = self.row_weight.as_ref().map_or(1.0, |w| f64::from(w[i / self.columns]));
        row * self.positive_weight.as_ref().map_or(1.0, |w| f64::from(w[i % self.columns])).max(1.0)
    }
}

/// Distance in units. Flushing a subnormal result is no error.
fn off(got: f32, right: f64, unit: f64) -> f64 {
    if right.is_nan() || got.is_nan() {
        return if right.is_nan() == got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if right.is_infinite() || right.abs() > f64::from(f32::MAX) {
        return if f64::from(got) == right.signum() * f64::INFINITY { 0.0 } else { f64::INFINITY };
    }
    let tiny = 1.001 * f64::from(f32::MIN_POSITIVE);
    if right.abs() < tiny && f64::from(got.abs()) < tiny { 0.0 } else { (f64::from(got) - right).abs() / unit }
}

fn targets(criterion: Criterion, count: usize, numbers: &mut Numbers) -> Vec<f32> {
    (0..count)
        .map(|i| match (criterion, i % 5) {
            (Criterion::BinaryCrossEntropy, 0) => 0.3,
            (Criterion::BinaryCrossEntropy, lane) => (lane % 2) as f32,
            _ => numbers.normal(),
        })
        .collect()
}

#[test]
fn losses_are_those_of_the_reference() {
    for gpu in [gpu(), as_a_gpu()] {
        let mut numbers = Numbers::new(5);
        let mut worst = 0.0f64;
        for criterion in CRITERIA {
            for (rows, columns) in
                [(1, 1), (7, 1), (300, 1), (5, 3), (4, 8), (33, 10), (9, 129), (3, 1000), (2, 5001), (1200, 4)]
            {
                for plain in [true, false] {
                    let y = (0..rows * columns).map(|_| 2.0 * numbers.normal()).collect();
                    let mut case = Case::new(criterion, columns, y, targets(criterion, rows * columns, &mut numbers));
                    if !plain {
                        case.reduction = Reduction::Sum;
                        case.scale = 1024.0;
                        case.row_weight = Some((0..rows).map(|m| (m % 3) as f32 * 0.5).collect());
                        case.positive_weight = (criterion == Criterion::BinaryCrossEntropy)
                            .then(|| (0..columns).map(|n| 1.0 + (n % 4) as f32).collect());
                    }
                    worst = worst.max(case.check(gpu, &format!("{rows}x{columns}")));
                }
            }
        }
        println!("worst {worst:.2} ulp");
    }
}

/// Losses and gradients of examples that are all but sure keep their digits, on both sides, and at the kink of Huber's.
#[test]
fn tails_keep_their_digits() {
    let gpu = gpu();
    let steps: Vec<f32> = (0..200).map(|i| 1e-6 * 1.1f32.powi(i)).collect();
    let y: Vec<f32> = steps.iter().flat_map(|&v| [v.min(87.0), -v.min(87.0)]).collect();
    for target in [0.0, 1.0] {
        let case = Case::new(Criterion::BinaryCrossEntropy, 1, y.clone(), vec![target; y.len()]);
        println!("tails: worst {:.2} ulp", case.check(gpu, "tails"));
    }
    // e^-40 where 1 - σ(40) rounds to 0.
    let sure = Case::new(Criterion::BinaryCrossEntropy, 1, vec![40.0], vec![1.0]).run(gpu);
    assert!(
        (sure.0[0] / 4.248_354_4e-18 - 1.0).abs() < 1e-5 && (sure.1[0] / -4.248_354_4e-18 - 1.0).abs() < 1e-5,
        "{sure:?}"
    );
    let near: Vec<f32> = [0.999_999_94, 1.0, 1.000_000_1, -1.0, -1.000_000_1, 0.0, -0.0, 1e-30, 3e18].to_vec();
    Case::new(Criterion::Huber { delta: 1.0 }, 1, near.clone(), vec![0.0; 9]).check(gpu, "kink");
    Case::new(Criterion::SquaredError, 1, near, vec![0.0; 9]).check(gpu, "squares");
}

#[test]
fn infinities_and_nan() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for gpu in [gpu(), as_a_gpu()] {
        for criterion in CRITERIA {
            let (mut y, mut t) = (Vec::new(), Vec::new());
            for a in [inf, -inf, nan, -nan, 1e30, -1e30, 0.0, 1.0] {
                for b in [0.0, 1.0, nan, 0.5] {
                    y.push(a);
                    t.push(b);
                }
            }
            let case = Case::new(criterion, 1, y.clone(), t.clone());
            let (loss, dy) = case.run(gpu);
            let right = reference::elementwise_loss(criterion, Reduction::Mean, 1, [&y, &t], None, None).unwrap();
            for i in 0..y.len() {
                let message = || format!("{criterion:?}: y {}, target {}: {}, {}", y[i], t[i], loss[i], dy[i]);
                assert!(
                    off(loss[i], right.loss[i], ulp_of(right.loss[i])) <= ULP,
                    "{}, right {}",
                    message(),
                    right.loss[i]
                );
                assert!(
                    off(dy[i], right.dy[i], ulp_of(right.dy[i].abs().max(0.01))) <= ULP,
                    "{}, right {}",
                    message(),
                    right.dy[i]
                );
            }
            // A row that weighs nothing is nothing, infinite or not.
            if criterion != Criterion::SquaredError {
                let mut case = Case::new(criterion, 1, vec![inf, 1.0], vec![0.0, 0.0]);
                case.row_weight = Some(vec![0.0, 1.0]);
                let (loss, dy) = case.run(gpu);
                assert!(loss[0] == 0.0 && dy[0] == 0.0 && loss[1] > 0.0, "{loss:?} {dy:?}");
            }
        }
    }
}

#[test]
fn narrow_outputs_and_gaps() {
    let gpu = gpu();
    let mut numbers = Numbers::new(8);
    for dtype in [Float::F16, Float::Bf16] {
        for criterion in CRITERIA {
            for (rows, columns) in [(3, 1), (5, 3), (6, 8), (2, 130)] {
                let round = |v: Vec<f32>| v.into_iter().map(|v| dtype.round(v)).collect::<Vec<f32>>();
                let y = round((0..rows * columns).map(|_| numbers.normal()).collect());
                let t = round(targets(criterion, rows * columns, &mut numbers));
                let case = Case { dtype, scale: 256.0, ..Case::new(criterion, columns, y, t) };
                case.check(gpu, &format!("{dtype} {rows}x{columns}"));
            }
        }
    }
    // The first columns of wider rows.
    let (y, t) =
        (gpu.upload(&[1.0, 9.0, 2.0, 9.0], &[2, 2]).unwrap(), gpu.upload(&[0.0, 9.0, 4.0, 9.0], &[2, 2]).unwrap());
    let (loss, dy) = (gpu.zeros(&[2]).unwrap(), gpu.upload(&[5.0; 4], &[2, 2]).unwrap());
    let call = Loss::new(
        Criterion::SquaredError,
        y.view().slice(1, 0..1).unwrap(),
        t.view().slice(1, 0..1).unwrap(),
        &loss,
        dy.view().slice(1, 0..1).unwrap(),
    );
    gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
    assert_eq!((gpu.download(&loss).unwrap(), gpu.download(&dy).unwrap()), (vec![1.0, 4.0], vec![1.0, 5.0, -2.0, 5.0]));
}

#[test]
fn smoothed_labels() {
    for gpu in [gpu(), as_a_gpu()] {
        let mut numbers = Numbers::new(21);
        let mut worst = [0.0f64; 2];
        for smoothing in [0.1f32, 0.5, 1e-3, 0.0] {
            for classes in [2usize, 3, 4, 10, 65, 129, 1000, 4097] {
                let (rows, ignored) = (7, 3u32);
                let mut logits: Vec<f32> = (0..rows * classes).map(|_| 4.0 * numbers.normal()).collect();
                logits[0] = 25.0;
                let labels: Vec<u32> = (0..rows).map(|m| (m * 5 % classes.min(9)) as u32).collect();
                // Rows that a careless sum spoils: the label far below, and a class that is impossible.
                logits[classes + labels[1] as usize] = -30.0;
                if classes > 2 {
                    logits[2 * classes + classes - 1] = f32::NEG_INFINITY;
                }
                let right =
                    reference::smoothed_cross_entropy(&logits, &labels, classes, Some(ignored), f64::from(smoothing))
                        .unwrap();
                let x = gpu.upload(&logits, &[rows, classes]).unwrap();
                let words = gpu.upload_words(&labels, &[rows]).unwrap();
                let loss = gpu.upload(&vec![f32::NAN; rows], &[rows]).unwrap();
                let dx = gpu.upload(&vec![f32::NAN; rows * classes], &[rows, classes]).unwrap();
                let call =
                    SoftmaxCrossEntropy::new(&x, &words, &loss, &dx).ignore_index(ignored).label_smoothing(smoothing);
                gpu.submit(|encoder| call.record(gpu, encoder)).unwrap();
                let (loss, dx) = (gpu.download(&loss).unwrap(), gpu.download(&dx).unwrap());
                let eps = f64::from(smoothing);
                for (m, (&got, &right)) in loss.iter().zip(&right.loss).enumerate() {
                    let off = off(got, right, ulp_of(right) * (1.0 + eps) / (1.0 - eps));
                    assert!(off <= 8.0, "{smoothing}, {classes} classes: loss[{m}] is {got}, right {right}");
                    worst[0] = worst[0].max(off);
                }
                for (i, (&got, &right)) in dx.iter().zip(&right.dlogits).enumerate() {
                    let counted = labels.iter().filter(|&&l| l != ignored).count() as f64;
                    let hit = i % classes == labels[i / classes] as usize;
                    let target = eps / classes as f64 + if hit { 1.0 - eps } else { 0.0 };
                    let part = if smoothing == 0.0 { right.abs() } else { right.abs().max(target / counted) };
                    let off = off(got, right, ulp_of(part));
                    assert!(off <= 12.0, "{smoothing}, {classes} classes: dlogits[{i}] is {got}, right {right}");
                    worst[1] = worst[1].max(off);
                }
            }
        }
        println!("smoothed: worst loss {:.2} ulp, gradient {:.2}", worst[0], worst[1]);
    }
}

#[test]
fn what_is_no_loss_is_an_error() {
    let gpu = gpu();
    let (y, wrong, loss) = (gpu.zeros(&[4, 3]).unwrap(), gpu.zeros(&[3, 4]).unwrap(), gpu.zeros(&[4]).unwrap());
    let dy = gpu.upload(&[5.0; 12], &[4, 3]).unwrap();
    let labels = gpu.upload_words(&[0; 12], &[4, 3]).unwrap();
    let usual = Loss::new(Criterion::SquaredError, &y, &y, &loss, &dy);
    let refused = |call: Loss<'_>| gpu.submit(|encoder| call.record(gpu, encoder)).unwrap_err();
    for (call, operand) in [
        (usual.targets(&wrong), Operand::Targets),
        (usual.dy(&wrong), Operand::Dy),
        (usual.loss(&y), Operand::Loss),
        (usual.row_weight(wrong.view()), Operand::RowWeight),
        (usual.criterion(Criterion::BinaryCrossEntropy).positive_weight(loss.view()), Operand::PositiveWeight),
    ] {
        let error = refused(call);
        assert!(matches!(error, Error::Shape { operand: o, .. } if o == operand), "{error}");
    }
    let three = gpu.zeros(&[3]).unwrap();
    let error = refused(usual.positive_weight(three.view()));
    assert!(matches!(error, Error::Operand { operand: Operand::PositiveWeight, .. }), "{error}");
    let error = refused(usual.targets(&labels));
    assert!(error.to_string().contains("targets"), "{error}");
    for delta in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let error = refused(usual.criterion(Criterion::Huber { delta }));
        assert!(matches!(&error, Error::BadParameter { of, .. } if of == "huber"), "{error}");
    }
    let classes = gpu.upload_words(&[0; 4], &[4]).unwrap();
    for smoothing in [-0.1, 1.1, f32::NAN] {
        let call = SoftmaxCrossEntropy::new(&y, &classes, &loss, &dy).label_smoothing(smoothing);
        let error = gpu.submit(|encoder| call.record(gpu, encoder)).unwrap_err();
        assert!(matches!(&error, Error::BadParameter { parameter, .. } if parameter == "label_smoothing"), "{error}");
    }
    assert!(gpu.download(&dy).unwrap().iter().all(|&v| v == 5.0), "nothing was written");
}
