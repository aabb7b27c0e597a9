//! What needs a promise that the compiler can't check: trusted shader modules, and wgpu's experimental features.
//!
//! Shader modules without the checks that wgpu injects. Making them is unsafe: a kernel that accesses memory outside its bindings, divides
//! by zero or never ends then does whatever the driver makes of it. The checks would make the inner loop of a product up to 100 times
//! slower (docs/design.md, entry 8).
//!
//! Why no kernel does any of this:
//!
//! - The text is this crate's own: the assembler joins files of `shaders/` and numbers, never text of a caller.
//! - Every index is compared with the sizes in the parameter block before a load or store, and before recording every binding is
//!   checked to be as long as these sizes need.
//! - Every loop runs up to a bound in that block, and no divisor that the plan puts there is zero.
//! - Workgroup memory is written before it is read.
//!
//! What tests it: canaries around every output, a test of the plan's bounds for any request, and the whole suite a second time with the
//! checks on ([`Checks::Checked`]).
//!
//! Experimental features are ones that wgpu itself does not vouch for: to open a device with one takes a token whose maker accepts that the feature may
//! have bugs that lead to undefined behaviour. It is made for one feature, cooperative matrix, and only if the caller's options ask for matrix units.
//! What is done with it is narrow: two kernels, of this crate's text, whose matrices are loaded from and stored to workgroup arrays at places that are
//! constants of the text, multiples of the subgroup's number, or steps of a loop over the columns of a layer, always inside (`tests/bounds` computes the extent of each), in uniform control flow, in
//! matrices that the adapter lists. Storage is read and written by the ordinary, guarded accessors alone. Known defects of wgpu's translation are kept
//! away from by hand (docs/design.md, entry 73).

use super::{Checks, Gpu};

/// Makes the module of a text from `shader::assemble`.
#[expect(unsafe_code, reason = "trusted shader modules; the module's documentation says why they may be trusted")]
pub(super) fn module(gpu: &Gpu, label: &str, text: &str) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(text.into()) };
    match gpu.inner.checks {
        Checks::Checked => gpu.device().create_shader_module(descriptor),
        // SAFETY: the text is one of this crate's kernels, for which the argument above holds.
        Checks::Trusted => unsafe {
            gpu.device().create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        },
    }
}

/// wgpu's token for cooperative matrix, if the device is to be opened with it.
#[expect(
    unsafe_code,
    reason = "an experimental feature that the caller asked for; the module's documentation has the argument"
)]
pub(super) fn experimental(matrix_units: bool) -> wgpu::ExperimentalFeatures {
    match matrix_units {
        false => wgpu::ExperimentalFeatures::disabled(),
        // SAFETY: the caller's options ask for it, and the two kernels that use it do so within what the argument above says.
        true => unsafe { wgpu::ExperimentalFeatures::enabled() },
    }
}
