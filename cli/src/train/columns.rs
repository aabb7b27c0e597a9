//! From texts to numbers: which columns are features, how they are scaled, what the target is. Kept in the model's metadata, so that
//! `elbow predict` does to other tables what was done here.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::table::Table;
use crate::failure::Failure;

/// The most different texts of a column that becomes a number for each, and the most classes.
const MOST_TEXTS: usize = 64;
const MOST_CLASSES: usize = 1000;
/// A target of at most so many different whole numbers is taken for classes.
const FEW: usize = 20;

/// What is learned of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// A number.
    Regression,
    /// One of several classes.
    Classification,
}

/// What becomes of a missing value: nothing, NA, N/A, NaN, null, None or ?.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Missing {
    /// An error that names the first.
    Error,
    /// Rows with one are left out.
    Drop,
    /// The column's mean; of a column of texts none of them. Rows without a target are left out.
    Mean,
}

/// A column that the network sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Feature {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// (number - mean) / deviation, both of the rows for training.
    Number { mean: f64, deviation: f64 },
    /// A number for each text: 1 where it is this one, else 0.
    Texts(Vec<String>),
}

impl Feature {
    fn width(&self) -> usize {
        match &self.kind {
            Kind::Number { .. } => 1,
            Kind::Texts(texts) => texts.len(),
        }
    }
}

/// The column that is learned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: TargetKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum TargetKind {
    /// The network's output, times the deviation, plus the mean.
    Number { mean: f64, deviation: f64 },
    /// The largest output's.
    Classes(Vec<String>),
}

impl Target {
    /// Outputs of the network.
    pub(crate) fn outputs(&self) -> usize {
        match &self.kind {
            TargetKind::Number { .. } => 1,
            TargetKind::Classes(classes) => classes.len(),
        }
    }
}

/// What is done to the rows of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Encoder {
    /// Whether tables have the names of their columns.
    pub(crate) header: bool,
    pub(crate) missing: Missing,
    pub(crate) features: Vec<Feature>,
    pub(crate) target: Target,
}

pub(crate) fn is_missing(text: &str) -> bool {
    ["", "na", "n/a", "nan", "null", "none", "?"].contains(&text.to_ascii_lowercase().as_str())
}

/// The number of a text; None for other texts, and for infinite numbers.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Whether a column is one of numbers: more than half of what is there; then any other text in it is an error.
fn is_numbers(table: &Table, rows: &[usize], column: usize) -> bool {
    let there = rows.iter().map(|&row| table.at(row, column)).filter(|text| !is_missing(text));
    let (numbers, all) = there.fold((0, 0), |(n, all), text| (n + usize::from(number(text).is_some()), all + 1));
    2 * numbers > all
}

/// The numbers of a column, None where one is missing.
fn numbers(table: &Table, rows: &[usize], column: usize) -> Result<Vec<Option<f64>>, Failure> {
    let of = |&row: &usize| match table.at(row, column) {
        text if is_missing(text) => Ok(None),
        text => number(text)
            .map(Some)
            .ok_or_else(|| table.wrong(row, column, "a finite number, as in most rows (or --ignore the column)")),
    };
    rows.iter().map(of).collect()
}

fn mean_and_deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, (values.map(|v| (v - mean) * (v - mean)).sum::<f64>() / count).sqrt())
}

/// A target's value: the place of its class, or a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    Class(usize),
    Number(f64),
}

/// Rows of a table and their target's values.
pub(crate) type Rows = Vec<(usize, Value)>;

