//! The losses and updates of `elbow verify`: small cases with every choice, each with a name that finds it again.

use std::fmt;

use elbow::{
    Float, Gpu,
    criterion::{Criterion, Reduction},
    rates::{Rates, Rule},
};

use crate::{
    Numbers,
    close::Close,
    loss::{Classes, Elements},
    update::Schedule,
};

/// A loss or an update. Its text is its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Training {
    Elements { criterion: Criterion, size: [usize; 2], with: OfElements },
    Classes { size: [usize; 2], with: OfClasses },
    Updates(Schedule),
}

/// What is chosen of an elementwise loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum OfElements {
    Mean,
    Weighted,
    F16,
    Bf16,
    Sure,
    NotFinite,
}

/// What is chosen of a softmax cross-entropy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum OfClasses {
    Mean,
    Ignored,
    Smoothed,
    Weighted,
    WeightedAndSmoothed,
    F16,
    Bf16,
    Sure,
    NotFinite,
}

const CRITERIA: [Criterion; 4] = [
    Criterion::SquaredError,
    Criterion::Huber { delta: 1.0 },
    Criterion::Huber { delta: 0.3 },
    Criterion::BinaryCrossEntropy,
];
/// Rows and columns; a sample takes the first two.
const ELEMENTS: [[usize; 2]; 7] = [[9, 129], [34, 8], [5, 3], [1, 1], [300, 1], [2, 5001], [1200, 4]];
/// Rows and classes, alike.
const CLASSES: [[usize; 2]; 7] = [[19, 10], [12, 129], [9, 2], [9, 65], [1100, 3], [6, 4097], [2, 50_257]];
/// Parameters and their offset; a sample takes the first.
const PARAMETERS: [[usize; 2]; 5] = [[129, 4], [1000, 0], [1, 0], [7, 1], [4099, 3]];

/// Every loss with every choice; on all sizes or on a sample of them.
pub(crate) fn losses(all: bool) -> Vec<Training> {
    use OfElements as E;
    let few = |sizes: &'static [[usize; 2]]| if all { sizes } else { &sizes[..2] };
    let mut cases = Vec::new();
    for criterion in CRITERIA {
        for with in [E::Mean, E::Weighted, E::F16, E::Bf16, E::Sure, E::NotFinite] {
            cases.extend(few(&ELEMENTS).iter().map(|&size| Training::Elements { criterion, size, with }));
        }
    }
    for with in OfClasses::ALL {
        cases.extend(few(&CLASSES).iter().map(|&size| Training::Classes { size, with }));
    }
    cases
}

/// Every rule with and without decay, penalty and clipping, factors, copies and a loss scale; on all sizes or on a sample.
pub(crate) fn updates(all: bool) -> Vec<Training> {
    let mut cases = Vec::new();
    for rule in [Rule::Sgd, Rule::Nesterov, Rule::AdamW] {
        let plain = if rule == Rule::AdamW { Rates::adamw(0.02) } else { Rates::sgd(0.1).momentum(0.9) };
        for [elements, offset] in PARAMETERS.into_iter().take(if all { PARAMETERS.len() } else { 1 }) {
            for (factors, copy, scale, rates) in [
                (false, None, None, plain),
                (false, None, Some(8.0), every(plain)),
                (true, Some(Float::F16), Some(1024.0), every(plain)),
                (true, Some(Float::Bf16), None, plain),
            ] {
                let schedule = Schedule { offset, factors, copy, scale, ..Schedule::new(rule, rates, elements) };
                cases.push(Training::Updates(schedule));
            }
        }
    }
    cases
}

/// With decay, penalty and clipping.
fn every(rates: Rates) -> Rates {
    rates.weight_decay(0.05).l1(0.5).max_norm(0.4)
}

/// The case of a name.
pub(crate) fn named(name: &str) -> Option<Training> {
    losses(true).into_iter().chain(updates(true)).find(|case| case.to_string() == name)
}

impl OfClasses {
    const ALL: [OfClasses; 9] = {
        use OfClasses as C;
        [C::Mean, C::Ignored, C::Smoothed, C::Weighted, C::WeightedAndSmoothed, C::F16, C::Bf16, C::Sure, C::NotFinite]
    };
}

impl Training {
    /// Runs it: the largest error as a share of its bound, or what is wrong.
    pub(crate) async fn check(&self, gpu: &Gpu) -> Result<Close, String> {
        match *self {
            Training::Elements { criterion, size, with } => of_elements(criterion, size, with).check_async(gpu).await,
            Training::Classes { size, with } => of_classes(size, with).check_async(gpu).await,
            Training::Updates(schedule) => schedule.check_async(gpu).await,
        }
    }
}

