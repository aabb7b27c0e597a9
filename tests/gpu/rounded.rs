//! A slope decided from what was stored narrow: every cap on a grid, every storage, every saved choice, against the reference.
//! What may be saved gives the slope at z; what would not is refused.

use elbow::{Activation, Error, Float, Operand, Saved, Tensor, View, affine::Forward, request::AffineRequest};

use crate::common::{full, gpu};

/// Bounds that round up, down, to themselves, to each other.
fn clipped() -> Vec<Activation> {
    let step = if full() { 1 } else { 4 };
    let caps = || (1..=80).step_by(step).map(|i| i as f32 / 10.0).chain([6.0, 0.7001, 1e-6, 70000.0]);
    let symmetric = caps().map(|cap| Activation::hardtanh(-cap, cap).unwrap());
    let narrow =
        [(-0.7, 0.3), (0.1, 0.1004), (-2.3, -0.9), (0.0, 0.3)].map(|(a, b)| Activation::hardtanh(a, b).unwrap());
    let capped = caps().map(|cap| Activation::clipped_relu(cap).unwrap());
    symmetric.chain(narrow).chain(capped).chain([Activation::RELU6]).collect()
}

/// Far from the bounds, on them, beside them, and so near that z rounds to the bound from inside.
fn around(activation: &Activation) -> Vec<f32> {
    let mut z = vec![0.0, 5.0, -5.0, 1e-3, -1e-3, 60000.0, -60000.0];
    for kink in activation.kinks() {
        let at = kink.at as f32;
        z.extend([at, at.next_up(), at.next_down()]);
        z.extend([1e-5, 1e-4, 1e-3, 1e-2].into_iter().flat_map(|e| [at * (1.0 + e), at * (1.0 - e)]));
        z.extend([Float::F16, Float::Bf16].map(|dtype| dtype.round(at)));
    }
    // A device may flush subnormals.
    z.retain(|z| *z == 0.0 || z.abs() >= f32::MIN_POSITIVE);
    z
}

/// dx of dy = 1 over `[rows, 1]` with w = 1 and x = z in f32; y, and z where it is saved, in `stored`.
fn slopes(activation: Activation, z: &[f32], stored: Float, saved: Saved) -> Result<Vec<f32>, Error> {
    let gpu = gpu();
    let rows = z.len();
    let shape = [rows, 1];
    let (x, w) = (gpu.upload(z, &shape)?, gpu.upload(&[1.0], &[1, 1])?);
    let (dy, dx) = (gpu.upload(&vec![1.0; rows], &shape)?, gpu.zeros(&shape)?);
    let y = gpu.zeros_of(stored, &shape)?;
    let forward = Forward::new(activation, &x, &w, &y).saved(saved);
    let kept = forward.saved_shape()?.map(|(shape, dtype)| gpu.zeros_of(dtype, &shape)).transpose()?;
    let forward = forward.save_to(kept.as_ref().map(Tensor::view));
    gpu.submit_pass(|pass| {
        forward.record(gpu, &mut *pass)?;
        forward.backward(&dy).dx(&dx).record(gpu, &mut *pass)
    })?;
    gpu.download(&dx)
}

