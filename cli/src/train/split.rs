//! Which rows of a table train, validate and test.

use rand::seq::SliceRandom as _;

use super::{columns::Value, fit::generator};

/// Rows of the table in each part.
#[derive(Debug, Default)]
pub(crate) struct Split {
    pub(crate) training: Vec<usize>,
    pub(crate) validation: Vec<usize>,
    pub(crate) test: Vec<usize>,
}

/// Of twenty rows that are next to each other in the order of the target, three validate and three test, by lot: each part has its share of every class and of
/// every range. Of ten that are left, two and one.
const TWENTY: usize = 20;
const VALIDATE: [usize; 3] = [3, 9, 16];
const TEST: [usize; 3] = [6, 13, 19];

impl Split {
    pub(crate) fn new(rows: &[(usize, Value)], seed: u64) -> Self {
        let mut random = generator(seed, 0);
        let mut rows = rows.to_vec();
        rows.shuffle(&mut random);
        let key = |value: &Value| match *value {
            Value::Class(class) => class as f64,
            Value::Number(number) => number,
        };
        rows.sort_by(|a, b| key(&a.1).total_cmp(&key(&b.1)));
        let mut split = Split::default();
        for twenty in rows.chunks(TWENTY) {
            let mut places: Vec<usize> = (0..twenty.len()).collect();
            places.shuffle(&mut random);
            for (&(row, _), place) in twenty.iter().zip(places) {
                match place {
                    place if VALIDATE.contains(&place) => split.validation.push(row),
                    place if TEST.contains(&place) => split.test.push(row),
                    _ => split.training.push(row),
                }
            }
        }
        split
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row is in one part, each range of the target in all of them, and another seed deals otherwise.
    #[test]
    fn shares_and_seeds() {
        for (count, shares) in [(10, [7, 2, 1]), (20, [14, 3, 3]), (400, [280, 60, 60])] {
            let rows: Vec<(usize, Value)> = (0..count).map(|row| (row, Value::Number(row as f64))).collect();
            let splits = [1, 1, 2].map(|seed| Split::new(&rows, seed));
            let parts = |split: &Split| [&split.training, &split.validation, &split.test].map(Vec::clone);
            for split in &splits {
                assert_eq!(parts(split).map(|part| part.len()), shares);
                let mut all = parts(split).concat();
                all.sort_unstable();
                assert!(all.iter().copied().eq(0..count));
                for twenty in 0..count / TWENTY {
                    let there = |part: Vec<usize>| part.iter().filter(|&&row| row / TWENTY == twenty).count();
                    assert_eq!(parts(split).map(there), [14, 3, 3]);
                }
            }
            let [first, again, other] = splits.map(|split| parts(&split));
            assert_eq!(first, again);
            assert_ne!(first, other);
        }
    }
}
