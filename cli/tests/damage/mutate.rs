//! Good files, and every way in which they are damaged.

use rand::{RngExt, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};

/// The bytes of a file with such tensors in F32.
fn file(tensors: &[(&str, &[usize])], notes: Option<(&str, &str)>) -> Vec<u8> {
    let tensors: Vec<_> = tensors.iter().map(|(name, shape)| (*name, *shape, Dtype::F32)).collect();
    file_as(&tensors, notes)
}

/// The bytes of a file with such tensors; those of 16 bits hold every kind of number.
fn file_as(tensors: &[(&str, &[usize], Dtype)], notes: Option<(&str, &str)>) -> Vec<u8> {
    let number = |dtype: Dtype, i: usize| match dtype {
        Dtype::F32 => (i as f32).to_le_bytes().to_vec(),
        _ => (i as u16).wrapping_mul(40503).to_le_bytes().to_vec(),
    };
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, shape, dtype)| (0..shape.iter().product()).flat_map(|i| number(*dtype, i)).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, dtype), bytes)| {
        (*name, TensorView::new(*dtype, shape.to_vec(), bytes).expect("a tensor of that shape"))
    });
    let notes = notes.map(|(key, value)| [(key.to_owned(), value.to_owned())].into());
    safetensors::serialize(views, notes).expect("a good file")
}

/// What damage starts from: every operand, every rank, sizes of zero, every type, notes.
pub(crate) fn good_files() -> Vec<Vec<u8>> {
    let layer: &[(&str, &[usize])] = &[("x", &[8, 16]), ("w", &[6, 16]), ("b", &[6]), ("dy", &[8, 6]), ("alpha", &[6])];
    vec![
        file(layer, None),
        file(&[("x", &[2, 3, 25]), ("w", &[7, 25]), ("residual", &[2, 3, 7])], Some(("format", "pt"))),
        file(&[("x", &[9, 8]), ("dy", &[9, 8]), ("ddx", &[9, 8]), ("alpha", &[8])], None),
        file(&[("x", &[]), ("alpha", &[1])], Some(("", "\"\\\u{0}\u{1F600}"))),
        file(&[("x", &[0, 12]), ("w", &[10, 12]), ("b", &[10])], None),
        file_as(
            &[
                ("x", &[3, 5], Dtype::F16),
                ("w", &[7, 5], Dtype::BF16),
                ("b", &[7], Dtype::F32),
                ("dy", &[3, 7], Dtype::F16),
            ],
            None,
        ),
        file_as(&[("x", &[9, 25], Dtype::BF16), ("alpha", &[25], Dtype::F32)], Some(("format", "pt"))),
    ]
}

/// A network with its x, and what elbow writes of one.
pub(crate) fn good_network() -> Vec<u8> {
    let tensors: &[(&str, &[usize])] = &[
        ("0.weight", &[6, 4]),
        ("0.bias", &[6]),
        ("1.weight", &[6]),
        ("2.weight", &[3, 6]),
        ("2.bias", &[3]),
        ("x", &[2, 4]),
    ];
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, shape)| vec![0x3f; 4 * shape.iter().product::<usize>()]).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).expect("a tensor of that shape"))
    });
    let notes = [
        ("mlp", "1"),
        ("sizes", "4,6,3"),
        ("activations", "prelu(0.25);identity"),
        ("alpha", "channel"),
        ("storage", "f32"),
        ("objective", "classes"),
    ];
    let notes = notes.map(|(name, text)| (format!("elbow.{name}"), text.to_owned()));
    safetensors::serialize(views, Some(notes.into())).expect("a good file")
}

/// The header's text and the bytes behind it; a file too short for that is all data.
fn open(file: &[u8]) -> (String, Vec<u8>) {
    let length = file.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes) as usize);
    match file.get(8..).and_then(|rest| rest.split_at_checked(length)) {
        Some((header, data)) => (String::from_utf8_lossy(header).into_owned(), data.to_vec()),
        None => (String::new(), file.to_vec()),
    }
}

/// A file whose length of the header is right, whatever the header says.
pub(crate) fn close(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// Where the numbers of a text begin and end.
fn numbers(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in text.bytes().enumerate().filter(|(_, byte)| byte.is_ascii_digit()) {
        match found.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => found.push(at..at + 1),
        }
    }
    found
}

/// Some place within `text` where a character begins.
fn place(text: &str, rng: &mut ChaCha8Rng) -> usize {
    text.floor_char_boundary(rng.random_range(0..=text.len()))
}

const ODD_NUMBERS: [&str; 16] = [
    "18446744073709551615",
    "18446744073709551616",
    "2305843009213693951",
    "9223372036854775808",
    "4294967296",
    "1073741824",
    "99999999999999999999999999999999",
    "0",
    "-1",
    "1e3",
    "1.5",
    "1e400",
    "NaN",
    "null",
    "\"4\"",
    "[4]",
];

