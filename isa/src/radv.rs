//! Vulkan pipelines made by RADV, Mesa's driver for AMD's GPUs, for a chip that need not be there: `RADV_FORCE_FAMILY` in the environment
//! gives a device that compiles and can't run. wgpu refuses it, and does not tell what a compiler says of its code
//! (`VK_KHR_pipeline_executable_properties`), so this talks to Vulkan itself: one of the three files with unsafe code.
//!
//! Why it is sound, beside what each block says: every object is made and used by one [`Radv`] in one thread, is destroyed once, in the
//! reverse order, after everything that was made of it; every structure that is handed over lives until the call returns;
//! and nothing is submitted to the device.

use std::ffi::CStr;

use ash::{ext, khr, vk};

use crate::{failure::Failure, figure::Family, spirv::ENTRY_POINT};

/// The driver, opened on one chip.
pub(crate) struct Radv {
    /// What the driver calls itself, with its version.
    pub(crate) driver: String,
    /// What it calls the chip.
    pub(crate) chip: String,
    /// Lanes of a wave, where the kernels count on a number.
    lanes: Option<u32>,
    executables: khr::pipeline_executable_properties::Device,
    device: ash::Device,
    instance: ash::Instance,
    /// The library that all of the above call into: it goes last.
    _entry: ash::Entry,
}

/// A buffer that a kernel binds, by its number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Buffer {
    Uniform(u32),
    Storage(u32),
}

/// What the compiler has made, and what it says of it.
#[derive(Debug)]
pub(crate) struct Code {
    /// Lanes of a wave.
    pub(crate) wave: u32,
    /// The compiler's own figures, by their names.
    pub(crate) statistics: Vec<(String, f64)>,
    /// The machine code as text.
    pub(crate) assembly: String,
}

impl Code {
    pub(crate) fn statistic(&self, name: &str) -> Result<f64, Failure> {
        let found = self.statistics.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        found.ok_or_else(|| {
            let known: Vec<_> = self.statistics.iter().map(|(name, _)| name.as_str()).collect();
            Failure::new(format_args!("this driver does not say {name:?}; it says {}", known.join(", ")))
        })
    }
}

/// A failure of a Vulkan function.
fn failed(what: &'static str) -> impl Fn(vk::Result) -> Failure {
    move |error| Failure::new(format_args!("{what}: Vulkan says {error}"))
}

/// Text of a fixed length, up to its first zero.
fn text(name: Result<&CStr, impl std::fmt::Display>) -> Result<String, Failure> {
    name.map(|name| name.to_string_lossy().into_owned()).map_err(Failure::new)
}

impl Radv {
    /// Opens the first device of the driver that the environment names, which must be of the family that it names.
    #[expect(unsafe_code, reason = "Vulkan's interface; the module's documentation says why it is sound")]
    pub(crate) fn open(family: Family) -> Result<Self, Failure> {
        // SAFETY: the library is the system's Vulkan loader, which does at most what every Vulkan program lets it do when it is loaded.
        let entry = unsafe { ash::Entry::load() }
            .map_err(|error| Failure::new(format_args!("no Vulkan loader (Debian: libvulkan1): {error}")))?;
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: no layer and no extension is asked for.
        let instance = unsafe { entry.create_instance(&info, None) }.map_err(failed("opening Vulkan"))?;
        match Self::device(&instance, family) {
            Ok((device, driver, chip)) => {
                let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
                let lanes = family.on_matrix_units().then_some(32);
                Ok(Radv { driver, chip, lanes, executables, device, instance, _entry: entry })
            }
            Err(failure) => {
                // SAFETY: nothing was made of it that is still there.
                unsafe { instance.destroy_instance(None) };
                Err(failure)
            }
        }
    }

