//! A network learns XOR on the GPU: `cargo run --example quickstart`.
use elbow::mlp::{Architecture, Mlp, Step};
use elbow::{Activation, AlphaSource, Gpu};
use rand::{RngExt, SeedableRng};

fn main() -> elbow::Result<()> {
    let gpu = Gpu::new()?;
    println!("{gpu}");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let layers = Architecture::new(&[2, 16, 2], Activation::prelu(0.25)?, 4);
    let architecture = layers.alpha(AlphaSource::PerChannel);
    let mlp = Mlp::new(&gpu, &architecture, &mut || rng.sample(rand_distr::StandardNormal))?;
    let x = gpu.upload(&[0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], &[4, 2])?;
    let labels = gpu.upload_words(&[0, 1, 1, 0], &[4])?;
    let loss = gpu.zeros(&[4])?;
    for step in 0..=100 {
        let batch = Step::new(&x, &labels, &loss, 0.2).momentum(0.9);
        gpu.submit_pass(|pass| mlp.train(&gpu, pass, &batch))?;
        if step % 20 == 0 {
            println!("step {step:3}: loss {:.5}", gpu.download(&loss)?.iter().sum::<f32>() / 4.0);
        }
    }
    Ok(())
}
