//! An [`Mlp`] as a whole network: the last y in one dispatch and the gradients in two, where that is likely to be faster than layer by layer.

use super::{Mlp, call::Each};
use crate::{
    affine::Gradient,
    error::Result,
    gpu::{Gpu, record::Target, transfer::Tensor},
    network::{Backward, Forward, Layers},
    plan::{self, Plan},
    request::AlphaSource,
    view::View,
};

impl Mlp {
    /// Records y of the last layer for a batch x `[.., K]` of at most `max_batch` rows: [`Mlp::output`] of the last layer is that of
    /// [`Mlp::forward`] up to rounding. Nothing is kept for backward, and the outputs of other layers are left as they are or overwritten.
    ///
    /// Where the plan expects it to be faster this is [one dispatch](crate::network) for all layers: hidden layers of one size of at most 64 columns,
    /// wider ones up to 128 for few rows, on a GPU; jets too. It rounds nothing between layers (but where matrix units round), so that an [`Mlp`] that
    /// stores f16 or bf16 gets somewhat better numbers. Anything else is computed layer by layer.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[3, 64, 64, 64, 1], Activation::SILU, 65_536), &mut || 0.5)?;
    /// let x = gpu.zeros(&[65_536, 3])?;
    /// gpu.submit(|encoder| mlp.infer(&gpu, encoder, x.view()))?;
    /// if let Some(y) = mlp.output(3) {
    ///     println!("{:?}", gpu.download(y)?.len());
    /// }
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn infer<'t, 'p: 't>(&self, gpu: &Gpu, target: impl Into<Target<'t, 'p>>, x: View<'_>) -> Result<()> {
        let rows = self.rows(x)?;
        target.into().in_one_pass(|pass| self.inference(gpu, rows, x, &mut |call| call.in_pass(gpu, &mut *pass)))
    }

    /// Records y of the last layer, and whatever [`Mlp::backward`] of the same batch reads: between the two comes a loss of your own, which writes
    /// [`Mlp::dz`] of the last layer. This is [`Mlp::forward`] or, where backward is [two dispatches](crate::network::Backward) that need nothing of it,
    /// [`Mlp::infer`].
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, Jet, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// // u(t, x) at 4,096 points, with u_t, u_x and u_xx.
    /// let architecture = Architecture::new(&[2, 32, 32, 1], Activation::TANH, 4096 * 4).jet(Jet::two([0.0, 0.0, 1.0])?);
    /// let (mlp, x) = (Mlp::new(&gpu, &architecture, &mut || 0.5)?, gpu.zeros(&[4096, 4, 2])?);
    /// gpu.submit_pass(|pass| {
    ///     mlp.forward_for_backward(&gpu, &mut *pass, x.view())?;
    ///     // here what reads mlp.output(2) and writes mlp.dz(2)
    ///     mlp.backward(&gpu, &mut *pass, x.view())?;
    ///     mlp.step(&gpu, pass, 0.01, 0.9)
    /// })?;
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn forward_for_backward<'t, 'p: 't>(
        &self,
        gpu: &Gpu,
        target: impl Into<Target<'t, 'p>>,
        x: View<'_>,
    ) -> Result<()> {
        let rows = self.rows(x)?;
        target.into().in_one_pass(|pass| self.training_calls(gpu, rows, x, &mut |call| call.in_pass(gpu, &mut *pass)))
    }

    /// The plans of [`Mlp::infer`] for a batch: one, or one for each layer.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 16, 3], Activation::RELU, 4), &mut || 0.5)?;
    /// for plan in mlp.infer_plans(&gpu, gpu.zeros(&[4, 2])?.view())? {
    ///     println!("{plan}");
    /// }
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn infer_plans(&self, gpu: &Gpu, x: View<'_>) -> Result<Vec<Plan>> {
        let mut plans = Vec::with_capacity(self.layers.len());
        self.inference(gpu, self.rows(x)?, x, &mut |call| {
            plans.push(call.plan(gpu)?);
            Ok(())
        })?;
        Ok(plans)
    }

    fn inference(&self, gpu: &Gpu, rows: usize, x: View<'_>, each: Each<'_>) -> Result<()> {
        let whole = self.whole().filter(|whole| plan::layer_by_layer_because(whole, rows, &gpu.caps()).is_none());
        match whole {
            Some(layers) => each(&self.network(layers, rows, x)),
            None => self.forward_calls(rows, x, each),
        }
    }

    /// Whether backward of so many rows is the whole network at once: then it needs nothing of forward but the last y.
    fn whole_backward(&self, gpu: &Gpu, rows: usize) -> Option<Layers> {
        self.whole().filter(|whole| plan::step_by_step_because(whole, rows, &gpu.caps()).is_none())
    }

    /// Forward of a training step: every layer with what its backward needs, or the last y where that is all.
    pub(super) fn training_calls(&self, gpu: &Gpu, rows: usize, x: View<'_>, each: Each<'_>) -> Result<()> {
        match self.whole_backward(gpu, rows) {
            Some(_) => self.inference(gpu, rows, x, each),
            None => self.forward_calls(rows, x, each),
        }
    }

    /// Backward from dz of the last layer: all at once, or layer by layer.
    pub(super) fn gradient_calls(&self, gpu: &Gpu, rows: usize, x: View<'_>, each: Each<'_>) -> Result<()> {
        let (Some(layers), Some(top)) = (self.whole_backward(gpu, rows), self.layers.last()) else {
            return self.backward_calls(rows, x, each);
        };
        let dy = [rows, layers.outputs];
        let backward: Backward<'_> = self.network(layers, rows, x).backward(top.dz.view_as(&dy));
        each(&backward.gradient(Gradient::overwrite(&self.gradients)))
    }

    fn network<'a>(&'a self, layers: Layers, rows: usize, x: View<'a>) -> Forward<'a> {
        // A network has a layer.
        let y = self.layers[self.layers.len() - 1].y.view_as(&[rows, layers.outputs]);
        Forward::new(layers, x, &self.parameters, y).copy(self.copy.as_ref().map(Tensor::view))
    }

    /// All layers as one network, if hidden ones are alike and lie as it has them.
    fn whole(&self) -> Option<Layers> {
        let (top, hidden) = self.layers.split_last()?;
        if top.alpha.is_some() {
            return None;
        }
        let inputs = self.layers[0].w.shape[1];
        let sizes: Vec<usize> =
            std::iter::once(inputs).chain(self.layers.iter().map(|layer| layer.w.shape[0])).collect();
        let first = hidden.first().unwrap_or(top);
        let alpha = match &first.alpha {
            None => AlphaSource::Constant,
            Some(alpha) if alpha.shape == [1] => AlphaSource::PerLayer,
            Some(_) => AlphaSource::PerChannel,
        };
        let layers = Layers::new(&sizes, first.activation).ok()?.alpha(alpha).output(top.activation).jet(self.jet);
        let alike = hidden.iter().all(|layer| layer.activation == first.activation);
        let lies = self.layers.iter().enumerate().all(|(l, layer)| {
            let place = layers.place(l);
            (place.w, place.b, place.alpha) == (layer.w.at, layer.b.at, layer.alpha.as_ref().map(|alpha| alpha.at))
        });
        (alike && lies && layers.elements() == self.parameters.elements()).then_some(layers)
    }
}
