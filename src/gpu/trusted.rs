//! Shader modules without the checks that wgpu injects. It is unsafe to make them: what a kernel does that leaves its
//! bindings, divides by zero or never ends is then up to the driver. The checks cost up to two orders of magnitude in the inner
//! loop of a product (docs/design.md, entry 8).
//!
//! Why no kernel does that:
//!
//! - The text is this crate's own: the assembler puts files of `shaders/` and numbers together, and nothing that a caller
//!   wrote.
//! - Every index is compared with the sizes in the parameter block before something is loaded or stored there, and before
//!   recording every binding is checked to be as long as the plan says these sizes need.
//! - Every loop runs up to a bound in that block, and no divisor that the plan puts there is zero.
//! - Workgroup memory is written before it is read.
//!
//! What watches over it: canaries around every output, a test of the plan's bounds for any request, and the whole suite
//! once more with the checks on ([`Checks::Checked`]).

use super::{Checks, Gpu};

/// The module of a text that `shader::assemble` wrote.
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