    /// The device with what wgpu switches on as far as it changes code, and the names of driver and chip.
    #[expect(unsafe_code, reason = "Vulkan's interface; the module's documentation says why it is sound")]
    fn device(instance: &ash::Instance, family: Family) -> Result<(ash::Device, String, String), Failure> {
        // SAFETY: the instance is alive.
        let physical =
            unsafe { instance.enumerate_physical_devices() }.map_err(failed("looking for the driver's device"))?;
        let physical = *physical.first().ok_or_else(|| Failure::new("the driver offers no device"))?;
        let mut driver = vk::PhysicalDeviceDriverProperties::default();
        let mut properties = vk::PhysicalDeviceProperties2::default().push_next(&mut driver);
        // SAFETY: the device is of this instance, which is of Vulkan 1.3 and so knows both structures.
        unsafe { instance.get_physical_device_properties2(physical, &mut properties) };
        let chip = text(properties.properties.device_name_as_c_str())?;
        if driver.driver_id != vk::DriverId::MESA_RADV {
            return Err(Failure::new(format_args!("{chip} is not a device of RADV")));
        }
        let driver = format!("RADV {}", text(driver.driver_info_as_c_str())?);
        // A version that no longer knows the variable would compile for the GPU that is there.
        if !chip.contains(family.chip()) {
            let asked = family.chip();
            return Err(Failure::new(format_args!("{driver} offers {chip} where it was asked for {asked}")));
        }
        // SAFETY: the device is of this instance.
        let offered = unsafe { instance.enumerate_device_extension_properties(physical) }
            .map_err(failed("asking for the device's extensions"))?;
        let has = |name: &CStr| offered.iter().any(|extension| extension.extension_name_as_c_str() == Ok(name));
        if !has(khr::pipeline_executable_properties::NAME) {
            return Err(Failure::new(format_args!("{driver} does not tell what it compiles")));
        }
        let units = family.on_matrix_units();
        if units && !has(khr::cooperative_matrix::NAME) {
            return Err(Failure::new(format_args!("{driver} has no matrix units")));
        }
        let mut extensions = vec![khr::pipeline_executable_properties::NAME.as_ptr(), ext::robustness2::NAME.as_ptr()];
        extensions.extend(units.then_some(khr::cooperative_matrix::NAME.as_ptr()));
        let mut told =
            vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
        // wgpu switches robust access on wherever it is offered, trusted modules or not, and this compiler then merges fewer loads.
        let core = vk::PhysicalDeviceFeatures::default().robust_buffer_access(true);
        let mut robust = vk::PhysicalDeviceRobustness2FeaturesEXT::default().robust_buffer_access2(true);
        let mut halves = vk::PhysicalDeviceVulkan11Features::default()
            .storage_buffer16_bit_access(true)
            .uniform_and_storage_buffer16_bit_access(true);
        let mut narrow = vk::PhysicalDeviceVulkan12Features::default()
            .shader_float16(true)
            .shader_int8(true)
            .vulkan_memory_model(units);
        let mut waves = vk::PhysicalDeviceVulkan13Features::default().subgroup_size_control(true);
        let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
        let priorities = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_family_index(0).queue_priorities(&priorities)];
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .enabled_features(&core)
            .push_next(&mut told)
            .push_next(&mut robust)
            .push_next(&mut halves)
            .push_next(&mut narrow)
            .push_next(&mut waves);
        let info = if units { info.push_next(&mut matrices) } else { info };
        // SAFETY: every device has a queue family 0; an extension or a feature that it has not is an error that Vulkan returns.
        let device = unsafe { instance.create_device(physical, &info, None) }.map_err(failed("opening the device"))?;
        Ok((device, driver, chip))
    }

    /// Compiles a module whose buffers are these, with a layout as wgpu makes it.
    #[expect(unsafe_code, reason = "Vulkan's interface; the module's documentation says why it is sound")]
    pub(crate) fn compile(&self, spirv: &[u32], buffers: &[Buffer]) -> Result<Code, Failure> {
        let bindings: Vec<_> = buffers
            .iter()
            .map(|buffer| {
                let (number, kind) = match *buffer {
                    Buffer::Uniform(number) => (number, vk::DescriptorType::UNIFORM_BUFFER),
                    Buffer::Storage(number) => (number, vk::DescriptorType::STORAGE_BUFFER),
                };
                vk::DescriptorSetLayoutBinding::default()
                    .binding(number)
                    .descriptor_type(kind)
                    .descriptor_count(1)
                    .stage_flags(vk::ShaderStageFlags::COMPUTE)
            })
            .collect();
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: the numbers of the bindings are different ones.
        let set =
            unsafe { self.device.create_descriptor_set_layout(&info, None) }.map_err(failed("a layout of buffers"))?;
        let sets = [set];
        let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
        // SAFETY: the set was made just now.
        let layout = unsafe { self.device.create_pipeline_layout(&info, None) }.map_err(failed("a layout"));
        let code = layout.and_then(|layout| {
            let code = self.compile_with(spirv, layout);
            // SAFETY: the pipeline that was made of it is gone.
            unsafe { self.device.destroy_pipeline_layout(layout, None) };
            code
        });
        // SAFETY: the layout that was made of it is gone.
        unsafe { self.device.destroy_descriptor_set_layout(set, None) };
        code
    }

    #[expect(unsafe_code, reason = "Vulkan's interface; the module's documentation says why it is sound")]
    fn compile_with(&self, spirv: &[u32], layout: vk::PipelineLayout) -> Result<Code, Failure> {
        let info = vk::ShaderModuleCreateInfo::default().code(spirv);
        // SAFETY: naga wrote the words from a module that it had validated, with capabilities that the device has.
        let module = unsafe { self.device.create_shader_module(&info, None) }.map_err(failed("a shader module"))?;
        let name = std::ffi::CString::new(ENTRY_POINT).map_err(Failure::new)?;
        let lanes = self.lanes.unwrap_or_default();
        let mut wave = vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo::default().required_subgroup_size(lanes);
        let stage = vk::PipelineShaderStageCreateInfo::default();
        let stage = match self.lanes {
            // wgpu pins no number: a device on which elbow takes matrix units has one alone.
            Some(_) => stage.push_next(&mut wave),
            // As wgpu does where elbow has asked for subgroups.
            None => stage.flags(vk::PipelineShaderStageCreateFlags::ALLOW_VARYING_SUBGROUP_SIZE),
        };
        let stage = stage.stage(vk::ShaderStageFlags::COMPUTE).module(module).name(&name);
        let keep = vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
            | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR;
        let info = [vk::ComputePipelineCreateInfo::default().stage(stage).layout(layout).flags(keep)];
        // SAFETY: the module has this entry point, and the layout all of its buffers.
        let made = unsafe { self.device.create_compute_pipelines(vk::PipelineCache::null(), &info, None) };
        // SAFETY: a pipeline needs its module no longer once it is made.
        unsafe { self.device.destroy_shader_module(module, None) };
        let pipelines = made.map_err(|(_, error)| failed("compiling")(error))?;
        let pipeline = pipelines.first().copied().unwrap_or_default();
        let code = self.told(pipeline);
        // SAFETY: made above, and used by nothing.
        unsafe { self.device.destroy_pipeline(pipeline, None) };
        code
    }

    /// What the driver tells of a pipeline that was made to be told of.
    #[expect(unsafe_code, reason = "Vulkan's interface; the module's documentation says why it is sound")]
    fn told(&self, pipeline: vk::Pipeline) -> Result<Code, Failure> {
        let info = vk::PipelineInfoKHR::default().pipeline(pipeline);
        // SAFETY: the pipeline is alive, and the device has the extension.
        let programs = unsafe { self.executables.get_pipeline_executable_properties(&info) }
            .map_err(failed("asking what was compiled"))?;
        let [program] = programs.as_slice() else {
            return Err(Failure::new(format_args!("a kernel became {} programs, expected one", programs.len())));
        };
        let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline).executable_index(0);
        // SAFETY: the pipeline has a program 0, and was made with the flag for this question.
        let told = unsafe { self.executables.get_pipeline_executable_statistics(&info) }
            .map_err(failed("asking for the compiler's figures"))?;
        let mut statistics = Vec::new();
        for figure in &told {
            use vk::PipelineExecutableStatisticFormatKHR as Format;
            // SAFETY: the format says which member of the union the driver has written.
            let value = unsafe {
                match figure.format {
                    Format::BOOL32 => f64::from(figure.value.b32),
                    Format::INT64 => figure.value.i64 as f64,
                    Format::UINT64 => figure.value.u64 as f64,
                    _ => figure.value.f64,
                }
            };
            statistics.push((text(figure.name_as_c_str())?, value));
        }
        Ok(Code { wave: program.subgroup_size, statistics, assembly: self.assembly(&info)? })
    }

    #[expect(unsafe_code, reason = "Vulkan's interface; the module's documentation says why it is sound")]
    fn assembly(&self, info: &vk::PipelineExecutableInfoKHR<'_>) -> Result<String, Failure> {
        let ask = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        let asking = failed("asking for the machine code");
        let mut count = 0;
        // SAFETY: the device and the pipeline in `info` are alive; without a place to write to, only the count is written.
        unsafe { ask(self.device.handle(), info, &mut count, std::ptr::null_mut()) }.result().map_err(&asking)?;
        let mut forms = vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
        // SAFETY: there is room for as many as `count` says; without memory for their contents only lengths are written.
        unsafe { ask(self.device.handle(), info, &mut count, forms.as_mut_ptr()) }.result().map_err(&asking)?;
        let mut contents: Vec<Vec<u8>> = forms.iter().map(|form| vec![0; form.data_size]).collect();
        for (form, content) in forms.iter_mut().zip(&mut contents) {
            form.p_data = content.as_mut_ptr().cast();
        }
        // SAFETY: as above, and each content has room for as many bytes as its `data_size` says.
        unsafe { ask(self.device.handle(), info, &mut count, forms.as_mut_ptr()) }.result().map_err(&asking)?;
        let found = forms.iter().position(|form| form.name_as_c_str() == Ok(c"Assembly"));
        let content = found.map(|at| contents.swap_remove(at));
        let content = content.ok_or_else(|| Failure::new("this driver does not show its machine code"))?;
        Ok(String::from_utf8_lossy(&content).trim_end_matches('\0').to_owned())
    }
}

impl Drop for Radv {
    #[expect(unsafe_code, reason = "Vulkan's interface; the module's documentation says why it is sound")]
    fn drop(&mut self) {
        // SAFETY: everything that was made of the device is gone, and the device is what was made of the instance.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}
