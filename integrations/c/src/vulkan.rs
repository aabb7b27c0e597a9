//! A host that owns a Vulkan device: elbow takes it, and the host's buffers, without a copy.

use std::ffi::{CStr, c_char, c_void};

use ash::vk::{self, Handle};
use elbow_rs::{Checks, Gpu, wgpu};
use wgpu_hal::{api::Vulkan, vulkan};

use crate::{
    gpu::{elbow_gpu, of_gpu},
    pointer::{Out, slice, some},
    status::{Failure, Status, guarded},
    tensor::{dtype, elbow_tensor},
};

/// The Vulkan objects of a host. The handles stay the host's and must outlive the elbow_gpu, its tensors and its calls.
///
/// The device must have been made with the extensions that elbow_vulkan_extensions() lists, with robustBufferAccess, and with timelineSemaphore where the
/// physical device has it (Vulkan 1.2).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct elbow_vulkan {
    /// vkGetInstanceProcAddr.
    pub get_instance_proc_addr: Option<unsafe extern "C" fn()>,
    /// VkInstance.
    pub instance: *mut c_void,
    /// VkPhysicalDevice.
    pub physical_device: *mut c_void,
    /// VkDevice; not read by elbow_vulkan_extensions().
    pub device: *mut c_void,
    /// The version that the instance was made for: VkApplicationInfo::apiVersion.
    pub api_version: u32,
    /// Family of the queue, with VK_QUEUE_COMPUTE_BIT and VK_QUEUE_GRAPHICS_BIT.
    pub queue_family: u32,
    /// Its place among the device's queues of this family.
    pub queue_index: u32,
    /// The instance's extensions that are enabled.
    pub instance_extensions: *const *const c_char,
    /// How many.
    pub instance_extension_count: usize,
    /// The device's extensions that are enabled; not read by elbow_vulkan_extensions().
    pub device_extensions: *const *const c_char,
    /// How many.
    pub device_extension_count: usize,
}

/// No features: as WebGPU promises.
const FEATURES: wgpu::Features = wgpu::Features::empty();

fn refused(what: &str, error: impl std::fmt::Display) -> Failure {
    Failure { status: Status::Driver, text: format!("{what}: {error}") }
}

/// # Safety
/// `names` has `count` texts.
unsafe fn texts<'a>(name: &str, names: *const *const c_char, count: usize) -> Result<Vec<&'a CStr>, Failure> {
    // SAFETY: the caller's promise.
    unsafe { slice(name, names, count)? }
        .iter()
        // SAFETY: the caller's promise.
        .map(|text| unsafe { some(name, *text) }.map(|text| unsafe { CStr::from_ptr(text) }))
        .collect()
}

impl elbow_vulkan {
    /// The host's instance as wgpu's, and its adapter.
    ///
    /// # Safety
    /// The handles are valid, and remain so as long as what is returned.
    unsafe fn adapter(&self) -> Result<(vulkan::Instance, wgpu_hal::ExposedAdapter<Vulkan>), Failure> {
        let null = |name: &str| Failure::input(format!("{name}: expected a Vulkan handle, got NULL"));
        let get = self.get_instance_proc_addr.ok_or_else(|| null("get_instance_proc_addr"))?;
        for (name, handle) in [("instance", self.instance), ("physical_device", self.physical_device)] {
            if handle.is_null() {
                return Err(null(name));
            }
        }
        // SAFETY: both are pointers to functions of C; the caller says that it is this one.
        let get_instance_proc_addr =
            unsafe { std::mem::transmute::<unsafe extern "C" fn(), vk::PFN_vkGetInstanceProcAddr>(get) };
        let instance = vk::Instance::from_raw(self.instance as u64);
        // SAFETY: the caller's promise. With a callback wgpu leaves the instance alone.
        unsafe {
            let entry = ash::Entry::from_static_fn(ash::StaticFn { get_instance_proc_addr });
            let raw = ash::Instance::load(entry.static_fn(), instance);
            let enabled = texts("instance_extensions", self.instance_extensions, self.instance_extension_count)?;
            let flags = wgpu::InstanceFlags::empty();
            // wgpu wants names that live for ever: its own, where they are the host's.
            let mut known = vulkan::Instance::desired_extensions(&entry, self.api_version, flags)
                .map_err(|error| refused("instance_extensions", error))?;
            known.retain(|name| enabled.contains(name));
            let instance = vulkan::Instance::from_raw(
                entry,
                raw,
                self.api_version,
                0,
                None,
                known,
                flags,
                wgpu::MemoryBudgetThresholds::default(),
                false,
                Some(Box::new(|| ())),
            )
            .map_err(|error| refused("instance", error))?;
            let physical = vk::PhysicalDevice::from_raw(self.physical_device as u64);
            let adapter = instance.expose_adapter(physical).ok_or_else(|| Failure {
                status: Status::NoGpu,
                text: "physical_device: expected one that wgpu can use, got one that it cannot".to_owned(),
            })?;
            Ok((instance, adapter))
        }
    }
}

