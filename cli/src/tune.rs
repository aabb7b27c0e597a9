//! `elbow tune`: measures the fastest tile for each kind of product on this device, and keeps the result for programs that load it.

use std::path::{Path, PathBuf};

use elbow::{
    Gpu,
    native::tune::{Decision, Spread, Timing, Tuned, Tuning},
    plan::{Form, Size, TILES},
};
use elbow_measure::{Budget, Device, probe};

use serde_json::{Value, json};

use crate::{
    args::Tune,
    bench::lines::joined,
    destination::Destination,
    document::{self, Document},
    failure::Failure,
    info::about,
    interrupt,
    table::{Format, Table},
    verify::bar,
};

/// Measures, prints the choices before and after, and writes the file, except with --dry-run.
pub(crate) fn run(args: &Tune) -> Result<(), Failure> {
    let gpu = Gpu::new()?;
    let path = args.file.clone().or_else(|| gpu.tuning_file());
    if args.forget {
        return forget(path);
    }
    let kept = match (path, args.dry_run) {
        (_, true) => None,
        (None, false) => return Err(Failure::new("no cache folder: name a file with --file")),
        (Some(path), false) => {
            // A file that cannot be written is found before measuring.
            writable(&path)?;
            Some(path)
        }
    };
    let bar = bar("{spinner} {msg} {elapsed}");
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    let mut times = Vec::new();
    bar.set_message("multiply-adds alone");
    let device = Device::new(gpu);
    // Where they cannot be measured there is no bound of theirs, and all tiles are tried.
    let rate = probe::multiply_add(&device, Budget { samples: 3, seconds: 0.05, most_seconds: 2.0 });
    let rate = rate.map_err(|error| error.to_string());
    let gpu = &device.gpu;
    let sizes = if args.sizes.is_empty() { &Size::ALL[..] } else { &args.sizes };
    let forms = if args.forms.is_empty() { &Form::ALL[..] } else { &args.forms };
    let tiles = (!args.tiles.is_empty()).then_some(&args.tiles[..]);
    let bound = rate.as_ref().ok().copied();
    let tuning = Tuning::default().sizes(sizes).forms(forms).tiles(tiles).operations_per_second(bound);
    let tuned = gpu.tune(&tuning, &mut |timing| {
        bar.set_message(row(&timing).join("  "));
        times.push(timing);
    })?;
    bar.finish_and_clear();
    // The results are printed even if the file cannot be written.
    let saved = kept.as_deref().map_or(Ok(()), |path| interrupt::uninterrupted(|_| gpu.save_tuning(path)));
    let kept = kept.filter(|_| saved.is_ok());
    match args.format {
        Format::Json => document::json(&as_json(gpu, &rate, &times, &tuned, kept.as_deref()))?,
        format => {
            let kept = match &kept {
                Some(path) => {
                    format!(
                        "kept in {}; elbow bench, elbow eval and networks of programs (Mlp) take it",
                        path.display()
                    )
                }
                None if saved.is_err() => "could not be kept".to_owned(),
                None => "kept nowhere".to_owned(),
            };
            text(gpu, &rate, &times, &tuned, &kept, format).print()?;
        }
    }
    saved.map_err(Failure::from)
}

fn text(
    gpu: &Gpu,
    rate: &Result<f64, String>,
    times: &[Timing],
    tuned: &Tuned,
    kept: &str,
    format: Format,
) -> Document {
    let mut document = Document::new(format);
    document.line(&gpu.to_string());
    let rate = rate.as_ref().map_or_else(Clone::clone, |rate| format!("{:.1} GFLOP/s", rate / 1e9));
    document.line(&format!("multiply-adds alone: {rate}"));
    document.line(kept);
    let times = Table::new(&["size", "form", "tile", "ms", "±"], 3).with(times.iter().map(row));
    document.table("times", &times);
    let heads = ["size", "form", "before", "now", "won", "ms", "bound, ms", "not tried"];
    let decisions = Table::new(&heads, 2).with(tuned.decisions.iter().map(decided));
    document.table("chosen, and how many times as fast as before", &decisions);
    let choices = &tuned.choices;
    let tile = |size, form| {
        let number = choices.get(size, form);
        let tile = TILES[number];
        format!("{number}: {:?} {}x{}", tile.stage, tile.bm(), tile.bn())
    };
    let heads = [&["size"][..], &Form::ALL.map(Form::name)].concat();
    let all = Table::new(&heads, heads.len()).with(
        Size::ALL.map(|size| [vec![size.name().to_owned()], Form::ALL.map(|form| tile(size, form)).to_vec()].concat()),
    );
    document.table(&format!("all choices; {} workgroups fill the device", choices.workgroups()), &all);
    document
}

