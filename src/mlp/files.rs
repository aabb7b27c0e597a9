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
        let mut named = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let of = layer.among(&self.parameters);
            named.push((format!("{}.weight", 2 * index), of.w.read_only()));
            named.push((format!("{}.bias", 2 * index), of.b.read_only()));
            named.extend(of.alpha.map(|alpha| (format!("{}.weight", 2 * index + 1), alpha.read_only())));
        }
        named
    }
}

#[cfg(feature = "safetensors")]
mod format {
    use safetensors::{Dtype as Stored, SafeTensors, tensor::TensorView};

    use super::Mlp;
    use crate::{
        dtype::Float,
        error::{Error, Result},
        gpu::{Gpu, record::Prepared, transfer::Tensor},
        mlp::Parameters,
    };

    impl Mlp {
        /// The parameters as the bytes of a safetensors file, in f32, by the names of [`Mlp::named_parameters`]: PyTorch's
        /// `model.load_state_dict(safetensors.torch.load_file(path))` takes it.
        ///
        /// ```no_run
        /// use elbow::{Gpu, Mlp};
        /// # async fn save(gpu: &Gpu, mlp: &Mlp) -> Result<(), Box<dyn std::error::Error>> {
        /// std::fs::write("model.safetensors", mlp.to_safetensors_async(gpu).await?)?;
        /// # Ok(())
        /// # }
        /// ```
        #[cfg_attr(docsrs, doc(cfg(feature = "safetensors")))]
        pub async fn to_safetensors_async(&self, gpu: &Gpu) -> Result<Vec<u8>> {
            let named = self.named_parameters();
            let mut data = Vec::with_capacity(named.len());
            for (_, view) in &named {
                let mut bytes = vec![0u8; view.shape.iter().product::<usize>() * 4];
                gpu.download_into_async(*view, &mut bytes).await?;
                data.push(bytes);
            }
            let mut tensors = Vec::with_capacity(named.len());
            for ((name, view), bytes) in named.iter().zip(&data) {
                let tensor = TensorView::new(Stored::F32, view.shape.to_vec(), bytes);
                tensors.push((name.as_str(), tensor.map_err(|error| wrong(name, "a tensor of f32", error))?));
            }
            safetensors::serialize(tensors, None).map_err(|error| wrong("", "tensors that the format holds", error))
        }

        /// Submits copies that replace every parameter by the tensors of a safetensors file, of f32, f16 or bf16, by the names of
        /// [`Mlp::named_parameters`]: such as PyTorch's `safetensors.torch.save_file(model.state_dict(), path)` writes. The copy that the
        /// layers read is brought up to date; the optimiser's state stays as it is. Nothing waits.
        ///
        /// [`Error::File`] names a tensor that is missing, not known, or of another shape or type; then nothing is replaced.
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
            let file = SafeTensors::deserialize(file).map_err(|error| wrong("", "a safetensors file", error))?;
            let named = self.named_parameters();
            if let Some(other) = file.names().into_iter().find(|name| named.iter().all(|(known, _)| known != name)) {
                let known: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
                return Err(wrong(other, &format!("one of {}", known.join(", ")), "a name that the network has not"));
            }
            let mut tensors: Vec<Tensor> = Vec::with_capacity(named.len());
            for (name, view) in &named {
                let expected = format!("{:?} of f32, f16 or bf16", &view.shape[..]);
                let tensor = file.tensor(name).map_err(|_| wrong(name, &expected, "no such tensor"))?;
                let dtype = match tensor.dtype() {
                    Stored::F32 => Float::F32,
                    Stored::F16 => Float::F16,
                    Stored::BF16 => Float::Bf16,
                    other => return Err(wrong(name, &expected, format_args!("{other:?}"))),
                };
                if tensor.shape() != &view.shape[..] {
                    return Err(wrong(name, &expected, format_args!("{:?}", tensor.shape())));
                }
                tensors.push(gpu.upload_as(dtype, tensor.data(), tensor.shape())?);
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

    fn wrong(tensor: &str, expected: &str, got: impl std::fmt::Display) -> Error {
        Error::File { tensor: tensor.into(), expected: expected.into(), got: got.to_string() }
    }
}
