//! The header of a safetensors file: a length, then JSON that says where each tensor lies. The format's own library knows
//! the entries and checks them against each other. Reading them is done here, because that library lets a name come twice
//! (the format forbids it: which one counts?) and adds up offsets near 2⁶⁴ unchecked.

use std::{collections::BTreeMap, fmt};

use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

/// Seven tensors take less than a thousand bytes; the rest is for whatever a training program noted beside them.
/// What is made of the header takes at most 12 times its bytes.
pub(crate) const LARGEST: u64 = 1 << 20;

/// Bytes of the length in front.
const LENGTH: usize = size_of::<u64>();

/// Where every tensor lies, and the bytes in which they lie: each byte belongs to one tensor. The error says what is wrong.
pub(crate) fn split(file: &[u8]) -> Result<(Metadata, &[u8]), String> {
    let (length, rest) = file.split_first_chunk::<LENGTH>().ok_or("it ends within the length of its header")?;
    let length = u64::from_le_bytes(*length);
    if length > LARGEST {
        return Err(format!("a header of {length} bytes, {LARGEST} is the most"));
    }
    // In range: it is at most 2²⁰.
    let (header, data) = rest.split_at_checked(length as usize).ok_or("it ends within its header")?;
    let Entries(entries) = serde_json::from_slice(header).map_err(|e| format!("header: {e}"))?;
    let mut tensors: Vec<_> = entries.into_iter().filter_map(|(name, info)| Some((name, info?))).collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let metadata = Metadata::new(None, tensors).map_err(|e| e.to_string())?;
    if metadata.data_len() != data.len() {
        return Err(format!("{} bytes of data where the header says {}", data.len(), metadata.data_len()));
    }
    Ok((metadata, data))
}

/// The tensors of a header by name; None for the notes of the program that wrote it.
struct Entries(BTreeMap<String, Option<TensorInfo>>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EachNameOnce)
    }
}

struct EachNameOnce;

impl<'de> Visitor<'de> for EachNameOnce {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if entries.contains_key(&name) {
                return Err(A::Error::custom(format_args!("two entries are named {name:?}")));
            }
            let info = if name == "__metadata__" {
                // As the format's own library reads it: null is as good as none.
                map.next_value::<Option<BTreeMap<String, String>>>()?;
                None
            } else {
                Some(map.next_value()?)
            };
            entries.insert(name, info);
        }
        Ok(Entries(entries))
    }
}
