//! The header of a safetensors file: a length, then JSON with type, shape and place of each tensor. The format's own library checks the
//! entries against each other. They are read here, because that library accepts duplicate names, which the format forbids, and adds offsets
//! near 2⁶⁴ without a check.

use std::{collections::BTreeMap, fmt};

use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

/// The longest header in bytes. The tensors take less than a thousand; the rest is for metadata of the program that wrote the file. Parsing
/// takes at most 12 times the header's bytes of memory.
pub(crate) const LARGEST: u64 = 1 << 20;

/// Bytes of the length before the header.
const LENGTH: usize = size_of::<u64>();

/// The place of every tensor, and the bytes of the data, each of which belongs to exactly one tensor. The error says what is wrong.
pub(crate) fn split(file: &[u8]) -> Result<(Metadata, &[u8]), String> {
    let (length, rest) = file.split_first_chunk::<LENGTH>().ok_or("it ends within the length of its header")?;
    let length = u64::from_le_bytes(*length);
    if length > LARGEST {
        return Err(format!("a header of {length} bytes, {LARGEST} is the most"));
    }
    // Fits: it is at most 2²⁰.
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

/// The tensors of a header by name; None for the metadata.
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
                // null counts as missing, as in the format's own library.
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