/// The target and its value in each row that has one; which task it is if none is named, with the reason.
pub(crate) fn target(
    table: &Table,
    name: &str,
    task: Option<Task>,
    missing: Missing,
) -> Result<(Target, Rows, &'static str), Failure> {
    let column = table.column(name)?;
    let (there, absent): (Vec<usize>, Vec<usize>) =
        (0..table.rows()).partition(|&row| !is_missing(table.at(row, column)));
    if let (Missing::Error, Some(&row)) = (missing, absent.first()) {
        return Err(table.wrong(row, column, "a value of the target (--missing drop leaves the row out)"));
    }
    let numeric = is_numbers(table, &there, column);
    let texts: BTreeSet<&str> = there.iter().map(|&row| table.at(row, column)).collect();
    let whole = texts.len() <= FEW && texts.iter().all(|text| number(text).is_some_and(|v| v.fract() == 0.0));
    let (task, why) = match task {
        Some(task) => (task, "as asked"),
        None if !numeric => (Task::Classification, "it is text"),
        None if whole => (Task::Classification, "few whole numbers; --task regression for a number"),
        None => (Task::Regression, "it is a number; --task classification for classes"),
    };
    if task == Task::Regression {
        let values = numbers(table, &there, column)?;
        let rows: Rows = there.into_iter().zip(values.into_iter().flatten().map(Value::Number)).collect();
        if rows.windows(2).all(|pair| pair[0].1 == pair[1].1) {
            return Err(Failure::mismatch(name, "a target of at least two different numbers", "one in every row"));
        }
        let kind = TargetKind::Number { mean: 0.0, deviation: 1.0 };
        return Ok((Target { name: name.into(), kind }, rows, why));
    }
    // 1 and 1.0 are one class; numbers in their order, texts in theirs.
    let named = |text: &str| number(text).filter(|_| numeric).map_or_else(|| text.to_owned(), |v| v.to_string());
    let mut classes: Vec<String> = texts.iter().map(|text| named(text)).collect::<BTreeSet<_>>().into_iter().collect();
    if numeric {
        classes.sort_by(|a, b| number(a).unwrap_or(f64::MAX).total_cmp(&number(b).unwrap_or(f64::MAX)));
    }
    match classes.len() {
        0 | 1 => {
            let got = classes.first().map_or("none".into(), |class| format!("{class:?} in every row"));
            return Err(Failure::mismatch(name, "a target of at least two classes", got));
        }
        2..=MOST_CLASSES => {}
        count => {
            let expected = format!("at most {MOST_CLASSES} classes (or --task regression)");
            return Err(Failure::mismatch(name, expected, count));
        }
    }
    let place: BTreeMap<&str, usize> =
        classes.iter().enumerate().map(|(place, class)| (class.as_str(), place)).collect();
    let of = |row: usize| (row, Value::Class(place.get(named(table.at(row, column)).as_str()).copied().unwrap_or(0)));
    let rows = there.into_iter().map(of).collect();
    Ok((Target { name: name.into(), kind: TargetKind::Classes(classes) }, rows, why))
}

/// The features of a table: numbers scaled by the rows for training, texts of all rows. Second the columns that are left out, because they
/// are the same in every row for training.
pub(crate) fn features(
    table: &Table,
    columns: &[usize],
    rows: &[usize],
    training: &[usize],
) -> Result<(Vec<Feature>, Vec<String>), Failure> {
    let (mut features, mut constant) = (Vec::new(), Vec::new());
    for &column in columns {
        let name = table.columns[column].clone();
        if is_numbers(table, rows, column) {
            numbers(table, rows, column)?;
            let values = numbers(table, training, column)?;
            let (mean, deviation) = mean_and_deviation(values.iter().flatten().copied());
            // What rounding leaves of a constant is no deviation.
            match deviation.is_finite() && deviation > 1e-12 * mean.abs() {
                true => features.push(Feature { name, kind: Kind::Number { mean, deviation } }),
                false => constant.push(name),
            }
            continue;
        }
        let texts = |rows: &[usize]| -> BTreeSet<String> {
            rows.iter().map(|&row| table.at(row, column)).filter(|text| !is_missing(text)).map(str::to_owned).collect()
        };
        if texts(training).len() < 2 {
            constant.push(name);
            continue;
        }
        let all = texts(rows);
        if all.len() > MOST_TEXTS {
            let expected = format!("numbers, or at most {MOST_TEXTS} different texts (--ignore leaves the column out)");
            return Err(Failure::mismatch(
                format_args!("{} column {name}", table.name),
                expected,
                format_args!("{} texts", all.len()),
            ));
        }
        features.push(Feature { name, kind: Kind::Texts(all.into_iter().collect()) });
    }
    Ok((features, constant))
}

impl Encoder {
    /// Inputs of the network.
    pub(crate) fn inputs(&self) -> usize {
        self.features.iter().map(Feature::width).sum()
    }

    /// The features' columns in a table; an error names one that it has not.
    pub(crate) fn columns(&self, table: &Table) -> Result<Vec<usize>, Failure> {
        self.features.iter().map(|feature| table.column(&feature.name)).collect()
    }

    /// The inputs of these rows, one row after the other.
    pub(crate) fn encode(&self, table: &Table, columns: &[usize], rows: &[usize]) -> Result<Vec<f32>, Failure> {
        let mut x = Vec::with_capacity(rows.len() * self.inputs());
        for &row in rows {
            for (feature, &column) in self.features.iter().zip(columns) {
                let text = table.at(row, column);
                let missing = is_missing(text);
                if missing && self.missing != Missing::Mean {
                    let expected = "a value (--missing drop or --missing mean when training says what becomes of none)";
                    return Err(table.wrong(row, column, expected));
                }
                match &feature.kind {
                    Kind::Number { .. } if missing => x.push(0.0),
                    Kind::Number { mean, deviation } => match number(text) {
                        Some(number) => x.push(((number - mean) / deviation) as f32),
                        None => {
                            return Err(table.wrong(row, column, "a finite number, as where the model was trained"));
                        }
                    },
                    Kind::Texts(texts) => {
                        let known = texts.iter().any(|known| known == text);
                        if !known && self.missing != Missing::Mean {
                            let expected = format!("one of {}, as where the model was trained", texts.join(", "));
                            return Err(table.wrong(row, column, expected));
                        }
                        x.extend(texts.iter().map(|known| f32::from(u8::from(known == text))));
                    }
                }
            }
        }
        Ok(x)
    }

