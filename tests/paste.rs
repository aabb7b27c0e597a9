//! Networks as WGSL text, without a GPU: every activation, both ways to bring the parameters; parsed, validated, and no name but the host's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use elbow::{
    Activation,
    activation::rows,
    shader::{Numbers, PastedLayer, network},
};
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// 3 -> 6 act -> 2, α per channel behind the other parameters.
fn layers(activation: Activation, learns: bool) -> [PastedLayer; 2] {
    let alpha = learns.then_some((40, true));
    let identity = Activation::IDENTITY;
    [
        PastedLayer { k: 3, n: 6, activation, w: 0, b: 18, alpha },
        PastedLayer { k: 6, n: 2, activation: identity, w: 24, b: 36, alpha: None },
    ]
}

const HOST: &str = "@compute @workgroup_size(1) fn host() { var x: array<f32, 3>; let y = net(x); }";

#[test]
fn every_text_is_valid_and_keeps_to_its_names() {
    let values: Vec<f32> = (0..64).map(|i| [0.1, -1e-42, f32::INFINITY, -0.0, f32::NAN, 3e38][i % 6]).collect();
    for row in rows() {
        let missing = row.parameters.iter().filter(|parameter| parameter.default.is_none()).count();
        let activation = Activation::new(row.kind, &vec![0.5; missing]).unwrap();
        for numbers in [Numbers::Constants(&values), Numbers::Storage { group: 2, binding: 3 }] {
            let text = network("net", &layers(activation, activation.has_alpha()), numbers).unwrap();
            let whole = format!("{text}{HOST}");
            let module =
                naga::front::wgsl::parse_str(&whole).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&whole)));
            let validated = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module);
            validated.unwrap_or_else(|e| panic!("{activation}: {e:?}\n{whole}"));
            let functions = module.functions.iter().filter_map(|(_, function)| function.name.as_deref());
            let globals = module.global_variables.iter().filter_map(|(_, global)| global.name.as_deref());
            let constants = module.constants.iter().filter_map(|(_, constant)| constant.name.as_deref());
            let types = module.types.iter().filter_map(|(_, ty)| ty.name.as_deref());
            for name in functions.chain(globals).chain(constants).chain(types) {
                assert!(name == "net" || name.starts_with("net_"), "{activation}: {name}");
                // Nothing that is not needed.
                assert!(text.matches(name).count() > 1, "{activation}: {name} is never used");
            }
            assert!(!text.contains("P."), "{activation}: a parameter block");
        }
    }
}

/// The numbers are those that were given, bit for bit.
#[test]
fn numbers_in_the_text_are_exact() {
    let odd = [0.1, 1.0 / 3.0, f32::MIN_POSITIVE, f32::from_bits(1), f32::MAX, -0.0, 16777217.0, 1e-7];
    let layer = PastedLayer { k: 7, n: 1, activation: Activation::IDENTITY, w: 0, b: 7, alpha: None };
    let text = network("net", &[layer], Numbers::Constants(&odd)).unwrap();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || ".-".contains(c)));
    let read: Vec<u32> =
        words.filter_map(|word| word.strip_suffix('f')?.parse::<f32>().ok()).map(f32::to_bits).collect();
    for number in odd {
        assert!(read.contains(&number.to_bits()), "{number:e} in {text}");
    }
}

/// Two networks in one shader, and one that the host has named as a function of elbow.
#[test]
fn two_texts_in_one_shader() {
    let values = [0.5; 64];
    let [one, two] = ["density", "color"]
        .map(|name| network(name, &layers(Activation::SILU, false), Numbers::Constants(&values)).unwrap());
    naga::front::wgsl::parse_str(&format!("{one}{two}")).unwrap();
}
