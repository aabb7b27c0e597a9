//! `elbow tune`: measures the fastest tile for each kind of product on this device, and keeps the result for programs that load it.

use std::path::{Path, PathBuf};

use elbow::{
    Gpu,
    native::tune::{Timing, Tuning},
    plan::{Form, Size},
};
use elbow_measure::{Budget, Device, probe};

use crate::{args::Tune, destination::Destination, failure::Failure, interrupt, out, verify::bar};

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
    let mut times = String::new();
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
        let line = describe(&timing);
        bar.set_message(line.clone());
        times += &line;
        times.push('\n');
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
    let chosen = tuned.choices;
    out::print(&format!("{gpu}\nmultiply-adds alone: {bound}\n\n{times}\n{tuned}\nchosen:\n{chosen}{says}\n"))?;
    saved.map_err(Failure::from)
}

/// Makes the cache folder if it does not exist.
fn writable(path: &Path) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Failure::mismatch(path.display(), "a folder for it", error))?;
    }
    Destination::check(path)
}

fn describe(timing: &Timing) -> String {
    let Timing { size, form, tile, time, .. } = timing;
    let time = match time {
        Some(time) => {
            format!("{:>9.4} ms ± {:.4}", time.median.as_secs_f64() * 1e3, time.noise.as_secs_f64() * 1e3)
        }
        None => "WRONG, not used".to_owned(),
    };
    format!("{:<4} {}  tile {tile:>2}  {time}", size.name(), form.name())
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
