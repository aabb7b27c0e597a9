//! Any bytes as the parameters of a network: loaded as the numbers that they hold, or refused by name, and then the network is as it was. It needs an
//! adapter; a software one will do.

#![no_main]

use std::sync::LazyLock;

use elbow::{
    Activation, AlphaSource, Error, Gpu,
    mlp::{Architecture, Mlp},
};
use libfuzzer_sys::fuzz_target;

/// A network with every kind of parameter.
static NETWORK: LazyLock<(Gpu, Mlp)> = LazyLock::new(|| {
    let gpu = Gpu::new().expect("an adapter");
    let prelu: Activation = "prelu".parse().expect("an activation");
    let architecture = Architecture::new(&[2, 3, 1], prelu, 4).alpha(AlphaSource::PerChannel);
    let mlp = Mlp::seeded(&gpu, &architecture, 1).expect("a network");
    (gpu, mlp)
});

fn bits() -> Vec<u32> {
    let (gpu, mlp) = &*NETWORK;
    let numbers = mlp.named_parameters().into_iter().flat_map(|(_, view)| gpu.download(view).expect("numbers"));
    numbers.map(f32::to_bits).collect()
}

fn load(bytes: &[u8]) {
    let (gpu, mlp) = &*NETWORK;
    let before = bits();
    match mlp.load_safetensors(gpu, bytes) {
        Ok(()) => assert_eq!(bits().len(), before.len()),
        Err(Error::File { .. }) => assert_eq!(bits(), before, "a refused file has changed the network"),
        Err(other) => panic!("{other}"),
    }
}

fuzz_target!(|bytes: &[u8]| {
    load(bytes);
    // As a header whose length is right, which would be found by chance only, before as many numbers as the network has.
    let length = (bytes.len() as u64).to_le_bytes();
    load(&[&length[..], bytes, &[0; 64]].concat());
});
