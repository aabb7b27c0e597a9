//! `elbow plan`: shows what would run for a layer, down to the text of its kernels: to understand a plan, and to report a bug.

mod shown;

use elbow::{
    Activation, AlphaSource, Float, Gate, Gpu, Jet, MatrixUnits, Norm, ResidualAt, Saved, Strategy, Want, WeightLayout,
    network::Layers,
    plan::{self, Caps, DeviceClass, NetworkBackward, NetworkForward, Pin},
    request::{AffineRequest, BackwardRequest, Front, Gradients, Statistics},
    storage::Storage,
};

use self::shown::Shown;
use crate::{args::words, document, failure::Failure, out, table::Format};

/// The options of `elbow plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The activation: relu, leaky_relu(0.01), gelu, ...
    #[arg(long, value_name = "SPEC")]
    activation: String,
    /// M, rows of x.
    m: usize,
    /// K, columns of x: in features.
    k: usize,
    /// N, columns of y: out features.
    n: usize,
    /// A whole network of hidden layers of these columns, all alike, between K and N: 64,64,64. Of its options are --alpha, --jet, --dtype and --output.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', conflicts_with_all = OF_A_LAYER)]
    hidden: Vec<usize>,
    /// The activation of the last layer of a network; the identity if not given.
    #[arg(long, value_name = "SPEC", requires = "hidden")]
    output: Option<Activation>,
    /// Also plans backward: dx, dW, db, and the gradients of all other operands of the layer.
    #[arg(long)]
    backward: bool,
    /// Whether α is a constant, or learnable for the layer or for each channel.
    #[arg(long, value_parser = words(AlphaSource::ALL, AlphaSource::name), default_value_t)]
    alpha: AlphaSource,
    /// Without a bias.
    #[arg(long)]
    no_bias: bool,
    /// With a residual, added before or after the activation.
    #[arg(long, value_parser = words(ResidualAt::ALL, ResidualAt::name))]
    residual: Option<ResidualAt>,
    /// With a factor for each row of act(z).
    #[arg(long)]
    row_weight: bool,
    /// The rows are jets with this operator: its coefficients c11,c12,c22 (groups of 4 rows), or 21 of them (groups of 8).
    #[arg(long, value_name = "C11,C12,C22", allow_hyphen_values = true)]
    jet: Option<String>,
    /// A gated layer of N units: where gate and up lie, stacked, interleaved or (two weights) apart, then, if so, up_first and limit=NUMBER.
    #[arg(long)]
    gate: Option<Gate>,
    /// An activation that x goes through before the product; behind --norm, --scale and --shift, if they are there.
    #[arg(long, value_name = "SPEC")]
    front: Option<Activation>,
    /// Normalises x before the product: batch, running, layer or rms, then, if so, epsilon=NUMBER and momentum=NUMBER.
    #[arg(long, value_name = "SPEC")]
    norm: Option<Norm>,
    /// With a factor for each column of x (after --norm).
    #[arg(long)]
    scale: bool,
    /// With something added to each column of x (after --norm and --scale).
    #[arg(long)]
    shift: bool,
    /// Whether α of --front is a constant, or learnable for the layer or for each column of x.
    #[arg(long, value_parser = words(AlphaSource::ALL, AlphaSource::name), default_value_t)]
    front_alpha: AlphaSource,
    /// The batch of --norm batch moves running statistics.
    #[arg(long)]
    running: bool,
    /// With statistics of channels and of rows.
    #[arg(long)]
    statistics: bool,
    /// The shape of w: [N, K] or [K, N].
    #[arg(long, value_parser = words(WeightLayout::ALL, WeightLayout::name), default_value_t)]
    weight_layout: WeightLayout,
    /// What forward keeps for backward.
    #[arg(long, value_parser = words(Saved::ALL, Saved::name), default_value_t)]
    save: Saved,
    /// How dz reaches the products of backward.
    #[arg(long, value_parser = words(Strategy::ALL, Strategy::name), default_value_t)]
    strategy: Strategy,
    /// Type of data and weights: f32, f16 or bf16.
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    dtype: String,
    /// Plans for a device of this class with WebGPU's default limits, without opening one; otherwise for the adapter that `elbow info`
    /// names.
    #[arg(long, value_parser = words(DeviceClass::ALL, DeviceClass::name))]
    class: Option<DeviceClass>,
    /// Which products may run on the adapter's matrix units.
    #[arg(long, value_parser = words(MatrixUnits::ALL, MatrixUnits::name), default_value_t)]
    matrix_units: MatrixUnits,
    /// Prints the WGSL of each kernel.
    #[arg(long)]
    wgsl: bool,
    /// How the plan is printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Options that a network has not.
const OF_A_LAYER: [&str; 15] = [
    "no_bias",
    "residual",
    "row_weight",
    "gate",
    "front",
    "norm",
    "scale",
    "shift",
    "front_alpha",
    "running",
    "statistics",
    "weight_layout",
    "save",
    "strategy",
    "matrix_units",
];

