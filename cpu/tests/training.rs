//! Losses and updates against the f64 reference.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use elbow::{
    Error, Operand,
    cpu::{
        CrossEntropy,
        reference::{self, Updated as Reference},
    },
    criterion::{Criterion, Reduction},
    philox::Distribution,
    rates::{Rates, Rule},
};
use elbow_cpu::{RUN, Updated, cross_entropy, elementwise_loss, rayon, update};

fn normal(count: usize, stream: u32) -> Vec<f32> {
    let spread = Distribution::Normal { mean: 0.0, deviation: 1.0 };
    (0..count as u32).map(|i| spread.at(1, stream, i)).collect()
}

fn close(got: f32, right: f64, allowed: f64) -> bool {
    let equal = f64::from(got) == right || (got.is_nan() && right.is_nan());
    equal || (f64::from(got) - right).abs() <= allowed * right.abs().max(1e-30)
}

#[test]
fn losses_are_those_of_the_reference() {
    for criterion in [Criterion::SquaredError, Criterion::Huber { delta: 0.7 }, Criterion::BinaryCrossEntropy] {
        for (rows, columns) in [(1, 1), (7, 3), (40, 513), (3, 70_000), (5000, 1)] {
            for weighted in [false, true] {
                let mut y = normal(rows * columns, 1);
                // What tails and limits there are.
                for (at, v) in [40.0, -60.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 0.0].into_iter().enumerate() {
                    if rows * columns > 100 {
                        y[at * 3] = v;
                    }
                }
                let t: Vec<f32> = (0..rows * columns).map(|i| (i % 2) as f32).collect();
                let row_weight = weighted.then(|| (0..rows).map(|m| (m % 3) as f32).collect::<Vec<_>>());
                let positive = (weighted && criterion == Criterion::BinaryCrossEntropy)
                    .then(|| (0..columns).map(|n| 1.0 + (n % 3) as f32).collect::<Vec<_>>());
                let reduction = if weighted { Reduction::Sum } else { Reduction::Mean };
                let (mut loss, mut dy) = (vec![f32::NAN; rows], vec![f32::NAN; rows * columns]);
                let weights = (row_weight.as_deref(), positive.as_deref());
                let parts: [&[f32]; 2] = [&y, &t];
                let total =
                    elementwise_loss(criterion, reduction, columns, parts, weights.0, weights.1, &mut loss, &mut dy);
                let right =
                    reference::elementwise_loss(criterion, reduction, columns, [&y, &t], weights.0, weights.1).unwrap();
                let total = total.unwrap();
                assert!(close(total, right.total, 2e-6), "{criterion:?} {rows}x{columns}: {total}, {}", right.total);
                for (m, (&got, &right)) in loss.iter().zip(&right.loss).enumerate() {
                    assert!(close(got, right, 2e-6), "{criterion:?} {rows}x{columns}: loss[{m}] {got}, right {right}");
                }
                for (i, (&got, &right)) in dy.iter().zip(&right.dy).enumerate() {
                    assert!(close(got, right, 2e-6), "{criterion:?} {rows}x{columns}: dy[{i}] {got}, right {right}");
                }
            }
        }
    }
    let bad = elementwise_loss(
        Criterion::SquaredError,
        Reduction::Mean,
        2,
        [&[0.0; 4], &[0.0; 3]],
        None,
        None,
        &mut [0.0; 2],
        &mut [0.0; 4],
    );
    assert!(
        matches!(
            bad,
            Err(Error::Shape { operand: Operand::Targets, .. }
                | Error::Operand { operand: Operand::Targets, .. }
                | Error::Buffer { operand: Operand::Targets, .. })
        ),
        "{bad:?}"
    );
}