/// Times are in seconds.
fn as_json(gpu: &Gpu, rate: &Result<f64, String>, times: &[Timing], tuned: &Tuned, kept: Option<&Path>) -> Value {
    let time = |time: &Spread| json!({"median": time.median.as_secs_f64(), "noise": time.noise.as_secs_f64()});
    let of = |size: Size, form: Form| json!({"size": size.name(), "form": form.name()});
    let timed = |t: &Timing| {
        let more = json!({"tile": t.tile, "exact": t.time.is_some(), "time": t.time.as_ref().map(time)});
        joined(of(t.size, t.form), Ok(more))
    };
    let decided = |d: &Decision| {
        let more = json!({
            "before": d.usual.0, "before_time": d.usual.1.as_ref().map(time), "now": d.chosen.0,
            "now_time": time(&d.chosen.1), "won": d.won(), "bound": d.bound.as_secs_f64(), "not_tried": d.spared,
        });
        joined(of(d.size, d.form), Ok(more))
    };
    let chosen = |size, form| Value::from(tuned.choices.get(size, form));
    let each = |size: Size| -> Value {
        Form::ALL.into_iter().map(|form| (form.name().to_owned(), chosen(size, form))).collect()
    };
    let choices: Value = Size::ALL.into_iter().map(|size| (size.name().to_owned(), each(size))).collect();
    let results = json!({
        "elbow": env!("CARGO_PKG_VERSION"), "operations_per_second": rate.as_ref().ok(), "times": times.iter().map(timed).collect::<Vec<_>>(),
        "decisions": tuned.decisions.iter().map(decided).collect::<Vec<_>>(), "choices": choices,
        "workgroups": tuned.choices.workgroups(), "kept": kept.map(|path| path.display().to_string()),
    });
    joined(about(gpu.info()), Ok(results))
}

/// Makes the cache folder if it does not exist.
fn writable(path: &Path) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Failure::mismatch(path.display(), "a folder for it", error))?;
    }
    Destination::check(path)
}

/// The time of a tile.
fn row(timing: &Timing) -> Vec<String> {
    let Timing { size, form, tile, time, .. } = timing;
    let [median, noise] = match time {
        Some(time) => [time.median, time.noise].map(|time| format!("{:.4}", time.as_secs_f64() * 1e3)),
        None => ["WRONG".into(), "not used".into()],
    };
    vec![size.name().into(), form.name().into(), tile.to_string(), median, noise]
}

/// What was chosen for a size and form, and what that won.
fn decided(decision: &Decision) -> Vec<String> {
    let ((usual, _), (tile, time)) = (decision.usual, decision.chosen);
    let won = match decision.won() {
        None => "was WRONG".into(),
        Some(_) if usual == tile => "stays".into(),
        Some(won) => format!("{won:.2}x"),
    };
    let [ms, bound] = [time.median, decision.bound].map(|time| format!("{:.4}", time.as_secs_f64() * 1e3));
    let tiles = [usual, tile].map(|tile| tile.to_string());
    let [before, now] = tiles;
    vec![
        decision.size.name().into(),
        decision.form.name().into(),
        before,
        now,
        won,
        ms,
        bound,
        decision.spared.to_string(),
    ]
}

/// A size by its name, for clap.
pub(crate) fn size(text: &str) -> Result<Size, String> {
    let found = Size::ALL.into_iter().find(|size| size.name() == text.trim());
    found.ok_or_else(|| "expected row, few, many or huge".into())
}

fn forget(path: Option<PathBuf>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::mismatch(path.display(), "a file that can be removed", error))
        }
        _ => Ok(()),
    }
}
