//! Damaged files, ten thousand of them: each is read or refused, with no panic, and with no more memory than the file itself
//! calls for. What is read is what the format's own library reads.

mod mutate;

use std::collections::BTreeMap;

use elbow::{Float, Operand};
use elbow_cli::{
    check, check_network,
    file::{self, Tensor},
};
use mutate::{Damage, close, good_files, good_network};
use rand::{RngExt, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;

const FILES: usize = 10_000;

/// Bytes that reading may hold at one time: the data once more (its numbers; twice if there may be some of 16 bits, which are
/// f32 once read), 12 times the header, and room for a message.
fn cap(bytes: &[u8]) -> u64 {
    let declared = bytes.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length));
    let rest = (bytes.len() as u64).saturating_sub(8);
    let header = if declared > 1 << 20 || declared > rest { 0 } else { declared };
    let narrow = bytes.windows(3).any(|word| word == b"F16");
    (rest - header) * if narrow { 2 } else { 1 } + 12 * header + (8 << 10)
}

/// Reads a file within its cap; gives what became of it, and which part of its cap that took.
fn read(bytes: &[u8], what: &str) -> (Result<BTreeMap<Operand, Tensor>, String>, f64) {
    let mut result = Err(String::new());
    let held = allocation_counter::measure(|| result = file::parse("in", bytes).map_err(|e| e.to_string())).bytes_max;
    let cap = cap(bytes);
    assert!(held <= cap, "{what}: {held} bytes held, {cap} allowed");
    (result, held as f64 / cap as f64)
}

/// The same tensors, by the format's own library.
fn assert_same(bytes: &[u8], tensors: &BTreeMap<Operand, Tensor>, what: &str) {
    let theirs =
        SafeTensors::deserialize(bytes).map_err(|e| format!("{what}: read, but {e}")).expect("the same answer");
    assert_eq!(theirs.len(), tensors.len(), "{what}: other tensors");
    for (operand, tensor) in tensors {
        let view = theirs.tensor(operand.name()).expect("as many tensors, and this one too");
        assert_eq!(view.shape(), &tensor.shape[..], "{what}: {operand}");
        assert_eq!(format!("{:?}", view.dtype()), tensor.dtype.name().to_uppercase(), "{what}: {operand}");
        let width = tensor.dtype.bytes() as usize;
        assert_eq!(view.data().len(), tensor.values.len() * width, "{what}: {operand}");
        for (value, stored) in tensor.values.iter().zip(view.data().chunks_exact(width)) {
            let same = tensor.dtype.encode(&[*value])[..width] == *stored;
            assert!(same || (value.is_nan() && is_narrow_nan(tensor.dtype, stored)), "{what}: {operand}: {value}");
        }
    }
}

/// NaN of 16 bits need not keep its payload on the way through f32.
fn is_narrow_nan(dtype: Float, stored: &[u8]) -> bool {
    let infinity = match dtype {
        Float::F16 => 0x7c00,
        Float::Bf16 => 0x7f80,
        _ => return false,
    };
    matches!(*stored, [low, high] if u16::from_le_bytes([low, high]) & 0x7fff > infinity)
}

/// The ways to be refused: part of the message of each.
const REASONS: [&str; 13] = [
    "ends within the length of its header",
    "bytes, 1048576 is the most",
    "ends within its header",
    "header: EOF while parsing",
    "header: invalid type",
    "header: number out of range",
    "two entries are named",
    "invalid offset for tensor",
    "invalid shape, data type, or offset",
    "overflow computing",
    "bytes of data where the header says",
    "expected tensors named x, w, b",
    "expected dtype F32, F16 or BF16",
];

#[test]
fn ten_thousand_damaged_files() {
    let mut rng = ChaCha8Rng::seed_from_u64(0xE1B0);
    let good = good_files();
    let (mut accepted, mut refused, mut most) = (0, BTreeMap::new(), (0.0, String::new()));
    for index in 0..FILES {
        let damages: Vec<Damage> = [Damage::ALL[index % Damage::ALL.len()]]
            .into_iter()
            .chain((0..rng.random_range(0..2)).map(|_| *Damage::ALL.choose(&mut rng).expect("one of several")))
            .collect();
        let what = format!("file {index} {damages:?}");
        let mut bytes = good.choose(&mut rng).expect("one of several").clone();
        for damage in damages {
            let other = good.choose(&mut rng).expect("one of several");
            bytes = damage.done_to(bytes, other, &mut rng);
        }
        let (result, part) = read(&bytes, &what);
        if part > most.0 {
            most = (part, what.clone());
        }
        match result {
            Ok(tensors) => {
                accepted += 1;
                assert_same(&bytes, &tensors, &what);
                // The next step must take whatever was read; prelu is an activation that every operand goes with.
                let _ = check("prelu", tensors);
            }
            Err(message) => {
                let reason = REASONS.into_iter().find(|reason| message.contains(reason)).unwrap_or("other");
                *refused.entry(reason).or_insert(0) += 1;
                assert!(message.len() < 2000 && !message.contains('\n'), "{what}: {message}");
            }
        }
    }
    println!("{accepted} read, refused: {refused:#?}\nlargest part of the cap: {:.2} by {}", most.0, most.1);
    assert!(accepted > FILES / 100, "only {accepted} were read: the damage does not get deep");
    let unmet: Vec<_> = REASONS.into_iter().filter(|reason| !refused.contains_key(reason)).collect();
    assert!(unmet.is_empty(), "no file was refused because of {unmet:?}");
}

