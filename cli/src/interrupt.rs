//! Removes the temporary file on SIGINT and SIGTERM.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// The temporary file that exists now, if any. While the lock is held, an interrupt waits.
static LEFT: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Makes, renames or removes the temporary file and notes it; an interrupt waits until that is done, so it must be quick.
pub(crate) fn uninterrupted<T>(work: impl FnOnce(&mut Option<PathBuf>) -> T) -> T {
    #[cfg(unix)]
    watch();
    work(&mut LEFT.lock().unwrap_or_else(PoisonError::into_inner))
}

/// From now on an interrupt removes the file and ends the program with the exit code of a killed process (128 + signal). A thread does it,
/// because a signal handler itself may do very little.
#[cfg(unix)]
fn watch() {
    use std::{fs, sync::Once, thread};

    use signal_hook::{
        consts::{SIGINT, SIGTERM},
        iterator::Signals,
        low_level,
    };

    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        // If it cannot be installed, the command still works.
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(file) = &*left {
                    let _ = fs::remove_file(file);
                }
                // Without exit handlers: those of a driver would free memory that its threads still use.
                low_level::exit(128 + signal);
            }
        });
    });
}
