//! A trained network as WGSL text, to paste into a shader of one's own: a field in a renderer, a policy in a simulation.

use super::Mlp;
use crate::{
    error::{Error, Result},
    operand::Operand,
    setters::setters,
    shader::{self, Numbers, PastedLayer},
    view::View,
};

/// How [`Mlp::wgsl`] writes a network.
///
/// ```
/// use elbow::mlp::Wgsl;
/// let bound = Wgsl::storage(1, 0).name("field"); // @group(1) @binding(0) var<storage, read> field_parameters: array<f32>;
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Wgsl<'a> {
    /// The function's name, and with a `_` behind it the beginning of every other name in the text; `mlp` unless set.
    pub name: &'a str,
    /// Where the text has its parameters from.
    pub weights: Weights<'a>,
}

/// Where a network's text has its parameters from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Weights<'a> {
    /// These numbers, those of [`Mlp::all_parameters`], written out one by one: for some thousand parameters at most, as the text and the time
    /// to compile it grow with them.
    Constants(&'a [f32]),
    /// A storage array of f32 that the host binds: the buffer of [`Mlp::all_parameters`], in which training may go on, or a copy of it.
    Storage {
        /// Its bind group.
        group: u32,
        /// Its binding.
        binding: u32,
    },
}

setters!(Wgsl<'a> { name: &'a str, weights: Weights<'a> });

impl<'a> Wgsl<'a> {
    /// With these parameters in the text.
    pub const fn constants(values: &'a [f32]) -> Self {
        Wgsl { name: "mlp", weights: Weights::Constants(values) }
    }

    /// With a storage array at this place.
    pub const fn storage(group: u32, binding: u32) -> Self {
        Wgsl { name: "mlp", weights: Weights::Storage { group, binding } }
    }
}

impl Mlp {
    /// The parameters of all layers in f32, one tensor, as a read-only view: for each layer w `[N, K]`, b `[N]` and a learnable α, every part
    /// padded with zeros to a multiple of 128 elements.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 3], Activation::RELU, 4), &mut || 0.5)?;
    /// assert_eq!(gpu.download(mlp.all_parameters())?.len(), 256); // w: 6 of 128, b: 3 of 128
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn all_parameters(&self) -> View<'_> {
        self.parameters.view().read_only()
    }

    /// The network as a WGSL function, to paste into a shader of your own:
    ///
    /// ```text
    /// fn mlp(x: array<f32, K>) -> array<f32, N>
    /// ```
    ///
    /// The text needs no extension and no binding but that of [`Weights::Storage`], and every name in it is `mlp` or begins with `mlp_` (or
    /// [another](Wgsl::name)). It has the activations that this network needs and no others: elbow's own, with the accuracy of their rows. Sums
    /// are in f32. So are the parameters, and what goes from layer to layer: an [`Mlp`] that stores f16 or bf16 rounds both. NaN and
    /// infinities among the parameters stay what they are. Of a network with jets it is the network itself.
    ///
    /// [`Error::Shape`] if there are more or fewer constants than parameters, [`Error::BadParameter`] for a name that is none, and for a network
    /// without inputs or outputs, because WGSL has no empty arrays. Nothing is recorded, and nothing waited for.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp, Wgsl}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::new(&gpu, &Architecture::new(&[2, 16, 1], Activation::TANH, 4), &mut || 0.5)?;
    /// // .. train it, then:
    /// let parameters = gpu.download(mlp.all_parameters())?;
    /// let field = mlp.wgsl(&Wgsl::constants(&parameters).name("field"))?;
    /// let shader = format!("{field}
    ///     @fragment fn shade(@location(0) at: vec2<f32>) -> @location(0) vec4<f32> {{
    ///         return vec4<f32>(field(array<f32, 2>(at.x, at.y))[0]);
    ///     }}");
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn wgsl(&self, options: &Wgsl<'_>) -> Result<String> {
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let [n, k] = layer.w.shape;
            let alpha = layer.alpha.as_ref().map(|alpha| (alpha.at, alpha.shape != [1]));
            layers.push(PastedLayer { k, n, activation: layer.activation, w: layer.w.at, b: layer.b.at, alpha });
        }
        if let Some(empty) = layers.iter().flat_map(|layer| [layer.k, layer.n]).position(|size| size == 0) {
            return Err(Error::BadParameter {
                of: "wgsl".into(),
                parameter: "sizes".into(),
                expected: "at least 1 each, because WGSL has no empty arrays".into(),
                got: format!("0, that of layer {}", empty.div_ceil(2)),
            });
        }
        let numbers = match options.weights {
            Weights::Storage { group, binding } => Numbers::Storage { group, binding },
            Weights::Constants(values) if values.len() == self.parameters.elements() => Numbers::Constants(values),
            Weights::Constants(values) => {
                return Err(Error::Shape {
                    operand: Operand::Parameter,
                    expected: format!("{:?}, the shape of all parameters", self.parameters.shape()),
                    got: format!("[{}]", values.len()),
                });
            }
        };
        shader::network(options.name, &layers, numbers)
    }
}
