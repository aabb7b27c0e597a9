//! What both benchmarks of the kernels share: the header, the filters, criterion's settings.

use std::time::Duration;

use criterion::Criterion;
use elbow::{Activation, Gpu};
use elbow_measure::{About, Device};

/// Opens the device and prints what is measured on, and when.
pub(crate) fn open(title: &str) -> Device {
    let device = Device::new(Gpu::new().expect("a GPU adapter, real or software"));
    let about = About::new(&device.gpu, title.to_owned());
    println!("{title}, {}", about.date);
    println!("adapter: {}", device.gpu);
    if about.software {
        println!("This is a SOFTWARE adapter: its times say nothing about a GPU.");
    }
    println!("CPU baseline: {} threads of {}", about.threads, about.cpu);
    if !device.has_clock() {
        println!("no timestamp queries: device times are left out");
    }
    device
}

/// Ten samples and short times: a run over everything ends within minutes, on a software adapter too.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .nresamples(2_000)
        .without_plots()
        .configure_from_args()
}

/// `cargo bench -- --test`: everything once, to see that it works.
pub(crate) fn only_testing() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// From `ELBOW_BENCH_ACTIVATIONS` (SPECs separated by semicolons), or these.
pub(crate) fn activations(default: &str) -> Vec<Activation> {
    let list = std::env::var("ELBOW_BENCH_ACTIVATIONS").unwrap_or_else(|_| default.to_owned());
    list.split(';').map(|spec| spec.trim().parse().expect("an activation SPEC in ELBOW_BENCH_ACTIVATIONS")).collect()
}

/// The sum of so many times.
pub(crate) fn total(iterations: u64, mut once: impl FnMut() -> elbow_measure::Result<Duration>) -> Duration {
    (0..iterations).map(|_| once().expect("a measurement")).sum()
}
