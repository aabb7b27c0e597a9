//! The command line: its arguments, whose comments are the help texts.

use std::{num::NonZeroU32, path::PathBuf, process::ExitCode, str::FromStr};

use clap::{
    CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
    error::ErrorKind,
    parser::ValueSource,
};
use elbow::{MatrixUnits, Saved, Strategy, WeightLayout};

use crate::{failure::Failure, out, table::Format, tuning::Tuning};

/// Fused affine + activation layers, forward and backward, on any GPU.
#[derive(Debug, Parser)]
#[command(name = "elbow", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The adapters of this machine, and the one that elbow would use. Exit code 2 if there is none.
    #[command(after_help = "Example:\n  elbow info")]
    Info(Info),
    /// Runs the library's own tests on your adapter: a table of the worst errors. Exit code 1 if anything is wrong.
    ///
    /// Checks every kernel, activation, strategy and saved choice on odd shapes: layers of integers to the last bit, of real numbers within
    /// their bounds, NaN and infinities, the memory around the operands, and that repeated calls give the same bits.
    #[command(after_help = "Example, a fiftieth of the short run:\n  elbow verify --quick --part 1/50")]
    Verify(Verify),
    /// The accuracy of activations over all bit patterns of f32, in ulp. Exit code 1 if one is beyond its tolerance.
    ///
    /// Compares value, slope, second derivative and the derivatives by α with f64.
    #[command(after_help = "Example, every 100,003rd number:\n  elbow sweep gelu --stride 100003")]
    Sweep(Sweep),
    /// Measures the fastest tile for each kind of product on your adapter and keeps the result. Takes seconds, on a software adapter
    /// minutes.
    ///
    /// Every tile must first be exact on integers. A tile is chosen if it is faster by 5 % and by more than the noise; none is tried any more
    /// near the speed of a copy or of the multiply-adds alone, measured before. `elbow bench`, `elbow eval`, and networks of programs (`Mlp`)
    /// use the result, unless told not to.
    #[command(
        after_help = "Example, two tiles on products of one row, kept nowhere:\n  elbow tune --sizes row --forms NT --tiles 0,3 --dry-run"
    )]
    Tune(Tune),
    /// Says whether your GPU is worth it, for your network: training and inference beside your CPU, verified before they are timed.
    ///
    /// Times a whole network (--mlp, --model) or layers on the GPU and on the CPU, in turns: device time (by timestamps), wall time, and wall
    /// time with the transfers. Every case is verified against the f64 reference before it is timed. The first line is the answer.
    #[command(
        after_help = "Example, and one of learned slopes in mixed precision:\n  elbow bench --mlp 8,64,64,1 --activation gelu --quick --report out.html\n  \
                            elbow bench --mlp 8,32,32,1 --activation prelu,gelu --dtype f16 --quick --batches 64"
    )]
    Bench(Box<crate::bench::Options>),
    /// Compares two runs of `elbow bench`: what became slower or faster, beyond the noise of both. Exit code 1 if anything is slower.
    ///
    /// Times that are in both runs, with the ratio new / old: it is slower, or faster, if the 99 % confidence intervals do not touch, and more
    /// than 5 % apart is possible. Times of the CPU are compared too: if they moved as well, so did the machine, and that
    /// is said. Noise is that within each run: take both on the same machine, with nothing else running.
    #[command(
        after_help = "Example, of a run with itself:\n  elbow bench --mlp 4,8,1 --quick --elements 1000 --format json > run.json\n  \
                            elbow compare run.json run.json"
    )]
    Compare(crate::compare::Options),
    /// Times every tile on products of sizes that you name, each exact on integers before it is timed.
    ///
    /// Times C = A·B of each size and form on each tile that can run it, and on the plan's own choice. Each is first compared with integers
    /// that the host computed. Exit code 1 if one was wrong.
    #[command(after_help = "Example:\n  elbow tiles --shapes 64x64x64 --forms NT --tiles 0,3 --quick")]
    Tiles(crate::tiles::Options),
    /// Shows what would run for a layer: dispatches, the program of each kernel, its WGSL.
    ///
    /// Prints the dispatches of forward, and of backward if wanted, of a layer or of a whole network (--hidden): kernel, tiles, loops, operands, scratch; then
    /// the program of each kernel, one step a line, and with --wgsl its text. Assumes that every operand starts at a multiple of 16 bytes.
    #[command(after_help = "Example, M K N:\n  elbow plan --activation gelu 64 256 256 --backward --class discrete")]
    Plan(crate::plan::Options),
    // What these three say of themselves is at their options: a comment here would take its place.
    #[command(after_help = EVAL)]
    Eval(Eval),
    Train(crate::train::Options),
    Predict(crate::predict::Options),
    /// Prints the completions of a shell, for its folder of completions.
    #[command(after_help = "Example:\n  elbow completions bash > elbow.bash")]
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Prints the manual page of the command, or of one of its commands.
    #[command(after_help = "Example:\n  elbow man bench > elbow-bench.1\n\nTo read one: elbow man bench | man -l -")]
    Man {
        /// The command, such as bench.
        #[arg(value_name = "COMMAND")]
        of: Option<String>,
    },
}

