//! Losses and updates against the f64 reference.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use elbow::{
    Error, Operand,
    cpu::reference::{self, Updated as Reference},
    criterion::{Criterion, Reduction},
    philox::Distribution,
    rates::{Rates, Rule},
};
use elbow_cpu::{Updated, elementwise_loss, update};

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
                elementwise_loss(criterion, reduction, columns, [&y, &t], weights.0, weights.1, &mut loss, &mut dy)
                    .unwrap();
                let right =
                    reference::elementwise_loss(criterion, reduction, columns, [&y, &t], weights.0, weights.1).unwrap();
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
        for rates in [plain, plain.weight_decay(0.05).l1(0.1).max_norm(0.5)] {
            for count in [1, 7, 1000, 150_000] {
                let theta = normal(count, 2);
                let (mut parameter, mut first) = (theta.clone(), vec![0.0; count]);
                let mut second = vec![0.0; if rule == Rule::AdamW { count } else { 0 }];
                let mut right = Reference::new(&theta);
                for step in 1..=10 {
                    let g: Vec<f32> = normal(count, 2 + step).iter().map(|g| 0.1 * g).collect();
                    let state = Updated { parameter: &mut parameter, first: &mut first, second: &mut second };
                    assert!(update(rule, &rates, step, &g, state).unwrap());
                    right.step(rule, &rates, &g, |_| [1.0; 3]).unwrap();
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
                assert_eq!(update(rule, &rates, 11, &vec![f32::INFINITY; count], state).unwrap(), !bounded);
                assert!(!bounded || parameter == before);
            }
        }
    }
}
