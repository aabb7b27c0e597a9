//! `elbow info`: the adapters of this machine, and the one that elbow would use.

use std::fmt::Write as _;

use elbow::{Gpu, gpu::Subnormals, wgpu};

use crate::{failure::Failure, out};

/// Prints the adapters; an error if none can be used.
pub(crate) fn run() -> Result<(), Failure> {
    let mut text = String::from("adapters that run compute shaders:\n");
    let adapters = elbow::native::adapters()?;
    if adapters.is_empty() {
        text.push_str("  none\n");
    }
    for adapter in &adapters {
        let info = adapter.get_info();
        let driver = [info.driver.as_str(), info.driver_info.as_str()].join(" ");
        let kind = match info.device_type {
            wgpu::DeviceType::Cpu => "SOFTWARE: a CPU plays GPU".to_owned(),
            kind => format!("{kind:?}"),
        };
        let driver = if driver.trim().is_empty() { "unknown" } else { driver.trim() };
        let _ = writeln!(text, "  {}\n    backend {:?}, driver {driver}, type {kind}", info.name, info.backend);
    }
    let gpu = Gpu::new();
    if let Ok(gpu) = &gpu {
        describe(gpu, &gpu.subnormals()?, &mut text);
    }
    out::print(&text)?;
    gpu.map(drop).map_err(Failure::from)
}

fn describe(gpu: &Gpu, subnormals: &Subnormals, text: &mut String) {
    let limits = gpu.device().limits();
    let features = gpu.device().features();
    let caps = gpu.caps();
    let yes = |feature| if features.contains(feature) { "yes" } else { "no" };
    let _ = writeln!(text, "elbow would use: {gpu}");
    if gpu.is_software() {
        text.push_str("  SOFTWARE adapter: results are right, times say nothing about a real GPU\n");
    }
    let _ = writeln!(text, "  subnormal numbers (below 1.2e-38): {subnormals}");
    let _ = writeln!(text, "limits that matter:");
    let rows = [
        ("largest buffer, bytes", limits.max_buffer_size),
        ("largest storage binding, bytes", limits.max_storage_buffer_binding_size),
        ("storage bindings of one kernel", u64::from(limits.max_storage_buffers_per_shader_stage)),
        ("alignment of a binding, bytes", u64::from(limits.min_storage_buffer_offset_alignment)),
        ("invocations of a workgroup", u64::from(caps.max_invocations)),
        ("memory of a workgroup, bytes", u64::from(caps.workgroup_bytes)),
        ("workgroups in one dimension", u64::from(limits.max_compute_workgroups_per_dimension)),
        ("largest scratch buffer, bytes", caps.max_scratch),
    ];
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<40}{value}");
    }
    let _ = writeln!(text, "features:");
    let _ =
        writeln!(text, "  {:<40}{}", "timestamps (device times in benchmarks)", yes(wgpu::Features::TIMESTAMP_QUERY));
}
