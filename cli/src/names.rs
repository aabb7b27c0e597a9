//! Which tensor of which file is which operand: by its own name, by PyTorch's, below a prefix, or as `--map` says.

use std::{collections::BTreeMap, str::FromStr};

use elbow::Operand;

use crate::{
    args::Eval,
    failure::Failure,
    file::{INPUTS, Source, Tensor},
};

/// An operand and the name of its tensor: `x=input.1`.
#[derive(Debug, Clone)]
pub(crate) struct Mapped {
    operand: Operand,
    name: String,
}

impl FromStr for Mapped {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || INPUTS.map(Operand::name).join(", ");
        let (word, name) =
            text.split_once('=').ok_or_else(|| format!("expected OPERAND=NAME, OPERAND one of {}", known()))?;
        let operand = INPUTS.into_iter().find(|operand| operand.name() == word);
        let operand = operand.ok_or_else(|| format!("expected one of {} before the =, got {word:?}", known()))?;
        Ok(Mapped { operand, name: name.to_owned() })
    }
}

/// The files of a call: the one with x, and that of a model, if it is another.
pub(crate) struct Files<'a> {
    pub(crate) model: Option<Source<'a>>,
    pub(crate) input: Source<'a>,
}

impl Files<'_> {
    /// The file that has the parameters.
    pub(crate) fn parameters(&self) -> &Source<'_> {
        self.model.as_ref().unwrap_or(&self.input)
    }

    /// Every operand of a single layer that is there.
    pub(crate) fn operands(&self, args: &Eval) -> Result<BTreeMap<Operand, Tensor>, Failure> {
        let picked = self.model.is_some() || !args.map.is_empty() || !args.prefix.is_empty();
        if !picked {
            let mut tensors = self.input.operands(&INPUTS, args.convert)?;
            tensors.get_mut(&Operand::W).into_iter().for_each(|w| flatten(w, args.flatten));
            return Ok(tensors);
        }
        let mut tensors = BTreeMap::new();
        for operand in INPUTS {
            tensors.extend(self.operand(args, operand)?.map(|tensor| (operand, tensor)));
        }
        if !tensors.contains_key(&Operand::W) && (self.model.is_some() || !args.prefix.is_empty()) {
            let parameters = self.parameters();
            let expected = format!("a tensor {0}w or {0}weight, or --map w=NAME", args.prefix);
            return Err(Failure::mismatch(Operand::W, expected, has(parameters)));
        }
        Ok(tensors)
    }

    /// The tensor of an operand, if there is one.
    pub(crate) fn operand(&self, args: &Eval, operand: Operand) -> Result<Option<Tensor>, Failure> {
        let mapped: Vec<&Mapped> = args.map.iter().filter(|mapped| mapped.operand == operand).collect();
        let names = match (mapped.as_slice(), operand) {
            ([one], _) => vec![one.name.clone()],
            ([], Operand::W) => vec![format!("{}w", args.prefix), format!("{}weight", args.prefix)],
            ([], Operand::B) => vec![format!("{}b", args.prefix), format!("{}bias", args.prefix)],
            ([], Operand::Alpha) => vec![format!("{}alpha", args.prefix)],
            ([], _) => vec![operand.name().to_owned()],
            _ => return Err(Failure::mismatch(operand, "one --map", mapped.len())),
        };
        let files = self.model.iter().chain([&self.input]);
        let found: Vec<(&Source<'_>, &String)> = files
            .flat_map(|file| names.iter().map(move |name| (file, name)))
            .filter(|(file, name)| file.shape(name).is_some())
            .collect();
        match found.as_slice() {
            [] if mapped.is_empty() => Ok(None),
            [] => Err(Failure::mismatch(operand, format!("a tensor {:?}", names[0]), has(self.parameters()))),
            [(file, name)] => {
                let mut tensor = file.tensor(operand, name, args.convert)?;
                if operand == Operand::W {
                    flatten(&mut tensor, args.flatten);
                }
                Ok(Some(tensor))
            }
            [(one, name), (other, again), ..] => {
                let both = format!("{name:?} of {} and {again:?} of {}", one.name, other.name);
                Err(Failure::mismatch(operand, "one tensor (--map says which)", both))
            }
        }
    }
}

/// A kernel `[N, C, ..]` as the weight `[N, C ..]` of rows that are patches.
pub(crate) fn flatten(w: &mut Tensor, asked: bool) {
    if asked && w.shape.len() > 2 {
        w.shape = vec![w.shape[0], w.shape[1..].iter().product()];
    }
}

/// What a file has, for messages.
pub(crate) fn has(file: &Source<'_>) -> String {
    let names = file.names();
    let more = names.len().saturating_sub(12);
    let first = names.iter().take(12).map(|name| name.chars().take(60).collect()).collect::<Vec<String>>().join(", ");
    match (names.is_empty(), more) {
        (true, _) => format!("{} without tensors", file.name),
        (_, 0) => format!("{} with {first}", file.name),
        _ => format!("{} with {first} and {more} more", file.name),
    }
}
