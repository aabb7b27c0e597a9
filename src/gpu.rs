//! [`Gpu`]: a device, elbow's own or a host's, with the pipelines and the memory that elbow keeps on it.

mod adapter;
mod budget;
mod check;
pub(crate) mod copy;
mod late;
mod loss;
mod mapped;
mod matrix;
mod memory;
pub(crate) mod operands;
mod pipeline;
mod poll;
pub mod record;
mod scratch;
mod self_test;
mod subnormals;
pub mod transfer;
mod trusted;
mod warm;

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use adapter::{AdapterChoice, adapters};
pub use scratch::ScratchRequirement;
pub use subnormals::Subnormals;
pub use warm::Buffers;

use crate::{
    error::{Error, Result},
    plan::{Caps, Choices, DeviceClass, MatrixUnits},
    setters::setters,
};

/// Whether wgpu injects its bounds checks into the kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Checks {
    /// No (the default): every kernel compares an index with its bounds before it loads, and every loop has a bound.
    #[default]
    Trusted,
    /// Yes, those of bounds, loops and integer division. Slower; for whoever looks for a fault. The test suite runs in both modes.
    Checked,
}

/// How a [`Gpu`] is opened.
///
/// ```no_run
/// use elbow::{Checks, Gpu, Options};
/// let gpu = Gpu::with_options(Options::default().checks(Checks::Checked).default_limits(true))?;
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Whether wgpu's shader checks are on: [`Checks::Trusted`], off, unless set.
    pub checks: Checks,
    /// Opens the device with `wgpu::Limits::defaults()` and no features, whatever it has, as a host might: off, unless set.
    pub default_limits: bool,
    /// Runs [`Gpu::self_test_async`] before the device is returned: on, unless set.
    pub self_test: bool,
    /// Plans for this class of device instead of the adapter's own. For tests: a software adapter then runs the kernels of a GPU.
    pub class: Option<DeviceClass>,
    /// Lets the first [`Mlp`](crate::mlp::Mlp) on the device take the choices of tiles that `elbow tune` has kept for it
    /// (`Gpu::use_tuning`), if nobody has chosen before: on, unless set. Without it, in a browser and on a host's device nothing is read.
    pub tuning: bool,
    /// Which products may run on the device's matrix units, through an experimental feature of wgpu: none, unless set. [`Gpu::matrix_units`] says
    /// what became of it.
    pub matrix_units: MatrixUnits,
}

setters!(Options {
    checks: Checks,
    default_limits: bool,
    self_test: bool,
    class: impl Into<Option<DeviceClass>>,
    tuning: bool,
    matrix_units: MatrixUnits,
});

impl Default for Options {
    fn default() -> Self {
        Options {
            checks: Checks::default(),
            default_limits: false,
            self_test: true,
            class: None,
            tuning: true,
            matrix_units: MatrixUnits::Off,
        }
    }
}

/// A device with its pipelines and its pooled memory. Cheap to clone: clones share everything, on any number of threads.
///
/// ```no_run
/// use elbow::{Activation, Gpu, affine::Forward};
/// let gpu = Gpu::new()?;
/// let x = gpu.upload(&[1.0, -2.0], &[1, 2])?;
/// let w = gpu.upload(&[0.5, 0.25], &[1, 2])?;
/// let y = gpu.zeros(&[1, 1])?;
/// gpu.submit(|encoder| Forward::new(Activation::RELU, &x, &w, &y).record(&gpu, encoder))?;
/// assert_eq!(gpu.download(&y)?, [0.0]);
/// # Ok::<(), elbow::Error>(())
/// ```
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
    /// Scratch memory of the host's, in the place of the pool's.
    scratch: Option<scratch::Supplied>,
}

struct Inner {
    /// Of a device that elbow opened: no other has it. wgpu's own numbers are the same in every `wgpu::Instance`.
    number: Option<u64>,
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    features: wgpu::Features,
    limits: wgpu::Limits,
    class: DeviceClass,
    checks: Checks,
    units: matrix::Units,
    pipelines: pipeline::Pipelines,
    memory: memory::Memory,
    mapped: mapped::Mapped,
    /// Errors of earlier calls that wgpu has not reported yet (in a browser).
    late: late::Late,
    timeout_ms: AtomicU64,
    /// Why the device is lost, once it is known. A callback sets it on a device of our own; on a host's device no callback is installed.
    lost: Arc<OnceLock<String>>,
    /// Which tile each product takes: the choices of the device's class, or tuned ones.
    choices: Mutex<Choices>,
    /// What reads the kept choices, until somebody has chosen: given by the room that may read files.
    kept_choices: Mutex<Option<fn(&Gpu)>>,
    /// Set by the first [`Gpu::subnormals_async`].
    subnormals: OnceLock<Subnormals>,
}

