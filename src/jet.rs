//! Jets: layers that carry derivatives along. A point is a group of rows: the value, its derivatives along some directions (tangents), and a
//! second-order differential operator of it. Every row goes through the same product, and the activation mixes the rows of a group, so that
//! one pass gives what nested automatic differentiation takes several for.
//!
//! With x₀ = u, xᵢ = ∂u/∂tᵢ and the last row L u = Σᵢⱼ cᵢⱼ ∂²u/∂tᵢ∂tⱼ (+ any first-order terms that the input's last row has), for
//! zᵣ = xᵣ·Wᵀ (+ b in the value's row only):
//!
//! ```text
//! y₀ = act(z₀)    yᵢ = act'(z₀) zᵢ    y_L = act'(z₀) z_L + act''(z₀) Σᵢⱼ cᵢⱼ zᵢ zⱼ
//! ```
//!
//! Source: the propagation of univariate Taylor series and of second-order operators (Griewank and Walther, Evaluating Derivatives, ch. 13;
//! Li et al. 2023, forward Laplacian).

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// The most tangents.
const MOST: usize = 6;
/// Coefficients cᵢⱼ with i ≤ j of so many tangents.
const PAIRS: usize = MOST * (MOST + 1) / 2;

/// What the rows of a layer with jets are: groups of four (value, two tangents, operator) or eight (value, six tangents, operator), and the
/// operator's coefficients, a symmetric matrix c.
///
/// The first layer's input has in its groups the point, the directions of the tangents (∂x/∂tᵢ), and a last row of 0:
///
/// ```
/// use elbow::Jet;
/// // u(t, x) and the heat equation: rows u, u_t, u_x, u_xx.
/// let heat = Jet::two([0.0, 0.0, 1.0])?;
/// assert_eq!((heat.members(), heat.tangents(), heat.coefficient(1, 1)), (4, 2, 1.0));
/// assert!(!heat.is_first_order());
/// let (t, x) = (0.5, 0.25);
/// let group = [[t, x], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]];
/// assert_eq!(heat, "0,0,1".parse()?);
/// # Ok::<(), elbow::Error>(())
/// ```
///
/// It prints and parses as its coefficients, c₁₁,c₁₂,..,c₂₂.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Jet {
    tangents: u8,
    /// The bits of cᵢⱼ with i ≤ j, row by row, so that jets compare and hash.
    bits: [u32; PAIRS],
    even_if_flat: bool,
}

impl Jet {
    /// Two tangents and the operator c₁₁ ∂₁₁ + 2 c₁₂ ∂₁₂ + c₂₂ ∂₂₂, from `[c₁₁, c₁₂, c₂₂]`: groups of four rows. [`Error::BadParameter`]
    /// for a coefficient that is not finite, or beyond 1e30.
    ///
    /// ```
    /// let wave = elbow::Jet::two([1.0, 0.0, -4.0])?; // u_tt - 4 u_xx
    /// assert!(elbow::Jet::two([f32::NAN, 0.0, 0.0]).is_err());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn two(coefficients: [f32; 3]) -> Result<Self> {
        Self::new(2, &coefficients)
    }

    /// Six tangents and the operator Σᵢⱼ cᵢⱼ ∂ᵢⱼ of a symmetric matrix c: groups of eight rows. [`Error::BadParameter`] if c is not symmetric,
    /// or has a coefficient that is not finite, or beyond 1e30.
    ///
    /// ```
    /// let mut c = [[0.0; 6]; 6];
    /// c[0][3] = 0.5;
    /// assert!(elbow::Jet::six(c).is_err());
    /// c[3][0] = 0.5;
    /// assert_eq!(elbow::Jet::six(c)?.members(), 8); // the operator is ∂²/∂t₁∂t₄
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn six(c: [[f32; MOST]; MOST]) -> Result<Self> {
        for (i, j) in pairs(MOST) {
            if c[i][j].to_bits() != c[j][i].to_bits() && c[i][j] != c[j][i] {
                return Err(bad(i, j, format!("symmetric: {} in [{j}][{i}] too", c[i][j]), c[j][i]));
            }
        }
        Self::new(MOST, &pairs(MOST).map(|(i, j)| c[i][j]).collect::<Vec<_>>())
    }

    /// The Laplacian in up to six dimensions, Σ ∂ᵢᵢ: groups of four rows up to two dimensions, else of eight. Tangents beyond the dimensions
    /// are first derivatives along any other direction.
    ///
    /// ```
    /// assert_eq!(elbow::Jet::laplacian(2)?, elbow::Jet::two([1.0, 0.0, 1.0])?);
    /// assert_eq!(elbow::Jet::laplacian(3)?.members(), 8);
    /// assert!(elbow::Jet::laplacian(7).is_err());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn laplacian(dimensions: usize) -> Result<Self> {
        if dimensions > MOST {
            return Err(Error::Unsupported {
                what: format!("a jet of {dimensions} dimensions"),
                why: format!("a group has at most {MOST} tangents"),
            });
        }
        let tangents = if dimensions <= 2 { 2 } else { MOST };
        let one = |(i, j)| if i == j && i < dimensions { 1.0 } else { 0.0 };
        Self::new(tangents, &pairs(tangents).map(one).collect::<Vec<f32>>())
    }

    fn new(tangents: usize, upper: &[f32]) -> Result<Self> {
        let mut bits = [0; PAIRS];
        for (((i, j), &c), bits) in pairs(tangents).zip(upper).zip(&mut bits) {
            if c.is_nan() || c.abs() > 1e30 {
                return Err(bad(i, j, "a finite number, at most 1e30".into(), c));
            }
            // -0 is 0.
            *bits = (c + 0.0).to_bits();
        }
        Ok(Jet { tangents: tangents as u8, bits, even_if_flat: false })
    }

    /// The same jet, allowed for activations whose second derivative is 0 almost everywhere, such as ReLU.
    ///
    /// They are refused otherwise, because the operator of a network of them does not see the network: it is 0 almost everywhere, and so is
    /// the gradient of any loss on it.
    ///
    /// ```
    /// use elbow::{Activation, Jet, request::AffineRequest};
    /// let layer = AffineRequest::new(8, 3, 2, Activation::RELU);
    /// assert!(layer.jet(Jet::laplacian(2)?).resolve().is_err());
    /// assert!(layer.jet(Jet::laplacian(2)?.even_if_flat()).resolve().is_ok());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    #[must_use]
    pub const fn even_if_flat(self) -> Self {
        Jet { even_if_flat: true, ..self }
    }

    /// Rows of a group: 4 or 8.
    pub const fn members(&self) -> usize {
        self.tangents as usize + 2
    }

    /// Tangents of a group: 2 or 6.
    pub const fn tangents(&self) -> usize {
        self.tangents as usize
    }

    /// cᵢⱼ, counted from 0; 0 beyond the tangents.
    pub fn coefficient(&self, i: usize, j: usize) -> f32 {
        let place = pairs(self.tangents()).position(|pair| pair == (i.min(j), i.max(j)));
        place.map_or(0.0, |place| f32::from_bits(self.bits[place]))
    }

    /// Whether the operator has no second derivatives: then its row is one more tangent.
    pub fn is_first_order(&self) -> bool {
        self.bits.iter().all(|&bits| bits == 0)
    }

    pub(crate) const fn allows_flat(&self) -> bool {
        self.even_if_flat
    }
}