/// The first command makes a file of x = (-1, 2), so that the second works anywhere.
const EVAL: &str = r#"Example, of two numbers, -1 and 2:
  printf '\66\0\0\0\0\0\0\0{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}\0\0\200\277\0\0\0\100' > in.safetensors
  elbow eval --activation gelu in.safetensors out.safetensors"#;

/// What `elbow` without a command prints: what to do next.
pub(crate) const GUIDE: &str = "\
elbow: fused affine + activation layers on any GPU

What next?
  elbow info                                       is there a GPU, and which one is used?
  elbow verify --quick                             does it compute right?
  elbow bench --mlp 8,64,64,1 --activation gelu    is it worth it, for your network?
  elbow tune                                       faster still: the best tiles of this GPU
  elbow train data.csv --target COLUMN             a network from a table of yours
  elbow eval --help                                run a layer or a network of your own
  elbow --help                                     everything else
";

impl Args {
    /// The process's arguments. `elbow train` is also told which of its options are among them, and not defaults.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches()?;
        let mut args = Self::from_arg_matches(&matches)?;
        if let (Some(Command::Train(options)), Some(matches)) = (&mut args.command, matches.subcommand_matches("train"))
        {
            let given = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
            options.given = matches.ids().filter(given).map(ToString::to_string).collect();
        }
        Ok(args)
    }
}

impl Command {
    /// Whether the command loads a graphics driver.
    pub(crate) fn opens_device(&self) -> bool {
        match self {
            Command::Info(_)
            | Command::Verify(_)
            | Command::Sweep(_)
            | Command::Tune(_)
            | Command::Bench(_)
            | Command::Tiles(_)
            | Command::Train(_) => true,
            Command::Compare(_) | Command::Completions { .. } | Command::Man { .. } => false,
            Command::Predict(options) => options.device == Device::Gpu,
            Command::Plan(options) => options.opens_device(),
            Command::Eval(eval) => eval.device == Device::Gpu,
        }
    }
}

/// The options of `elbow info`.
#[derive(Debug, clap::Args)]
pub(crate) struct Info {
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// The options of `elbow verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// Checks only a sample of the kernels, in seconds.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Runs the I-th of N parts: to divide a run among machines, or among processes if a driver does not free compiled kernels.
    #[arg(long, value_name = "I/N", default_value_t = elbow_verify::Part::ALL)]
    pub(crate) part: elbow_verify::Part,
    /// Also on matrix units, where the adapter has them: products of operands that are stored as f16, or of all, rounded to f16, or split into two numbers of f16.
    #[arg(long, value_parser = words(MatrixUnits::ALL, MatrixUnits::name), default_value_t)]
    pub(crate) matrix_units: MatrixUnits,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Runs one case again, as printed by a run that failed.
    #[arg(long, value_name = "CASE", conflicts_with_all = ["quick", "part"])]
    pub(crate) case: Option<String>,
}

/// The options of `elbow tune`.
#[derive(Debug, clap::Args)]
pub(crate) struct Tune {
    /// File for the result; otherwise a file of this adapter in your cache folder.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Only these sizes of products, separated by commas: row, few (2 to 16 rows), many, huge.
    #[arg(long, value_name = "SIZES", value_delimiter = ',', value_parser = crate::tune::size)]
    pub(crate) sizes: Vec<elbow::plan::Size>,
    /// Only these forms of products, separated by commas: NT (forward), NN (dx), TN (dW).
    #[arg(long, value_name = "FORMS", value_delimiter = ',', value_parser = crate::tiles::form)]
    pub(crate) forms: Vec<elbow::plan::Form>,
    /// Only these tiles beside the usual one, by their numbers, separated by commas (see `elbow tiles`).
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', value_parser = crate::tiles::tile)]
    pub(crate) tiles: Vec<usize>,
    /// Measures and prints, without writing a file.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Removes the file, without measuring.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) forget: bool,
    /// How the results are printed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
}

