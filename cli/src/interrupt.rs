//! SIGINT and SIGTERM leave no temporary file behind.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// The temporary file that is there, if one is. Nobody is interrupted who holds this.
static LEFT: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Makes or renames a temporary file: an interrupt waits until that is done and noted. For what takes no time.
pub(crate) fn uninterrupted<T>(work: impl FnOnce(&mut Option<PathBuf>) -> T) -> T {
    #[cfg(unix)]
    watch();
    work(&mut LEFT.lock().unwrap_or_else(PoisonError::into_inner))
}

/// From now on an interrupt removes the file, and ends the program with the exit code that shells give to a killed one. A thread
/// does it: a signal handler itself may do next to nothing.
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
        // Without it the command works all the same.
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(file) = &*left {
                    let _ = fs::remove_file(file);
                }
                // At once: a driver's threads are at work, and its exit handlers would pull the memory from under them.
                low_level::exit(128 + signal);
            }
        });
    });
}