#[test]
fn every_cap_in_every_storage_from_every_saved_choice() {
    let mut failures = Vec::new();
    for activation in clipped() {
        let z = around(&activation);
        for stored in Float::ALL {
            for saved in [Saved::Auto, Saved::Z, Saved::Y, Saved::Mask, Saved::None] {
                let place = format!("{activation} from {saved} in {stored}");
                let got = match slopes(activation, &z, stored, saved) {
                    Ok(got) => got,
                    Err(Error::Unsupported { what, why }) if saved == Saved::Y && stored != Float::F32 => {
                        assert!(
                            what.contains("saved y") && why.contains(stored.name()) && why.contains("mask"),
                            "{why}"
                        );
                        continue;
                    }
                    Err(error) => panic!("{place}: {error}"),
                };
                for (&z, got) in z.iter().zip(got) {
                    // The z that was stored is the z that the slope is of.
                    let z = if saved == Saved::Z { stored.round(z) } else { z };
                    let expected = activation.slope(f64::from(z)) as f32;
                    if got != expected {
                        failures.push(format!("{place}, z {z}: {got}, not {expected}"));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures[..failures.len().min(20)].join("\n"));
}

/// The ReLU family from a narrow y: its bound is 0, which every type has. A z so small that it is stored as 0 is one.
#[test]
fn the_relu_family_from_a_narrow_y() {
    let z = [-3.0f32, -1e-3, 0.0, 1e-3, 3.0, 70000.0, f32::INFINITY, 1e-9, -1e-9];
    for activation in
        ["relu", "leaky_relu(0.01)", "leaky_relu(0)", "prelu(0.3)"].map(|a| a.parse::<Activation>().unwrap())
    {
        for stored in Float::ALL {
            for (&z, got) in z.iter().zip(slopes(activation, &z, stored, Saved::Y).unwrap()) {
                assert_eq!(got, activation.slope(f64::from(stored.round(z))) as f32, "{activation} in {stored} at {z}");
            }
        }
    }
}

/// A chain sees the storage of the layer below by its own operand.
#[test]
fn a_chain_refuses_a_narrow_y_too() {
    let gpu = gpu();
    let activation = Activation::hardtanh(-0.7, 0.7).unwrap();
    let (w, dy) = (gpu.upload(&[1.0; 3], &[1, 3]).unwrap(), gpu.upload(&[1.0], &[1, 1]).unwrap());
    let z = [5.0, 0.5, -5.0];
    let y: Vec<f32> = z.iter().map(|&z| activation.value(z) as f32).collect();
    let words = gpu.upload_words(&[0b010], &[1, 1]).unwrap();
    for stored in Float::ALL {
        let y = gpu.upload_as(stored, &y, &[1, 3]).unwrap();
        let run = |saved: Saved, save_to: Option<View<'_>>| -> Result<Vec<f32>, Error> {
            let dz = gpu.zeros(&[1, 3])?;
            let (gone, gone_w) = (View::absent(&[1, 1], Float::F32), View::absent(&[3, 1], Float::F32));
            let below = Forward::new(activation, gone, gone_w, &y).saved(saved).save_to(save_to);
            let top = Forward::new(Activation::IDENTITY, &y, &w, View::absent(&[1, 1], Float::F32));
            gpu.submit(|e| top.backward(&dy).dx(&dz).below(&below).record(gpu, e))?;
            gpu.download(&dz)
        };
        assert_eq!(run(Saved::Mask, Some(words.view())).unwrap(), [0.0, 1.0, 0.0]);
        let auto = (stored != Float::F32).then(|| words.view());
        assert_eq!(run(Saved::Auto, auto).unwrap(), [0.0, 1.0, 0.0]);
        match (stored, run(Saved::Y, None)) {
            (Float::F32, got) => assert_eq!(got.unwrap(), [0.0, 1.0, 0.0]),
            (_, Err(Error::Unsupported { why, .. })) => assert!(why.contains(stored.name()), "{why}"),
            (_, other) => panic!("{stored}: {other:?}"),
        }
    }
    // Of the facts alone, as a plan without a device sees them.
    assert_eq!(AffineRequest::new(1, 1, 1, activation).resolve_saved(false).unwrap(), Saved::Y);
    let storage = elbow::storage::Storage::default().with(Operand::Y, Float::Bf16);
    let request = AffineRequest::new(1, 1, 1, activation).saved(Saved::Y).storage(storage);
    assert!(matches!(request.resolve_saved(false), Err(Error::Unsupported { .. })));
    let auto = request.saved(Saved::Auto);
    assert_eq!(auto.resolve_saved(false).unwrap(), Saved::Mask);
}
