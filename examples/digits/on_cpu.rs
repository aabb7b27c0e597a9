//! The same network and the same training step on the CPU, made of `elbow_cpu`: what the GPU is compared with,
//! in losses and in time.

use elbow::{
    AlphaSource, Result, Saved, Want,
    request::{AffineRequest, BackwardRequest, Below, Gradients},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardInputs, ForwardOutputs, SavedIn, SavedOut, Workspace};

/// A dense layer with its gradients, velocities and the memory of a batch.
pub(crate) struct Layer {
    pub(crate) request: AffineRequest,
    pub(crate) w: Updated,
    pub(crate) b: Updated,
    pub(crate) alpha: Option<Updated>,
    saved: Saved,
    y: Vec<f32>,
    z: Vec<f32>,
    mask: Vec<u32>,
    dz: Vec<f32>,
}

/// A parameter, its gradient and its velocity.
pub(crate) struct Updated {
    value: Vec<f32>,
    gradient: Vec<f32>,
    velocity: Vec<f32>,
}

impl Updated {
    pub(crate) fn new(value: Vec<f32>) -> Self {
        Updated { gradient: vec![0.0; value.len()], velocity: vec![0.0; value.len()], value }
    }

    fn step(&mut self, rate: f32, momentum: f32) {
        for ((p, g), v) in self.value.iter_mut().zip(&self.gradient).zip(&mut self.velocity) {
            *v = momentum * *v + g;
            *p -= rate * *v;
        }
    }
}

impl Layer {
    /// `request.m` is the largest batch.
    pub(crate) fn new(request: AffineRequest, w: Vec<f32>, b: Vec<f32>, alpha: Option<Vec<f32>>) -> Result<Self> {
        let saved = request.resolve_saved(alpha.is_some())?;
        let length = request.m * request.n;
        Ok(Layer {
            request,
            w: Updated::new(w),
            b: Updated::new(b),
            alpha: alpha.map(Updated::new),
            saved,
            y: vec![0.0; length],
            z: vec![0.0; if saved == Saved::Z { length } else { 0 }],
            mask: vec![0; request.m * request.n.div_ceil(32)],
            dz: vec![0.0; length],
        })
    }

    fn forward(&mut self, x: &[f32], rows: usize) -> Result<()> {
        self.request.m = rows;
        let inputs = ForwardInputs::new(x, &self.w.value)
            .b(Some(&self.b.value))
            .alpha(self.alpha.as_ref().map(|a| a.value.as_slice()));
        let saved = match self.saved {
            Saved::Z => SavedOut::Z(&mut self.z),
            Saved::Mask => SavedOut::Mask(&mut self.mask),
            _ => SavedOut::None,
        };
        let request = self.request.saved(self.saved);
        elbow_cpu::forward(&request, inputs, ForwardOutputs { y: &mut self.y, saved, ..Default::default() })
    }

    /// What backward finds.
    fn kept(&self) -> SavedIn<'_> {
        match self.saved {
            Saved::Z => SavedIn::Z(&self.z),
            Saved::Y => SavedIn::Y(&self.y),
            Saved::Mask => SavedIn::Mask(&self.mask),
            _ => SavedIn::None,
        }
    }
}

/// The stack of layers.
pub(crate) struct Network {
    pub(crate) layers: Vec<Layer>,
    pub(crate) workspace: Workspace,
}

impl Network {
    /// One step of descent; the losses of the batch's rows.
    pub(crate) fn train(&mut self, x: &[f32], labels: &[u32], rate: f32, momentum: f32) -> Result<Vec<f32>> {
        let rows = labels.len();
        for index in 0..self.layers.len() {
            let (below, rest) = self.layers.split_at_mut(index);
            rest[0].forward(below.last().map_or(x, |below| &below.y), rows)?;
        }
        let Some(top) = self.layers.last_mut() else { return Ok(Vec::new()) };
        let losses = cross_entropy(&top.y, labels, top.request.n, &mut top.dz);
        for index in (0..self.layers.len()).rev() {
            let top = index + 1 == self.layers.len();
            let (lower, rest) = self.layers.split_at_mut(index);
            backward(lower.last_mut(), &mut rest[0], x, top, &mut self.workspace)?;
        }
        for layer in &mut self.layers {
            layer.w.step(rate, momentum);
            layer.b.step(rate, momentum);
            layer.alpha.iter_mut().for_each(|alpha| alpha.step(rate, momentum));
        }
        Ok(losses)
    }
}