/// A whole network, its metadata included: run or refused, within the same memory (the header is read twice, by the format's library too).
#[test]
fn damaged_networks_are_refused_or_read() {
    let good = good_network();
    check_network(&good).expect("a good network");
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (mut accepted, mut refused) = (0, 0);
    for number in 0..FILES / 2 {
        let mut bytes = good.clone();
        for _ in 0..rng.random_range(1..=2) {
            let damage = Damage::ALL.choose(&mut rng).expect("one of several");
            bytes = damage.done_to(bytes, &good, &mut rng);
        }
        let mut result = Ok(());
        let held = allocation_counter::measure(|| result = check_network(&bytes)).bytes_max;
        assert!(held <= 3 * cap(&bytes), "{number}: {held} bytes held, {} allowed", 3 * cap(&bytes));
        match result {
            Ok(()) => accepted += 1,
            Err(failure) => {
                refused += 1;
                let message = failure.to_string();
                assert!(message.len() < 2000 && !message.contains('\n'), "{number}: {message}");
            }
        }
    }
    assert!(accepted > 50 && refused > 1000, "{accepted} read, {refused} refused");
}

#[test]
fn good_files_are_read() {
    for (index, bytes) in good_files().iter().enumerate() {
        let what = format!("good file {index}");
        let tensors = read(bytes, &what).0.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_same(bytes, &tensors, &what);
        check("prelu", tensors).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

/// The file, its numbers as f32, and 12 times the header.
#[test]
fn a_file_on_disk_is_held_once() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("damage-{}.st", std::process::id()));
    for (dtype, size) in [("F32", 4), ("F16", 2), ("BF16", 2)] {
        let length = 300_001 * size;
        let header = format!("{{\"x\":{{\"dtype\":\"{dtype}\",\"shape\":[300001],\"data_offsets\":[0,{length}]}}}}");
        let bytes = close(&header, &vec![0; length]);
        std::fs::write(&path, &bytes).expect("a file");
        let held = allocation_counter::measure(|| {
            file::read(&path).expect("a good file");
        });
        std::fs::remove_file(&path).expect("no trace of it");
        let cap = bytes.len() as u64 + cap(&bytes);
        assert!(held.bytes_max <= cap, "{dtype}: {} bytes held, {cap} allowed", held.bytes_max);
    }
}

#[test]
fn no_part_of_a_file_is_read_for_the_whole() {
    for bytes in good_files() {
        for end in 0..bytes.len() {
            let what = format!("{end} bytes of {}", bytes.len());
            assert!(read(&bytes[..end], &what).0.is_err(), "{what} were read");
        }
    }
}

/// Headers that are as long as they may be, each made to grow in memory.
#[test]
fn the_largest_headers_stay_within_their_cap() {
    let fill = |unit: &dyn Fn(usize) -> String| -> String {
        let mut text = String::new();
        for index in 0.. {
            let next = unit(index);
            if text.len() + next.len() > (1 << 20) - 200 {
                break;
            }
            text += &next;
        }
        text
    };
    let ones = fill(&|_| "1,".into());
    let zeros = fill(&|_| "0,".into());
    let empty = "{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}";
    let deep = (1 << 19) - 100;
    let unknown =
        |fields: String| format!("{{\"x\":{{{fields}\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}}}");
    let headers = [
        ("a shape of ones", format!("{{\"x\":{{\"dtype\":\"F32\",\"shape\":[{ones}1],\"data_offsets\":[0,4]}}}}")),
        ("a shape of zeros", format!("{{\"x\":{{\"dtype\":\"F32\",\"shape\":[{zeros}0],\"data_offsets\":[0,0]}}}}")),
        ("many tensors", format!("{{{}\"x\":{empty}}}", fill(&|i| format!("\"{i:x}\":{empty},")))),
        (
            "many notes",
            format!("{{\"__metadata__\":{{{}\"\":\"\"}},\"x\":{empty}}}", fill(&|i| format!("\"{i:x}\":\"\","))),
        ),
        ("unknown fields", unknown(fill(&|i| format!("\"{i:x}\":[],")))),
        ("a long name", format!("{{\"{}\":{empty}}}", fill(&|_| "\\n".into()))),
        ("a long note", format!("{{\"__metadata__\":{{\"\":\"{}\"}},\"x\":{empty}}}", fill(&|_| "\\n".into()))),
        ("depth", fill(&|_| "[".into())),
        ("depth in an unknown field", unknown(format!("\"\":{}{},", "[".repeat(deep), "]".repeat(deep)))),
        ("blanks", format!("{{\"x\":{empty}}}{}", fill(&|_| " ".into()))),
    ];
    for (what, header) in headers {
        assert!(header.len() <= 1 << 20 && header.len() > 1_000_000, "{what}: {} bytes", header.len());
        let data: &[u8] = if what == "a shape of ones" { &[0; 4] } else { &[] };
        let (result, part) = read(&close(&header, data), what);
        println!("{what}: {part:.2} of the cap, {:.90}", format!("{:?}", result.map(|tensors| tensors.len())));
    }
}
