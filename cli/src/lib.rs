//! The `elbow` command as a library for its own tests and fuzz targets, without a promise of stability. `elbow info` lists the adapters,
//! `elbow verify` and `elbow sweep` check one, `elbow tune`, `elbow bench` and `elbow tiles` time it, `elbow compare` compares two runs, `elbow plan`
//! shows what would run, `elbow eval` runs a layer or a network, `elbow train` makes one from a table, and `elbow predict` uses it.
//!
//! Every failure is one line on stderr and exit code 2; an adapter that computes wrong numbers is exit code 1.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod compare;
mod cpu;
mod destination;
mod document;
mod eval;
pub mod failure;
pub mod file;
mod gpu;
mod header;
mod html;
mod info;
mod interrupt;
mod job;
mod layers;
mod manual;
mod names;
mod numbers;
mod out;
mod plan;
mod predict;
mod quiet;
mod sweep;
mod table;
mod tiles;
mod train;
mod tune;
mod tuning;
mod verify;

use std::process::ExitCode;

pub use eval::{check, check_network};

/// Runs the command with the process's arguments, and returns its exit code.
pub fn run() -> ExitCode {
    let args = match args::Args::read() {
        Ok(args) => args,
        Err(error) => return args::explain(&error),
    };
    let Some(command) = &args.command else {
        return out::print(args::GUIDE).map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS);
    };
    if command.opens_device() {
        quiet::driver();
    }
    let result = match command {
        args::Command::Info(info) => info::run(info).map(|()| ExitCode::SUCCESS),
        args::Command::Verify(verify) => verify::run(verify),
        args::Command::Sweep(sweep) => sweep::run(sweep),
        args::Command::Tune(tune) => tune::run(tune).map(|()| ExitCode::SUCCESS),
        args::Command::Bench(options) => bench::run(options),
        args::Command::Compare(options) => compare::run(options),
        args::Command::Tiles(options) => tiles::run(options),
        args::Command::Plan(options) => plan::run(options).map(|()| ExitCode::SUCCESS),
        args::Command::Eval(eval) => eval::run(eval).map(|()| ExitCode::SUCCESS),
        args::Command::Completions { shell } => manual::completions(*shell).map(|()| ExitCode::SUCCESS),
        args::Command::Man { of } => manual::page(of.as_deref()).map(|()| ExitCode::SUCCESS),
        args::Command::Train(options) => train::run(options),
        args::Command::Predict(options) => predict::run(options).map(|()| ExitCode::SUCCESS),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
