//! The device wrapper: elbow's own device or a host's.

mod adapter;
mod budget;
mod check;
pub(crate) mod copy;
mod late;
mod loss;
mod memory;
pub(crate) mod operands;
mod pipeline;
mod poll;
pub mod record;
mod self_test;
mod subnormals;
pub mod transfer;
mod trusted;

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use adapter::{AdapterChoice, adapters};
pub use subnormals::Subnormals;

use crate::{
    error::{Error, Result},
    plan::{Caps, Choices, DeviceClass},
    setters::setters,
};

/// Whether kernels carry the driver-independent checks that wgpu can inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Checks {
    /// None: every kernel guards its own indices before it loads, and every loop ends by its bounds. The default.
    #[default]
    Trusted,
    /// All of wgpu's: bounds, loops, integer division. Slower; the test suite runs in both modes.
    Checked,
}

/// How a [`Gpu`] is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Shader checks.
    pub checks: Checks,
    /// Ask for `wgpu::Limits::defaults()` and no features, whatever the device has: what a host may hand us.
    pub default_limits: bool,
    /// Run [`Gpu::self_test_async`] before the device is handed out; on, unless set.
    pub self_test: bool,
    /// Plan as for this class of device, whatever the adapter says of itself: a software adapter then runs the kernels of a
    /// GPU, which are other texts. For tests.
    pub class: Option<DeviceClass>,
}

setters!(Options {
    checks: Checks,
    default_limits: bool,
    self_test: bool,
    class: impl Into<Option<DeviceClass>>,
});

impl Default for Options {
    fn default() -> Self {
        Options { checks: Checks::default(), default_limits: false, self_test: true, class: None }
    }
}

/// A device with its pipelines and its pooled memory. A cheap handle: clones share everything.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    features: wgpu::Features,
    limits: wgpu::Limits,
    class: DeviceClass,
    checks: Checks,
    pipelines: pipeline::Pipelines,
    memory: memory::Memory,
    /// What wgpu has yet to say of earlier calls.
    late: late::Late,
    timeout_ms: AtomicU64,
    /// Why the device is lost, once it is known. The callback of a device of our own sets it; a host's is not touched.
    lost: Arc<OnceLock<String>>,
    /// Which tile serves which product: the class's, or tuned.
    choices: Mutex<Choices>,
    /// What it makes of subnormals, once it was asked.
    subnormals: OnceLock<Subnormals>,
}

impl Gpu {
    /// Opens the best adapter that fits the choice: a real GPU before a software one; where nothing fits,
    /// [`Error::NoAdapter`] lists the adapters that are there. `AdapterChoice::default()` takes any.
    ///
    /// It only awaits: any executor can drive it, a browser's too. It asks to be polled again while the self-test runs,
    /// because nobody else has the device yet.
    pub async fn open(choice: &AdapterChoice, options: Options) -> Result<Self> {
        let adapter = adapter::select(choice).await?;
        let (features, limits) = if options.default_limits {
            (wgpu::Features::empty(), wgpu::Limits::defaults())
        } else {
            (adapter.features() & WANTED, adapter.limits())
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("elbow"),
            required_features: features,
            required_limits: limits,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| Error::NoAdapter {
            wanted: format!("a device of {}: {error}", adapter::describe(&adapter.get_info())),
            found: vec![adapter::describe(&adapter.get_info())],
        })?;
        let gpu = Self::on(&device, &queue, options.checks, options.class);
        // The device is ours: its loss is noticed without waiting for it, and its errors go to the log, not to a panic.
        let lost = Arc::clone(&gpu.inner.lost);
        device.set_device_lost_callback(move |reason, message| {
            let _ = lost.set(format!("{reason:?} {message}").trim_end().to_owned());
        });
        device.on_uncaptured_error(Arc::new(|error: wgpu::Error| log::error!("uncaptured wgpu error: {error}")));
        if options.self_test {
            gpu.looking(gpu.self_test_async()).await?;
            gpu.trim();
        }
        Ok(gpu)
    }

    /// A guest on a host's device: no handler is installed, and nothing is submitted or polled unless a call says that it
    /// does. Works at `wgpu::Limits::defaults()` with no features.
    pub fn from_wgpu(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        Self::from_wgpu_with(device, queue, Checks::default())
    }

    /// [`Gpu::from_wgpu`] with a choice of shader checks.
    pub fn from_wgpu_with(device: &wgpu::Device, queue: &wgpu::Queue, checks: Checks) -> Self {
        Self::on(device, queue, checks, None)
    }

