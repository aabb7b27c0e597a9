//! Burn's wgpu devices and the [`Gpu`] of each: device and queue are Burn's, the kernels are elbow's.

use std::{
    collections::HashMap,
    sync::{LazyLock, PoisonError, RwLock},
};

use burn::tensor::{
    Device,
    wgpu::{WgpuInitError, WgpuOptions, WgpuSetup},
};
use burn_cubecl::CubeDevice;
use burn_cubecl::cubecl::device::DeviceId;
use elbow::{Error, Gpu, Result};

static GPUS: LazyLock<RwLock<HashMap<DeviceId, Gpu>>> = LazyLock::new(RwLock::default);

/// Opens a wgpu device as Burn does, for both: Burn's tensors lie on it, and elbow's layers run on it.
///
/// It stands at the start of a program, in the place of `Device::default()`: Burn opens a device once, at the latest with its first tensor, and gives
/// its wgpu handles away only then. For a device that the program has opened itself, with `init_with_setup`, there is [`share`].
///
/// # Errors
/// Burn's: there is no adapter, or the device is in use already.
///
/// ```no_run
/// use burn::tensor::Device;
/// let device = elbow_burn::open(Device::wgpu_options())?;
/// # Ok::<(), burn::tensor::wgpu::WgpuInitError>(())
/// ```
pub fn open(options: WgpuOptions) -> core::result::Result<Device, WgpuInitError> {
    let (device, setup) = options.init_with_setup()?;
    register(&device, &setup);
    Ok(device)
}

/// Tells elbow the wgpu handles of a device that the program opened itself (`init_with_setup`), or gave to Burn (`setup(..).init()`).
///
/// # Errors
/// [`Error::Unsupported`] if the device is none of Burn's wgpu devices.
///
/// ```no_run
/// use burn::tensor::Device;
/// let (device, setup) = Device::wgpu_options().tasks_max(64).init_with_setup()?;
/// elbow_burn::share(&device, &setup)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn share(device: &Device, setup: &WgpuSetup) -> Result<()> {
    match register(device, setup) {
        true => Ok(()),
        false => Err(unsupported(device, "its kernels are WGSL, for wgpu devices")),
    }
}

/// The [`Gpu`] of a device that is shared, for what only elbow tells: its limit of memory, its pipeline cache, its self-test.
///
/// # Errors
/// [`Error::Unsupported`] if [`open`] or [`share`] was not called for the device.
///
/// ```no_run
/// use burn::tensor::Device;
/// let device = elbow_burn::open(Device::wgpu_options())?;
/// elbow_burn::gpu(&device)?.self_test()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn gpu(device: &Device) -> Result<Gpu> {
    match wgpu_id(device) {
        Some(id) => of(id).ok_or_else(|| {
            unsupported(device, "Burn opened it without elbow: begin the program with elbow_burn::open or share")
        }),
        None => Err(unsupported(device, "its kernels are WGSL, for wgpu devices")),
    }
}

/// The same, for a tensor's device.
pub(crate) fn of(id: DeviceId) -> Option<Gpu> {
    GPUS.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
}

fn register(device: &Device, setup: &WgpuSetup) -> bool {
    let Some(id) = wgpu_id(device) else { return false };
    let gpu = Gpu::from_wgpu(&setup.device, &setup.queue);
    GPUS.write().unwrap_or_else(PoisonError::into_inner).insert(id, gpu);
    true
}

fn wgpu_id(device: &Device) -> Option<DeviceId> {
    use burn::backend::DispatchDevice;
    match device.clone().without_autodiff().as_dispatch() {
        DispatchDevice::Cube(device @ CubeDevice::Wgpu(_)) => Some(device.to_id()),
        _ => None,
    }
}

fn unsupported(device: &Device, why: &str) -> Error {
    Error::Unsupported { what: format!("an elbow layer on {device:?}"), why: why.into() }
}
