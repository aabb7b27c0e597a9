//! The device that all tests share, and the switches.

use std::sync::OnceLock;

use elbow::{Checks, DeviceClass, Gpu, Options};
use elbow_verify::{Close, Judge, Part, Spec};
pub use elbow_verify::{Numbers, ulp_of};

/// `ELBOW_TEST_CHECKS=checked`: kernels with all of wgpu's checks.
pub fn checks() -> Checks {
    if std::env::var("ELBOW_TEST_CHECKS").is_ok_and(|v| v == "checked") { Checks::Checked } else { Checks::Trusted }
}

/// `ELBOW_TEST_FULL=1`: the exhaustive sweeps too.
pub fn full() -> bool {
    flag("ELBOW_TEST_FULL")
}

/// `ELBOW_TEST_PART=1/4`: a part of what [`crate::exact`] compiles, for drivers that keep the memory of all that they compiled.
pub fn part() -> Part {
    std::env::var("ELBOW_TEST_PART").map_or(Part::ALL, |part| part.parse().expect("ELBOW_TEST_PART"))
}

/// `ELBOW_TEST_LIMITS=default`: WebGPU's default limits and no features, as a host may have them.
pub fn options() -> Options {
    let default_limits = std::env::var("ELBOW_TEST_LIMITS").is_ok_and(|v| v == "default");
    // What somebody has tuned on this machine is not what is tested.
    Options::default().tuning(false).checks(checks()).default_limits(default_limits)
}

fn flag(name: &str) -> bool {
    std::env::var(name).is_ok_and(|v| !v.is_empty() && v != "0")
}

/// The device under test. No adapter is a failure.
pub fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| {
        let gpu = Gpu::with_options(options()).expect("an adapter");
        println!("{gpu}");
        gpu
    })
}

/// The same adapter, taken for a GPU: it runs the texts that GPUs run, subgroups of whatever size among them.
pub fn as_a_gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    let options = || options().class(DeviceClass::Discrete).self_test(false);
    GPU.get_or_init(|| Gpu::with_options(options()).expect("an adapter"))
}

/// The largest error of a case, which must be right.
pub fn right(name: &str, checked: Result<Close, String>) -> Close {
    checked.unwrap_or_else(|wrong| panic!("{name}: {wrong}"))
}

/// What is right on it.
pub fn judge() -> Judge {
    Judge::of(gpu()).expect("a measurement")
}

/// Each with its number: all of them, or with checked modules every sixth. wgpu's checks change every text in the same way.
pub fn each<T>(all: Vec<T>) -> impl Iterator<Item = (usize, T)> {
    let step = if checks() == Checks::Checked && !full() { 6 } else { 1 };
    all.into_iter().enumerate().step_by(step)
}

/// Every case is right; else the first failures.
pub fn passes(gpu: &Gpu, specs: &[Spec]) {
    let outcome = elbow_verify::run(gpu, specs);
    assert_eq!(outcome.cases, specs.len());
    if let Some(worst) = &outcome.worst {
        println!("{} cases; worst {:.2} of the bound: {} of {}", specs.len(), worst.fraction, worst.place, worst.spec);
    }
    let failures: Vec<String> = outcome.failures.iter().map(|f| format!("{}\n    {}", f.message, f.spec)).collect();
    let shown = failures[..failures.len().min(3)].join("\n");
    assert!(failures.is_empty(), "{} of {} cases failed; the first:\n{shown}", failures.len(), specs.len());
}
