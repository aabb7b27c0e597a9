//! `elbow tune`: which tile is the fastest for which product on this device, kept for programs that ask for it.

use std::{io::Write as _, path::PathBuf};

use elbow::{Gpu, plan::Choices, tune::Timing};

use crate::{args::Tune, failure::Failure, verify::bar};

/// Measures, prints what was chosen before and after, and keeps it unless told not to.
pub(crate) fn run(args: &Tune) -> Result<(), Failure> {
    let gpu = Gpu::new()?;
    let path = args.file.clone().or_else(|| gpu.tuning_file());
    if args.forget {
        return forget(path);
    }
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
    let kept = match (&path, args.dry_run) {
        (Some(path), false) => {
            gpu.save_tuning(path)?;
            format!("kept in {}; programs take it with Gpu::load_tuning", path.display())
        }
        (None, false) => return Err(Failure::new("no cache folder: name a file with --file")),
        (_, true) => "kept nowhere".into(),
    };
    let text = format!("{gpu}\n\n{times}\n{}{kept}\n", changes(&before, &after));
    // A closed stdout is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn describe(timing: &Timing) -> String {
    let Timing { size, form, tile, time } = timing;
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
    match path.map(std::fs::remove_file) {
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::new(error)),
        _ => Ok(()),
    }
}