impl Gpu {
    /// Opens the best adapter that fits the choice, a real GPU before a software one. `AdapterChoice::default()` fits all.
    ///
    /// It never blocks: any executor can drive it, also a browser's. While the self-test runs it asks to be polled again at once, because
    /// nobody else can poll the device yet.
    ///
    /// [`Error::NoAdapter`], with a list of the adapters that exist, if none fits; [`Error::SelfTest`] if the adapter computes wrong
    /// numbers.
    ///
    /// ```no_run
    /// use elbow::{Gpu, Options, gpu::AdapterChoice};
    /// # async fn page() -> elbow::Result<()> {
    /// let gpu = Gpu::open(&AdapterChoice::default(), Options::default()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(choice: &AdapterChoice, options: Options) -> Result<Self> {
        let adapter = adapter::select(choice).await?;
        let (features, limits) = if options.default_limits {
            (wgpu::Features::empty(), wgpu::Limits::defaults())
        } else {
            (adapter.features() & WANTED, adapter.limits())
        };
        let units = matrix::Units::of(&adapter, options.matrix_units, options.default_limits);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("elbow"),
            required_features: features | units.features(),
            experimental_features: trusted::experimental(units.size() > 0),
            required_limits: limits,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| Error::NoAdapter {
            wanted: format!("a device of {}: {error}", adapter::describe(&adapter.get_info())),
            found: vec![adapter::describe(&adapter.get_info())],
        })?;
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = Some(OPENED.fetch_add(1, Ordering::Relaxed));
        let gpu = Self::on(&device, &queue, number, options.checks, options.class, units);
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

    /// elbow as a guest on a host's device: no handler is installed, and nothing is submitted or polled unless a call says that it
    /// does. `wgpu::Limits::defaults()` and no features are enough. Keep the result: it holds the compiled pipelines.
    ///
    /// ```no_run
    /// use elbow::{Gpu, wgpu};
    /// # fn host(device: &wgpu::Device, queue: &wgpu::Queue) -> elbow::Result<()> {
    /// let gpu = Gpu::from_wgpu(device, queue);
    /// gpu.self_test()?; // on a host's device only where it is asked for
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_wgpu(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        Self::from_wgpu_with(device, queue, Checks::default())
    }

    /// [`Gpu::from_wgpu`] with a choice of shader checks.
    ///
    /// ```no_run
    /// use elbow::{Checks, Gpu, wgpu};
    /// # fn host(device: &wgpu::Device, queue: &wgpu::Queue) {
    /// let gpu = Gpu::from_wgpu_with(device, queue, Checks::Checked);
    /// # }
    /// ```
    pub fn from_wgpu_with(device: &wgpu::Device, queue: &wgpu::Queue, checks: Checks) -> Self {
        Self::on(device, queue, None, checks, None, matrix::Units::default())
    }

    fn on(
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        number: Option<u64>,
        checks: Checks,
        class: Option<DeviceClass>,
        units: matrix::Units,
    ) -> Self {
        let info = device.adapter_info();
        let class = class.unwrap_or_else(|| adapter::class(&info));
        let inner = Inner {
            number,
            features: device.features(),
            limits: device.limits(),
            pipelines: pipeline::Pipelines::default(),
            memory: memory::Memory::new(),
            mapped: mapped::Mapped::default(),
            late: late::Late::default(),
            timeout_ms: AtomicU64::new(TIMEOUT.as_millis() as u64),
            lost: Arc::default(),
            device: device.clone(),
            queue: queue.clone(),
            choices: Mutex::new(Choices::of_vendor(class, info.vendor)),
            kept_choices: Mutex::new(None),
            subnormals: OnceLock::new(),
            info,
            class,
            checks,
            units,
        };
        Gpu { inner: Arc::new(inner), scratch: None }
    }

    /// The wgpu device, for resources of your own.
    ///
    /// ```no_run
    /// use elbow::{Dtype, Gpu, View, wgpu};
    /// let gpu = Gpu::new()?;
    /// let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
    /// let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor { label: None, size: 64, usage, mapped_at_creation: false });
    /// gpu.queue().write_buffer(&buffer, 0, &1f32.to_le_bytes());
    /// let x = View::new(&buffer, 0, &[4, 4], Dtype::F32);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    /// The wgpu queue, for submissions of your own.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Name, driver, backend and type of the adapter, as wgpu reports them.
    pub fn info(&self) -> &wgpu::AdapterInfo {
        &self.inner.info
    }

    /// Whether the adapter is a CPU in the place of a GPU (lavapipe, WARP, SwiftShader): its results are right, its speed is a CPU's.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// if gpu.is_software() {
    ///     println!("{} is no GPU", gpu.info().name);
    /// }
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn is_software(&self) -> bool {
        self.inner.class == DeviceClass::Software
    }

    /// Which tile each product takes in plans that are made from now on.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// println!("{}", gpu.choices());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn choices(&self) -> Choices {
        *self.inner.choices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces [`Gpu::choices`], for instance by what `native::tune` has measured. Another tile may sum in another order: results keep
    /// their error bounds, but not their bits.
    ///
    /// ```no_run
    /// use elbow::{Choices, DeviceClass, Gpu};
    /// let gpu = Gpu::new()?;
    /// gpu.set_choices(Choices::of(DeviceClass::Discrete)); // as without tuning
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn set_choices(&self, choices: Choices) {
        self.take_kept_choices();
        *self.inner.choices.lock().unwrap_or_else(PoisonError::into_inner) = choices;
    }

    /// Says how the kept choices are read, when a network wants them.
    #[cfg(all(feature = "tune", not(target_family = "wasm")))]
    pub(crate) fn keep_choices(&self, read: fn(&Gpu)) {
        *self.inner.kept_choices.lock().unwrap_or_else(PoisonError::into_inner) = Some(read);
    }

    fn take_kept_choices(&self) -> Option<fn(&Gpu)> {
        self.inner.kept_choices.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Reads the kept choices, unless that was done or somebody has chosen.
    pub(crate) fn use_kept_choices(&self) {
        if let Some(read) = self.take_kept_choices() {
            read(self);
        }
    }

    /// The limits and choices that plans keep to on this device.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// assert!(gpu.caps().max_bindings >= 8);
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn caps(&self) -> Caps {
        let Inner { limits, info, features, .. } = &*self.inner;
        let subgroups = features.contains(wgpu::Features::SUBGROUP);
        let one_size = subgroups && info.subgroup_min_size == info.subgroup_max_size;
        Caps {
            class: self.inner.class,
            max_invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
            subgroup: if one_size { info.subgroup_min_size } else { 0 },
            subgroups,
            f16: features.contains(wgpu::Features::SHADER_F16),
            matrix_size: self.inner.units.size(),
            matrix_units: self.inner.units.asked(),
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

    /// Bytes of all buffers that elbow owns on this device: tensors, scratch, parameter blocks, staging. A buffer that was dropped no
    /// longer counts, although submitted work may still hold it.
    pub fn memory_bytes(&self) -> u64 {
        self.inner.memory.budget.used()
    }

    /// The bound of [`Gpu::memory_bytes`], in bytes: `u64::MAX`, no bound, unless set. Drivers promise more memory than they have and fail
    /// when it is used, so a host that shares the device sets a bound. Plans keep their scratch below it: a small bound can change the
    /// plan.
    pub fn memory_limit(&self) -> u64 {
        self.inner.memory.budget.limit()
    }

    /// Sets [`Gpu::memory_limit`]. A call that would exceed it releases the pools, tries again, then fails with [`Error::OutOfMemory`];
    /// tensors that exist stay.
    ///
    /// ```no_run
    /// use elbow::{Error, Gpu};
    /// let gpu = Gpu::new()?;
    /// gpu.set_memory_limit(64 << 20); // 64 MiB
    /// assert!(gpu.memory_bytes() <= gpu.memory_limit());
    /// assert!(matches!(gpu.zeros(&[32 << 20]), Err(Error::OutOfMemory { .. }))); // 128 MiB
    /// println!("{} bytes held", gpu.memory_bytes());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn set_memory_limit(&self, bytes: u64) {
        self.inner.memory.budget.set_limit(bytes);
    }

    /// The timeout of calls that block: after so long they fail with [`Error::Timeout`]. 5 minutes, unless set.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.inner.timeout_ms.load(Ordering::Relaxed))
    }

    /// Sets [`Gpu::timeout`], in whole milliseconds. Submitted work goes on after a timeout.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// let gpu = elbow::Gpu::new()?;
    /// gpu.set_timeout(Duration::from_secs(10));
    /// assert_eq!(gpu.timeout(), Duration::from_secs(10));
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn set_timeout(&self, timeout: Duration) {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.inner.timeout_ms.store(ms, Ordering::Relaxed);
    }

    /// Releases every pooled buffer: scratch, parameter blocks, staging. The next call that needs one allocates it again.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// gpu.trim(); // after the largest batch
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn trim(&self) {
        self.inner.memory.trim();
    }

    /// Number of compiled pipelines that are kept: at most 512, those that were used last.
    ///
    /// ```no_run
    /// let gpu = elbow::Gpu::new()?;
    /// println!("{} kernels compiled so far", gpu.pipelines());
    /// # Ok::<(), elbow::Error>(())
    /// ```
    pub fn pipelines(&self) -> usize {
        self.inner.pipelines.len()
    }
}

/// Clones are equal, and no two that were opened or made from a host's device.
impl PartialEq for Gpu {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Gpu {}

/// How long a blocking call waits, unless [`Gpu::set_timeout`] says otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_mins(5);

/// Features that are used where the device has them; none is required.
const WANTED: wgpu::Features =
    wgpu::Features::TIMESTAMP_QUERY.union(wgpu::Features::SUBGROUP).union(wgpu::Features::SHADER_F16);

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { info, features, limits, checks, units, .. } = &*self.inner;
        write!(f, "{}", adapter::describe(info))?;
        let used = *features & WANTED;
        write!(f, "; features used: {}", if used.is_empty() { "none".to_owned() } else { used.to_string() })?;
        write!(f, "; binding up to {} MiB", limits.max_storage_buffer_binding_size >> 20)?;
        write!(f, "; {} invocations a workgroup", limits.max_compute_invocations_per_workgroup)?;
        write!(f, "; shader checks {}", if *checks == Checks::Checked { "on" } else { "off" })?;
        match units.asked() {
            MatrixUnits::Off => Ok(()),
            _ => write!(f, "; matrix units: {}", self.matrix_units()),
        }
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({self})")
    }
}
