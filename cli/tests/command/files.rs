//! Input files that are damaged, lie, or hold what they must not. What ten thousand more do is in `tests/damage`.

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::harness::{Folder, Tensors, fails, file, layer};

/// A file with this header, its length right.
fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A file with one tensor, as its header says: `"x":{ENTRY}` without the braces around ENTRY.
fn with_entry(dtype: &str, shape: &str, offsets: &str) -> Vec<u8> {
    let header = format!("{{\"x\":{{\"dtype\":{dtype},\"shape\":{shape},\"data_offsets\":{offsets}}}}}");
    with_header(&header, &[0; 16])
}

const DAMAGED: &str = "in.safetensors: expected a safetensors file, got a damaged one";

fn run(folder: &Folder, input: &[u8], parts: &[&str]) {
    fails(folder, input, &["--activation", "relu", "--device", "cpu"], parts);
}

#[test]
fn cut_short_or_too_long() {
    let folder = Folder::new("cut");
    let good = file(&layer());
    let header = u64::from_le_bytes(*good.first_chunk().expect("a length")) as usize;
    run(&folder, b"", &[DAMAGED, "within the length of its header"]);
    run(&folder, &good[..7], &[DAMAGED, "within the length of its header"]);
    run(&folder, &good[..8], &[DAMAGED, "within its header"]);
    run(&folder, &good[..8 + header - 1], &[DAMAGED, "within its header"]);
    run(&folder, &good[..8 + header], &[DAMAGED, "0 bytes of data where the header says 228"]);
    run(&folder, &good[..good.len() - 1], &[DAMAGED, "227 bytes of data where the header says 228"]);
    run(&folder, &[&good[..], b"x"].concat(), &[DAMAGED, "229 bytes of data where the header says 228"]);
    run(&folder, b"not a safetensors file", &[DAMAGED]);
    run(&folder, &[255; 64], &[DAMAGED]);
    run(&folder, &[0; 64], &[DAMAGED]);
}

#[test]
fn lengths_of_the_header_that_lie() {
    let folder = Folder::new("lengths");
    let mut input = file(&layer());
    let header = u64::from_le_bytes(*input.first_chunk().expect("a length"));
    let lies: [(u64, &str); 8] = [
        (0, "EOF"),
        (header - 9, "header: "),
        (header + 1, "header: "),
        (input.len() as u64, "within its header"),
        (1 << 20, "within its header"),
        ((1 << 20) + 1, "a header of 1048577 bytes, 1048576 is the most"),
        (1 << 40, "a header of 1099511627776 bytes"),
        (u64::MAX, "a header of 18446744073709551615 bytes"),
    ];
    for (lie, part) in lies {
        input[..8].copy_from_slice(&lie.to_le_bytes());
        run(&folder, &input, &[DAMAGED, part]);
    }
}

#[test]
fn headers_of_all_sorts() {
    let folder = Folder::new("headers");
    let depth = "[".repeat(100_000);
    let entry = "\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}";
    for (header, part) in [
        ("", "EOF"),
        ("x", "expected value"),
        ("null", "invalid type"),
        ("[]", "invalid type"),
        (&format!("[{{{entry}}}]"), "invalid type"),
        (&depth, "invalid type"),
        (&format!("{{\"x\":{depth}"), "header: "),
        (&format!("{{{entry},{entry}}}"), "two entries are named \"x\""),
        (&format!("{{{entry}}}{{}}"), "trailing characters"),
        (&format!("{{\"__metadata__\":{{\"format\":1}},{entry}}}"), "invalid type"),
        ("{\"x\":{\"dtype\":\"F32\",\"shape\":[4]}}", "missing field `data_offsets`"),
        ("{\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"shape\":[4],\"data_offsets\":[0,16]}}", "duplicate field `shape`"),
        // An escape in the name, which is the same name.
        (&format!("{{{entry},{}}}", entry.replace('x', "\\u0078")), "two entries are named \"x\""),
    ] {
        run(&folder, &with_header(header, &[0; 16]), &[DAMAGED, part]);
    }
    let broken = [&2u64.to_le_bytes()[..], &[0xc3, 0x28], &[0; 16]].concat();
    run(&folder, &broken, &[DAMAGED]);
}

#[test]
fn shapes_and_offsets_of_all_sorts() {
    let folder = Folder::new("declared");
    for (shape, offsets, part) in [
        ("[4294967296,4294967296]", "[0,16]", "overflow"),
        ("[9223372036854775807,8]", "[0,16]", "overflow"),
        ("[18446744073709551615]", "[0,16]", "overflow"),
        ("[18446744073709551616]", "[0,16]", "invalid type"),
        ("[1073741824]", "[0,4294967296]", "16 bytes of data where the header says 4294967296"),
        ("[1073741824]", "[0,16]", "invalid shape"),
        ("[5]", "[0,16]", "invalid shape"),
        ("[3]", "[0,12]", "16 bytes of data where the header says 12"),
        ("[3]", "[4,16]", "invalid offset"),
        ("[4]", "[16,0]", "invalid offset"),
        ("[0]", "[16,16]", "invalid offset"),
        ("[4]", "[0,16,32]", "header: "),
        ("[4]", "[0,18446744073709551615]", "invalid shape"),
        ("[-4]", "[0,16]", "invalid value"),
        ("[4.0]", "[0,16]", "invalid type"),
        ("[1e400]", "[0,16]", "number out of range"),
        ("[NaN]", "[0,16]", "header: expected"),
        ("[\"4\"]", "[0,16]", "invalid type"),
        ("[null]", "[0,16]", "invalid type"),
        ("[[4]]", "[0,16]", "invalid type"),
        ("4", "[0,16]", "invalid type"),
        ("{}", "[0,16]", "invalid type"),
    ] {
        run(&folder, &with_entry("\"F32\"", shape, offsets), &[DAMAGED, part]);
    }
}

