//! Choices as words: printed and parsed. The command line, case files and serde use the same words.

use crate::{
    rates::Rule,
    request::{AlphaSource, ResidualAt, Saved, Strategy, Want, WeightLayout},
};

macro_rules! words {
    ($($type:ident, $what:literal: $($variant:ident = $word:literal),+;)+) => {$(
        impl $type {
            /// Every choice, in the order of their declaration.
            pub const ALL: &[$type] = &[$($type::$variant),+];

            /// The word that is printed and parsed.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::Error;

            fn from_str(text: &str) -> $crate::Result<Self> {
                let words: &[&str] = &[$($word),+];
                $type::ALL.iter().copied().find(|choice| choice.name() == text).ok_or_else(|| $crate::Error::Unsupported {
                    what: format!("{} {text:?}", $what),
                    why: format!("there are {}", words.join(", ")),
                })
            }
        }
    )+};
}
pub(crate) use words;

words! {
    Saved, "saved choice": Auto = "auto", Z = "z", Y = "y", Mask = "mask", None = "none";
    WeightLayout, "weight layout": OutIn = "out_in", InOut = "in_out";
    AlphaSource, "source of alpha": Constant = "constant", PerLayer = "layer", PerChannel = "channel";
    ResidualAt, "place of a residual": AfterActivation = "after", BeforeActivation = "before";
    Want, "gradient": No = "no", Overwrite = "set", Accumulate = "add";
    Strategy, "strategy": Auto = "auto", Prologue = "prologue", TwoPass = "two_pass";
    Rule, "rule of an update": Sgd = "sgd", Nesterov = "nesterov", AdamW = "adamw";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for &saved in Saved::ALL {
            assert_eq!(saved.to_string().parse(), Ok(saved));
        }
        assert_eq!("two_pass".parse(), Ok(Strategy::TwoPass));
        let error = "zz".parse::<Saved>().map_err(|error| error.to_string());
        assert_eq!(error, Err("saved choice \"zz\" is not possible: there are auto, z, y, mask, none".into()));
    }
}
