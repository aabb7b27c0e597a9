//! How good predictions are.

use serde_json::{Value, json};

use super::columns::{self, Target, TargetKind};

/// The figures of a task.
#[derive(Debug)]
pub(crate) enum Score {
    /// Of numbers: root of the mean squared error, mean absolute error, share of the variance that is explained; (target, prediction) of each row.
    Numbers { rmse: f64, mae: f64, r2: f64, pairs: Vec<(f64, f64)> },
    /// Of classes: `counts[class][predicted]`.
    Classes { names: Vec<String>, counts: Vec<Vec<usize>> },
}

/// The class with the largest output and its probability.
pub(crate) fn class(outputs: &[f32]) -> (usize, f64) {
    let best = outputs.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
    let top = outputs.get(best).copied().unwrap_or_default();
    let sum: f64 = outputs.iter().map(|&z| f64::from(z - top).exp()).sum();
    (best, 1.0 / sum)
}

impl Score {
    /// Of the outputs of rows whose targets are these.
    pub(crate) fn new(target: &Target, outputs: &[f32], values: &[columns::Value]) -> Self {
        match &target.kind {
            TargetKind::Number { mean, deviation } => {
                let number = |value: &columns::Value| match *value {
                    columns::Value::Number(number) => number,
                    columns::Value::Class(_) => f64::NAN,
                };
                let predicted = outputs.iter().map(|&y| f64::from(y) * deviation + mean);
                let pairs: Vec<(f64, f64)> = values.iter().map(number).zip(predicted).collect();
                let count = pairs.len().max(1) as f64;
                let sum = |f: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>();
                let centre = sum(&|pair| pair.0) / count;
                let (squares, all) = (sum(&|(t, y)| (t - y).powi(2)), sum(&|(t, _)| (t - centre).powi(2)));
                let mae = sum(&|(t, y)| (t - y).abs()) / count;
                Score::Numbers { rmse: (squares / count).sqrt(), mae, r2: 1.0 - squares / all, pairs }
            }
            TargetKind::Classes(names) => {
                let mut counts = vec![vec![0; names.len()]; names.len()];
                for (row, value) in outputs.chunks(names.len()).zip(values) {
                    if let columns::Value::Class(of) = *value {
                        counts[of][class(row).0] += 1;
                    }
                }
                Score::Classes { names: names.clone(), counts }
            }
        }
    }

    /// The figures by name.
    pub(crate) fn json(&self) -> Value {
        match self {
            Score::Numbers { rmse, mae, r2, pairs } => {
                json!({"rows": pairs.len(), "r2": r2, "rmse": rmse, "mae": mae})
            }
            Score::Classes { names, counts } => {
                let (right, all) = right_of(counts);
                let accuracy = right as f64 / all.max(1) as f64;
                json!({"rows": all, "accuracy": accuracy, "classes": names, "confusion": counts})
            }
        }
    }

    /// One line, beside what needs no network.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Score::Numbers { rmse, mae, r2, pairs } => {
                let (rmse, mae, mean) = (short(*rmse), short(*mae), short(*rmse / (1.0 - r2).sqrt()));
                format!(
                    "R² {r2:.3}, RMSE {rmse}, MAE {mae} on {} rows (always the mean: R² 0, RMSE {mean})",
                    pairs.len()
                )
            }
            Score::Classes { counts, .. } => {
                let (right, all) = right_of(counts);
                let most = counts.iter().map(|row| row.iter().sum::<usize>()).max().unwrap_or(0);
                let share = |count: usize| 100.0 * count as f64 / all.max(1) as f64;
                format!(
                    "accuracy {:.1} % on {all} rows (always the most frequent class: {:.1} %)",
                    share(right),
                    share(most)
                )
            }
        }
    }
}

/// Rows whose class is the predicted one, and all rows.
fn right_of(counts: &[Vec<usize>]) -> (usize, usize) {
    (counts.iter().enumerate().map(|(class, row)| row[class]).sum(), counts.iter().flatten().sum())
}

/// Four digits that matter.
pub(crate) fn short(value: f64) -> String {
    let digits = match value.abs() {
        v if v == 0.0 || !(1e-4..1e7).contains(&v) => {
            return if v == 0.0 { "0".into() } else { format!("{value:.3e}") };
        }
        v => (3 - v.log10().floor() as i32).clamp(0, 8) as usize,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::{columns::Value, *};

    #[test]
    fn figures_of_rows_that_can_be_counted() {
        let numbers = Target { name: "t".into(), kind: TargetKind::Number { mean: 10.0, deviation: 2.0 } };
        let values = [8.0, 10.0, 12.0].map(Value::Number);
        let Score::Numbers { rmse, mae, r2, pairs } = Score::new(&numbers, &[-1.0, 0.0, 0.0], &values) else {
            panic!("numbers");
        };
        assert_eq!((mae, pairs[2]), (2.0 / 3.0, (12.0, 10.0)));
        assert!((rmse - (4f64 / 3.0).sqrt()).abs() < 1e-12 && (r2 - 0.5).abs() < 1e-12);
        let classes = Target { name: "t".into(), kind: TargetKind::Classes(vec!["a".into(), "b".into()]) };
        let score = Score::new(&classes, &[1.0, 0.0, 0.0, 1.0, 3.0, -1.0], &[0, 1, 1].map(Value::Class));
        assert!(matches!(&score, Score::Classes { counts, .. } if *counts == [[1, 0], [1, 1]]));
        assert!(
            score.sentence().starts_with("accuracy 66.7 % on 3 rows (always the most frequent class: 66.7 %)"),
            "{}",
            score.sentence()
        );
        assert_eq!(class(&[0.0, 0.0, -1e30]), (1, 0.5));
        for (value, text) in
            [(0.0, "0"), (1234.56, "1235"), (0.012345, "0.01235"), (-2.5, "-2.500"), (1e-9, "1.000e-9")]
        {
            assert_eq!(short(value), text);
        }
    }
}