fn of_elements(criterion: Criterion, [rows, columns]: [usize; 2], with: OfElements) -> Elements {
    let mut numbers = Numbers::new(5);
    let count = rows * columns;
    let binary = criterion == Criterion::BinaryCrossEntropy;
    let y = (0..count).map(|_| 2.0 * numbers.normal()).collect();
    let target = |i: usize| match i % 5 {
        0 if binary => 0.3,
        lane if binary => (lane % 2) as f32,
        _ => numbers.normal(),
    };
    let mut case = Elements::new(criterion, columns, y, (0..count).map(target).collect());
    let per_row = |m: usize| (m % 3) as f32 * 0.5;
    match with {
        OfElements::Mean => {}
        OfElements::Weighted => {
            (case.reduction, case.scale, case.total) = (Reduction::Sum, 1024.0, true);
            case.row_weight = Some((0..rows).map(per_row).collect());
            case.positive_weight = binary.then(|| (0..columns).map(|n| 1.0 + (n % 4) as f32).collect());
        }
        OfElements::F16 => (case.dtype, case.reduction, case.scale) = (Float::F16, Reduction::Sum, 256.0),
        OfElements::Bf16 => (case.dtype, case.total) = (Float::Bf16, true),
        // Tails, on both sides, and neighbours of Huber's kinks.
        OfElements::Sure => {
            let near = |i: usize| [1.0f32.next_up(), 1.0f32.next_down(), 0.3f32.next_up()][i % 3];
            let tail =
                |i: usize| if i.is_multiple_of(2) { (1e-6 * 1.1f32.powi(i as i32 % 190)).min(87.0) } else { near(i) };
            case.y = (0..count).map(|i| if i % 4 < 2 { tail(i) } else { -tail(i) }).collect();
            case.targets = (0..count).map(|i| if binary { (i / 2 % 2) as f32 } else { 0.0 }).collect();
            case.total = true;
        }
        OfElements::NotFinite => {
            let odd = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e30, -1e30];
            (0..rows).for_each(|m| case.y[m * columns + m % columns] = odd[m % 5]);
            case.total = true;
        }
    }
    let dtype = case.dtype;
    case.y.iter_mut().chain(&mut case.targets).for_each(|v| *v = dtype.round(*v));
    case
}

/// The label of rows that are left out: a class, so that no kernel can tell by its size.
const IGNORED: u32 = 1;

fn of_classes([rows, classes]: [usize; 2], with: OfClasses) -> Classes {
    let mut numbers = Numbers::new(6);
    let logits = (0..rows * classes).map(|_| 4.0 * numbers.normal()).collect();
    let labels: Vec<u32> = (0..rows).map(|m| ((m * 7 + m / 2) % classes) as u32).collect();
    let mut case = Classes::new(logits, labels);
    let ignored = (Some(IGNORED), true);
    // Rare and common classes, and one that counts nothing.
    let weight = || Some((0..classes).map(|c| [0.7, 12.5, 0.0, 1.0, 0.03][(c + 3) % 5]).collect());
    // The label of every second row far below the others, or far above.
    let far = |case: &mut Classes, by: f32| {
        (0..rows).step_by(2).for_each(|m| case.logits[m * classes + case.labels[m] as usize] += by);
    };
    match with {
        OfClasses::Mean => {}
        OfClasses::Ignored => (case.ignore_index, case.total) = ignored,
        OfClasses::Smoothed => {
            far(&mut case, -30.0);
            (case.ignore_index, case.total) = ignored;
            case.label_smoothing = 0.1;
        }
        OfClasses::Weighted => {
            (case.ignore_index, case.total) = ignored;
            case.class_weight = weight();
        }
        OfClasses::WeightedAndSmoothed => {
            far(&mut case, -30.0);
            (case.reduction, case.scale, case.total) = (Reduction::Sum, 1024.0, true);
            (case.label_smoothing, case.class_weight) = (0.1, weight());
        }
        OfClasses::F16 => (case.dtype, case.scale) = (Float::F16, 1024.0),
        OfClasses::Bf16 => (case.dtype, case.reduction, case.total) = (Float::Bf16, Reduction::Sum, true),
        OfClasses::Sure => far(&mut case, 50.0),
        OfClasses::NotFinite => {
            let odd = [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, f32::MAX, -f32::MAX];
            (0..rows).for_each(|m| case.logits[m * classes + m % classes] = odd[m % 5]);
            // No class.
            case.labels[rows - 1] = classes as u32;
            (case.ignore_index, case.total) = ignored;
        }
    }
    let dtype = case.dtype;
    case.logits.iter_mut().for_each(|v| *v = dtype.round(*v));
    case
}

