//! Parameters by name, as PyTorch names them, and in and out of the safetensors format (feature `safetensors`).

use super::Mlp;
use crate::view::View;

impl Mlp {
    /// Every parameter in f32 with its name, read-only: those of PyTorch's `Sequential(Linear, activation, Linear, ..)`. Layer l is module
    /// 2l with `weight` `[N, K]` and `bias` `[N]`; a learnable α is the `weight` of the activation behind it, module 2l + 1, as in `PReLU`.
    ///
    /// ```no_run
    /// use elbow::{Activation, Gpu, mlp::{Architecture, Mlp}};
    /// let gpu = Gpu::new()?;
    /// let mlp = Mlp::seeded(&gpu, &Architecture::new(&[2, 16, 3], Activation::RELU, 4), 7)?;
    /// let names: Vec<String> = mlp.named_parameters().into_iter().map(|(name, _)| name).collect();
    /// assert_eq!(names, ["0.weight", "0.bias", "2.weight", "2.bias"]);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn named_parameters(&self) -> Vec<(String, View<'_>)> {
        let mut named = self.named_among(&self.parameters);
        named.iter_mut().for_each(|(_, view)| *view = view.read_only());
        named
    }

    /// The parts of all parameters, or of what is laid out as they are.
    fn named_among<'a>(&'a self, all: &'a crate::gpu::transfer::Tensor) -> Vec<(String, View<'a>)> {
        let mut named = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let of = layer.among(all);
            named.push((format!("{}.weight", 2 * index), of.w));
            named.push((format!("{}.bias", 2 * index), of.b));
            named.extend(of.alpha.map(|alpha| (format!("{}.weight", 2 * index + 1), alpha)));
        }
        named
    }
}

#[cfg(feature = "safetensors")]
mod format {
    use std::collections::BTreeMap;

    use safetensors::{Dtype as Stored, SafeTensors, tensor::TensorView};

    use super::Mlp;
    use crate::{
        error::Result,
        gpu::{Gpu, record::Prepared, transfer::Tensor},
        mlp::{
            Description, Parameters, description,
            stored::{NOTED, RATES, found, numbers, wrong},
        },
        setters::setters,
        view::View,
    };

    /// Beginning of the names of a checkpoint's tensors that are no parameters.
    const STATE_OF: &str = "optimiser.";
    /// The state of the loss scale.
    const SCALE: &str = "optimiser.loss_scale";
    /// Velocities (SGD) or means of gradients (AdamW), and means of their squares, with the name of their parameter behind.
    const MOMENTS: [&str; 2] = ["optimiser.first_moment.", "optimiser.second_moment."];

