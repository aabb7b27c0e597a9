//! Which road is taken.

use elbow::{
    Activation, Gpu, Saved, Want,
    request::{AffineRequest, BackwardRequest, Gradients},
};
use elbow_cpu::{ForwardInputs, ForwardOutputs};
use elbow_host::{Costs, GpuCosts, Host, Load, Road};

#[test]
fn beside_a_software_adapter_there_is_the_cpu_alone_and_the_host_says_why() {
    let gpu = Gpu::new().unwrap();
    let host = Host::open();
    if gpu.is_software() {
        assert!(host.to_string().contains("SOFTWARE") && host.to_string().contains("CPU's road alone"), "{host}");
        assert_eq!(host.road(&AffineRequest::new(4096, 4096, 4096, Activation::RELU)).unwrap(), Road::Cpu);
        assert!(host.costs().unwrap().is_none());
    } else {
        assert!(host.costs().unwrap().is_some(), "{host}");
    }
}

#[test]
fn the_estimate_is_linear_and_turns_where_transfers_are_paid() {
    let gpu = GpuCosts { call: 1e-3, operations: 1e13, up: 1e10, down: 5e9 };
    let costs = Costs { cpu_call: 1e-6, cpu_operations: 1e11, gpu };
    let load = Load { operations: 1_000_000_000, up: 10_000_000, down: 5_000_000 };
    assert!((costs.seconds(&load, Road::Gpu) - (1e-3 + 1e-4 + 1e-3 + 1e-3)).abs() < 1e-12);
    assert!((costs.seconds(&load, Road::Cpu) - (1e-6 + 1e-2)).abs() < 1e-12);
    let square = |n| costs.faster(&Load::of_forward(&AffineRequest::new(n, n, n, Activation::RELU)));
    assert_eq!([16, 128, 1024, 8192].map(square), [Road::Cpu, Road::Cpu, Road::Gpu, Road::Gpu]);
}

#[test]
fn a_backward_asks_for_what_its_gradients_read() {
    let layer = AffineRequest::new(8, 16, 32, Activation::GELU_ERF);
    let [x, w, y, b] = [8 * 32 * 4, 16 * 32 * 4, 8 * 16 * 4, 16 * 4];
    let product = 2 * 8 * 16 * 32;
    let dx = Gradients::default().x(Want::Overwrite);
    let of = |wants, saved| Load::of_backward(&BackwardRequest::new(layer, wants), saved);
    assert_eq!(of(dx, Saved::Z), Load { operations: product, up: y + y + w, down: x });
    assert_eq!(of(dx, Saved::None), Load { operations: 2 * product, up: y + b + x + w, down: x });
    let all = dx.w(Want::Accumulate).b(Want::Overwrite);
    assert_eq!(of(all, Saved::Mask), Load { operations: 2 * product, up: y + y / 32 + x + w + w, down: x + w + b });
}

#[test]
fn both_roads_are_measured_once_at_the_first_call() {
    let host = Host::measured(Gpu::new().unwrap());
    assert!(host.to_string().contains("measured at the first call"), "{host}");
    let mut y = [0.0];
    let layer = AffineRequest::new(1, 1, 2, Activation::RELU).bias(false);
    let inputs = ForwardInputs::new(&[2.0, 1.0], &[3.0, 4.0]);
    let road = host.forward(&layer, inputs, ForwardOutputs { y: &mut y, ..Default::default() }).unwrap();
    assert_eq!(y, [10.0]);
    let costs = *host.costs().unwrap().expect("measured");
    assert_eq!(road, costs.faster(&Load::of_forward(&layer)));
    assert_eq!(*host.costs().unwrap().unwrap(), costs, "measured a second time");
    let Costs { cpu_call, cpu_operations, gpu: GpuCosts { call, operations, up, down } } = costs;
    for figure in [cpu_call, cpu_operations, call, operations, up, down] {
        assert!(figure.is_finite() && figure > 0.0, "{costs}");
    }
    // Fetching, compiling and waiting are never free: one number stays on the CPU.
    assert!(cpu_call < call, "{costs}");
    let text = host.to_string();
    for unit in ["us a call", "GFLOP/s", "GB/s up", "GB/s down"] {
        assert!(text.contains(unit), "{text}");
    }
}
