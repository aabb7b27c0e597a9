//! Keeps a driver's chatter away from stderr, which is for our one line.
//!
//! Mesa's device selection looks for a Wayland display and prints to stderr where `XDG_RUNTIME_DIR` is not set, which is so
//! on servers and in containers. Nothing of ours reads that variable. Setting it in a running process is not safe (C code in
//! any thread may be reading the environment), so the command starts itself again with it.

/// Returns where there is nothing to do or it cannot be done: then there is a line more on stderr, and no harm.
#[cfg(all(unix, not(target_os = "macos")))]
pub(crate) fn driver() {
    use std::{env, os::unix::process::CommandExt as _, process::Command};

    const VARIABLE: &str = "XDG_RUNTIME_DIR";
    // The second start finds the variable set: there is no third.
    if env::var_os(VARIABLE).is_some() {
        return;
    }
    // Under an emulator, or started by the dynamic linker's hand, the running program is another.
    if let Ok(program) = env::current_exe()
        && program.file_stem().is_some_and(|name| name == "elbow")
    {
        // Comes back only if it failed.
        let _ = Command::new(program).args(env::args_os().skip(1)).env(VARIABLE, env::temp_dir()).exec();
    }
}

/// Mesa is at home elsewhere.
#[cfg(not(all(unix, not(target_os = "macos"))))]
pub(crate) fn driver() {}
