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