impl Options {
    pub(crate) const fn opens_device(&self) -> bool {
        self.class.is_none()
    }

    /// What x goes through before the product, if one of the options says so.
    fn front(&self) -> Option<Front> {
        let learnable = self.front_alpha != AlphaSource::Constant;
        let there = self.front.is_some() || self.norm.is_some();
        let running = self.running || self.norm.is_some_and(|norm| norm.is_running());
        let front = Front::new(self.front.unwrap_or(Activation::IDENTITY)).norm(self.norm).alpha(self.front_alpha);
        (there || self.scale || self.shift || learnable || running)
            .then(|| front.scale(self.scale).shift(self.shift).running(running))
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let activation: Activation = options.activation.parse()?;
    let dtype: Float = options.dtype.parse()?;
    let caps = match options.class {
        None => Gpu::with_options(elbow::Options::default().matrix_units(options.matrix_units))?.caps(),
        Some(class) => Caps::defaults(class).matrix_units(options.matrix_units),
    };
    let jet: Option<Jet> = options.jet.as_deref().map(str::parse).transpose()?;
    if !options.hidden.is_empty() {
        let sizes = [&[options.k], &options.hidden[..], &[options.n]].concat();
        let output = options.output.unwrap_or(Activation::IDENTITY);
        let layers = Layers::new(&sizes, activation)?.alpha(options.alpha).output(output).jet(jet);
        return print(options, &network(options, layers, dtype, &caps)?);
    }
    let front = options.front();
    let (alpha, learnable) = (options.alpha, options.alpha != AlphaSource::Constant);
    let request = AffineRequest::new(options.m, options.n, options.k, activation)
        .layout(options.weight_layout)
        .alpha(alpha)
        .bias(!options.no_bias)
        .residual(options.residual)
        .row_weight(options.row_weight)
        .jet(jet)
        .gate(options.gate)
        .front(front)
        .statistics(Statistics::default().channels(options.statistics).rows(options.statistics))
        .saved(options.save)
        .storage(Storage::all(dtype));
    let forward = plan::forward(&request, true, false, &caps, &Pin::default())?;
    let saved = forward.saved;
    let mut shown = vec![Shown { name: "forward", says: format!(", saved {saved}"), plan: forward }];
    if options.backward {
        let want = |there: bool| if there { Want::Overwrite } else { Want::No };
        let gradients = Gradients::default()
            .x(Want::Overwrite)
            .w(Want::Overwrite)
            .b(want(request.bias))
            .alpha(want(learnable))
            .residual(want(request.residual.is_some()))
            .row_weight(want(request.row_weight))
            .w_up(want(request.is_apart()))
            .b_up(want(request.is_apart() && request.bias))
            .scale(want(front.is_some_and(|front| front.scale)))
            .shift(want(front.is_some_and(|front| front.shift)))
            .front_alpha(want(options.front_alpha != AlphaSource::Constant));
        let affine = request.saved(saved);
        let request = BackwardRequest::new(affine, gradients);
        let backward = plan::backward(&request, true, &caps, &Pin::default().strategy(options.strategy))?;
        shown.push(Shown { name: "backward", says: format!(", saved {}", backward.saved), plan: backward });
    }
    print(options, &shown)
}

fn print(options: &Options, shown: &[Shown]) -> Result<(), Failure> {
    match options.format {
        Format::Table => out::print(&shown::text(shown, options.wgsl)?),
        Format::Md => shown::markdown(shown, options.wgsl)?.print(),
        Format::Json => document::json(&shown::json(shown, options.wgsl)?),
    }
}

/// The plans of a whole network, and whether an [`elbow::Mlp`] would take them. Narrow weights are read from a copy of the parameters.
fn network(options: &Options, layers: Layers, dtype: Float, caps: &Caps) -> Result<Vec<Shown>, Failure> {
    let taken = |because: Option<&str>| match because {
        None => "an Mlp does it so".to_owned(),
        Some(because) => format!("an Mlp goes layer by layer: {because}"),
    };
    let request = NetworkForward { rows: options.m, layers, copy: dtype != Float::F32, storage: Storage::all(dtype) };
    let so = taken(plan::layer_by_layer_because(&layers, options.m, caps));
    let says = format!(" of {} layers, {so}", layers.count);
    let mut shown = vec![Shown { name: "forward", says, plan: plan::network_forward(&request, true, caps)? }];
    if options.backward {
        let so = taken(plan::step_by_step_because(&layers, options.m, caps));
        let request = NetworkBackward { forward: request, dx: Want::Overwrite, parameters: Want::Overwrite };
        let plan = plan::network_backward(&request, true, caps)?;
        shown.push(Shown { name: "backward", says: format!(", {so}"), plan });
    }
    Ok(shown)
}
