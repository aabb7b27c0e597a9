//! The layer of a file, with every operand checked against the others before any device is opened. The same for all three devices.

use std::collections::BTreeMap;

use elbow::{
    Activation, AlphaSource, Float, Operand, ResidualAt, Strategy, WeightLayout, request::AffineRequest, shape,
    storage::Storage,
};

use crate::{args::Eval, failure::Failure, file::Tensor};

/// The outputs of one run, by name.
pub(crate) type Outputs = Vec<(Operand, Tensor)>;

/// The layer that a file asks for.
#[derive(Debug)]
pub(crate) enum Job {
    /// A fused layer: the file has a w.
    Fused(Box<Fused>),
    /// The activation alone: the file has no w.
    Elementwise(Box<Elementwise>),
}

/// y = act(x·Wᵀ + b; α) + residual, its gradients if the file has dy, and those of double backward if it has ddx too.
#[derive(Debug, Clone)]
pub(crate) struct Fused {
    /// Its `saved` is resolved: never `Auto`.
    pub(crate) request: AffineRequest,
    pub(crate) strategy: Strategy,
    pub(crate) x: Tensor,
    pub(crate) w: Tensor,
    pub(crate) b: Option<Tensor>,
    pub(crate) alpha: Option<Tensor>,
    pub(crate) residual: Option<Tensor>,
    pub(crate) dy: Option<Tensor>,
    pub(crate) ddx: Option<Tensor>,
    /// The shape of y, `[.., N]`.
    pub(crate) y_shape: Vec<usize>,
    /// With w `[E, N, K]` the number of layers, E, with which every operand begins; the request is that of one.
    pub(crate) batch: Option<usize>,
}

/// y = act(x; α), its gradients if the file has dy, and those of double backward if it has ddx too.
#[derive(Debug)]
pub(crate) struct Elementwise {
    pub(crate) activation: Activation,
    pub(crate) rows: usize,
    pub(crate) channels: usize,
    pub(crate) source: AlphaSource,
    pub(crate) x: Tensor,
    pub(crate) alpha: Option<Tensor>,
    pub(crate) dy: Option<Tensor>,
    pub(crate) ddx: Option<Tensor>,
}

impl Fused {
    /// The layers of a batch, each by itself; of a single layer itself.
    pub(crate) fn split(&self) -> Vec<Fused> {
        let Some(layers) = self.batch else { return vec![self.clone()] };
        let part = |tensor: &Tensor, layer: usize| {
            let length = tensor.values.len() / layers;
            // One α for each layer is [E].
            let shape = if tensor.shape.len() == 1 { vec![1] } else { tensor.shape[1..].to_vec() };
            Tensor { shape, values: tensor.values[layer * length..][..length].to_vec(), dtype: tensor.dtype }
        };
        let of = |layer: usize| {
            let optional = |tensor: &Option<Tensor>| tensor.as_ref().map(|tensor| part(tensor, layer));
            Fused {
                x: part(&self.x, layer),
                w: part(&self.w, layer),
                b: optional(&self.b),
                alpha: optional(&self.alpha),
                residual: optional(&self.residual),
                dy: optional(&self.dy),
                ddx: optional(&self.ddx),
                y_shape: self.y_shape[1..].to_vec(),
                batch: None,
                ..*self
            }
        };
        (0..layers).map(of).collect()
    }

    /// The outputs of a batch from those of its layers.
    pub(crate) fn joined(&self, mut layers: Vec<Outputs>) -> Outputs {
        let Some(count) = self.batch else { return layers.pop().unwrap_or_default() };
        let mut layers = layers.into_iter();
        let mut all = layers.next().unwrap_or_default();
        for layer in layers {
            for ((_, all), (_, one)) in all.iter_mut().zip(layer) {
                all.values.extend(one.values);
            }
        }
        for (operand, tensor) in &mut all {
            match (*operand, &self.alpha) {
                (Operand::Dalpha | Operand::Dalpha2, Some(alpha)) => tensor.shape.clone_from(&alpha.shape),
                _ => tensor.shape.insert(0, count),
            }
        }
        all
    }
}

/// The most elements of y, which may be larger than the whole file: 4 GiB are taken for a mistake.
const LARGEST_Y: u64 = 1 << 30;

