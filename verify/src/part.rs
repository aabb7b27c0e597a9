//! A part of a list, to divide a run among machines, or among processes where a driver never frees the memory of compiled kernels.

use std::{fmt, str::FromStr};

/// A part I/N of a list, counted from 1; each element of a list is in exactly one of the N parts.
///
/// ```
/// use elbow_verify::Part;
/// let part: Part = "2/3".parse()?;
/// assert_eq!(part.of_list(&[1, 2, 3, 4]), [2]);
/// assert_eq!(Part::ALL.of_list(&[1, 2]), [1, 2]);
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    number: usize,
    of: usize,
}

impl Part {
    /// The whole list.
    pub const ALL: Part = Part { number: 1, of: 1 };

    /// The elements of a list that are in this part: a contiguous range.
    pub fn of_list<T>(self, list: &[T]) -> &[T] {
        let edge = |number: usize| (list.len() as u128 * number as u128 / self.of as u128) as usize;
        &list[edge(self.number - 1)..edge(self.number)]
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match numbers {
            Some((number, of)) if 1 <= number && number <= of => Ok(Part { number, of }),
            _ => Err(format!("a part is I/N with I from 1 to N, such as 2/8; this is {text:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_list() {
        for length in [0, 1, 5, 64] {
            let list: Vec<usize> = (0..length).collect();
            for of in [1, 2, 7, 100] {
                let joined: Vec<usize> =
                    (1..=of).flat_map(|number| Part { number, of }.of_list(&list).to_vec()).collect();
                assert_eq!(joined, list, "{length} in {of}");
            }
            assert_eq!(Part { number: usize::MAX, of: usize::MAX }.of_list(&list), &list[length - length.min(1)..]);
        }
        for bad in ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b"] {
            assert!(bad.parse::<Part>().is_err(), "{bad}");
        }
        assert_eq!("3/8".parse::<Part>().map(|p| p.to_string()), Ok("3/8".to_string()));
    }
}