#[test]
fn updates_are_those_of_the_reference() {
    for rule in [Rule::Sgd, Rule::Nesterov, Rule::AdamW] {
        let plain = if rule == Rule::AdamW { Rates::adamw(0.02) } else { Rates::sgd(0.1).momentum(0.9) };
        let all = plain.weight_decay(0.05).l1(0.1).max_norm(0.5);
        for (rates, of_runs) in [(plain, false), (all, false), (all, true)] {
            for count in [1, 7, 1000, 150_000] {
                // Of the rate, of the decay and of l1; the fourth is nothing.
                let factors: Vec<f32> = (0..4 * usize::div_ceil(count, RUN))
                    .map(|i| [[1.0, 0.0, 0.5, f32::NAN], [0.25, 2.0, 0.0, 9.0]][i / 4 % 2][i % 4])
                    .collect();
                let factors = of_runs.then_some(&factors[..]);
                let of = |i: usize| factors.map_or([1.0; 3], |f| [0, 1, 2].map(|part| f[4 * (i / RUN) + part]));
                let theta = normal(count, 2);
                let (mut parameter, mut first) = (theta.clone(), vec![0.0; count]);
                let mut second = vec![0.0; if rule == Rule::AdamW { count } else { 0 }];
                let mut right = Reference::new(&theta);
                for step in 1..=10 {
                    let g: Vec<f32> = normal(count, 2 + step).iter().map(|g| 0.1 * g).collect();
                    let state = Updated { parameter: &mut parameter, first: &mut first, second: &mut second };
                    assert!(update(rule, &rates, step, &g, factors, state).unwrap());
                    right.step(rule, &rates, &g, of).unwrap();
                }
                for (i, (&got, &right)) in parameter.iter().zip(&right.parameter).enumerate() {
                    assert!(
                        (f64::from(got) - right).abs() < 1e-5,
                        "{rule:?} {rates:?}: {i} of {count}: {got}, right {right}"
                    );
                }
                let state = Updated { parameter: &mut parameter, first: &mut first, second: &mut second };
                let before = state.parameter.to_vec();
                let bounded = rates.max_norm.is_finite();
                let infinite = vec![f32::INFINITY; count];
                assert_eq!(update(rule, &rates, 11, &infinite, factors, state).unwrap(), !bounded);
                assert!(!bounded || parameter == before);
                let state = Updated { parameter: &mut parameter, first: &mut first, second: &mut second };
                let short = update(rule, &rates, 11, &infinite, Some(&[1.0; 3]), state).unwrap_err().to_string();
                assert!(short.starts_with("factors:"), "{short}");
            }
        }
    }
}

/// Weights with one that counts nothing.
fn weights(classes: usize) -> Vec<f32> {
    (0..classes).map(|c| [0.7, 12.5, 0.0, 1.0][(c + 3) % 4]).collect()
}

#[test]
fn cross_entropies_are_those_of_the_reference() {
    for classes in [1, 2, 3, 17, 64, 1000, 50_257] {
        let weight = weights(classes);
        for (choice, smoothing) in [0.0, 0.1, 1.0, 0.0, 0.3].into_iter().enumerate() {
            let rows = if classes > 1000 { 3 } else { 130 };
            let mut logits: Vec<f32> = normal(rows * classes, 9).iter().map(|z| 5.0 * z).collect();
            let labels: Vec<u32> = (0..rows).map(|m| (m * 5 % (classes + 1)) as u32).collect();
            // A label that is all but sure, one that is all but impossible, and what is no number.
            let [sure, never] = [1, 2].map(|m| (labels[m] as usize).min(classes - 1));
            logits[classes + sure] = 90.0;
            logits[2 * classes + never] = -95.0;
            if rows > 3 && classes > 2 {
                for (m, z) in [(3, f32::NEG_INFINITY), (4, f32::INFINITY), (5, f32::NAN)] {
                    logits[m * classes + 1] = z;
                }
            }
            let reduction = [Reduction::Mean, Reduction::Sum][choice % 2];
            let request = CrossEntropy::new(classes)
                .ignore_index((choice > 2).then_some(0))
                .label_smoothing(smoothing)
                .class_weight((choice % 3 > 0).then_some(&weight))
                .reduction(reduction);
            let right = reference::cross_entropy(&request, &logits, &labels).unwrap();
            let run = || {
                let (mut loss, mut dlogits) = (vec![7.0; rows], vec![7.0; rows * classes]);
                let total = cross_entropy(&request, &logits, &labels, &mut loss, &mut dlogits).unwrap();
                (loss, dlogits, total)
            };
            let (loss, dlogits, total) = run();
            let what = format!("{classes} classes, {request:?}");
            let largest = right.loss.iter().filter(|v| v.is_finite()).fold(0.0, |a: f64, v| a.max(v.abs()));
            for (m, (&got, &right)) in loss.iter().zip(&right.loss).enumerate() {
                // What smoothing adds and takes cancels.
                let allowed =
                    if smoothing > 0.0 { 2e-6 * (largest + right.abs()) / right.abs().max(1e-9) } else { 2e-6 };
                assert!(close(got, right, allowed), "{what}: loss[{m}] {got}, right {right}");
            }
            let unit = right.dlogits.iter().filter(|v| v.is_finite()).fold(0.0, |a: f64, v| a.max(v.abs()));
            for (i, (&got, &right)) in dlogits.iter().zip(&right.dlogits).enumerate() {
                let allowed = if smoothing > 0.0 { 1e-6 * unit / right.abs().max(1e-30) } else { 2e-6 };
                let flushed = f64::from(got) == 0.0 && right.abs() < 1e-37;
                assert!(flushed || close(got, right, allowed.max(2e-6)), "{what}: dlogits[{i}] {got}, right {right}");
            }
            let allowed = if smoothing > 0.0 { 1e-4 } else { 2e-6 };
            assert!(close(total, right.total, allowed), "{what}: total {total}, right {}", right.total);
            // The same bits on any number of threads.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
            let bits = |(loss, dlogits, total): (Vec<f32>, Vec<f32>, f32)| {
                loss.into_iter().chain(dlogits).chain([total]).map(f32::to_bits).collect::<Vec<_>>()
            };
            assert_eq!(bits(pool.install(run)), bits((loss, dlogits, total)), "{what}");
        }
    }
}