impl Job {
    /// Checks the operands of a file.
    pub(crate) fn new(args: &Eval, mut tensors: BTreeMap<Operand, Tensor>) -> Result<Self, Failure> {
        let activation: Activation = args.activation.as_deref().unwrap_or("").parse()?;
        let mut take = |operand| tensors.remove(&operand);
        let x = take(Operand::X).ok_or_else(|| Failure::mismatch(Operand::X, "a tensor [.., K] in IN", "none"))?;
        let (w, b, residual) = (take(Operand::W), take(Operand::B), take(Operand::Residual));
        let (alpha, dy, ddx) = (take(Operand::Alpha), take(Operand::Dy), take(Operand::Ddx));
        if alpha.is_some() && !activation.has_alpha() {
            let expected = format!("no alpha, because {activation} has no learnable parameter");
            return Err(Failure::mismatch(Operand::Alpha, expected, "a tensor"));
        }
        if ddx.is_some() && dy.is_none() {
            return Err(Failure::mismatch(Operand::Dy, "a tensor shaped as x, because IN holds ddx", "none"));
        }
        match w {
            Some(w) => {
                let operands = FusedOperands { x, w, b, alpha, residual, dy, ddx };
                fused(args, activation, operands).map(|job| Job::Fused(Box::new(job)))
            }
            None => {
                for (operand, given) in [(Operand::B, b.is_some()), (Operand::Residual, residual.is_some())] {
                    if given {
                        let expected = format!("no {operand}: without w the activation acts alone on x");
                        return Err(Failure::mismatch(operand, expected, "a tensor"));
                    }
                }
                elementwise(activation, x, alpha, dy, ddx).map(|job| Job::Elementwise(Box::new(job)))
            }
        }
    }

    /// The type in which an output is written, whichever device computes it.
    pub(crate) fn dtype(&self, output: Operand) -> Float {
        let x = match self {
            Job::Fused(job) => &job.x,
            Job::Elementwise(job) => &job.x,
        };
        dtype_beside(x, output)
    }
}

/// Gradients of parameters are sums and stay f32; everything else has the type of x.
pub(crate) fn dtype_beside(x: &Tensor, output: Operand) -> Float {
    match output {
        Operand::Dw | Operand::Db | Operand::Dalpha => Float::F32,
        Operand::Dw2 | Operand::Db2 | Operand::Dalpha2 => Float::F32,
        _ => x.dtype,
    }
}

/// The operands of a fused layer, before they are compared.
pub(crate) struct FusedOperands {
    pub(crate) x: Tensor,
    pub(crate) w: Tensor,
    pub(crate) b: Option<Tensor>,
    pub(crate) alpha: Option<Tensor>,
    pub(crate) residual: Option<Tensor>,
    pub(crate) dy: Option<Tensor>,
    pub(crate) ddx: Option<Tensor>,
}

pub(crate) fn fused(args: &Eval, activation: Activation, operands: FusedOperands) -> Result<Fused, Failure> {
    let FusedOperands { x, w, b, alpha, residual, dy, ddx } = operands;
    let layout = args.weight_layout;
    let batch = (w.shape.len() == 3).then(|| w.shape[0]);
    let (m, k) = shape::rows_and_columns(Operand::X, part_of(batch, &x.shape)?)?;
    let n = out_features(&w.shape[batch.map_or(0, |_| 1)..], layout, k)?;
    let mut y_shape = x.shape.clone();
    if let Some(last) = y_shape.last_mut() {
        *last = n;
    }
    let of_all = |shape: &[usize]| batch.into_iter().chain(shape.iter().copied()).collect::<Vec<_>>();
    same_shape(Operand::B, &b, &of_all(&[n]), "")?;
    same_shape(Operand::Residual, &residual, &y_shape, ", the shape of y")?;
    same_shape(Operand::Dy, &dy, &y_shape, ", the shape of y")?;
    same_shape(Operand::Ddx, &ddx, &x.shape, ", the shape of x")?;
    let per_layer = batch.map_or(vec![1], |layers| vec![layers]);
    let source = match alpha.as_ref().map(|alpha| &alpha.shape) {
        None => AlphaSource::Constant,
        Some(shape) if *shape == per_layer => AlphaSource::PerLayer,
        Some(shape) if *shape == of_all(&[n]) => AlphaSource::PerChannel,
        Some(other) => {
            let expected = format!("{per_layer:?} or {:?}", of_all(&[n]));
            return Err(Failure::mismatch(Operand::Alpha, expected, format!("{other:?}")));
        }
    };
    let mut request = AffineRequest::new(m, n, k, activation)
        .layout(layout)
        .alpha(source)
        .bias(b.is_some())
        .residual(residual.as_ref().map(|_| ResidualAt::AfterActivation))
        .saved(args.save)
        .storage(Storage::default().with(Operand::Y, dtype_beside(&x, Operand::Y)));
    request.check_sizes()?;
    let elements = shape::elements(Operand::Y, &y_shape)?;
    if elements > LARGEST_Y {
        return Err(Failure::mismatch(Operand::Y, format!("at most {LARGEST_Y} elements"), format!("{elements}")));
    }
    // With alpha and dy dalpha is computed, with ddx what a second derivative needs: not every saved choice is enough.
    let bends = ddx.is_some() && !activation.is_flat();
    request.saved = match request.resolve_saved((alpha.is_some() && dy.is_some()) || bends) {
        Ok(saved) => saved,
        Err(elbow::Error::Unsupported { what, why }) => {
            let got = args.save;
            return Err(Failure::new(format_args!(
                "--save: expected a choice that is enough, got {got}: {what}: {why}"
            )));
        }
        Err(other) => return Err(other.into()),
    };
    Ok(Fused { request, strategy: args.strategy, x, w, b, alpha, residual, dy, ddx, y_shape, batch })
}