impl fmt::Display for Training {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Training::Elements { criterion, size: [rows, columns], with } => {
                write!(f, "loss: {criterion:?} {rows}x{columns} {with:?}")
            }
            Training::Classes { size: [rows, columns], with } => {
                write!(f, "loss: SoftmaxCrossEntropy {rows}x{columns} {with:?}")
            }
            Training::Updates(Schedule { rule, rates, elements, offset, factors, copy, scale }) => {
                write!(f, "update: {rule:?} {elements} at {offset}")?;
                if rates.l1 > 0.0 {
                    f.write_str(" decayed clipped l1")?;
                }
                if *factors {
                    f.write_str(" factors")?;
                }
                copy.map_or(Ok(()), |dtype| write!(f, " copy={dtype}"))?;
                scale.map_or(Ok(()), |scale| write!(f, " scale={scale}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use elbow::cpu::reference;

    use super::*;
    use crate::loss::Losses;

    #[test]
    fn every_name_finds_its_case() {
        let all: Vec<Training> = losses(true).into_iter().chain(updates(true)).collect();
        let names: HashSet<String> = all.iter().map(Training::to_string).collect();
        assert_eq!(names.len(), all.len());
        for case in losses(false).into_iter().chain(updates(false)) {
            assert_eq!(named(&case.to_string()), Some(case), "{case}");
        }
        assert_eq!(named("loss: Nothing"), None);
    }

    /// The reference, as stored, is right; with any number changed by a thousandth (of itself or of 1), or by more steps of a narrow type, it is not.
    #[test]
    fn the_judge_takes_nothing_else() {
        for case in losses(false) {
            let (right, dtype) = (right_of(case), dtype_of(case));
            let judge = |got: &Losses| judged(case, got);
            assert!(!right.loss.is_empty() && judge(&right), "{case}");
            let off = |v: f32, dtype: Float| match v {
                v if !v.is_finite() => 1.0,
                v => v + v.abs().max(1.0) * if dtype == Float::F32 { 1e-3 } else { 1.0 / 32.0 },
            };
            for i in 0..right.loss.len() {
                let mut wrong = right.clone();
                wrong.loss[i] = off(wrong.loss[i], Float::F32);
                assert!(!judge(&wrong), "{case}: loss[{i}]");
            }
            for i in (0..right.gradient.len()).step_by(7) {
                let mut wrong = right.clone();
                wrong.gradient[i] = off(wrong.gradient[i], dtype);
                assert!(!judge(&wrong), "{case}: gradient[{i}]");
            }
            if let Some(total) = right.total {
                assert!(!judge(&Losses { total: Some(off(total, Float::F32)), ..right.clone() }), "{case}: total");
            }
            assert!(!judge(&Losses { outside: true, ..right }), "{case}: outside");
        }
    }

    fn right_of(case: Training) -> Losses {
        match case {
            Training::Elements { criterion, size, with } => {
                let case = of_elements(criterion, size, with);
                let (row, positive) = (case.row_weight.as_deref(), case.positive_weight.as_deref());
                let parts = [case.y.as_slice(), &case.targets];
                let right = reference::elementwise_loss(criterion, case.reduction, case.columns, parts, row, positive);
                let right = right.unwrap_or_default();
                stored(&right.loss, &right.dy, case.total.then_some(right.total), case.scale, case.dtype)
            }
            Training::Classes { size, with } => {
                let case = of_classes(size, with);
                let right = reference::cross_entropy(&case.request(), &case.logits, &case.labels).unwrap_or_default();
                stored(&right.loss, &right.dlogits, case.total.then_some(right.total), case.scale, case.dtype)
            }
            Training::Updates(_) => Losses::default(),
        }
    }

    fn dtype_of(case: Training) -> Float {
        match case {
            Training::Elements { criterion, size, with } => of_elements(criterion, size, with).dtype,
            Training::Classes { size, with } => of_classes(size, with).dtype,
            Training::Updates(_) => Float::F32,
        }
    }

    fn judged(case: Training, got: &Losses) -> bool {
        match case {
            Training::Elements { criterion, size, with } => of_elements(criterion, size, with).judge(got).is_ok(),
            Training::Classes { size, with } => of_classes(size, with).judge(got).is_ok(),
            Training::Updates(_) => false,
        }
    }

    fn stored(loss: &[f64], gradient: &[f64], total: Option<f64>, scale: f32, dtype: Float) -> Losses {
        let gradient = gradient.iter().map(|&v| dtype.round((v * f64::from(scale)) as f32)).collect();
        let loss = loss.iter().map(|&v| v as f32).collect();
        Losses { loss, gradient, total: total.map(|v| v as f32), outside: false }
    }
}
