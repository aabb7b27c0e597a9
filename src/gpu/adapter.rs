//! The choice of an adapter. wgpu's own would not say which adapters exist when none fits.

use crate::{
    error::{Error, Result},
    plan::DeviceClass,
    setters::setters,
};

/// What narrows the choice of an adapter. Each part has the name of the environment variable that [`Gpu::new`](super::Gpu::new) reads
/// it from.
///
/// ```no_run
/// use elbow::{Gpu, Options, gpu::AdapterChoice};
/// # async fn host() -> elbow::Result<()> {
/// let choice = AdapterChoice::default().backend("vulkan".to_owned()).name("radeon".to_owned());
/// let gpu = Gpu::open(&choice, Options::default()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AdapterChoice {
    /// `WGPU_BACKEND`: a list of backends (`vulkan`, `metal`, `dx12`, `gl`).
    pub backend: Option<String>,
    /// `WGPU_ADAPTER_NAME`: a part of the adapter's name, in any case.
    pub name: Option<String>,
    /// `WGPU_POWER_PREF`: with `low` an integrated GPU comes before a discrete one, else after it.
    pub power: Option<String>,
}

setters!(AdapterChoice {
    backend: impl Into<Option<String>>,
    name: impl Into<Option<String>>,
    power: impl Into<Option<String>>,
});

impl AdapterChoice {
    fn wanted(&self) -> String {
        let parts =
            [("WGPU_BACKEND", &self.backend), ("WGPU_ADAPTER_NAME", &self.name), ("WGPU_POWER_PREF", &self.power)];
        let set: Vec<String> = parts.iter().filter_map(|(n, v)| v.as_ref().map(|v| format!("{n}={v}"))).collect();
        if set.is_empty() { "any that runs compute shaders".to_owned() } else { set.join(" ") }
    }

    fn backends(&self) -> wgpu::Backends {
        self.backend.as_deref().map_or(wgpu::Backends::all(), wgpu::Backends::from_comma_list)
    }

    /// The smallest rank is chosen; `None` does not fit.
    fn rank(&self, info: &wgpu::AdapterInfo) -> Option<(u8, u8)> {
        if !self.backends().contains(info.backend.into()) {
            return None;
        }
        if self.name.as_ref().is_some_and(|name| !info.name.to_lowercase().contains(&name.to_lowercase())) {
            return None;
        }
        let low = self.is_low();
        let device = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => u8::from(low),
            wgpu::DeviceType::IntegratedGpu => u8::from(!low),
            wgpu::DeviceType::VirtualGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        let backend = match info.backend {
            wgpu::Backend::Vulkan | wgpu::Backend::Metal | wgpu::Backend::BrowserWebGpu => 0,
            wgpu::Backend::Dx12 => 1,
            _ => 2,
        };
        Some((device, backend))
    }

    /// What a browser is asked for, which offers one adapter: as natively, a discrete GPU unless `low` is asked for.
    fn preference(&self) -> wgpu::PowerPreference {
        match self.is_low() {
            true => wgpu::PowerPreference::LowPower,
            false => wgpu::PowerPreference::HighPerformance,
        }
    }

    fn is_low(&self) -> bool {
        self.power.as_deref().is_some_and(|p| p.starts_with("low"))
    }
}

/// Every adapter of this machine that runs compute shaders. Those of the GL backend only if there is no other, or if the choice asks
/// for them. In a browser one, or none.
///
/// ```no_run
/// use elbow::gpu::{AdapterChoice, adapters};
/// # async fn host() {
/// for adapter in adapters(&AdapterChoice::default()).await {
///     println!("{}", adapter.get_info().name);
/// }
/// # }
/// ```
pub async fn adapters(choice: &AdapterChoice) -> Vec<wgpu::Adapter> {
    // wgpu panics if it was built without a backend for this platform.
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return Vec::new();
    }
    if cfg!(target_family = "wasm") {
        let power_preference = choice.preference();
        let wanted = wgpu::RequestAdapterOptions { power_preference, ..Default::default() };
        return instance(wgpu::Backends::BROWSER_WEBGPU).request_adapter(&wanted).await.into_iter().collect();
    }
    // GL is asked last: its drivers print to stderr, and its adapters are mostly those of the other backends again.
    let wants_gl = choice.backend.is_some() && choice.backends().contains(wgpu::Backends::GL);
    let mut adapters = of_backends(if wants_gl { wgpu::Backends::all() } else { wgpu::Backends::PRIMARY }).await;
    if adapters.is_empty() && !wants_gl {
        adapters = of_backends(wgpu::Backends::GL).await;
    }
    adapters.retain(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
    adapters
}

