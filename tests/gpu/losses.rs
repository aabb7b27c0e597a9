//! The elementwise losses against the reference, and label smoothing: tails, targets between 0 and 1, weights, types, gaps, and what is
//! no loss.

use elbow::{
    Error, Float, Operand,
    criterion::{Criterion, Reduction},
    train::{Loss, SoftmaxCrossEntropy},
};
use elbow_verify::{
    Classes, Close, Elements, Losses, Part,
    suite::{Group, Size, run_group},
};

use crate::common::{Numbers, as_a_gpu, gpu, right};

const CRITERIA: [Criterion; 4] = [
    Criterion::SquaredError,
    Criterion::Huber { delta: 1.0 },
    Criterion::Huber { delta: 0.3 },
    Criterion::BinaryCrossEntropy,
];
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
        let mut worst = Close::default();
        for criterion in CRITERIA {
            for (rows, columns) in
                [(1, 1), (7, 1), (300, 1), (5, 3), (4, 8), (33, 10), (9, 129), (3, 1000), (2, 5001), (1200, 4)]
            {
                for plain in [true, false] {
                    let y = (0..rows * columns).map(|_| 2.0 * numbers.normal()).collect();
                    let mut case =
                        Elements::new(criterion, columns, y, targets(criterion, rows * columns, &mut numbers));
                    if !plain {
                        case.reduction = Reduction::Sum;
                        case.scale = 1024.0;
                        case.row_weight = Some((0..rows).map(|m| (m % 3) as f32 * 0.5).collect());
                        case.positive_weight = (criterion == Criterion::BinaryCrossEntropy)
                            .then(|| (0..columns).map(|n| 1.0 + (n % 4) as f32).collect());
                    }
                    worst = worst.and(right(&format!("{criterion:?} {rows}x{columns}"), case.check(gpu)));
                }
            }
        }
        println!("worst {worst:?}");
    }
}

/// Losses and gradients of examples that are all but sure keep their digits, on both sides, and at the kink of Huber's.
#[test]
fn tails_keep_their_digits() {
    let gpu = gpu();
    let steps: Vec<f32> = (0..200).map(|i| 1e-6 * 1.1f32.powi(i)).collect();
    let y: Vec<f32> = steps.iter().flat_map(|&v| [v.min(87.0), -v.min(87.0)]).collect();
    for target in [0.0, 1.0] {
        let case = Elements::new(Criterion::BinaryCrossEntropy, 1, y.clone(), vec![target; y.len()]);
        println!("tails: worst {:?}", right("tails", case.check(gpu)));
    }
    // e^-40 where 1 - σ(40) rounds to 0.
    let sure = Elements::new(Criterion::BinaryCrossEntropy, 1, vec![40.0], vec![1.0]).run(gpu).unwrap();
    assert!(
        (sure.loss[0] / 4.248_354_4e-18 - 1.0).abs() < 1e-5 && (sure.gradient[0] / -4.248_354_4e-18 - 1.0).abs() < 1e-5,
        "{sure:?}"
    );
    let near: Vec<f32> = [0.999_999_94, 1.0, 1.000_000_1, -1.0, -1.000_000_1, 0.0, -0.0, 1e-30, 3e18].to_vec();
    let huber = Criterion::Huber { delta: 1.0 };
    right("kink", Elements::new(huber, 1, near.clone(), vec![0.0; 9]).check(gpu));
    right("squares", Elements::new(Criterion::SquaredError, 1, near, vec![0.0; 9]).check(gpu));
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
            right(&format!("{criterion:?}"), Elements::new(criterion, 1, y, t).check(gpu));
            // A row that weighs nothing is nothing, infinite or not.
            if criterion != Criterion::SquaredError {
                let mut case = Elements::new(criterion, 1, vec![inf, 1.0], vec![0.0, 0.0]);
                case.row_weight = Some(vec![0.0, 1.0]);
                let Losses { loss, gradient, .. } = case.run(gpu).unwrap();
                assert!(loss[0] == 0.0 && gradient[0] == 0.0 && loss[1] > 0.0, "{loss:?} {gradient:?}");
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
                let case = Elements { dtype, scale: 256.0, ..Elements::new(criterion, columns, y, t) };
                right(&format!("{dtype} {criterion:?} {rows}x{columns}"), case.check(gpu));
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
        let mut worst = Close::default();
        for smoothing in [0.1f32, 0.5, 1e-3, 0.0] {
            for classes in [2usize, 3, 4, 10, 65, 129, 1000, 4097] {
                let rows = 7;
                let mut logits: Vec<f32> = (0..rows * classes).map(|_| 4.0 * numbers.normal()).collect();
                logits[0] = 25.0;
                let labels: Vec<u32> = (0..rows).map(|m| (m * 5 % classes.min(9)) as u32).collect();
                // Rows that a careless sum spoils: the label far below, and a class that is impossible.
                logits[classes + labels[1] as usize] = -30.0;
                if classes > 2 {
                    logits[2 * classes + classes - 1] = f32::NEG_INFINITY;
                }
                let usual = Classes::new(logits, labels);
                let case = Classes { ignore_index: Some(3), label_smoothing: smoothing, ..usual };
                worst = worst.and(right(&format!("{smoothing}, {classes} classes"), case.check(gpu)));
            }
        }
        println!("smoothed: worst {worst:?}");
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

/// What `elbow verify` runs, on every size.
#[test]
fn the_cases_of_the_command() {
    for group in [Group::Losses, Group::Updates] {
        let report = run_group(gpu(), group, Size::Full, Part::ALL, &mut |_, _| {});
        assert!(report.checks > 50 && report.failed == 0, "{report:?}");
        println!("{group}: {} checks, {:.1} s, {}", report.checks, report.seconds, report.worst);
    }
}