const WORDS: [&str; 15] =
    ["x", "w", "b", "dy", "ddx", "alpha", "residual", "__metadata__", "weight", "", "F32", "I32", "F4", "F16", "BF16"];

/// One kind of damage; the header's length is made right again where the header is what is damaged.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    Flip,
    Truncate,
    Insert,
    Splice,
    LengthLie,
    Digit,
    OddNumber,
    Twice,
    Deep,
    Word,
    Punctuation,
    Overflow,
}

impl Damage {
    pub(crate) const ALL: [Damage; 12] = [
        Damage::Flip,
        Damage::Truncate,
        Damage::Insert,
        Damage::Splice,
        Damage::LengthLie,
        Damage::Digit,
        Damage::OddNumber,
        Damage::Twice,
        Damage::Deep,
        Damage::Word,
        Damage::Punctuation,
        Damage::Overflow,
    ];

    /// The file with this damage; `other` is a good file to splice with.
    pub(crate) fn done_to(self, mut file: Vec<u8>, other: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
        let (mut header, data) = open(&file);
        match self {
            Damage::Flip => {
                for _ in 0..rng.random_range(1..=4) {
                    if let Some(length) = file.len().checked_sub(1) {
                        file[rng.random_range(0..=length)] ^= 1 << rng.random_range(0..8);
                    }
                }
                return file;
            }
            Damage::Truncate => {
                file.truncate(rng.random_range(0..=file.len()));
                return file;
            }
            Damage::Insert => {
                let at = rng.random_range(0..=file.len());
                let bytes: Vec<u8> = (0..rng.random_range(1..40)).map(|_| rng.random()).collect();
                file.splice(at..at, bytes);
                return file;
            }
            Damage::Splice => {
                file.truncate(rng.random_range(0..=file.len()));
                file.extend(&other[rng.random_range(0..=other.len())..]);
                return file;
            }
            Damage::LengthLie => {
                let near = (header.len() as u64).wrapping_add_signed(rng.random_range(-9..=9));
                let lies = [0, near, near, file.len() as u64, 1 << 20, (1 << 20) + 1, 100_000_000, 1 << 63, u64::MAX];
                let lie = lies.choose(rng).expect("one of several").to_le_bytes();
                file.splice(..file.len().min(8), lie);
                return file;
            }
            Damage::Digit => {
                if let Some(number) = numbers(&header).choose(rng) {
                    let at = rng.random_range(number.clone());
                    header.replace_range(at..=at, &rng.random_range(0..10).to_string());
                }
            }
            Damage::OddNumber => {
                if let Some(number) = numbers(&header).choose(rng) {
                    header.replace_range(number.clone(), ODD_NUMBERS.choose(rng).expect("one of several"));
                }
            }
            Damage::Twice => {
                let inside = header.trim_end().trim_start_matches('{').trim_end_matches('}').to_owned();
                let entry = inside.split_inclusive('}').next().unwrap_or_default().trim_start_matches(',').to_owned();
                header = format!("{{{inside}}},{entry}}}");
            }
            Damage::Deep => {
                let (opening, count) =
                    (["[", "{\"x\":", "[{\"x\":["].choose(rng).expect("one"), rng.random_range(1..3000));
                // A field that nobody knows is skipped, which must not take the stack either.
                let at = if rng.random() { header.find("\"dtype\"") } else { None };
                let (at, before) = at.map_or_else(|| (place(&header, rng), ""), |at| (at, "\"deep\":"));
                header.insert_str(at, &format!("{before}{}", opening.repeat(count)));
            }
            Damage::Word => {
                let strings: Vec<_> = header.match_indices('"').map(|(at, _)| at).collect();
                if let Some([from, to]) = strings.as_chunks::<2>().0.choose(rng) {
                    header.replace_range(from + 1..*to, WORDS.choose(rng).expect("one of several"));
                }
            }
            Damage::Punctuation => {
                let at = place(&header, rng);
                let end = header.ceil_char_boundary((at + 1).min(header.len()));
                let signs = ["{", "}", "[", "]", ",", ":", "\"", "\\", "\\u0000", "\\ud800", " ", "\u{202e}", "é", ""];
                header.replace_range(at..end, signs.choose(rng).expect("one of several"));
            }
            Damage::Overflow => {
                // Nine tensors that fill the addresses up to 2⁶⁴: each is possible, the sum is not.
                let size = (1u128 << 61) - rng.random_range(1..3);
                let offset = |i: u128| u64::try_from(i * size).unwrap_or(u64::MAX);
                let entry = |i: u128| {
                    let (from, to) = (offset(i), offset(i + 1));
                    format!("\"{i}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{from},{to}]}}", to - from)
                };
                let entries: Vec<_> = (0..9).map(entry).collect();
                header = format!("{{{}}}", entries.join(","));
            }
        }
        close(&header, &data)
    }
}