/// One link of the chain: dw of the layer, and dz, db and dα of the layer below.
fn backward(
    mut below: Option<&mut Layer>,
    layer: &mut Layer,
    x: &[f32],
    top: bool,
    workspace: &mut Workspace,
) -> Result<()> {
    let want = |wanted| if wanted { Want::Overwrite } else { Want::No };
    let facts = below.as_ref().map(|below| {
        Below::new(below.request.activation, below.saved)
            .alpha(below.request.alpha)
            .db(Want::Overwrite)
            .dalpha(want(below.request.alpha != AlphaSource::Constant))
    });
    // dy is dz: the layer is as good as linear, and its α has been seen to.
    let linear = layer.request.activation(elbow::Activation::IDENTITY).alpha(AlphaSource::Constant).saved(Saved::None);
    let gradients = Gradients::default().x(want(below.is_some())).w(Want::Overwrite).b(want(top));
    let request = BackwardRequest::new(linear.bias(false), gradients).upstream_is_dz(true).below(facts);
    // The layer below is read (what it kept, its α) and written (dz, db, dα) in one call: its memory is taken apart.
    let mut dz_below = below.as_mut().map(|below| std::mem::take(&mut below.dz));
    let mut db_below = below.as_mut().map(|below| std::mem::take(&mut below.b.gradient));
    let mut dalpha_below = below.as_mut().and_then(|below| Some(std::mem::take(&mut below.alpha.as_mut()?.gradient)));
    let inputs = BackwardInputs {
        x: below.as_ref().map_or(x, |below| &below.y),
        w: &layer.w.value,
        b: None,
        alpha: None,
        dy: &layer.dz,
        saved: SavedIn::None,
        saved_below: below.as_ref().map_or(SavedIn::None, |below| below.kept()),
        alpha_below: below.as_ref().and_then(|below| below.alpha.as_ref()).map(|alpha| alpha.value.as_slice()),
        ..BackwardInputs::default()
    };
    let outputs = BackwardOutputs {
        dx: dz_below.as_deref_mut(),
        dw: Some(&mut layer.w.gradient),
        db: top.then_some(&mut layer.b.gradient),
        dalpha: None,
        dresidual: None,
        db_below: db_below.as_deref_mut(),
        dalpha_below: dalpha_below.as_deref_mut(),
        ..BackwardOutputs::default()
    };
    let result = elbow_cpu::backward(&request, inputs, outputs, workspace);
    if let Some(below) = below {
        below.dz = dz_below.unwrap_or_default();
        below.b.gradient = db_below.unwrap_or_default();
        if let (Some(alpha), Some(gradient)) = (&mut below.alpha, dalpha_below) {
            alpha.gradient = gradient;
        }
    }
    result
}

/// The losses, and the gradient of their mean.
fn cross_entropy(logits: &[f32], labels: &[u32], classes: usize, dlogits: &mut [f32]) -> Vec<f32> {
    let rows = labels.len() as f32;
    let mut losses = Vec::with_capacity(labels.len());
    for ((row, out), &label) in logits.chunks(classes).zip(dlogits.chunks_mut(classes)).zip(labels) {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = row.iter().map(|z| (z - top).exp()).sum();
        losses.push(sum.ln() - (row[label as usize] - top));
        for (c, (out, z)) in out.iter_mut().zip(row).enumerate() {
            let hit = if c == label as usize { 1.0 } else { 0.0 };
            *out = ((z - top).exp() / sum - hit) / rows;
        }
    }
    losses
}
