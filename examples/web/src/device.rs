//! The GPU that the browser offers.

use elbow::{Gpu, Options, gpu::AdapterChoice, wgpu};
use wasm_bindgen::prelude::{JsError, wasm_bindgen};

/// An open GPU.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Device {
    pub(crate) gpu: Gpu,
}

#[wasm_bindgen]
impl Device {
    /// Opens it and runs elbow's self-test: an error if there is none, or if it computes wrong numbers. With a class (`integrated`,
    /// `discrete`) it is planned for as one of that class: so a software adapter runs the kernels of a GPU.
    pub async fn open(class: Option<String>) -> Result<Device, JsError> {
        let class = class.map(|name| name.parse()).transpose()?;
        let gpu = Gpu::open(&AdapterChoice::default(), Options::default().class(class)).await?;
        Ok(Device { gpu })
    }

    /// elbow's own line about it.
    pub fn line(&self) -> String {
        self.gpu.to_string()
    }

    /// Whether a CPU plays GPU.
    #[wasm_bindgen(getter)]
    pub fn software(&self) -> bool {
        self.gpu.is_software()
    }

    /// Whether its shaders have the type f16; elbow stores f16 in any case, packed in pairs where they haven't.
    #[wasm_bindgen(getter)]
    pub fn native_f16(&self) -> bool {
        self.gpu.device().features().contains(wgpu::Features::SHADER_F16)
    }
}
