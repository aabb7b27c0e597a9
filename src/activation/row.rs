//! The types of the table: a row, its parameters and their domains.

use std::fmt;

use super::{Kind, Quantity};

/// The values that a parameter may take. No domain contains NaN, nor a subnormal number (not 0, below 2⁻¹²⁶ ≈ 1.18e-38 in
/// magnitude), because some devices read it as 0. The moderate domains are for parameters that scale z inside an exponential or a root:
/// outside of them an intermediate result could overflow or become 0 in f32 although the final one would not.
///
/// ```
/// use elbow::activation::Domain;
/// assert!(Domain::NonNegative.contains(0.5) && !Domain::NonNegative.contains(f32::NAN));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Domain {
    /// Any finite number.
    Finite,
    /// Finite and >= 0.
    NonNegative,
    /// 0, or at least 1e-10; +inf means that the threshold is never reached.
    NonNegativeOrNever,
    /// 0, or from 1e-10 to 1e10 in magnitude.
    Moderate,
    /// From 1e-10 to 1e10 in magnitude.
    ModerateNonZero,
    /// From 1e-10 to 1e10.
    ModeratePositive,
}

impl Domain {
    /// Whether a parameter may have this value.
    pub fn contains(self, value: f32) -> bool {
        let moderate = |value: f32| (1e-10..=1e10).contains(&value);
        match self {
            Domain::Finite => value.is_normal() || value == 0.0,
            Domain::NonNegative => value >= 0.0 && Domain::Finite.contains(value),
            Domain::NonNegativeOrNever => value == 0.0 || value >= 1e-10,
            Domain::Moderate => value == 0.0 || moderate(value.abs()),
            Domain::ModerateNonZero => moderate(value.abs()),
            Domain::ModeratePositive => moderate(value),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Domain::Finite => "a finite number, 0 or at least 1.1754944e-38 in magnitude",
            Domain::NonNegative => "0 or a finite number >= 1.1754944e-38",
            Domain::NonNegativeOrNever => "0, a number >= 1e-10, or inf for no threshold",
            Domain::Moderate => "0 or a number from 1e-10 to 1e10 in magnitude",
            Domain::ModerateNonZero => "a number from 1e-10 to 1e10 in magnitude",
            Domain::ModeratePositive => "a number from 1e-10 to 1e10",
        })
    }
}

/// A parameter of an activation.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Parameter {
    /// Its name in formulas and errors.
    pub name: &'static str,
    /// Its value when it is left out; None if it must be given.
    pub default: Option<f32>,
    /// The values that it may take.
    pub domain: Domain,
}

/// One activation of the table, from which parser, documents, tests and benchmarks are made.
///
/// ```
/// use elbow::activation::{Quantity, rows};
/// for row in rows() {
///     println!("{:20} {} (value within {} ulp)", row.name, row.formula, row.tolerance(Quantity::Value));
/// }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Row {
    /// The activation of this row.
    pub kind: Kind,
    /// The name that is printed and parsed.
    pub name: &'static str,
    /// The formula, in z and the parameters' names.
    pub formula: &'static str,
    /// The parameters in order; the first is α.
    pub parameters: &'static [Parameter],
    /// `[α, second parameter]` of a row that takes no parameters.
    pub fixed: [f32; 2],
    /// Whether α (the first parameter) can be learnable; the WGSL file then has act_da, act_dzda, act_dzzda and act_dada.
    pub learnable: bool,
    /// Other names that are parsed. Case, `-`, `_` and spaces do not matter.
    pub aliases: &'static [&'static str],
    /// The stem of the WGSL file; rows of the same function share one.
    pub file: &'static str,
    /// The text of `shaders/activation/FILE.wgsl`. A line `#use NAME` names a shared file that it needs.
    pub wgsl: &'static str,
    /// Largest error allowed on a GPU, in the order of [`Quantity::ALL`]: ulp of the result, or of
    /// [`super::Activation::terms`] where that is larger, over all finite z whose result is normal.
    pub ulp: [f64; 8],
    /// Whether y can be enough for the slope (for which parameters: [`super::Activation::saved_is_enough`]).
    pub from_y: bool,
    /// Whether one bit is enough for the slope.
    pub from_bit: bool,
    /// The paper or library that the formula is from.
    pub source: &'static str,
}

impl Row {
    /// Name and aliases.
    ///
    /// ```
    /// let names: Vec<_> = elbow::activation::Kind::Silu.row().names().collect();
    /// assert_eq!(names, ["silu", "sigmoid_linear_unit"]);
    /// ```
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The quantities that its activations have: all, or without a learnable α those by z alone.
    ///
    /// ```
    /// use elbow::activation::{Kind, Quantity};
    /// assert_eq!(Kind::Tanh.row().quantities().last(), Some(&Quantity::ThirdDerivative));
    /// assert_eq!(Kind::Swish.row().quantities(), Quantity::ALL);
    /// ```
    pub const fn quantities(&self) -> &'static [Quantity] {
        if self.learnable { &Quantity::ALL } else { Quantity::ALL.split_at(Quantity::BY_Z).0 }
    }

    /// Largest error allowed for this quantity, in ulp.
    pub fn tolerance(&self, quantity: Quantity) -> f64 {
        self.ulp[quantity as usize]
    }
}
