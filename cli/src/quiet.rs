//! Keeps messages of drivers away from stderr, on which a failure is one line.
//!
//! Mesa's device selection looks for a Wayland display and prints to stderr if `XDG_RUNTIME_DIR` is not set, as on servers and in
//! containers. elbow does not use that variable. Setting it in a running process is not safe (C code in another thread may read the
//! environment), so the command starts itself again with it.

/// Returns if there is nothing to do, or if starting again fails: then a driver may print one more line, which does no harm.
#[cfg(all(unix, not(target_os = "macos")))]
pub(crate) fn driver() {
    use std::{env, os::unix::process::CommandExt as _, process::Command};

    const VARIABLE: &str = "XDG_RUNTIME_DIR";
    // The second process finds the variable set and does not start a third.
    if env::var_os(VARIABLE).is_some() {
        return;
    }
    // Under an emulator, or if the dynamic linker was called with the program, the running executable is not the command.
    if let Ok(program) = env::current_exe()
        && program.file_stem().is_some_and(|name| name == "elbow")
    {
        // Returns only if it failed.
        let _ = Command::new(program).args(env::args_os().skip(1)).env(VARIABLE, env::temp_dir()).exec();
    }
}

/// Nothing to do where Mesa is not used.
#[cfg(not(all(unix, not(target_os = "macos"))))]
pub(crate) fn driver() {}