/// The options of `elbow sweep`.
#[derive(Debug, clap::Args)]
pub(crate) struct Sweep {
    /// Checks every N-th bit pattern. 1 checks all 4,294,967,296, which takes minutes for each activation.
    #[arg(long, value_name = "N", default_value = "1021")]
    pub(crate) stride: NonZeroU32,
    /// How the results are printed; JSON is a line for each function.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// Activations; all of them if none is named.
    #[arg(value_name = "SPEC")]
    pub(crate) activation: Vec<String>,
}

/// Runs a layer, forward and (with dy) backward, or the layers of a network, on the tensors of safetensors files.
///
/// y = act(x·Wᵀ + b; α) + residual if there is a w; else y = act(x; α). With --layers all layers of a network, one after the other.
///
/// x [.., K]; fused: w [N, K], optionally b [N], residual [.., N], alpha [1] or [N]; a batch of layers: w [E, N, K], and every operand
/// begins with E; elementwise: optionally alpha, of 1 element or as long as the last dimension of x. With dy (shaped as y) OUT also gets the
/// gradients dx, dw, db, dalpha, dresidual of the operands that are there; with ddx those of the double backward.
///
/// Two files are IN and OUT. Of three the first is a model, which may have any other tensors: `elbow eval --activation gelu --prefix
/// encoder.0.ffn. model.safetensors x.safetensors out.safetensors` takes encoder.0.ffn.weight and encoder.0.ffn.bias, `--layers
/// gelu,gelu,identity` the tensors 0.weight, 0.bias, 2.weight, .. of PyTorch's Sequential. A file that elbow has trained says its layers itself.
///
/// Each tensor is F32, F16 or BF16; alpha is F32. In OUT dw, db, dalpha and dalpha2 are F32, all others have the type of x.
/// The GPU stores its operands in these types, the other devices round at the end; all compute in f32 or f64.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Eval {
    /// The activation: relu, leaky_relu(0.01), hardtanh(-1,1), gelu, ... Parameters left out are PyTorch's defaults.
    #[arg(long, value_name = "SPEC", conflicts_with = "layers")]
    pub(crate) activation: Option<String>,
    /// The activation of each layer of a network, separated by commas; identity for a linear layer. Only y is computed.
    #[arg(long, value_name = "SPECS")]
    pub(crate) layers: Option<String>,
    /// What the names of parameters begin with in the file, its last dot included.
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// The modules of a network's layers behind the prefix, separated by commas, instead of Sequential's numbers; MODULE:PRELU has its α in
    /// another.
    #[arg(long, value_name = "MODULES", value_delimiter = ',', conflicts_with = "activation")]
    pub(crate) modules: Vec<String>,
    /// The whole name of an operand's tensor, without the prefix: x=input.1. Repeat it for each.
    #[arg(long, value_name = "OPERAND=NAME")]
    pub(crate) map: Vec<crate::names::Mapped>,
    /// Rounds F64 and integers to F32, where they are an error otherwise.
    #[arg(long)]
    pub(crate) convert: bool,
    /// Takes a weight of more than two dimensions for the kernel [N, C, ..] of a convolution whose patches are the rows of x: [N, C ..].
    #[arg(long)]
    pub(crate) flatten: bool,
    /// What runs the layer.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) device: Device,
    /// The shape of w: [N, K] (PyTorch, ONNX with transB) or [K, N] (Keras, JAX, Burn).
    #[arg(long, value_parser = words(WeightLayout::ALL, WeightLayout::name), default_value_t)]
    pub(crate) weight_layout: WeightLayout,
    /// What forward keeps for backward (fused only). A choice that is not enough for the gradients is an error.
    #[arg(long, value_parser = words(Saved::ALL, Saved::name), default_value_t)]
    pub(crate) save: Saved,
    /// How dz reaches the products of backward (fused, GPU only).
    #[arg(long, value_parser = words(Strategy::ALL, Strategy::name), default_value_t)]
    pub(crate) strategy: Strategy,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
    /// IN and OUT, or MODEL, IN and OUT. Each input has at most 4 GiB, its header at most 1 MiB; OUT is written only if everything succeeds.
    #[arg(value_name = "FILE.safetensors", num_args = 2..=3, required = true)]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Device {
    /// The adapter that `elbow info` names.
    #[default]
    Gpu,
    /// The fast CPU implementation.
    Cpu,
    /// The slow reference implementation, which computes in f64.
    Reference,
}

/// The words of one of elbow's choices, for clap to list and parse.
pub(crate) fn words<T>(all: &[T], name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T> + use<T>
where
    T: FromStr<Err = elbow::Error> + Copy + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.iter().map(|choice| name(*choice))).try_map(|word| word.parse::<T>())
}

/// Prints help and version as clap writes them, and any mistake as one line, like every other failure.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match out::printed(error.print()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        },
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