    /// From a model's metadata, for a network of so many inputs and outputs; the error says what cannot be.
    pub(crate) fn parse(text: &str, inputs: usize, outputs: usize) -> Result<Self, String> {
        let encoder: Encoder = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let scales = |mean: f64, deviation: f64| mean.is_finite() && deviation.is_finite() && deviation > 0.0;
        let holds = |feature: &Feature| match feature.kind {
            Kind::Number { mean, deviation } => scales(mean, deviation),
            Kind::Texts(_) => true,
        };
        if let Some(feature) = encoder.features.iter().find(|feature| !holds(feature)) {
            return Err(format!("a deviation of column {:?} that is none", feature.name));
        }
        if matches!(encoder.target.kind, TargetKind::Number { mean, deviation } if !scales(mean, deviation)) {
            return Err("a deviation of the target that is none".into());
        }
        match (encoder.inputs(), encoder.target.outputs()) {
            (k, n) if (k, n) == (inputs, outputs) => Ok(encoder),
            (k, n) => Err(format!("columns of {k} inputs and {n} outputs beside a network of {inputs} and {outputs}")),
        }
    }

    pub(crate) fn text(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(Failure::new)
    }
}

/// Scales a target of numbers by those of the rows for training.
pub(crate) fn scaled(target: &mut Target, training: &[Value]) {
    if let TargetKind::Number { mean, deviation } = &mut target.kind {
        let values = training.iter().filter_map(|value| match value {
            Value::Number(number) => Some(*number),
            Value::Class(_) => None,
        });
        let (centre, spread) = mean_and_deviation(values);
        (*mean, *deviation) = (centre, if spread > 0.0 { spread } else { 1.0 });
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng as _};

    use super::*;

    fn encoder() -> Encoder {
        let number = Feature { name: "a".into(), kind: Kind::Number { mean: 2.0, deviation: 0.5 } };
        let texts = Feature { name: "b".into(), kind: Kind::Texts(vec!["no".into(), "yes".into()]) };
        let target = Target { name: "t".into(), kind: TargetKind::Number { mean: 1.0, deviation: 3.0 } };
        Encoder { header: true, missing: Missing::Error, features: vec![number, texts], target }
    }

    #[test]
    fn an_encoding_is_read_back_for_its_network_alone() {
        let text = encoder().text().expect("text");
        assert_eq!(Encoder::parse(&text, 3, 1), Ok(encoder()));
        for (text, inputs, outputs, part) in [
            (text.clone(), 2, 1, "columns of 3 inputs and 1 outputs beside a network of 2 and 1"),
            (text.clone(), 3, 2, "beside a network of 3 and 2"),
            (text.replace("0.5", "0.0"), 3, 1, "a deviation of column \"a\""),
            (text.replace("3.0", "-3.0"), 3, 1, "a deviation of the target"),
            (text.replace("3.0", "1e999"), 3, 1, "number out of range"),
            (text.replace("0.5", "null"), 3, 1, "invalid type"),
            (text.replace("header", "heder"), 3, 1, "missing field"),
            (String::new(), 3, 1, "EOF"),
        ] {
            let error = Encoder::parse(&text, inputs, outputs).expect_err("a mistake");
            assert!(error.contains(part), "{error}");
        }
    }

    /// Whatever is done to the text: an encoding that can be used, or an error.
    #[test]
    fn damaged_encodings_are_refused_or_usable() {
        let good = encoder().text().expect("text").into_bytes();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            for _ in 0..rng.random_range(1..=2) {
                let at = rng.random_range(0..bytes.len());
                match rng.random_range(0..3) {
                    0 => bytes[at] = rng.random_range(32..127),
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, *b"0123456789.-eE\"[]{},:".get(rng.random_range(0..23)).unwrap_or(&b'0')),
                }
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            match Encoder::parse(&text, 3, 1) {
                Ok(encoder) => {
                    read += 1;
                    assert_eq!((encoder.inputs(), encoder.target.outputs()), (3, 1));
                    assert!(
                        matches!(encoder.target.kind, TargetKind::Classes(_))
                            || matches!(encoder.target.kind, TargetKind::Number { deviation, .. } if deviation > 0.0 && deviation.is_finite())
                    );
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.is_empty());
                }
            }
        }
        assert!(read > 100 && refused > 1000, "{read} read, {refused} refused");
    }
}
