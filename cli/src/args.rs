//! The command line.

use std::{num::NonZeroU32, path::PathBuf, process::ExitCode, str::FromStr};

use clap::{
    Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
    error::ErrorKind,
};
use elbow::{Saved, Strategy, WeightLayout};

use crate::{failure::Failure, out};

/// Fused affine + activation layers, forward and backward, on any GPU.
#[derive(Debug, Parser)]
#[command(name = "elbow", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The adapters of this machine, and the one that elbow would use. Exit code 2 if there is none.
    Info,
    /// Runs the library's own tests on your adapter: a table of the worst errors. Exit code 1 if anything is wrong.
    Verify(Verify),
    /// The accuracy of activations over all bit patterns of f32, in ulp. Exit code 1 if one is beyond its tolerance.
    Sweep(Sweep),
    /// Measures which tile is the fastest for which product on your adapter, and keeps it: seconds, on a software adapter minutes.
    Tune(Tune),
    /// How fast your adapter is beside your CPU: forward, backward and a training step, each verified before it is timed.
    Bench(crate::bench::Options),
    /// What would run for a layer: its dispatches, the program of each kernel, its WGSL.
    Plan(crate::plan::Options),
    /// Runs one layer, forward and (if IN holds dy) backward, on the tensors of a safetensors file.
    Eval(Eval),
}

impl Command {
    /// Whether a driver will be loaded.
    pub(crate) fn opens_device(&self) -> bool {
        match self {
            Command::Info | Command::Verify(_) | Command::Sweep(_) | Command::Tune(_) | Command::Bench(_) => true,
            Command::Plan(options) => options.opens_device(),
            Command::Eval(eval) => eval.device == Device::Gpu,
        }
    }
}

/// Every kernel, activation, strategy and saved choice on odd shapes: integer layers to the last bit, real ones within their
/// bound, NaN and infinities, memory around the operands, the same bits every time.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// A sample of the kernels: seconds.
    #[arg(long)]
    pub(crate) quick: bool,
    /// One of N parts: for machines beside each other, and for drivers that keep the memory of all that they compiled.
    #[arg(long, value_name = "I/N", default_value_t = elbow_verify::Part::ALL)]
    pub(crate) part: elbow_verify::Part,
    /// JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Runs one case again, as a failed run has named it.
    #[arg(long, value_name = "CASE", conflicts_with_all = ["quick", "part"])]
    pub(crate) case: Option<String>,
}

/// Every tile is first compared with the simplest one, to the last bit. What is measured is used by programs that ask for it.
#[derive(Debug, clap::Args)]
pub(crate) struct Tune {
    /// Where it is kept; otherwise a file of this adapter in your cache folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Measures and prints, and keeps nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Removes what was kept, and measures nothing.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) forget: bool,
}

/// Value, slope, curvature and the derivatives by α, against f64.
#[derive(Debug, clap::Args)]
pub(crate) struct Sweep {
    /// Every n-th bit pattern; 1 is all 4,294,967,296 of them: minutes for each activation.
    #[arg(long, value_name = "N", default_value = "1021")]
    pub(crate) stride: NonZeroU32,
    /// One line of JSON for each function instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
    /// Activations; all of them if none is named.
    #[arg(value_name = "SPEC")]
    pub(crate) activation: Vec<String>,
}

/// y = act(x·Wᵀ + b; α) + residual where IN holds w; y = act(x; α) where it does not.
///
/// IN: x [.., K]; fused: w [N, K], and b [N], residual [.., N], alpha [1] or [N] where wanted; elementwise: alpha of 1
/// element or as long as the last dimension of x. With dy (shaped as y) OUT also gets the gradients dx, dw, db, dalpha,
/// dresidual of the operands that are there; with ddx (elementwise only) also ddy, dx2, dalpha2.
///
/// Each tensor of IN is F32, F16 or BF16 by itself; alpha is F32. In OUT dw, db, dalpha and dalpha2 are F32, all others are
/// what x is. The GPU keeps its operands in these types, the other devices round at the end; all compute in f32 or f64.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Eval {
    /// The activation: relu, leaky_relu(0.01), hardtanh(-1,1), gelu, ... Parameters left out are PyTorch's defaults.
    #[arg(long, value_name = "SPEC")]
    pub(crate) activation: String,
    /// Where it runs.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) device: Device,
    /// How w lies: [N, K] (PyTorch, ONNX with transB) or [K, N] (Keras, JAX, Burn).
    #[arg(long, value_parser = words(WeightLayout::ALL, WeightLayout::name), default_value_t)]
    pub(crate) weight_layout: WeightLayout,
    /// What forward keeps for backward (fused only). A choice that is not enough for the gradients is an error.
    #[arg(long, value_parser = words(Saved::ALL, Saved::name), default_value_t)]
    pub(crate) save: Saved,
    /// How dz reaches the products of backward (fused, GPU only).
    #[arg(long, value_parser = words(Strategy::ALL, Strategy::name), default_value_t)]
    pub(crate) strategy: Strategy,
    /// Input file, at most 4 GiB, with a header of at most 1 MiB.
    #[arg(value_name = "IN.safetensors")]
    pub(crate) input: PathBuf,
    /// Output file: written only when everything went well.
    #[arg(value_name = "OUT.safetensors")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Device {
    /// The adapter that `elbow info` names.
    #[default]
    Gpu,
    /// The fast CPU implementation.
    Cpu,
    /// The slow and obviously right strategy: f64 inside.
    Reference,
}

/// The words of a choice of the library, as clap lists and reads them.
pub(crate) fn words<T>(all: &[T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T> + use<T>
where
    T: FromStr<Err = elbow::Error> + Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|choice| name(*choice))).try_map(|word| word.parse::<T>())
}

/// Help and version go out as clap writes them; a mistake is cut to its one line, as every other failure.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match out::printed(error.print()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        },
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Failure::new(
            "expected a command: info, verify, sweep, tune, bench, plan or eval (see elbow --help), got none",
        )
        .report(),
        _ => {
            let text = error.render().to_string();
            let useful =
                text.lines().take_while(|l| !l.starts_with("Usage:") && !l.starts_with("For more information"));
            let line = useful.collect::<Vec<_>>().join(" ");
            Failure::new(line.trim_start_matches("error: ")).report()
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        super::Args::command().debug_assert();
    }
}