/// The reference's gradient is the derivative of its total.
#[test]
fn gradients_of_cross_entropies_are_derivatives() {
    let (rows, classes) = (5, 6);
    let weight = weights(classes);
    let logits = normal(rows * classes, 4);
    let labels = [0, 1, 2, 3, 1];
    for smoothing in [0.0, 0.2, 1.0] {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            for (weighted, ignored) in [(false, None), (true, None), (true, Some(3)), (false, Some(1))] {
                let request = CrossEntropy::new(classes)
                    .label_smoothing(smoothing)
                    .class_weight(weighted.then_some(&weight))
                    .ignore_index(ignored)
                    .reduction(reduction);
                let total = |logits: &[f32]| reference::cross_entropy(&request, logits, &labels).unwrap().total;
                let gradient = reference::cross_entropy(&request, &logits, &labels).unwrap().dlogits;
                for (i, &right) in gradient.iter().enumerate() {
                    let moved = |step: f32| {
                        let mut logits = logits.clone();
                        logits[i] += step;
                        (total(&logits), f64::from(logits[i]))
                    };
                    let ((up, to), (down, from)) = (moved(1.0 / 256.0), moved(-1.0 / 256.0));
                    let slope = (up - down) / (to - from);
                    assert!((slope - right).abs() < 2e-4 * (1.0 + right.abs()), "{request:?}: {i}: {slope}, {right}");
                }
            }
        }
    }
}

#[test]
fn mistakes_in_a_cross_entropy_are_told() {
    let usual = CrossEntropy::new(3);
    let (mut loss, mut dlogits) = ([5.0; 2], [5.0; 6]);
    let mut said = |request: &CrossEntropy<'_>, logits: &[f32], rows: usize, columns: usize| {
        let labels = [0, 1];
        let error = cross_entropy(request, logits, &labels, &mut loss[..rows], &mut dlogits[..columns]).unwrap_err();
        assert!(loss == [5.0; 2] && dlogits == [5.0; 6]);
        error.to_string()
    };
    assert!(said(&usual, &[0.0; 5], 2, 6).starts_with("logits: expected 6 elements"));
    assert!(said(&usual, &[0.0; 6], 1, 6).starts_with("loss: expected 2 elements"));
    assert!(said(&usual, &[0.0; 6], 2, 5).starts_with("dlogits: expected 6 elements"));
    assert!(
        said(&usual.class_weight(Some(&[1.0; 2])), &[0.0; 6], 2, 6).starts_with("class_weight: expected 3 elements")
    );
    assert!(said(&usual.label_smoothing(1.5), &[0.0; 6], 2, 6).contains("label_smoothing"));
    assert!(said(&CrossEntropy::new(0), &[], 2, 0).contains("at least one class"));
}
