//! The `elbow` command: what the library does, from outside. `elbow info` names the adapters, `elbow verify` and
//! `elbow sweep` judge one, `elbow eval` runs a layer.
//!
//! Whatever goes wrong is one line on stderr and exit code 2; an adapter that computes wrong numbers is exit code 1.

mod args;
mod cpu;
mod eval;
mod failure;
mod file;
mod gpu;
mod info;
mod job;
mod sweep;
mod verify;

use std::process::ExitCode;

use clap::Parser;

/// Mesa's device selection looks for a Wayland display and prints to stderr where this variable is not set, which is so
/// on servers and in containers. Nothing of ours reads it.
#[expect(unsafe_code, reason = "setting a variable; see the safety comment")]
fn quiet_driver() {
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: the first thing that main does; there is no other thread that could read the environment.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}

fn main() -> ExitCode {
    quiet_driver();
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return args::explain(&error),
    };
    let result = match &args.command {
        args::Command::Info => info::run().map(|()| ExitCode::SUCCESS),
        args::Command::Verify(verify) => verify::run(verify),
        args::Command::Sweep(sweep) => sweep::run(sweep),
        args::Command::Eval(eval) => eval::run(eval).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
