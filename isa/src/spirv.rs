//! A kernel's text as SPIR-V, as wgpu's Vulkan backend (wgpu-hal 30) writes it for a shader module without injected checks
//! whose workgroup memory is not zeroed: what `src/gpu/trusted.rs` and `src/gpu/pipeline.rs` of the library ask for. Another
//! setting here would measure code that nobody runs.

use naga::{
    ShaderStage,
    back::spv::{self, Capability, WriterFlags, ZeroInitializeWorkgroupMemoryMode},
    front::wgsl,
    proc::{BoundsCheckPolicies, BoundsCheckPolicy},
    valid::{Capabilities, ValidationFlags, Validator},
};

use crate::failure::Failure;

/// What every kernel's entry point is called.
pub(crate) const ENTRY_POINT: &str = "main";

/// What wgpu lets SPIR-V ask for where a device has f16 and subgroups, the two features that elbow takes.
const CAPABILITIES: &[Capability] = &[
    Capability::Shader,
    Capability::Matrix,
    Capability::Sampled1D,
    Capability::Image1D,
    Capability::ImageQuery,
    Capability::DerivativeControl,
    Capability::StorageImageExtendedFormats,
    Capability::GroupNonUniform,
    Capability::GroupNonUniformVote,
    Capability::GroupNonUniformArithmetic,
    Capability::GroupNonUniformBallot,
    Capability::GroupNonUniformShuffle,
    Capability::GroupNonUniformShuffleRelative,
    Capability::GroupNonUniformQuad,
    Capability::Float16,
    Capability::DotProductInputAllKHR,
    Capability::DotProductInput4x8BitKHR,
    Capability::DotProductInput4x8BitPackedKHR,
    Capability::DotProductKHR,
    Capability::Int8,
];

/// What it lets ask for besides where a host asks for matrix units.
const OF_MATRIX_UNITS: [Capability; 2] = [Capability::CooperativeMatrixKHR, Capability::VulkanMemoryModel];

/// Parses, validates and writes. No kernel has overrides, so there is nothing to settle in between.
pub(crate) fn write(text: &str, matrix_units: bool) -> Result<Vec<u32>, Failure> {
    let module = wgsl::parse_str(text).map_err(|error| Failure::new(error.emit_to_string(text)))?;
    let allowed = Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16;
    let allowed = allowed | if matrix_units { Capabilities::COOPERATIVE_MATRIX } else { Capabilities::empty() };
    let info = Validator::new(ValidationFlags::all(), allowed)
        .validate(&module)
        .map_err(|error| Failure::new(error.emit_to_string(text)))?;
    let unchecked = BoundsCheckPolicy::Unchecked;
    let besides = OF_MATRIX_UNITS.into_iter().filter(|_| matrix_units);
    let options = spv::Options {
        // RADV is a Vulkan 1.3 driver.
        lang_version: (1, 6),
        // wgpu sets both on AMD's devices; no kernel has varyings or points. Names for debuggers come with debug builds alone.
        flags: WriterFlags::LABEL_VARYINGS | WriterFlags::FORCE_POINT_SIZE,
        capabilities: Some(CAPABILITIES.iter().copied().chain(besides).collect()),
        bounds_check_policies: BoundsCheckPolicies {
            index: unchecked,
            buffer: unchecked,
            image_load: unchecked,
            binding_array: unchecked,
        },
        zero_initialize_workgroup_memory: ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ray_query_initialization_tracking: false,
        emit_int_div_checks: false,
        ..spv::Options::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: ShaderStage::Compute, entry_point: ENTRY_POINT.into() };
    spv::write_vec(&module, &info, &options, Some(&pipeline)).map_err(Failure::new)
}