/// The shape of one layer's part of x.
fn part_of(batch: Option<usize>, x: &[usize]) -> Result<&[usize], Failure> {
    match (batch, x.split_first()) {
        (None, _) => Ok(x),
        (Some(0), _) => Err(Failure::mismatch(Operand::W, "at least one layer", "none")),
        (Some(layers), Some((&first, rest))) if first == layers && !rest.is_empty() => Ok(rest),
        (Some(layers), _) => {
            let why = "a w of three dimensions is a batch of layers, with --flatten the kernel of a convolution";
            Err(Failure::mismatch(Operand::X, format!("[{layers}, .., K]"), format!("{x:?} ({why})")))
        }
    }
}

/// N, from the shape of w.
fn out_features(w: &[usize], layout: WeightLayout, k: usize) -> Result<usize, Failure> {
    let (expected, other) = match layout {
        WeightLayout::OutIn => (format!("[N, {k}] (out_in)"), "in_out"),
        WeightLayout::InOut => (format!("[{k}, N] (in_out)"), "out_in"),
    };
    match (layout, w) {
        (WeightLayout::OutIn, &[n, inner]) | (WeightLayout::InOut, &[inner, n]) if inner == k => Ok(n),
        (_, got) => {
            let turned = got.len() == 2 && got.contains(&k);
            let hint = if turned { format!("; try --weight-layout {other}") } else { String::new() };
            let expected = format!("{expected} for x with {k} columns");
            Err(Failure::mismatch(Operand::W, expected, format!("{got:?}{hint}")))
        }
    }
}

fn elementwise(
    activation: Activation,
    x: Tensor,
    alpha: Option<Tensor>,
    dy: Option<Tensor>,
    ddx: Option<Tensor>,
) -> Result<Elementwise, Failure> {
    // A tensor without dimensions is one number.
    let (rows, channels) = match x.shape.is_empty() {
        true => (1, 1),
        false => shape::rows_and_columns(Operand::X, &x.shape)?,
    };
    same_shape(Operand::Dy, &dy, &x.shape, ", the shape of x")?;
    same_shape(Operand::Ddx, &ddx, &x.shape, ", the shape of x")?;
    let source = match &alpha {
        None => AlphaSource::Constant,
        Some(alpha) if alpha.values.len() == 1 => AlphaSource::PerLayer,
        Some(alpha) if alpha.shape == [channels] => AlphaSource::PerChannel,
        Some(alpha) => {
            return Err(Failure::mismatch(
                Operand::Alpha,
                format!("[1] or [{channels}]"),
                format!("{:?}", alpha.shape),
            ));
        }
    };
    Ok(Elementwise { activation, rows, channels, source, x, alpha, dy, ddx })
}

fn same_shape(operand: Operand, given: &Option<Tensor>, expected: &[usize], note: &str) -> Result<(), Failure> {
    match given {
        Some(tensor) if tensor.shape != expected => {
            Err(Failure::mismatch(operand, format!("{expected:?}{note}"), format!("{:?}", tensor.shape)))
        }
        _ => Ok(()),
    }
}
