//! `elbow info`: the adapters of this machine, and the one that elbow would use.

use elbow::{Gpu, wgpu};
use serde_json::{Value, json};

use crate::{
    args::Info,
    document::{self, Document},
    failure::Failure,
    table::{Format, Table},
};

/// Prints the adapters; an error if none can be used.
pub(crate) fn run(args: &Info) -> Result<(), Failure> {
    let adapters: Vec<wgpu::AdapterInfo> =
        elbow::native::adapters()?.iter().map(|adapter| adapter.get_info().clone()).collect();
    let gpu = Gpu::new();
    let used = gpu.as_ref().ok().map(Used::of).transpose()?;
    match args.format {
        Format::Json => document::json(&json!({
            "elbow": env!("CARGO_PKG_VERSION"),
            "adapters": adapters.iter().map(about).collect::<Vec<_>>(),
            "used": used.map(|used| used.json()),
        }))?,
        format => text(&adapters, used.as_ref(), format).print()?,
    }
    gpu.map(drop).map_err(Failure::from)
}

/// The adapter that elbow would use, and what matters of it.
struct Used<'a> {
    gpu: &'a Gpu,
    subnormals: String,
    limits: Vec<(&'static str, &'static str, u64)>,
    features: Vec<(&'static str, &'static str, bool)>,
}

impl<'a> Used<'a> {
    fn of(gpu: &'a Gpu) -> Result<Self, Failure> {
        let (limits, caps) = (gpu.device().limits(), gpu.caps());
        let has = |feature| gpu.device().features().contains(feature);
        Ok(Used {
            gpu,
            subnormals: gpu.subnormals()?.to_string(),
            limits: vec![
                ("max_buffer_bytes", "largest buffer, bytes", limits.max_buffer_size),
                ("max_binding_bytes", "largest storage binding, bytes", limits.max_storage_buffer_binding_size),
                ("max_bindings", "storage bindings of one kernel", limits.max_storage_buffers_per_shader_stage.into()),
                (
                    "binding_alignment",
                    "alignment of a binding, bytes",
                    limits.min_storage_buffer_offset_alignment.into(),
                ),
                ("max_invocations", "invocations of a workgroup", caps.max_invocations.into()),
                ("workgroup_bytes", "memory of a workgroup, bytes", caps.workgroup_bytes.into()),
                ("max_workgroups", "workgroups in one dimension", limits.max_compute_workgroups_per_dimension.into()),
                ("max_scratch_bytes", "largest scratch buffer, bytes", caps.max_scratch),
            ],
            features: vec![(
                "timestamps",
                "timestamps (device times in benchmarks)",
                has(wgpu::Features::TIMESTAMP_QUERY),
            )],
        })
    }

    fn json(&self) -> Value {
        let mut used = about(self.gpu.info());
        used["subnormals"] = self.subnormals.as_str().into();
        used["limits"] = self.limits.iter().map(|&(name, _, value)| (name.to_owned(), Value::from(value))).collect();
        used["features"] =
            self.features.iter().map(|&(name, _, there)| (name.to_owned(), Value::from(there))).collect();
        used
    }
}

/// Of an adapter, by the names that every report of elbow's has.
pub(crate) fn about(info: &wgpu::AdapterInfo) -> Value {
    json!({
        "adapter": info.name, "backend": format!("{:?}", info.backend), "driver": driver(info),
        "device_type": format!("{:?}", info.device_type), "software": is_software(info),
    })
}

fn driver(info: &wgpu::AdapterInfo) -> String {
    format!("{} {}", info.driver, info.driver_info).trim().to_owned()
}

fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

fn text(adapters: &[wgpu::AdapterInfo], used: Option<&Used<'_>>, format: Format) -> Document {
    let mut document = Document::new(format);
    if adapters.is_empty() {
        document.line("adapters that run compute shaders: none");
    }
    if let Some(Used { gpu, subnormals, .. }) = used {
        document.line(&format!("elbow would use: {gpu}"));
        if gpu.is_software() {
            document.line("SOFTWARE adapter: results are right, times say nothing about a real GPU");
        }
        document.line(&format!("subnormal numbers (below 1.2e-38): {subnormals}"));
    }
    let row = |info: &wgpu::AdapterInfo| {
        let kind = if is_software(info) { "SOFTWARE".to_owned() } else { format!("{:?}", info.device_type) };
        let driver = Some(driver(info)).filter(|driver| !driver.is_empty()).unwrap_or_else(|| "unknown".into());
        vec![info.name.clone(), format!("{:?}", info.backend), kind, driver]
    };
    let heads = ["adapter", "backend", "type", "driver"];
    document.table("adapters that run compute shaders", &Table::new(&heads, 4).with(adapters.iter().map(row)));
    if let Some(Used { limits, features, .. }) = used {
        let limits = limits.iter().map(|(_, name, value)| vec![(*name).to_owned(), value.to_string()]);
        document.table("limits that matter", &Table::new(&["limit", "value"], 1).with(limits));
        let there = |there: bool| if there { "yes" } else { "no" }.to_owned();
        let features = features.iter().map(|(_, name, has)| vec![(*name).to_owned(), there(*has)]);
        document.table("features", &Table::new(&["feature", "there"], 2).with(features));
    }
    document
}