/// A number of 16 bits takes 2 bytes: no more, no less, no half of one.
#[test]
fn lengths_of_narrow_tensors_that_lie() {
    let folder = Folder::new("narrow-lengths");
    for dtype in ["\"F16\"", "\"BF16\""] {
        for (shape, offsets, part) in [
            ("[4]", "[0,16]", "invalid shape"),
            ("[16]", "[0,16]", "invalid shape"),
            ("[8]", "[0,15]", "invalid shape"),
            ("[7]", "[0,15]", "invalid shape"),
            ("[9]", "[0,16]", "invalid shape"),
            ("[7]", "[0,14]", "16 bytes of data where the header says 14"),
            ("[9]", "[0,18]", "16 bytes of data where the header says 18"),
            ("[9223372036854775808,2]", "[0,16]", "overflow"),
        ] {
            run(&folder, &with_entry(dtype, shape, offsets), &[DAMAGED, part]);
        }
    }
}

/// Together they lie within the addresses up to 2⁶⁴; with the header they do not.
#[test]
fn offsets_that_end_at_the_last_address() {
    let folder = Folder::new("addresses");
    let size = (1u64 << 61) - 1;
    let entry = |i: u64, bytes: u64| {
        let (from, to) = (i * size, i * size + bytes);
        format!("\"{i}\":{{\"dtype\":\"U8\",\"shape\":[{bytes}],\"data_offsets\":[{from},{to}]}}")
    };
    let entries: Vec<_> = (0..8).map(|i| entry(i, size)).chain([entry(8, u64::MAX - 8 * size)]).collect();
    let input = with_header(&format!("{{{}}}", entries.join(",")), &[0; 16]);
    run(&folder, &input, &[DAMAGED, "16 bytes of data where the header says 18446744073709551615"]);
}

/// No data at all, but an output of 2⁶⁰ elements, or of 2³¹.
#[test]
fn outputs_far_larger_than_the_file() {
    let folder = Folder::new("far");
    let mut huge = Tensors::new();
    huge.insert("x".into(), (vec![1 << 30, 0], vec![]));
    huge.insert("w".into(), (vec![1 << 30, 0], vec![]));
    run(&folder, &file(&huge), &["elements of y"]);
    huge.insert("w".into(), (vec![2, 0], vec![]));
    run(&folder, &file(&huge), &["y: expected at most"]);
}

#[test]
fn every_other_dtype() {
    let folder = Folder::new("dtypes");
    let dtypes = [
        Dtype::BOOL,
        Dtype::F4,
        Dtype::U8,
        Dtype::I8,
        Dtype::F8_E4M3,
        Dtype::F8_E5M2,
        Dtype::I16,
        Dtype::U16,
        Dtype::I32,
        Dtype::U32,
        Dtype::F64,
        Dtype::I64,
        Dtype::U64,
        Dtype::C64,
    ];
    for dtype in dtypes {
        let view = TensorView::new(dtype, vec![8 * 8 / dtype.bitsize()], &[0; 8]).expect("a tensor");
        let input = safetensors::serialize([("x", view)], None).expect("a file");
        run(&folder, &input, &["x: expected dtype F32, F16 or BF16", &format!("got {dtype:?}")]);
    }
    for dtype in ["\"f32\"", "\"f16\"", "\"Bf16\"", "\"F33\"", "\"\"", "32", "null", "[\"F32\"]"] {
        run(&folder, &with_entry(dtype, "[4]", "[0,16]"), &[DAMAGED, "header: "]);
    }
}

#[test]
fn names_of_all_sorts() {
    let folder = Folder::new("names");
    let long = "x".repeat(10_000);
    for (name, quoted) in [
        ("", "\"\""),
        ("X", "\"X\""),
        (" x", "\" x\""),
        ("x\u{0}", "\"x\\0\""),
        ("weight", "\"weight\""),
        ("a\nb", "\"a\\nb\""),
        ("\u{1b}[31m", "\"\\u{1b}[31m\""),
        ("\u{202e}x", "\"\\u{202e}x\""),
        ("y", "\"y\""),
        (&long, "\"xxxxxxxxxx"),
    ] {
        let mut tensors = layer();
        tensors.insert(name.to_owned(), (vec![1], vec![0.5]));
        let input = file(&tensors);
        run(&folder, &input, &["expected tensors named x, w, b, residual, alpha, dy, ddx, got ", quoted]);
    }
}

/// Notes of the program that wrote the file: whatever they are, elbow reads them if the format's own library does.
#[test]
fn notes_are_read_as_the_library_reads_them() {
    let folder = Folder::new("notes");
    let entry = "\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}";
    let mut read = 0;
    for notes in [
        "null",
        "{}",
        "{\"format\":\"pt\"}",
        "{\"a\":\"\"}",
        "{\"a\":null}",
        "{\"a\":1}",
        "{\"a\":{}}",
        "1",
        "\"\"",
        "[]",
        "true",
    ] {
        for header in [format!("{{\"__metadata__\":{notes},{entry}}}"), format!("{{{entry},\"__metadata__\":{notes}}}")]
        {
            let input = with_header(&header, &[0; 16]);
            match SafeTensors::deserialize(&input) {
                Ok(_) => {
                    folder.eval_file(&input, &["--activation", "relu", "--device", "cpu"]);
                    read += 1;
                    std::fs::remove_file(folder.path("out.safetensors")).expect("the output");
                }
                Err(_) => run(&folder, &input, &[DAMAGED, "header: "]),
            }
        }
    }
    assert_eq!(read, 8, "null, none, and two with a note");
}
