//! `elbow tune`: measures the fastest tile for each kind of product on this device, and keeps the result for programs that load it.

use std::path::{Path, PathBuf};

use elbow::{
    Gpu,
    native::tune::{Decision, Timing, Tuning},
    plan::{Form, Size},
};
use elbow_measure::{Budget, Device, probe};

use crate::{args::Tune, destination::Destination, failure::Failure, interrupt, out, table::Table, verify::bar};

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
    let mut times = Table::new(&["size", "form", "tile", "ms", "±"], 3);
    bar.set_message("multiply-adds alone");
    let device = Device::new(gpu);
    // Where they cannot be measured there is no bound of theirs, and all tiles are tried.
    let rate = probe::multiply_add(&device, Budget { samples: 3, seconds: 0.05, most_seconds: 2.0 });
    let bound = rate.as_ref().map_or_else(ToString::to_string, |rate| format!("{:.1} GFLOP/s", rate / 1e9));
    let gpu = &device.gpu;
    let sizes = if args.sizes.is_empty() { &Size::ALL[..] } else { &args.sizes };
    let forms = if args.forms.is_empty() { &Form::ALL[..] } else { &args.forms };
    let tiles = (!args.tiles.is_empty()).then_some(&args.tiles[..]);
    let tuning = Tuning::default().sizes(sizes).forms(forms).tiles(tiles).operations_per_second(rate.ok());
    let tuned = gpu.tune(&tuning, &mut |timing| {
        let row = row(&timing);
        bar.set_message(row.join("  "));
        times.push(row);
    })?;
    bar.finish_and_clear();
    // The results are printed even if the file cannot be written.
    let (saved, says) = match &kept {
        None => (Ok(()), "kept nowhere".to_owned()),
        Some(path) => match interrupt::uninterrupted(|_| gpu.save_tuning(path)) {
            Ok(()) => (
                Ok(()),
                format!("kept in {}; elbow bench, elbow eval and networks of programs (Mlp) take it", path.display()),
            ),
            Err(error) => (Err(error), "could not be kept".to_owned()),
        },
    };
    let decisions = Table::new(&["size", "form", "before", "now", "won", "ms", "bound, ms", "not tried"], 2)
        .with(tuned.decisions.iter().map(decided));
    let [times, decisions] = [times, decisions].map(|table| table.text());
    out::print(&format!(
        "{gpu}\nmultiply-adds alone: {bound}\n\n{times}\nchosen, and how many times as fast as before:\n\n{decisions}\n\
         {}{says}\n",
        tuned.choices
    ))?;
    saved.map_err(Failure::from)
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