async fn of_backends(backends: wgpu::Backends) -> Vec<wgpu::Adapter> {
    instance(backends).enumerate_adapters(backends).await
}

fn instance(backends: wgpu::Backends) -> wgpu::Instance {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = backends;
    // The validation layers are for debugging wgpu itself; they are not on every machine.
    descriptor.flags = wgpu::InstanceFlags::empty();
    wgpu::Instance::new(descriptor)
}

/// The best adapter that fits, or an error with the list of those that exist.
pub(super) async fn select(choice: &AdapterChoice) -> Result<wgpu::Adapter> {
    if wgpu::Instance::enabled_backend_features().is_empty() {
        let wanted =
            "one of this platform's backends among elbow's features (vulkan, metal, dx12, gles, webgpu)".into();
        return Err(Error::NoAdapter { wanted, found: Vec::new() });
    }
    let adapters = adapters(choice).await;
    let found = adapters.iter().map(|a| describe(&a.get_info())).collect();
    adapters
        .into_iter()
        .filter_map(|adapter| choice.rank(&adapter.get_info()).map(|rank| (rank, adapter)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, adapter)| adapter)
        .ok_or_else(|| Error::NoAdapter { wanted: choice.wanted(), found })
}

/// The class whose tiles an adapter takes. A browser says of a GPU neither vendor nor size (wgpu passes only whether it is a CPU's): most
/// are those of laptops and phones, and the tiles of those run well on any.
pub(super) fn class(info: &wgpu::AdapterInfo) -> DeviceClass {
    match info.device_type {
        wgpu::DeviceType::Cpu => DeviceClass::Software,
        wgpu::DeviceType::IntegratedGpu => DeviceClass::Integrated,
        wgpu::DeviceType::Other if info.backend == wgpu::Backend::BrowserWebGpu => DeviceClass::Integrated,
        _ => DeviceClass::Discrete,
    }
}

/// Name, driver, backend and device type in one line; a browser keeps some of them to itself.
pub(super) fn describe(info: &wgpu::AdapterInfo) -> String {
    let kind = match info.device_type {
        wgpu::DeviceType::Cpu => "SOFTWARE adapter: a CPU plays GPU".to_owned(),
        kind => format!("{kind:?}"),
    };
    let name = if info.name.is_empty() { "unnamed GPU" } else { &info.name };
    let driver = [info.driver.as_str(), info.driver_info.as_str()].join(" ");
    let driver = if driver.trim().is_empty() { String::new() } else { format!("{}, ", driver.trim()) };
    format!("{name} ({:?}, {driver}{kind})", info.backend)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a browser says of a laptop's GPU, of a workstation's, and of a CPU: the first two can't be told apart.
    #[test]
    fn an_adapter_of_a_browser_has_the_tiles_of_a_laptop() {
        let of = |device_type, backend| class(&wgpu::AdapterInfo::new(device_type, backend));
        let web = |device_type| of(device_type, wgpu::Backend::BrowserWebGpu);
        assert_eq!(web(wgpu::DeviceType::Other), DeviceClass::Integrated);
        assert_eq!(web(wgpu::DeviceType::Cpu), DeviceClass::Software);
        assert_eq!(of(wgpu::DeviceType::Other, wgpu::Backend::Vulkan), DeviceClass::Discrete);
        assert_eq!(of(wgpu::DeviceType::DiscreteGpu, wgpu::Backend::Vulkan), DeviceClass::Discrete);
        let text = describe(&wgpu::AdapterInfo::new(wgpu::DeviceType::Other, wgpu::Backend::BrowserWebGpu));
        assert_eq!(text, "unnamed GPU (BrowserWebGpu, Other)");
    }

    /// Bad input 55: the error says what was wanted, and what is there.
    #[test]
    fn no_adapter_is_an_error_that_lists_those_that_are_there() {
        let choice = AdapterChoice { name: Some("no such adapter".into()), ..AdapterChoice::default() };
        let there: Vec<String> =
            pollster::block_on(adapters(&choice)).iter().map(|a| describe(&a.get_info())).collect();
        let error = pollster::block_on(select(&choice)).expect_err("no adapter is called that");
        assert_eq!(error, Error::NoAdapter { wanted: "WGPU_ADAPTER_NAME=no such adapter".into(), found: there });
        let choice = AdapterChoice { backend: Some("no such backend".into()), ..AdapterChoice::default() };
        assert!(matches!(pollster::block_on(select(&choice)), Err(Error::NoAdapter { .. })));
    }
}
