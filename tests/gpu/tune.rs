//! Choices of tiles: measured, kept, read back; a cache that is bad in any way changes nothing.

use std::{fs, path::PathBuf};

use elbow::{
    Error, Gpu,
    plan::{Choices, Form, Size, TILES},
};
use elbow_verify::{Data, Numbers, Spec};

use crate::common::{gpu, options, passes};

fn folder(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tune-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).unwrap();
    path
}

/// Choices that nobody would make, and that still run here.
fn odd(gpu: &Gpu) -> Choices {
    let mut choices = gpu.choices();
    for size in Size::ALL {
        for form in Form::ALL {
            choices.set(size, form, if form == Form::Tn { 0 } else { 3 });
        }
    }
    choices
}

#[test]
fn choices_go_to_a_file_and_come_back() {
    let gpu = Gpu::with_options(options()).unwrap();
    let usual = gpu.choices();
    let path = folder("file").join("deep/tuning.json");
    gpu.set_choices(odd(&gpu));
    gpu.save_tuning(&path).unwrap();
    let other = Gpu::with_options(options()).unwrap();
    assert_eq!(other.choices(), usual, "nothing is loaded unasked");
    assert!(other.load_tuning(&path));
    assert_eq!(other.choices(), odd(&gpu));
    assert!(gpu.tuning_file().is_none_or(|path| path.to_string_lossy().contains("elbow")));
}

/// Rows 61 to 63 of the bad inputs: a folder that can't be written, files that are absent, links, of another adapter, driver
/// or version, of the future, or random bytes.
#[test]
fn n61_n62_n63_a_bad_cache_changes_nothing() {
    let gpu = Gpu::with_options(options()).unwrap();
    let usual = gpu.choices();
    let folder = folder("bad");
    let good = folder.join("good.json");
    gpu.set_choices(odd(&gpu));
    gpu.save_tuning(&good).unwrap();
    gpu.set_choices(usual);
    let text = fs::read_to_string(&good).unwrap();
    let bad = folder.join("bad.json");
    assert!(!gpu.load_tuning(&folder.join("absent.json")) && !gpu.load_tuning(&folder));
    let mut numbers = Numbers::new(1);
    for number in 0..2_000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..1 + number % 3 {
            let at = numbers.below(bytes.len());
            bytes[at] = numbers.below(256) as u8;
        }
        bytes.truncate(if number % 4 == 0 { numbers.below(bytes.len()) } else { bytes.len() });
        fs::write(&bad, &bytes).unwrap();
        if gpu.load_tuning(&bad) {
            // A byte of white space, or a digit that makes another tile that runs here.
            let tiles = Size::ALL.into_iter().flat_map(|s| Form::ALL.map(|f| gpu.choices().get(s, f)));
            assert!(tiles.into_iter().all(|tile| tile < TILES.len()));
            gpu.set_choices(usual);
        }
        assert_eq!(gpu.choices(), usual);
    }
    for (from, to) in [
        (gpu.info().name.as_str(), "another"),
        (env!("CARGO_PKG_VERSION"), "0.0.1"),
        (": 3", ": 4000000000"),
        (": 0", ": 3"), // a tile that does not fit the form
        ("row NT", "row TT"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        fs::write(&bad, text.replace(from, to)).unwrap();
        assert!(!gpu.load_tuning(&bad), "{from} → {to}");
    }
    fs::write(&bad, format!("{text}{}", " ".repeat(1 << 17))).unwrap();
    assert!(!gpu.load_tuning(&bad), "too long");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let link = folder.join("link.json");
        std::os::unix::fs::symlink(&good, &link).unwrap();
        assert!(!gpu.load_tuning(&link), "a link");
        assert_eq!(fs::metadata(&good).unwrap().permissions().mode() & 0o077, 0, "its owner's alone");
    }
    // A file where the folder should be: no permission is needed to fail.
    let error = gpu.save_tuning(&good.join("tuning.json")).unwrap_err();
    assert!(matches!(&error, Error::Cache { path, .. } if path.contains("good.json")), "{error}");
    assert_eq!(gpu.choices(), usual);
    // Times of the file are never looked at: a clock that was set back is no matter.
    let old = fs::File::options().write(true).open(&good).unwrap();
    old.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert!(gpu.load_tuning(&good));
}

/// Every choice gives right results: what the plan makes of odd choices passes as the usual plans do.
#[test]
fn odd_choices_are_right() {
    let gpu = Gpu::with_options(options()).unwrap();
    gpu.set_choices(odd(&gpu));
    let specs: Vec<Spec> = [(1, 40, 33), (9, 33, 70), (40, 65, 17)]
        .map(|(m, n, k)| Spec { data: Data::Integers, ..Spec::new(m, n, k, elbow::Activation::RELU) })
        .into();
    passes(&gpu, &specs);
}

/// The whole of it takes a software adapter minutes: `ELBOW_TEST_FULL`.
#[test]
fn tuning_chooses_among_what_is_right() {
    if !crate::common::full() && gpu().is_software() {
        return;
    }
    let gpu = Gpu::with_options(options()).unwrap();
    let mut timings = Vec::new();
    let choices = gpu.tune(&mut |timing| timings.push(timing)).unwrap();
    assert_eq!(choices, gpu.choices());
    assert!(timings.len() >= Size::ALL.len() * Form::ALL.len() && timings.iter().all(|t| t.time.is_some()));
    println!("{choices}");
}