    fn on(device: &wgpu::Device, queue: &wgpu::Queue, checks: Checks, class: Option<DeviceClass>) -> Self {
        let info = device.adapter_info();
        let class = class.unwrap_or(match info.device_type {
            wgpu::DeviceType::Cpu => DeviceClass::Software,
            wgpu::DeviceType::IntegratedGpu => DeviceClass::Integrated,
            // A browser does not say which GPU it is; most are integrated, and their tiles run on any.
            wgpu::DeviceType::Other if info.backend == wgpu::Backend::BrowserWebGpu => DeviceClass::Integrated,
            _ => DeviceClass::Discrete,
        });
        let inner = Inner {
            features: device.features(),
            limits: device.limits(),
            pipelines: pipeline::Pipelines::default(),
            memory: memory::Memory::new(),
            late: late::Late::default(),
            timeout_ms: AtomicU64::new(TIMEOUT.as_millis() as u64),
            lost: Arc::default(),
            device: device.clone(),
            queue: queue.clone(),
            choices: Mutex::new(Choices::of(class)),
            subnormals: OnceLock::new(),
            info,
            class,
            checks,
        };
        Gpu { inner: Arc::new(inner) }
    }

    /// The wgpu device.
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// What the adapter says of itself.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// Whether the adapter is a CPU that plays GPU: right results, no speed to boast of.
    pub fn is_software(&self) -> bool {
        self.inner.class == DeviceClass::Software
    }

    /// Which tile serves which product in plans that are made from now on.
    pub fn choices(&self) -> Choices {
        *self.inner.choices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other choices, as a tuner measured them. They change no result beyond its bound; for the same bits, keep them.
    pub fn set_choices(&self, choices: Choices) {
        *self.inner.choices.lock().unwrap_or_else(PoisonError::into_inner) = choices;
    }

    /// What plans may use on this device.
    pub fn caps(&self) -> Caps {
        let Inner { limits, info, features, .. } = &*self.inner;
        let subgroups = features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size;
        Caps {
            class: self.inner.class,
            max_invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            subgroup: if subgroups { info.subgroup_min_size } else { 0 },
            f16: features.contains(wgpu::Features::SHADER_F16),
            max_bindings: limits.max_storage_buffers_per_shader_stage,
            // A binding starts at a multiple of the alignment, at or before its operand.
            max_binding: limits
                .max_storage_buffer_binding_size
                .saturating_sub(u64::from(limits.min_storage_buffer_offset_alignment)),
            max_scratch: self.memory_limit().min(limits.max_buffer_size),
            max_work: self.inner.class.max_work(),
            choices: self.choices(),
        }
    }

    /// Bytes of all buffers that elbow owns on this device: tensors, scratch, parameter blocks, staging. What was dropped
    /// no longer counts, though work in flight may hold it a little longer.
    pub fn memory_bytes(&self) -> u64 {
        self.inner.memory.budget.used()
    }

    /// The bound of [`Gpu::memory_bytes`]: `u64::MAX`, none, unless set. Drivers lend more than there is, and find out when it
    /// is used; a host that shares the device with others sets a bound. It is what plans look at, too, when they could use
    /// more scratch: a small bound can mean another plan.
    pub fn memory_limit(&self) -> u64 {
        self.inner.memory.budget.limit()
    }

    /// Sets [`Gpu::memory_limit`]. A call that would pass it first releases what is pooled, then fails with
    /// [`Error::OutOfMemory`]; what is there already stays.
    pub fn set_memory_limit(&self, bytes: u64) {
        self.inner.memory.budget.set_limit(bytes);
    }

    /// How long a blocking call waits before it gives up with [`Error::Timeout`]: 5 minutes, unless set.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.inner.timeout_ms.load(Ordering::Relaxed))
    }

    /// Sets [`Gpu::timeout`]. Work that was submitted goes on when a wait gives up.
    pub fn set_timeout(&self, timeout: Duration) {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.inner.timeout_ms.store(ms, Ordering::Relaxed);
    }

    /// Releases every pooled buffer: scratch, parameter blocks, staging. The next call that needs one makes it anew.
    pub fn trim(&self) {
        self.inner.memory.trim();
    }

    /// Number of pipelines that are kept: of those compiled so far, the 512 that were asked for last at most.
    pub fn pipelines(&self) -> usize {
        self.inner.pipelines.len()
    }
}

/// How long a blocking call waits, unless [`Gpu::set_timeout`] says otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(5);

/// Features that are used where they are there; none is needed.
const WANTED: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::SUBGROUP).union(wgpu::Features::SHADER_F16);

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { info, features, limits, checks, .. } = &*self.inner;
        write!(f, "{}", adapter::describe(info))?;
        let used = *features & WANTED;
        write!(f, "; features used: {}", if used.is_empty() { "none".to_owned() } else { used.to_string() })?;
        write!(f, "; binding up to {} MiB", limits.max_storage_buffer_binding_size >> 20)?;
        write!(f, "; {} invocations a workgroup", limits.max_compute_invocations_per_workgroup)?;
        write!(f, "; shader checks {}", if *checks == Checks::Checked { "on" } else { "off" })
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({self})")
    }
}
