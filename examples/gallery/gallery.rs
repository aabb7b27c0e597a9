//! The science of rectified units, running on the kernels: what a theory predicts and what comes out, side by side.
//!
//!     cargo run --release -p elbow-gallery -- --list
//!     cargo run --release -p elbow-gallery -- half_silent            # on the GPU, the tables on the terminal
//!     cargo run --release -p elbow-gallery -- --quick                # all of them, in seconds each
//!     cargo run --release -p elbow-gallery -- --write docs           # and docs/gallery.md with its pictures
//!     cargo run --release -p elbow-gallery -- file_types -- FILES    # and what a trained network takes FILES for
//!
//! It ends with an error if a figure is not what was predicted. An experiment is one file beside this one.

#![forbid(unsafe_code)]

mod shared;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use shared::{Lab, Report, Result, page};

/// What a file of the gallery has: a title, and the experiment.
struct Experiment {
    name: &'static str,
    title: &'static str,
    run: fn(&Lab) -> Result<Report>,
}

/// Each is a module of that name, with `TITLE` and `run`; and a test, which runs it quickly.
macro_rules! experiments {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*

        /// In the order of the page.
        const ALL: &[Experiment] =
            &[$(Experiment { name: stringify!($name), title: $name::TITLE, run: $name::run }),*];

        #[cfg(test)]
        mod tests {
            $(#[test]
            fn $name() {
                super::holds(stringify!($name));
            })*
        }
    };
}

experiments! {
    half_silent,
    dying_relu,
    born_dead,
    signal_propagation,
    lenet_variance,
    rnn_stability,
    residual_order,
    batch_norm,
    prelu_channels,
    prelu_diagnostic,
    gnn_oversmoothing,
    gan_stability,
    hard_negatives,
    domain_adversarial,
    continual,
    multi_task,
    pruning_saliency,
    pinn_heat,
    pinn_wave,
    pinn_obstacle,
    call_options,
    certified_radius,
    verify_milp,
    linear_regions,
    attributions,
    rate_neuron,
    autoencoder_bias,
    projection,
    swish_nonmonotone,
    hebbian,
    transformer_ffn,
    file_types,
}

#[derive(Parser)]
#[command(about = "The science of rectified units, running on the kernels: what theory predicts and what comes out")]
struct Cli {
    /// The experiments, all if none is named
    names: Vec<String>,
    /// Small sizes: seconds each, with wider error bars
    #[arg(long)]
    quick: bool,
    /// Only the names and what they show
    #[arg(long)]
    list: bool,
    /// The folder for gallery.md and gallery/*.svg
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// What file_types is to look at
    #[arg(last = true)]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    match gallery(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every figure holds.
fn gallery(cli: &Cli) -> Result<bool> {
    if let Some(other) = cli.names.iter().find(|name| ALL.iter().all(|one| one.name != **name)) {
        return Err(format!("no experiment {other:?}: --list shows all").into());
    }
    let wanted = ALL.iter().filter(|one| cli.names.is_empty() || cli.names.iter().any(|name| name == one.name));
    if cli.list {
        wanted.for_each(|one| println!("{:18} {}", one.name, one.title));
        return Ok(true);
    }
    if !cli.files.is_empty() && !wanted.clone().any(|one| one.name == "file_types") {
        return Err("FILES: only file_types looks at files".into());
    }
    let lab = Lab::open(cli.quick, cli.files.clone())?;
    let mut done = Vec::new();
    for one in wanted {
        let started = std::time::Instant::now();
        let report = (one.run)(&lab).map_err(|error| format!("{}: {error}", one.name))?;
        println!("\n{} ({:.1} s)\n{report}", one.title, started.elapsed().as_secs_f64());
        done.push((one.name, one.title, report));
    }
    if let Some(folder) = &cli.write {
        page::write(folder, &lab, &done)?;
        println!("\n{}", folder.join("gallery.md").display());
    }
    Ok(done.iter().all(|(_, _, report)| report.holds()))
}

#[cfg(test)]
fn holds(name: &str) {
    let one = ALL.iter().find(|one| one.name == name).expect("an experiment of this name");
    let report = (one.run)(&Lab::open(true, Vec::new()).expect("an adapter")).expect("an experiment that runs");
    assert!(report.holds(), "{report}");
}
