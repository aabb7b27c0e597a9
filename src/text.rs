//! Activations, types and choices with serde: as the text that they print and parse (feature `serde`).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{Activation, AlphaSource, Dtype, Float, ResidualAt, Saved, Strategy, WeightLayout};

macro_rules! as_text {
    ($($name:ident, $example:literal;)*) => {$(
        #[doc = concat!("As text: `", $example, "`.")]
        #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        #[doc = concat!("From text: `", $example, "`. Another text is an error that lists those that exist.")]
        #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_text! {
    Activation, "leaky_relu(0.01)";
    Float, "bf16";
    Dtype, "u32";
    Saved, "mask";
    WeightLayout, "out_in";
    AlphaSource, "channel";
    ResidualAt, "before";
    Strategy, "two_pass";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug>(value: T, text: &str) {
        assert_eq!(serde_json::to_string(&value).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<T>(&format!("\"{text}\"")).unwrap(), value);
    }

    #[test]
    fn what_is_written_reads_back() {
        round_trip("leaky_relu(0.25)".parse::<Activation>().unwrap(), "leaky_relu(0.25)");
        round_trip(Activation::GELU_ERF, "gelu_erf");
        Float::ALL.into_iter().for_each(|float| round_trip(float, float.name()));
        round_trip(Dtype::U32, "u32");
        round_trip(Dtype::BF16, "bf16");
        round_trip(Saved::Mask, "mask");
        round_trip(WeightLayout::InOut, "in_out");
    }

    #[test]
    fn other_text_is_an_error_that_says_what_was_expected() {
        let error = |text| serde_json::from_str::<Float>(text).unwrap_err().to_string();
        assert!(error("\"f8\"").contains("there are f32, f16 and bf16"), "{}", error("\"f8\""));
        assert!(serde_json::from_str::<Activation>("\"relux\"").unwrap_err().to_string().contains("relux"));
        assert!(serde_json::from_str::<Dtype>("32").is_err());
    }
}
