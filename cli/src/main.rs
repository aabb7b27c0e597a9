//! The `elbow` command: what the library does, from outside. `elbow info` names the adapters, `elbow eval` runs a layer.
//!
//! Whatever goes wrong is one line on stderr and exit code 2.

mod args;
mod cpu;
mod eval;
mod failure;
mod file;
mod gpu;
mod info;
mod job;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => return args::explain(&error),
    };
    let result = match &args.command {
        args::Command::Info => info::run(),
        args::Command::Eval(eval) => eval::run(eval),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
