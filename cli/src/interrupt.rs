//! SIGINT and SIGTERM: temporary files are removed; a command that can end early with a result is told first.

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whether the command ends by itself when it is asked to, and whether it was.
static GRACEFUL: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicBool = AtomicBool::new(false);

/// While this lives the first interrupt is only noted, for [`asked`]; a second one ends the program.
pub(crate) struct Graceful;

impl Graceful {
    pub(crate) fn new() -> Self {
        #[cfg(unix)]
        watch();
        GRACEFUL.store(true, Ordering::SeqCst);
        Graceful
    }
}

impl Drop for Graceful {
    fn drop(&mut self) {
        GRACEFUL.store(false, Ordering::SeqCst);
    }
}

/// Whether there was an interrupt that the command is to heed.
pub(crate) fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// The temporary files that exist now. While the lock is held, an interrupt waits.
static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Makes, renames or removes a temporary file and notes it; an interrupt waits until that is done, so it must be quick.
pub(crate) fn uninterrupted<T>(work: impl FnOnce(&mut Vec<PathBuf>) -> T) -> T {
    #[cfg(unix)]
    watch();
    work(&mut LEFT.lock().unwrap_or_else(PoisonError::into_inner))
}

/// From now on an interrupt that the command does not heed removes the files and ends the program with the exit code of a killed process
/// (128 + signal). A thread does it, because a signal handler itself may do very little.
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
            for signal in signals.forever() {
                if GRACEFUL.load(Ordering::SeqCst) && !ASKED.swap(true, Ordering::SeqCst) {
                    continue;
                }
                let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
                for file in left.iter() {
                    let _ = fs::remove_file(file);
                }
                // Without exit handlers: those of a driver would free memory that its threads still use.
                low_level::exit(128 + signal);
            }
        });
    });
}
