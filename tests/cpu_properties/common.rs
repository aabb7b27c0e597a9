//! Random activations out of the table, the loop over its rows, and what both implementations are measured with.

use elbow::activation::{Activation, Domain, Quantity, Row, rows};
use elbow_cpu::Alpha;
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{TestCaseResult, TestRunner},
};

/// Everything there is to check: more cases, smaller strides.
pub fn full() -> bool {
    std::env::var_os("ELBOW_TEST_FULL").is_some()
}

/// The property for so many random cases.
pub fn check<S: Strategy>(
    cases: u32,
    strategy: &S,
    property: impl Fn(S::Value) -> TestCaseResult,
) -> Result<(), String> {
    let cases = if full() { 20 * cases } else { cases };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config).run(strategy, property).map_err(|failure| failure.to_string())
}

/// The property for so many random cases of each row; the failures of all rows before any of them fails the test.
pub fn for_every_row<S: Strategy>(
    cases: u32,
    strategy: impl Fn(&'static Row) -> S,
    property: impl Fn(S::Value) -> TestCaseResult,
) {
    let failures: Vec<_> = rows().iter().filter_map(|row| check(cases, &strategy(row), &property).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The property for every row, and for so many random parameters of those that take any.
pub fn for_every_activation(
    cases: u32,
    strategy: impl Fn(&'static Row) -> BoxedStrategy<Activation>,
    property: impl Fn(Activation) -> TestCaseResult,
) {
    let failures: Vec<_> = rows()
        .iter()
        .filter_map(|row| {
            let cases = if row.parameters.is_empty() { 1 } else { cases };
            check(cases, &strategy(row), &property).err()
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A parsed activation.
pub fn parsed(text: &str) -> Activation {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Every row at its defaults; 0.5 for what has none.
pub fn defaults() -> impl Iterator<Item = Activation> {
    rows().iter().map(|row| {
        let parameters: Vec<f32> = row.parameters.iter().map(|parameter| parameter.default.unwrap_or(0.5)).collect();
        Activation::new(row.kind, &parameters).unwrap()
    })
}

/// Eight significant bits, so that a step of α in f32 can be exact; between 1/32 and 8.
fn near() -> impl Strategy<Value = f32> {
    (128u32..256, -5i32..3).prop_map(|(bits, exponent)| bits as f32 / 128.0 * 2f32.powi(exponent))
}

/// Mostly near 1, sometimes anywhere that f32 reaches, sometimes where a formula may divide by zero or lose its shape.
fn anywhere() -> impl Strategy<Value = f32> {
    let far = (1u32..256, -149i32..120).prop_map(|(bits, exponent)| (f64::from(bits) * 2f64.powi(exponent)) as f32);
    prop_oneof![12 => near(), 3 => far, 1 => Just(0.0), 1 => Just(1.0), 1 => Just(f32::MAX)]
}

fn parameter(domain: Domain, magnitude: BoxedStrategy<f32>) -> BoxedStrategy<f32> {
    let signed = (magnitude.clone(), any::<bool>()).prop_map(|(size, negative)| if negative { -size } else { size });
    let within = move |value: &f32| domain.contains(*value);
    match domain {
        Domain::NonNegativeOrNever => {
            prop_oneof![Just(f32::INFINITY), magnitude.prop_filter("outside", within)].boxed()
        }
        Domain::ModeratePositive | Domain::NonNegative => magnitude.prop_filter("outside", within).boxed(),
        _ => signed.prop_filter("outside", within).boxed(),
    }
}

fn made_of(row: &'static Row, magnitude: BoxedStrategy<f32>) -> BoxedStrategy<Activation> {
    let parameters: Vec<_> = row.parameters.iter().map(|known| parameter(known.domain, magnitude.clone())).collect();
    let made = move |mut parameters: Vec<f32>| {
        // hardtanh wants them in order.
        Activation::new(row.kind, &parameters).ok().or_else(|| {
            parameters.reverse();
            Activation::new(row.kind, &parameters).ok()
        })
    };
    parameters.prop_filter_map("not an activation", made).boxed()
}

/// An activation of this row, its parameters anywhere in their domains.
pub fn activation(row: &'static Row) -> BoxedStrategy<Activation> {
    made_of(row, anywhere().boxed())
}

/// An activation of this row, its parameters between 1/32 and 8 in size.
pub fn ordinary(row: &'static Row) -> BoxedStrategy<Activation> {
    made_of(row, near().boxed())
}

/// Any activation, its parameters between 1/32 and 8 in size.
pub fn any_ordinary() -> impl Strategy<Value = Activation> {
    (0..rows().len()).prop_flat_map(|row| ordinary(&rows()[row]))
}

/// The lengths on which an activation of this α can bend: 1, α (celu), 1/α (swish) and √α (squareplus).
pub fn scales(activation: &Activation) -> [f64; 4] {
    let alpha = f64::from(activation.params()[0].abs());
    if alpha == 0.0 { [1.0; 4] } else { [1.0, alpha, 1.0 / alpha, alpha.sqrt()] }
}

/// The shortest of them.
pub fn narrowest(activation: &Activation) -> f64 {
    scales(activation).into_iter().fold(f64::INFINITY, f64::min)
}

/// An activation of this row and a z of f32: where it bends, close to a kink, or far from both.
pub fn activation_and_z(row: &'static Row) -> impl Strategy<Value = (Activation, f64)> {
    let unit = prop_oneof![6 => -8.0f64..8.0, 2 => -60.0f64..60.0, 1 => Just(0.0)];
    let far = (any::<bool>(), -20.0f64..100.0).prop_map(
        |(negative, exponent): (bool, f64)| {
            if negative { -exponent.exp2() } else { exponent.exp2() }
        },
    );
    (activation(row), prop_oneof![9 => unit, 1 => far], 0..4usize, any::<Index>()).prop_map(
        |(activation, u, scale, kink): (Activation, f64, usize, Index)| {
            let kinks = activation.kinks();
            let origin = if kinks.is_empty() || u.abs() > 8.0 { 0.0 } else { kink.get(&kinks).at };
            let z = (origin + u * scales(&activation)[scale]) as f32;
            (activation, f64::from(z.clamp(f32::MIN, f32::MAX)))
        },
    )
}

/// Finite f32: every `stride`-th bit pattern, and `dense` numbers of each sign where functions bend, |z| in [2⁻⁶, 128].
pub fn inputs(stride: u32, dense: u32) -> Vec<f32> {
    let patterns = (0..=u32::MAX / stride).map(|i| f32::from_bits(i * stride));
    let (from, to) = (2f32.powi(-6).to_bits(), 128f32.to_bits());
    let bends = (from..to).step_by(((to - from) / dense) as usize).map(f32::from_bits);
    patterns.filter(|z| z.is_finite()).chain(bends.flat_map(|z| [z, -z])).chain([0.0, -0.0]).collect()
}

/// A quantity on the CPU baseline.
pub fn on_baseline(activation: &Activation, quantity: Quantity, z: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::from_bits(0x7fc0_1234); z.len()];
    elbow_cpu::evaluate(activation, quantity, Alpha::One(activation.params()[0]), z, &mut out);
    out
}

/// The size of the terms of a quantity's formula, never below the quantity itself.
pub fn size(activation: &Activation, quantity: Quantity, z: f64) -> f64 {
    activation.terms(quantity, z).max(activation.evaluate(quantity, z).abs())
}

/// Spacing of f32 at |v|, at least the smallest subnormal.
pub fn ulp(v: f64) -> f64 {
    // The exponent by its bits: a logarithm may round to the next integer.
    let exponent = ((v.to_bits() >> 52 & 0x7ff) as i32 - 1023).clamp(-126, 127);
    2f64.powi(exponent - 23)
}

/// Numbers that follow from a seed.
pub struct Numbers(pub u64);

impl Numbers {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 40
    }

    /// Odd multiples of 1/256 in (-1, 1): room for exact steps in f32, and no sum of few of them is 0.
    pub fn dyadic(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| ((self.bits() >> 16) as f32 * 2.0 - 255.0) / 256.0).collect()
    }
    /// Numbers in (-2, 2).
    pub fn vec(&mut self, length: usize) -> Vec<f32> {
        (0..length).map(|_| (self.bits() as f32 - 8_388_607.5) / 4_194_304.0).collect()
    }
}