    /// What is written into a file beside parameters and architecture.
    ///
    /// ```
    /// use elbow::mlp::Contents;
    /// let losses = [0.9, 0.5, 0.4];
    /// let checkpoint = Contents::checkpoint().notes(&[("epoch", "3")]).tensors(&[("losses", &[3], &losses)]);
    /// ```
    #[derive(Debug, Clone, Copy, Default)]
    #[non_exhaustive]
    #[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
    pub struct Contents<'a> {
        /// The optimiser's state: velocities or moments, rates, steps, the loss scale. Training that goes on from it has the same bits.
        pub optimiser: bool,
        /// Entries for the metadata, by name: none that begins with `elbow.`, and not `format`.
        pub notes: &'a [(&'a str, &'a str)],
        /// Tensors of yours, by name, with shape and numbers: what else a program goes on from, such as losses or averages of the parameters.
        /// [`noted_tensors`](crate::mlp::noted_tensors) reads them; nothing else looks at them. In the file their names begin with `notes.`
        pub tensors: &'a [(&'a str, &'a [usize], &'a [f32])],
    }

    setters!(Contents<'a> {
        optimiser: bool,
        notes: &'a [(&'a str, &'a str)],
        tensors: &'a [(&'a str, &'a [usize], &'a [f32])],
    });

    impl Contents<'_> {
        /// A model, to be used.
        pub const fn model() -> Self {
            Contents { optimiser: false, notes: &[], tensors: &[] }
        }

        /// A checkpoint, to be trained on.
        pub const fn checkpoint() -> Self {
            Contents { optimiser: true, notes: &[], tensors: &[] }
        }

        /// The caller's tensors, as the file has them; an error names one that is none, or a name for two.
        fn noted(&self) -> Result<Vec<(String, Stated)>> {
            let mut noted: Vec<(String, Stated)> = Vec::with_capacity(self.tensors.len());
            for (name, shape, values) in self.tensors {
                let elements = shape.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim));
                if elements != Some(values.len()) {
                    return Err(wrong(name, format!("as many numbers as {shape:?} has elements"), values.len()));
                }
                let in_file = format!("{NOTED}{name}");
                if noted.iter().any(|(known, _)| *known == in_file) {
                    return Err(wrong(name, "a name for each tensor", "one for two"));
                }
                noted.push((in_file, (shape.to_vec(), values.iter().flat_map(|value| value.to_le_bytes()).collect())));
            }
            Ok(noted)
        }
    }

    /// The shape of a tensor, and its bytes.
    type Stated = (Vec<usize>, Vec<u8>);

    impl Mlp {
        /// The network as the bytes of a safetensors file: its parameters in f32, by the names of [`Mlp::named_parameters`], and its
        /// architecture in the metadata ([`Description`]; docs/operators.md has the format). PyTorch's
        /// `model.load_state_dict(safetensors.torch.load_file(path))` takes a model.
        ///
        /// A checkpoint ([`Contents::checkpoint`]) has the optimiser's state too, in tensors whose names begin with `optimiser.`, and yours begin
        /// with `notes.`
        ///
        /// ```no_run
        /// use elbow::{Gpu, Mlp, mlp::Contents};
        /// # async fn save(gpu: &Gpu, mlp: &Mlp) -> Result<(), Box<dyn std::error::Error>> {
        /// let bytes = mlp.to_safetensors_async(gpu, &Contents::model()).await?;
        /// # Ok(())
        /// # }
        /// ```
        #[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
        pub async fn to_safetensors_async(&self, gpu: &Gpu, contents: &Contents<'_>) -> Result<Vec<u8>> {
            let mut description = self.description();
            contents.notes.iter().try_for_each(|(name, text)| description.note(name, text))?;
            let mut named = self.named_parameters();
            if contents.optimiser {
                named.extend(self.state());
            }
            let mut data = contents.noted()?;
            for (name, view) in named {
                let mut bytes = vec![0u8; view.shape.iter().product::<usize>() * 4];
                gpu.download_into_async(view, &mut bytes).await?;
                data.push((name, (view.shape.to_vec(), bytes)));
            }
            let mut tensors = Vec::with_capacity(data.len());
            for (name, (shape, bytes)) in &data {
                let tensor = TensorView::new(Stored::F32, shape.clone(), bytes);
                tensors.push((name.as_str(), tensor.map_err(|error| wrong(name, "a tensor of f32", error))?));
            }
            let mut entries = description.entries();
            let rule = self.learning.as_ref().map(|learning| learning.rule()).filter(|_| contents.optimiser);
            entries.extend(rule.map(|rule| ("elbow.optimiser".to_owned(), rule.to_string())));
            let file = safetensors::serialize(tensors, Some(entries.into_iter().collect()));
            sorted(&file.map_err(|error| wrong("", "tensors that the format holds", error))?)
        }

        /// The network that a file of [`Mlp::to_safetensors`] holds, for up to `max_batch` rows in a call. Of a checkpoint with its optimiser,
        /// in the state in which it was saved: training goes on with the same bits, on the same device.
        ///
        /// [`Error::File`](crate::Error::File) names an entry of the metadata or a tensor that is missing or not what it must be; nothing is allocated before all of
        /// them were compared. A file of others, without this metadata: [`Mlp::load_safetensors`].
        ///
        /// ```no_run
        /// use elbow::{Gpu, Mlp};
        /// # fn load(gpu: &Gpu) -> Result<(), Box<dyn std::error::Error>> {
        /// let mlp = Mlp::from_safetensors(gpu, &std::fs::read("model.safetensors")?, 256)?;
        /// # Ok(())
        /// # }
        /// ```
        #[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
        pub fn from_safetensors(gpu: &Gpu, file: &[u8], max_batch: usize) -> Result<Self> {
            let (description, tensors) = Description::with_tensors(file)?;
            let mlp = Mlp::allocated(gpu, &description.architecture(max_batch), &|_, _| 0.0, &mut || 0.0)?;
            let state = match tensors.names().iter().any(|name| name.starts_with(STATE_OF)) {
                true => mlp.state(),
                false => Vec::new(),
            };
            let known = |name: &str| state.iter().any(|(known, _)| known == name);
            if let Some(other) = tensors.names().into_iter().find(|name| name.starts_with(STATE_OF) && !known(name)) {
                return Err(wrong(other, "the state of this network's optimiser", "a tensor that it has not"));
            }
            let mut values = Vec::with_capacity(state.len());
            for (name, view) in &state {
                values.push(match name.as_str() {
                    RATES => description::state(&tensors)?,
                    name => numbers(&tensors, name, &view.shape)?,
                });
            }
            mlp.load(gpu, &tensors)?;
            state.iter().zip(&values).try_for_each(|((_, view), values)| gpu.write(*view, values))?;
            Ok(mlp)
        }

        /// What training goes on from, beside the parameters, by name.
        fn state(&self) -> Vec<(String, View<'_>)> {
            let second = self.learning.as_ref().and_then(|learning| learning.second());
            let mut named = Vec::new();
            for (prefix, all) in MOMENTS.into_iter().zip([Some(&self.velocity), second]) {
                let parts = all.into_iter().flat_map(|all| self.named_among(all));
                named.extend(parts.map(|(name, view)| (format!("{prefix}{name}"), view)));
            }
            named.extend(self.rates().map(|rates| (RATES.to_owned(), rates.view())));
            named.extend(self.loss_scale().map(|scale| (SCALE.to_owned(), scale.view())));
            named
        }

        /// Submits copies that replace every parameter by the tensors of a safetensors file, of f32, f16 or bf16, by the names of
        /// [`Mlp::named_parameters`]: such as PyTorch's `safetensors.torch.save_file(model.state_dict(), path)` writes. The copy that the
        /// layers read is brought up to date; the optimiser's state stays as it is, also where the file has one. Nothing waits.
        ///
        /// [`Error::File`](crate::Error::File) names a tensor that is missing, not known, or of another shape or type; then nothing is replaced.
        ///
        /// ```no_run
        /// use elbow::{Gpu, Mlp};
        /// # fn load(gpu: &Gpu, mlp: &Mlp) -> Result<(), Box<dyn std::error::Error>> {
        /// mlp.load_safetensors(gpu, &std::fs::read("model.safetensors")?)?;
        /// # Ok(())
        /// # }
        /// ```
        #[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
        pub fn load_safetensors(&self, gpu: &Gpu, file: &[u8]) -> Result<()> {
            self.load(gpu, &SafeTensors::deserialize(file).map_err(|error| wrong("", "a safetensors file", error))?)
        }

        fn load(&self, gpu: &Gpu, file: &SafeTensors<'_>) -> Result<()> {
            let named = self.named_parameters();
            let ours = |name: &str| !name.starts_with(STATE_OF) && !name.starts_with(NOTED);
            let other = |name: &&str| ours(name) && named.iter().all(|(known, _)| known != name);
            if let Some(other) = file.names().into_iter().find(other) {
                let known: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
                return Err(wrong(other, format!("one of {}", known.join(", ")), "a name that the network has not"));
            }
            let mut tensors: Vec<Tensor> = Vec::with_capacity(named.len());
            for (name, view) in &named {
                let (dtype, bytes) = found(file, name, &view.shape)?;
                tensors.push(gpu.upload_as(dtype, bytes, &view.shape)?);
            }
            let mut tensors = tensors.iter();
            let mut calls = Vec::new();
            for (index, layer) in self.layers.iter().enumerate() {
                // In the order of the names.
                let (Some(w), Some(b)) = (tensors.next(), tensors.next()) else { break };
                let alpha = if layer.alpha.is_some() { tensors.next() } else { None };
                let values = Parameters::new(w, b).alpha(alpha.map(Tensor::view));
                calls.extend(self.prepared_parameters(gpu, index, &values)?);
            }
            gpu.submit_pass(|pass| Prepared::joined(gpu, calls).record(pass))?;
            Ok(())
        }
    }

    /// The file with the entries of its header in alphabetical order: their writer keeps metadata in a hash map, whose order is another in every
    /// run, and the same network is to be the same file.
    fn sorted(file: &[u8]) -> Result<Vec<u8>> {
        let (length, _) = SafeTensors::read_metadata(file).map_err(|error| wrong("", "a safetensors file", error))?;
        let (header, data) = file[8..].split_at(length);
        let entries: Result<BTreeMap<String, BTreeMap<String, serde_json::Value>>, _> = serde_json::from_slice(header);
        let text = entries.and_then(|entries| serde_json::to_string(&entries));
        let mut text = text.map_err(|error| wrong("", "a header of JSON", error))?;
        // Spaces to a multiple of 8 bytes, so that tensors are aligned.
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        Ok([&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), data].concat())
    }
}

#[cfg(feature = "safetensors")]
pub use format::Contents;
