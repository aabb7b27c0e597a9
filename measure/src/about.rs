//! The header of every report: what was measured on, when, and by which command.

use std::time::SystemTime;

use elbow::Gpu;
use serde::{Deserialize, Serialize};

/// Adapter, driver, processor, date and command: without them a figure means nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct About {
    /// Version of elbow.
    pub elbow: String,
    /// The date in UTC, `YYYY-MM-DD`.
    pub date: String,
    /// The command that repeats the measurement.
    pub command: String,
    /// Name of the adapter.
    pub adapter: String,
    /// The backend: Vulkan, Metal, Dx12, ..
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// The type of the adapter: `DiscreteGpu`, `IntegratedGpu`, `Cpu`, ..
    pub device_type: String,
    /// Whether the adapter is a CPU in the place of a GPU: its times say nothing about a GPU.
    pub software: bool,
    /// Threads of the CPU baseline.
    pub threads: usize,
    /// The processor's name, if the system tells it; else the architecture.
    pub cpu: String,
}

impl About {
    /// The header for this device, with today's date.
    pub fn new(gpu: &Gpu, command: String) -> Self {
        let info = gpu.info();
        About {
            elbow: env!("CARGO_PKG_VERSION").into(),
            date: today(),
            command,
            adapter: info.name.clone(),
            backend: format!("{:?}", info.backend),
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            device_type: format!("{:?}", info.device_type),
            software: gpu.is_software(),
            threads: rayon::current_num_threads(),
            cpu: processor(),
        }
    }
}

/// The processor's name on Linux; elsewhere the architecture.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned()
}

fn today() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    civil(seconds / 86_400)
}

/// The date that many days after 1970-01-01, by H. Hinnant's civil-from-days algorithm.
fn civil(days: u64) -> String {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn days_are_dates() {
        for (days, date) in [(0, "1970-01-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01"), (20_453, "2025-12-31")]
        {
            assert_eq!(super::civil(days), date);
        }
    }
}
