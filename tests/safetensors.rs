//! Parameters in and out of safetensors files: by PyTorch's names, in every type, and what does not fit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use elbow::{
    Activation, AlphaSource, Error, Float, Gpu,
    mlp::{Architecture, Mlp},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

fn network(gpu: &Gpu, storage: Float, seed: u64) -> Mlp {
    let each = ["prelu(0.25)", "tanh", "identity"].map(|spec| spec.parse::<Activation>().unwrap());
    let architecture = Architecture::new(&[3, 5, 4, 2], Activation::RELU, 8).activations(&each[..]);
    Mlp::seeded(gpu, &architecture.alpha(AlphaSource::PerChannel).storage(storage), seed).unwrap()
}

#[test]
fn what_is_saved_is_loaded() {
    let gpu = Gpu::new().unwrap();
    for storage in Float::ALL {
        let [saved, loaded] = [1, 2].map(|seed| network(&gpu, storage, seed));
        let file = saved.to_safetensors(&gpu).unwrap();
        let read = SafeTensors::deserialize(&file).unwrap();
        let mut names = read.names();
        names.sort_unstable();
        assert_eq!(names, ["0.bias", "0.weight", "1.weight", "2.bias", "2.weight", "4.bias", "4.weight"]);
        assert_eq!(read.tensor("2.weight").unwrap().shape(), [4, 5], "out features first");
        loaded.load_safetensors(&gpu, &file).unwrap();
        let x = gpu.upload_as(storage, &[0.5, -1.0, 2.0], &[1, 3]).unwrap();
        let outputs = [&saved, &loaded].map(|mlp| {
            gpu.submit(|encoder| mlp.forward(&gpu, encoder, x.view())).unwrap();
            gpu.download(mlp.output(2).unwrap()).unwrap()[..2].to_vec()
        });
        assert_eq!(outputs[0], outputs[1]);
        for layer in 0..3 {
            let w = gpu.download(loaded.parameters(layer).unwrap().w).unwrap();
            let read = gpu.download(loaded.stored_weight(layer).unwrap()).unwrap();
            assert!(w.iter().zip(&read).all(|(w, read)| storage.round(*w) == *read), "the copy is not in step");
        }
    }
}

/// A file of f16, as others write them, in the order of others.
#[test]
fn narrow_tensors_are_widened() {
    let gpu = Gpu::new().unwrap();
    let mlp = Mlp::seeded(&gpu, &Architecture::new(&[2, 1], Activation::RELU, 8), 1).unwrap();
    let halves = |numbers: &[f32]| {
        numbers.iter().flat_map(|&v| elbow::half::f16::from_f32(v).to_le_bytes()).collect::<Vec<u8>>()
    };
    let (w, b) = (halves(&[0.5, -2.0]), halves(&[1.5]));
    let tensors = [
        ("0.bias", TensorView::new(Dtype::F16, vec![1], &b).unwrap()),
        ("0.weight", TensorView::new(Dtype::F16, vec![1, 2], &w).unwrap()),
    ];
    let file = safetensors::serialize(tensors, None).unwrap();
    mlp.load_safetensors(&gpu, &file).unwrap();
    let first = mlp.parameters(0).unwrap();
    assert_eq!((gpu.download(first.w).unwrap(), gpu.download(first.b).unwrap()), (vec![0.5, -2.0], vec![1.5]));
}

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    let gpu = Gpu::new().unwrap();
    let mlp = Mlp::seeded(&gpu, &Architecture::new(&[2, 1], Activation::RELU, 8), 1).unwrap();
    let before = gpu.download(mlp.parameters(0).unwrap().w).unwrap();
    let zeros = [0u8; 64];
    let tensor =
        |dtype, shape: &[usize], bytes: usize| TensorView::new(dtype, shape.to_vec(), &zeros[..bytes]).unwrap();
    let (w, b) = (tensor(Dtype::F32, &[1, 2], 8), tensor(Dtype::F32, &[1], 4));
    let refused = |tensors: &[(&str, TensorView<'_>)], name: &str| {
        let file = safetensors::serialize(tensors.iter().cloned(), None).unwrap();
        match mlp.load_safetensors(&gpu, &file) {
            Err(Error::File { tensor, .. }) => assert_eq!(tensor, name),
            other => panic!("{name}: {other:?}"),
        }
    };
    refused(&[("0.weight", w.clone())], "0.bias");
    refused(&[("0.weight", w.clone()), ("0.bias", b.clone()), ("1.bias", b.clone())], "1.bias");
    refused(&[("0.weight", tensor(Dtype::F32, &[2, 1], 8)), ("0.bias", b.clone())], "0.weight");
    refused(&[("0.weight", tensor(Dtype::I32, &[1, 2], 8)), ("0.bias", b.clone())], "0.weight");
    for bytes in [&b"no file"[..], &[0xff; 16], &[], &[8, 0, 0, 0, 0, 0, 0, 0, b'{']] {
        assert!(matches!(mlp.load_safetensors(&gpu, bytes), Err(Error::File { .. })), "{bytes:?}");
    }
    assert_eq!(gpu.download(mlp.parameters(0).unwrap().w).unwrap(), before);
}
