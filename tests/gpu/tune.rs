//! Choices of tiles: measured, kept, read back; a cache that is bad in any way changes nothing.

use std::{fs, path::PathBuf};

use elbow::{
    Activation, Error, Float, Gpu,
    mlp::{Architecture, Mlp},
    native::tune::{Product, Tuning},
    plan::{Choices, Form, Size, Stage, TILES},
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
    choices.set_workgroups(7);
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

#[test]
fn how_many_workgroups_fill_the_device_is_measured() {
    let gpu = gpu();
    let usual = gpu.choices();
    let found = gpu.measure_workgroups().unwrap();
    assert!(found.is_power_of_two() && found <= 1024, "{found}");
    assert_eq!(gpu.choices(), usual, "measuring changes nothing");
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

/// One size and form, two tiles beside the usual one.
#[test]
fn a_tile_is_exact_before_it_is_chosen_and_the_decision_says_what_it_won() {
    let gpu = Gpu::with_options(options()).unwrap();
    let usual = gpu.choices();
    let (sizes, forms) = ([Size::Row], [Form::Nn]);
    let tuning = Tuning::default().sizes(&sizes).forms(&forms).tiles(&[0, 2][..]);
    let mut timings = Vec::new();
    let tuned = gpu.tune(&tuning, &mut |timing| timings.push(timing)).unwrap();
    assert_eq!(tuned.choices, gpu.choices());
    assert_eq!(tuned.decisions.len(), 1);
    let decision = tuned.decisions[0];
    assert_eq!((decision.size, decision.form), (Size::Row, Form::Nn));
    assert_eq!(decision.usual.0, usual.get(Size::Row, Form::Nn));
    assert_eq!(timings.len() + decision.spared, 3, "{timings:?}");
    assert!(timings.iter().all(|timing| timing.time.is_some()), "every tile is exact: {timings:?}");
    assert_eq!(decision.chosen.0, gpu.choices().get(Size::Row, Form::Nn));
    assert!(decision.won() >= Some(1.0) && !decision.bound.is_zero(), "{decision:?}");
    // What was not tuned is as it was.
    assert_eq!(gpu.choices().get(Size::Huge, Form::Nt), usual.get(Size::Huge, Form::Nt));
}

/// At the speed of light there is nothing to win: only the usual tile is timed.
#[test]
fn tuning_stops_at_the_bound() {
    let gpu = Gpu::with_options(options()).unwrap();
    let usual = gpu.choices();
    // A device that multiplies so slowly that every tile is faster.
    let tuning = Tuning::default().sizes(&[Size::Row]).forms(&[Form::Nt]).operations_per_second(1e3);
    let mut timings = Vec::new();
    let tuned = gpu.tune(&tuning, &mut |timing| timings.push(timing)).unwrap();
    assert_eq!(timings.len(), 1, "{timings:?}");
    assert!(tuned.decisions[0].spared > 3 && tuned.to_string().contains("not tried"), "{tuned}");
    assert_eq!(gpu.choices(), usual);
    let on_matrix_units = TILES.iter().position(|tile| tile.stage == Stage::Coop).unwrap();
    for tile in [on_matrix_units, TILES.len()] {
        let error = gpu.tune(&Tuning::default().tiles(&[tile][..]), &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("expected a plain tile"), "{error}");
    }
    assert_eq!(gpu.choices(), usual);
}

/// A wrong tile is seen whatever another has left in C, in every form and type, by every element.
#[test]
fn a_product_of_integers_is_exact_and_a_wrong_one_is_not() {
    let gpu = gpu();
    for form in Form::ALL {
        for dtype in [Float::F32, Float::F16] {
            let right = Product::new(gpu, form, [9, 33, 70], dtype).unwrap();
            let prepared = right.prepare(gpu, Some(0)).unwrap();
            assert_eq!(right.wrong(gpu, &prepared).unwrap(), None, "{} {dtype:?}", form.name());
            assert_eq!(right.operations(), 2 * 9 * 33 * 70);
            // A call that writes into the C of another product leaves this one's without a result.
            let other = Product::new(gpu, form, [9, 33, 71], dtype).unwrap();
            let elsewhere = other.prepare(gpu, Some(0)).unwrap();
            assert_eq!(right.wrong(gpu, &elsewhere).unwrap(), Some(0), "nothing was written");
        }
    }
    let error = Product::new(gpu, Form::Nt, [1, 1, 1 << 23], Float::F32).unwrap_err();
    assert!(matches!(error, Error::LimitExceeded { .. }), "{error}");
}

/// The first network takes what was kept, unless the device was opened without, or somebody has chosen.
#[test]
fn a_network_takes_what_was_kept_unless_somebody_has_chosen() {
    let network =
        |gpu: &Gpu| drop(Mlp::new(gpu, &Architecture::new(&[3, 4, 2], Activation::RELU, 4), &mut || 0.5).unwrap());
    // The cache folder is the process's, so the part that writes there is a process of its own with another folder.
    if std::env::var_os("ELBOW_TEST_CACHE").is_none() {
        let name = "tune::a_network_takes_what_was_kept_unless_somebody_has_chosen";
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name]).env("ELBOW_TEST_CACHE", "own").env("XDG_CACHE_HOME", folder("cache"));
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let gpu = Gpu::with_options(options()).unwrap();
    let usual = gpu.choices();
    gpu.set_choices(odd(&gpu));
    gpu.save_tuning(&gpu.tuning_file().unwrap()).unwrap();
    let gpu = Gpu::with_options(options().tuning(true)).unwrap();
    assert_eq!(gpu.choices(), usual, "nothing is loaded before it is needed");
    network(&gpu);
    assert_eq!(gpu.choices(), odd(&gpu), "what was kept");
    let gpu = Gpu::with_options(options()).unwrap();
    network(&gpu);
    assert_eq!(gpu.choices(), usual, "opened without");
    let other = Gpu::with_options(options().tuning(true)).unwrap();
    other.set_choices(usual);
    network(&other);
    assert_eq!(other.choices(), usual, "somebody has chosen");
}

/// The whole of it takes a software adapter minutes: `ELBOW_TEST_FULL`.
#[test]
fn tuning_chooses_among_what_is_right() {
    if !crate::common::full() && gpu().is_software() {
        return;
    }
    let gpu = Gpu::with_options(options()).unwrap();
    let mut timings = Vec::new();
    let tuned = gpu.tune(&Tuning::default(), &mut |timing| timings.push(timing)).unwrap();
    assert_eq!(tuned.choices, gpu.choices());
    assert!(timings.len() >= Size::ALL.len() * Form::ALL.len() && timings.iter().all(|t| t.time.is_some()));
    println!("{tuned}");
}