/// The pairs i ≤ j, row by row.
fn pairs(tangents: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..tangents).flat_map(move |i| (i..tangents).map(move |j| (i, j)))
}

fn bad(i: usize, j: usize, expected: String, got: f32) -> Error {
    Error::BadParameter {
        of: "jet".into(),
        parameter: format!("coefficient [{i}][{j}]"),
        expected,
        got: got.to_string(),
    }
}

impl fmt::Display for Jet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> =
            pairs(self.tangents()).zip(self.bits).map(|(_, bits)| f32::from_bits(bits).to_string()).collect();
        f.write_str(&words.join(","))?;
        f.write_str(if self.even_if_flat { ",flat" } else { "" })
    }
}

impl fmt::Debug for Jet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jet({self})")
    }
}

impl FromStr for Jet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (numbers, flat) = text.strip_suffix(",flat").map_or((text, false), |numbers| (numbers, true));
        let upper: Option<Vec<f32>> = numbers.split(',').map(|word| word.parse().ok()).collect();
        let jet = match upper.as_deref() {
            Some(upper) if upper.len() == 3 => Self::new(2, upper)?,
            Some(upper) if upper.len() == PAIRS => Self::new(MOST, upper)?,
            _ => {
                return Err(Error::Unsupported {
                    what: format!("jet {text:?}"),
                    why: format!("it is 3 coefficients, c11,c12,c22, or {PAIRS}, c11,c12,..,c66"),
                });
            }
        };
        Ok(if flat { jet.even_if_flat() } else { jet })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jets_print_and_read_back() {
        let c: [[f32; MOST]; MOST] =
            std::array::from_fn(|i| std::array::from_fn(|j| (i.min(j) * MOST + i.max(j)) as f32 - 7.5));
        for jet in
            [Jet::two([1.0, -0.5, 1e-30]).unwrap(), Jet::six(c).unwrap(), Jet::laplacian(5).unwrap().even_if_flat()]
        {
            assert_eq!(jet.to_string().parse(), Ok(jet));
            for (i, j) in pairs(jet.tangents()) {
                assert_eq!(jet.coefficient(i, j), jet.coefficient(j, i));
            }
        }
        assert_eq!(Jet::six(c).unwrap().coefficient(4, 2), c[4][2]);
        assert!(Jet::two([0.0; 3]).unwrap().is_first_order() && !Jet::laplacian(1).unwrap().is_first_order());
        for wrong in ["", "1,2", "1,2,x", "1,2,inf", "1,2,3,4"] {
            assert!(wrong.parse::<Jet>().is_err(), "{wrong}");
        }
    }
}
