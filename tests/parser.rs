//! Activations as text, for any text: a value or an error, never a panic, and what is printed reads back the same.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use elbow::{
    Activation, Error,
    activation::{Domain, Row, rows},
};
use proptest::prelude::*;

fn row() -> impl Strategy<Value = &'static Row> {
    (0..rows().len()).prop_map(|index| &rows()[index])
}

/// Any bits, with those that parameters stumble over more often.
fn number() -> impl Strategy<Value = f32> {
    let odd =
        [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-40, f32::MIN_POSITIVE, 1e-10, 9.9e-11, 1e10, 1.1e10, f32::MAX, f32::MIN];
    let not_finite = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    prop_oneof![
        4 => any::<u32>().prop_map(f32::from_bits),
        4 => -10.0..10.0f32,
        1 => prop::sample::select(odd.to_vec()),
        1 => prop::sample::select(not_finite.to_vec()),
    ]
}

/// Text that is nearly right: a name, or something like it, and brackets with something in them.
fn nearly() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        row().prop_map(|row| row.name.to_owned()),
        row().prop_map(|row| row.names().last().unwrap_or_default().to_uppercase()),
        "[a-z_ -]{0,12}",
        "\\PC{0,6}",
    ];
    let piece = prop_oneof![number().prop_map(|n| n.to_string()), "[-+0-9.einfa ]{0,8}", "\\PC{0,3}"];
    let inside = prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.join(","));
    let brackets = prop::sample::select(vec![("", ""), ("(", ")"), (" ( ", " ) "), ("(", ""), ("", ")"), ("((", "))")]);
    (name, inside, brackets).prop_map(|(name, inside, (open, close))| format!("{name}{open}{inside}{close}"))
}

/// The domains, said once more.
fn allowed(domain: Domain, value: f32) -> bool {
    let normal = value == 0.0 || (f32::MIN_POSITIVE..=f32::MAX).contains(&value.abs());
    let moderate = (1e-10..=1e10).contains(&value.abs());
    match domain {
        Domain::Finite => normal,
        Domain::NonNegative => normal && value >= 0.0,
        Domain::NonNegativeOrNever => value == 0.0 || value >= 1e-10,
        Domain::Moderate => moderate || value == 0.0,
        Domain::ModerateNonZero => moderate,
        Domain::ModeratePositive => moderate && value > 0.0,
        // A new domain fails here until it is said too.
        _ => false,
    }
}

fn bits(activation: Activation) -> [u32; 2] {
    activation.params().map(f32::to_bits)
}

/// What was read prints to text that reads back to the same kind and the same bits.
fn reads_back(activation: Activation) -> Result<(), TestCaseError> {
    let text = activation.to_string();
    let back: Activation = text.parse().map_err(|e: Error| TestCaseError::fail(format!("{text}: {e}")))?;
    prop_assert_eq!((back.kind(), bits(back)), (activation.kind(), bits(activation)), "{}", text);
    prop_assert_eq!(back.to_string(), text);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in prop_oneof![any::<String>(), nearly(), nearly()]) {
        match text.parse::<Activation>() {
            Ok(activation) => reads_back(activation)?,
            Err(Error::UnknownActivation { text: quoted, .. }) => prop_assert_eq!(quoted, text),
            Err(Error::BadParameter { of, .. }) => prop_assert!(rows().iter().any(|row| row.name == of)),
            Err(other) => prop_assert!(false, "{:?}: {}", text, other),
        }
    }

    /// As text and by the constructor alike: every parameter in its domain, or an error that names the first that is not.
    #[test]
    fn parameters_lie_in_their_domains(row in row(), values in prop::collection::vec(number(), 0..4)) {
        // `hardsigmoid` without arguments is PyTorch's, with them ONNX's: two rows of one name.
        let arguments = values.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
        let read = format!("{}({arguments})", row.name).parse::<Activation>();
        let built = Activation::new(row.kind, &values);
        let same_row = rows().iter().filter(|other| other.name == row.name).count() == 1;
        if same_row {
            prop_assert_eq!(read.as_ref().map(ToString::to_string).map_err(ToString::to_string),
                built.as_ref().map(ToString::to_string).map_err(ToString::to_string));
        }
        let missing = row.parameters.iter().skip(values.len()).find(|p| p.default.is_none());
        let outside = row.parameters.iter().zip(&values).find(|(p, value)| !allowed(p.domain, **value));
        let wrong = if values.len() > row.parameters.len() {
            Some("number of parameters")
        } else {
            outside.map(|(p, _)| p).or(missing).map(|p| p.name)
        };
        match (built, wrong) {
            (Ok(activation), None) => {
                prop_assert!(activation.params().iter().zip(&values).all(|(got, value)| got.to_bits() == value.to_bits()));
                reads_back(activation)?;
            }
            // The one rule between two parameters.
            (Err(Error::BadParameter { parameter, .. }), None) => {
                prop_assert!(row.name == "hardtanh" && parameter == "max", "{} {:?}: {}", row.name, values, parameter);
                prop_assert!(values[0] > values.get(1).copied().unwrap_or(1.0), "{:?}", values);
            }
            (Err(Error::BadParameter { parameter, .. }), Some(wrong)) => prop_assert_eq!(parameter, wrong),
            (result, wrong) => prop_assert!(false, "{} {:?}: {:?}, wrong is {:?}", row.name, values, result, wrong),
        }
    }

    /// Case, blanks, `-` and `_` of a name do not matter.
    #[test]
    fn names_are_read_however_they_are_written(row in row(), upper: u64, between in prop::collection::vec("[-_ ]{0,2}", 40)) {
        let values = vec!["0.5"; row.parameters.len()].join(",");
        let written: String = row.name.chars().zip(&between).enumerate().flat_map(|(index, (letter, between))| {
            let letter = if upper >> (index % 64) & 1 == 1 { letter.to_ascii_uppercase() } else { letter };
            between.chars().chain([letter]).collect::<Vec<_>>()
        }).collect();
        let plain: Activation = format!("{}({values})", row.name).parse().unwrap();
        let odd: Activation = format!("{written}({values})").parse().unwrap();
        prop_assert_eq!(odd, plain, "{}", written);
    }
}
