//! Activations as text: `leaky_relu(0.01)`, `hardtanh(-1,1)`, `gelu`.

use std::{fmt, str::FromStr};

use super::{Activation, Kind, rows};
use crate::error::{Error, Result};

/// Text that [`FromStr`] reads back to the same value, such as `leaky_relu(0.01)` or `gelu_erf`, with the shortest digits that do.
impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = self.row();
        let mut parameters: Vec<String> =
            row.parameters.iter().zip(self.params).map(|(_, value)| number(value)).collect();
        // A threshold that is never reached is not printed.
        if self.kind == Kind::Softplus && self.params[1] == f32::INFINITY {
            parameters.pop();
        }
        if parameters.is_empty() { f.pad(row.name) } else { f.pad(&format!("{}({})", row.name, parameters.join(","))) }
    }
}

/// The shortest digits that read back to the same f32; with an exponent beyond 14 characters.
fn number(value: f32) -> String {
    let plain = value.to_string();
    if plain.len() > 14 { format!("{value:e}") } else { plain }
}

/// `name` or `name(number, ...)`. Case, spaces, `-` and `_` in the name do not matter; missing parameters take their
/// defaults. An unknown name is an [`Error::UnknownActivation`], a parameter outside its domain an [`Error::BadParameter`].
///
/// ```
/// use elbow::Activation;
/// assert_eq!("GELU".parse(), Ok(Activation::GELU_ERF));
/// assert!("relux".parse::<Activation>().unwrap_err().to_string().contains("relu? or one of"));
/// ```
impl FromStr for Activation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = |expected: String| Error::UnknownActivation { text: text.into(), expected };
        let trimmed = text.trim();
        let (name, inside) = match trimmed.split_once('(') {
            None => (trimmed, ""),
            Some((name, rest)) => match rest.trim_end().strip_suffix(')') {
                Some(inside) if !inside.contains(['(', ')']) => (name, inside.trim()),
                _ => return Err(unknown("name or name(number, ...)".into())),
            },
        };
        let folded = fold(name);
        let Some(row) = rows().iter().find(|row| row.names().any(|known| fold(known) == folded)) else {
            return Err(unknown(match gated_unit(&folded) {
                Some(activation) => format!(
                    "an activation of one tensor; this is the gated unit {activation}(gate) * up, elementwise::Gated with {activation}"
                ),
                None => expected_names(&folded),
            }));
        };
        // Two rows share the name hardsigmoid: with arguments it is ONNX's.
        let kind = match row.kind {
            Kind::Hardsigmoid if !inside.is_empty() => Kind::HardsigmoidAffine,
            kind => kind,
        };
        let row = kind.row();
        let mut parameters = Vec::new();
        for (slot, piece) in inside.split(',').enumerate().filter(|_| !inside.is_empty()) {
            let value = piece.trim().parse::<f32>().map_err(|_| Error::BadParameter {
                of: row.name.into(),
                parameter: row.parameters.get(slot).map_or("parameter", |parameter| parameter.name).into(),
                expected: row.parameters.get(slot).map_or("nothing".into(), |parameter| parameter.domain.to_string()),
                got: piece.trim().into(),
            })?;
            parameters.push(value);
        }
        Activation::new(kind, &parameters)
    }
}

/// Gated units, act(gate) ⊙ up, by name, and the activation of each. Source: Shazeer 2020, GLU Variants Improve Transformer.
const GATED_UNITS: [(&str, Activation); 8] = [
    ("glu", Activation::SIGMOID),
    ("bilinear", Activation::IDENTITY),
    ("reglu", Activation::RELU),
    ("geglu", Activation::GELU_ERF),
    ("geglu_erf", Activation::GELU_ERF),
    ("geglu_tanh", Activation::GELU_TANH),
    ("swiglu", Activation::SILU),
    ("silu_and_mul", Activation::SILU),
];

fn gated_unit(folded: &str) -> Option<Activation> {
    GATED_UNITS.iter().find(|(name, _)| fold(name) == folded).map(|(_, activation)| *activation)
}

impl Activation {
    /// The activation of a gated unit, act(gate) ⊙ up ([`elementwise::Gated`](crate::elementwise::Gated)): of `glu`, `bilinear`, `reglu`,
    /// `geglu`, `geglu_tanh` or `swiglu`. Case, spaces, `-` and `_` do not matter. [`Error::UnknownActivation`] for another name.
    ///
    /// ```
    /// use elbow::Activation;
    /// assert_eq!(Activation::of_gated_unit("SwiGLU"), Ok(Activation::SILU));
    /// assert!("swiglu".parse::<Activation>().unwrap_err().to_string().contains("silu(gate) * up"));
    /// ```
    pub fn of_gated_unit(name: &str) -> Result<Self> {
        gated_unit(&fold(name)).ok_or_else(|| Error::UnknownActivation {
            text: name.into(),
            expected: format!("one of {}", GATED_UNITS.map(|(name, _)| name).join(", ")),
        })
    }
}

/// The letters of a name in lower case: `Leaky-ReLU`, `leaky_relu` and `leakyrelu` are the same.
fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-') && !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

fn expected_names(folded: &str) -> String {
    let near = rows()
        .iter()
        .flat_map(|row| row.names())
        .map(|name| (distance(&fold(name), folded), name))
        .filter(|(distance, name)| *distance <= 2.min(name.len() / 2))
        .min_by_key(|(distance, _)| *distance);
    let mut names: Vec<_> = rows().iter().map(|row| row.name).collect();
    names.dedup();
    let list = format!("one of {}", names.join(", "));
    match near {
        Some((_, name)) => format!("{name}? or {list}"),
        None => list,
    }
}

/// Letters to insert, delete or replace to get from one word to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut costs: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.chars().enumerate() {
        let mut diagonal = i;
        costs[0] = i + 1;
        for (j, other) in to.iter().enumerate() {
            let replace = diagonal + usize::from(letter != *other);
            diagonal = costs[j + 1];
            costs[j + 1] = replace.min(costs[j] + 1).min(diagonal + 1);
        }
    }
    costs[to.len()]
}
