//! `elbow plan`: what would run for a layer, down to the text of its kernels. The way to see why, and to report a bug.

use std::fmt::Write as _;

use elbow::{
    Activation, AlphaSource, Float, Gpu, ResidualAt, Saved, Strategy, Want, WeightLayout,
    kernel::Kernel,
    plan::{self, Caps, DeviceClass, Pin, Plan},
    request::{AffineRequest, BackwardRequest, Gradients, Statistics},
    shader::{self, Binding},
    storage::Storage,
};

use crate::{args::words, failure::Failure, out};

/// The dispatches of forward, and of backward if asked for: kernel, tiles, loops, operands, scratch; the program of each kernel, one line
/// a step; with --wgsl its text as well. Every operand starts at a multiple of 16 bytes here.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The activation: relu, leaky_relu(0.01), gelu, ...
    #[arg(long, value_name = "SPEC")]
    activation: String,
    /// Rows of x.
    m: usize,
    /// Columns of x: in features.
    k: usize,
    /// Columns of y: out features.
    n: usize,
    /// Backward too: dx, dW, db, and the gradients of the other operands that there are.
    #[arg(long)]
    backward: bool,
    /// Where α comes from.
    #[arg(long, value_parser = words(AlphaSource::ALL, AlphaSource::name), default_value_t)]
    alpha: AlphaSource,
    /// No bias.
    #[arg(long)]
    no_bias: bool,
    /// A residual, and where it joins.
    #[arg(long, value_parser = words(ResidualAt::ALL, ResidualAt::name))]
    residual: Option<ResidualAt>,
    /// A factor for each row of act(z).
    #[arg(long)]
    row_weight: bool,
    /// Statistics of channels and of rows.
    #[arg(long)]
    statistics: bool,
    /// How w lies: [N, K] or [K, N].
    #[arg(long, value_parser = words(WeightLayout::ALL, WeightLayout::name), default_value_t)]
    weight_layout: WeightLayout,
    /// What forward keeps for backward.
    #[arg(long, value_parser = words(Saved::ALL, Saved::name), default_value_t)]
    save: Saved,
    /// How dz reaches the products of backward.
    #[arg(long, value_parser = words(Strategy::ALL, Strategy::name), default_value_t)]
    strategy: Strategy,
    /// In which type data and weights are stored: f32, f16 or bf16.
    #[arg(long, value_name = "TYPE", default_value = "f32")]
    dtype: String,
    /// Plans for a device of this class at WebGPU's default limits, and opens none. Otherwise for the adapter that `elbow info` names.
    #[arg(long, value_parser = words(DeviceClass::ALL, DeviceClass::name))]
    class: Option<DeviceClass>,
    /// The WGSL of each kernel.
    #[arg(long)]
    wgsl: bool,
}

impl Options {
    pub(crate) const fn opens_device(&self) -> bool {
        self.class.is_none()
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let activation: Activation = options.activation.parse()?;
    let dtype: Float = options.dtype.parse()?;
    let caps = match options.class {
        None => Gpu::new()?.caps(),
        Some(class) => Caps::defaults(class),
    };
    let (alpha, learnable) = (options.alpha, options.alpha != AlphaSource::Constant);
    let request = AffineRequest::new(options.m, options.n, options.k, activation)
        .layout(options.weight_layout)
        .alpha(alpha)
        .bias(!options.no_bias)
        .residual(options.residual)
        .row_weight(options.row_weight)
        .statistics(Statistics::default().channels(options.statistics).rows(options.statistics))
        .saved(options.save)
        .storage(Storage::all(dtype));
    let forward = plan::forward(&request, true, false, &caps, &Pin::default())?;
    let mut text = String::new();
    describe("forward", &forward, options.wgsl, &mut text)?;
    if options.backward {
        let want = |there: bool| if there { Want::Overwrite } else { Want::No };
        let gradients = Gradients::default()
            .x(Want::Overwrite)
            .w(Want::Overwrite)
            .b(want(request.bias))
            .alpha(want(learnable))
            .residual(want(request.residual.is_some()))
            .row_weight(want(request.row_weight));
        let affine = request.saved(forward.saved);
        let request = BackwardRequest::new(affine, gradients);
        let backward = plan::backward(&request, true, &caps, &Pin::default().strategy(options.strategy))?;
        text.push('\n');
        describe("backward", &backward, options.wgsl, &mut text)?;
    }
    out::print(&text)
}

fn describe(what: &str, plan: &Plan, wgsl: bool, text: &mut String) -> Result<(), Failure> {
    let _ = writeln!(text, "{what}, saved {}:\n{plan}", plan.saved);
    let mut seen: Vec<&Kernel> = Vec::new();
    for dispatch in &plan.dispatches {
        let kernel = &dispatch.kernel;
        if seen.contains(&kernel) {
            continue;
        }
        seen.push(kernel);
        let _ = writeln!(text, "\n{kernel}");
        for (name, program) in
            [("element of A", &kernel.a), ("element of B", &kernel.b), ("each result", &kernel.finish)]
        {
            if !program.is_empty() {
                let _ = writeln!(text, "  {name}:");
                program.to_string().lines().for_each(|line| {
                    let _ = writeln!(text, "    {line}");
                });
            }
        }
        if wgsl {
            let _ = write!(text, "\n{}", shader::assemble(kernel, Binding::Exclusive)?);
        }
    }
    Ok(())
}
