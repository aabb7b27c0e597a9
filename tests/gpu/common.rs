//! The device that all tests share, and the switches.

use std::sync::OnceLock;

use elbow::{Checks, Gpu, Options};

/// `ELBOW_TEST_CHECKS=checked`: kernels with all of wgpu's checks.
pub fn checks() -> Checks {
    if std::env::var("ELBOW_TEST_CHECKS").is_ok_and(|v| v == "checked") { Checks::Checked } else { Checks::Trusted }
}

/// `ELBOW_TEST_FULL=1`: the exhaustive sweeps too.
pub fn full() -> bool {
    flag("ELBOW_TEST_FULL")
}

fn flag(name: &str) -> bool {
    std::env::var(name).is_ok_and(|v| !v.is_empty() && v != "0")
}

/// The device under test. No adapter is a failure.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let gpu = Gpu::with_options(Options { checks: checks(), ..Options::default() }).expect("an adapter");
        println!("{gpu}");
        gpu
    })
}

/// A small generator of reproducible numbers for test data (splitmix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// An integer in [-reach, reach].
    pub fn integer(&mut self, reach: i64) -> f32 {
        (self.next() % (2 * reach as u64 + 1)) as i64 as f32 - reach as f32
    }

    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f32 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
    }
}

/// Distance in units of the last place of `reference`, floored at the smallest subnormal.
pub fn ulp_of(reference: f64) -> f64 {
    let exponent = reference.abs().max(f64::from(f32::MIN_POSITIVE)).log2().floor();
    (exponent - 23.0).exp2()
}