/// Lists the device extensions that a host's VkDevice must have: writes at most *count names, which live for ever, and to *count how many there are. names may
/// be NULL to ask for that alone. Call it between choosing the physical device and making the device.
///
/// # Safety
/// `host` is NULL or valid, and so are its instance and physical device; `count` can be read and written; `names` is NULL or has *count places.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_vulkan_extensions(
    host: *const elbow_vulkan,
    names: *mut *const c_char,
    count: *mut usize,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (host, room) = unsafe { (some("host", host)?, *some("count", count.cast_const())?) };
        // SAFETY: the caller's promise.
        let (_instance, exposed) = unsafe { host.adapter() }?;
        let needed = exposed.adapter.required_device_extensions(FEATURES);
        // SAFETY: the caller's promise.
        unsafe {
            if !names.is_null() {
                for (i, name) in needed.iter().take(room).enumerate() {
                    names.add(i).write(name.as_ptr());
                }
            }
            count.write(needed.len());
        }
        Ok(())
    })
}

/// Opens elbow on a host's VkDevice. elbow submits to the host's queue: nobody else may at that moment, as Vulkan asks. What elbow wrote is there once
/// elbow_gpu_wait() has returned; between the host's work and elbow's the host puts a barrier and waits, or has submitted its own before.
///
/// Nothing of the host's is destroyed by elbow_gpu_close().
///
/// # Safety
/// `host` is NULL or valid with all that it points to; the handles outlive what is made of them; `gpu` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_gpu_from_vulkan(host: *const elbow_vulkan, gpu: *mut *mut elbow_gpu) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (out, host) = unsafe { (Out::new("gpu", gpu)?, some("host", host)?) };
        if host.device.is_null() {
            return Err(Failure::input("device: expected a Vulkan handle, got NULL".to_owned()));
        }
        // SAFETY: the caller's promise, here and below. With a callback wgpu leaves the device alone.
        let (device, queue) = unsafe {
            let (instance, exposed) = host.adapter()?;
            let enabled = texts("device_extensions", host.device_extensions, host.device_extension_count)?;
            let needed = exposed.adapter.required_device_extensions(FEATURES);
            if let Some(missing) = needed.iter().find(|name| !enabled.contains(name)) {
                let missing = missing.to_string_lossy();
                return Err(Failure::input(format!("device_extensions: expected {missing} among them, got none")));
            }
            let limits = exposed.capabilities.limits.clone();
            let device = vk::Device::from_raw(host.device as u64);
            let raw = ash::Device::load(exposed.adapter.shared_instance().raw_instance().fp_v1_0(), device);
            let open = exposed
                .adapter
                .device_from_raw(
                    raw,
                    Some(Box::new(|| ())),
                    &needed,
                    FEATURES,
                    &limits,
                    &wgpu::MemoryHints::default(),
                    host.queue_family,
                    host.queue_index,
                )
                .map_err(|error| refused("device", error))?;
            let instance = wgpu::Instance::from_hal::<Vulkan>(instance);
            let adapter = instance.create_adapter_from_hal::<Vulkan>(exposed);
            let descriptor = wgpu::DeviceDescriptor {
                label: Some("elbow on a host's Vulkan device"),
                required_features: FEATURES,
                required_limits: limits,
                ..Default::default()
            };
            adapter.create_device_from_hal(open, &descriptor).map_err(|error| refused("device", error))?
        };
        let opened = Gpu::from_wgpu_with(&device, &queue, Checks::default());
        opened.self_test()?;
        opened.trim();
        out.put(elbow_gpu { gpu: opened });
        Ok(())
    })
}

/// Makes a tensor of a part of a host's VkBuffer, without a copy: from offset bytes on, of a buffer of size bytes, with
/// VK_BUFFER_USAGE_STORAGE_BUFFER_BIT and both TRANSFER bits. The buffer stays the host's, and must outlive the tensor and the calls with it.
///
/// # Safety
/// `gpu` is NULL or from elbow_gpu_from_vulkan(), and `buffer` of that device; `shape` has `rank` elements; `tensor` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn elbow_tensor_from_vulkan(
    gpu: *const elbow_gpu,
    buffer: u64,
    size: u64,
    offset: u64,
    kind: u32,
    shape: *const usize,
    rank: usize,
    tensor: *mut *mut elbow_tensor,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let (out, gpu, shape) = unsafe { (Out::new("tensor", tensor)?, of_gpu(gpu)?, slice("shape", shape, rank)?) };
        let dtype = dtype(kind)?;
        if buffer == 0 || size == 0 {
            return Err(Failure::input("buffer: expected a VkBuffer that is not empty, got none".to_owned()));
        }
        if gpu.info().backend != wgpu::Backend::Vulkan {
            let backend = gpu.info().backend;
            return Err(Failure::input(format!("gpu: expected one on Vulkan, got one on {backend}")));
        }
        let elements = shape.iter().try_fold(dtype.bytes(), |all, &length| all.checked_mul(length as u64));
        if elements.and_then(|bytes| bytes.checked_add(offset)).is_none_or(|end| end > size) {
            return Err(Failure::input(format!(
                "buffer: expected room for {shape:?} of {dtype} from byte {offset} on, got {size} bytes"
            )));
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some("a host's VkBuffer"),
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        // SAFETY: the caller's promise; wgpu destroys nothing.
        let buffer = unsafe {
            let raw = vulkan::Buffer::from_raw_externally_owned(vk::Buffer::from_raw(buffer), Box::new(|| ()));
            gpu.device().create_buffer_from_hal::<Vulkan>(raw, &descriptor)
        };
        out.put(elbow_tensor { gpu: gpu.clone(), buffer, offset, shape: shape.to_vec(), dtype, _owned: None });
        Ok(())
    })
}
