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
            Err(Error::File { entry, .. }) => assert_eq!(entry, name),
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

/// One kind of damage to a file, by a number.
fn damaged(file: &[u8], mut number: u64) -> Vec<u8> {
    let mut below = |limit: usize| {
        number = number.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (number >> 33) as usize % limit.max(1)
    };
    let mut file = file.to_vec();
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    for _ in 0..=below(3) {
        let length = file.len();
        match below(9) {
            // Any byte, of the length of the header, of the header, or of the numbers.
            0 => file[below(8)] ^= 1 << below(8),
            1 => file[8 + below(header - 8)] = below(256) as u8,
            2 => file[header.min(length - 1) + below(length - header.min(length - 1))] ^= 1 << below(8),
            3 => file.truncate(below(length)),
            4 => file.extend(std::iter::repeat_n(0xa5, below(64))),
            5 => {
                let (from, to) = (below(length), below(length));
                let piece = file[from.min(to)..from.max(to)].to_vec();
                file.splice(below(length)..below(length).max(length), piece);
            }
            // Words of the header: other types, sizes, places and names.
            choice => {
                let words = [
                    ("\"F32\"", "\"I64\""),
                    ("\"F32\"", "\"F16\""),
                    ("shape\":[", "shape\":[18446744073709551615,"),
                    ("shape\":[", "shape\":[1099511627776,"),
                    ("offsets\":[", "offsets\":[9"),
                    ("offsets\":[", "offsets\":[18446744073709551615,"),
                    ("0.weight", "0.bias"),
                    ("2.", "9."),
                    ("3,5,4,2", "3,5,4,9"),
                    ("3,5,4,2", "3,18446744073709551615,4,2"),
                    ("prelu(0.25);", "prelu(nan);"),
                    ("channel", "layer"),
                    ("elbow.", "elbow"),
                    ("classes", "huber"),
                    ("{", "{{"),
                    ("}", "},"),
                ];
                let (word, other) = words[(choice - 6) * 4 % words.len() + below(4) % 2];
                let text = String::from_utf8_lossy(&file[8..header.min(length)]).replacen(word, other, 1 + below(2));
                let numbers = file[header.min(length)..].to_vec();
                file = [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &numbers].concat();
            }
        }
        if file.len() < header.max(16) {
            break;
        }
    }
    file
}

/// Whatever became of a file: it is loaded as the numbers that it holds, or refused by name, and then the network is as it was.
#[test]
fn damaged_files_are_refused_or_read() {
    let gpu = Gpu::new().unwrap();
    let mlp = network(&gpu, Float::F32, 3);
    let file = mlp.to_safetensors(&gpu).unwrap();
    let bits = || -> Vec<Vec<u32>> {
        let named = mlp.named_parameters();
        named.iter().map(|(_, view)| gpu.download(*view).unwrap().into_iter().map(f32::to_bits).collect()).collect()
    };
    let mut held = bits();
    let (mut read, mut refused, mut opened) = (0, 0, 0);
    for number in 0..3000 {
        let file = damaged(&file, number);
        // A network of its own: whatever its metadata says, it is one or refused by name.
        match Mlp::from_safetensors(&gpu, &file, 8) {
            Ok(_) => opened += 1,
            Err(Error::File { .. }) => {}
            Err(other) => panic!("{number}: {other}"),
        }
        match mlp.load_safetensors(&gpu, &file) {
            Ok(()) => {
                read += 1;
                let tensors = SafeTensors::deserialize(&file).unwrap();
                let of = |name: &str| {
                    let tensor = tensors.tensor(name).unwrap();
                    let number = |four: &[u8]| u32::from_le_bytes(four.try_into().unwrap());
                    assert_eq!(tensor.dtype(), Dtype::F32, "a narrow tensor needs fewer bytes than there are");
                    tensor.data().chunks(4).map(number).collect::<Vec<_>>()
                };
                held = mlp.named_parameters().iter().map(|(name, _)| of(name)).collect();
                assert_eq!(bits(), held, "{number}");
            }
            Err(Error::File { expected, got, .. }) => {
                refused += 1;
                assert!(!expected.is_empty() && !got.is_empty(), "{number}");
                if refused % 16 == 0 {
                    assert_eq!(bits(), held, "{number}");
                }
            }
            Err(other) => panic!("{number}: {other}"),
        }
    }
    assert_eq!(bits(), held);
    assert!(read > 100 && refused > 1000 && opened > 100, "{read} read, {refused} refused, {opened} opened");
}
