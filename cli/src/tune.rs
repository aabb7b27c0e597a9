//! `elbow tune`: measures the fastest tile for each kind of product on this device, and keeps the result for programs that load it.

use std::path::{Path, PathBuf};

use elbow::{Gpu, native::tune::Timing, plan::Choices};

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
    let before = gpu.choices();
    let mut times = String::new();
    let after = gpu.tune(&mut |timing| {
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
            Ok(()) => (Ok(()), format!("kept in {}; programs take it with Gpu::load_tuning", path.display())),
            Err(error) => (Err(error), "could not be kept".to_owned()),
        },
    };
    out::print(&format!("{gpu}\n\n{times}\n{}{says}\n", changes(&before, &after)))?;
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
        Some(time) => format!("{:>9.3} ms", time.as_secs_f64() * 1e3),
        None => "WRONG, not used".to_owned(),
    };
    format!("{:<4} {}  tile {tile:>2}  {time}", size.name(), form.name())
}

fn changes(before: &Choices, after: &Choices) -> String {
    match before == after {
        true => format!("chosen, as without tuning:\n{after}"),
        false => format!("without tuning:\n{before}chosen:\n{after}"),
    }
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
