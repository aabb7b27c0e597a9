//! Inference with an [`Mlp`]: the last y alone, in one dispatch where that is likely to be faster than layer by layer.

use super::Mlp;
use crate::{
    affine,
    error::Result,
    gpu::{Gpu, record::Target, transfer::Tensor},
    network::{Forward, Layers},
    plan::{self, Plan},
    request::AlphaSource,
    view::View,
};

impl Mlp {
    /// Records y of the last layer for a batch x `[.., K]` of at most `max_batch` rows: [`Mlp::output`] of the last layer is that of
    /// [`Mlp::forward`] up to rounding. Nothing is kept for backward, and the outputs of other layers are left as they are or overwritten.
    ///
    /// Where the plan expects it to be faster this is [one dispatch](crate::network) for all layers: hidden layers of one size of at most 64 columns,
    /// wider ones up to 128 for few rows, on a GPU; jets of four rows too. It rounds nothing between layers, so that an [`Mlp`] that stores f16 or bf16 gets
    /// somewhat better numbers. Anything else is computed layer by layer.
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
        let calls = |pass: &mut wgpu::ComputePass<'_>| {
            self.inference(gpu, x, &mut |call| match call {
                Call::Whole(network) => network.record(gpu, Target::Pass(&mut *pass)),
                Call::Layer(layer) => layer.record(gpu, Target::Pass(&mut *pass)),
            })
        };
        self.rows(x)?;
        target.into().in_one_pass(calls)
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
        self.inference(gpu, x, &mut |call| {
            plans.push(match call {
                Call::Whole(network) => network.plan(gpu)?,
                Call::Layer(layer) => layer.plan(gpu)?,
            });
            Ok(())
        })?;
        Ok(plans)
    }

    fn inference(&self, gpu: &Gpu, x: View<'_>, each: &mut dyn FnMut(Call<'_>) -> Result<()>) -> Result<()> {
        let rows = self.rows(x)?;
        let whole = self.whole().filter(|whole| plan::layer_by_layer_because(whole, rows, &gpu.caps()).is_none());
        if let (Some(layers), Some(top)) = (whole, self.layers.last()) {
            let y = [rows, layers.outputs];
            let network = Forward::new(layers, x, &self.parameters, top.y.view_as(&y));
            return each(Call::Whole(&network.copy(self.copy.as_ref().map(Tensor::view))));
        }
        let shapes = self.shapes(rows);
        (0..self.layers.len()).try_for_each(|index| each(Call::Layer(&self.call(index, x, &shapes))))
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

/// What inference records: all layers, or one.
enum Call<'a> {
    Whole(&'a Forward<'a>),
    Layer(&'a affine::Forward<'a>),
}
