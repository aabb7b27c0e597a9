//! The checks of `elbow verify --quick`, a group at a time.

use elbow_verify::{
    Part,
    suite::{Group, Size, run_group_async},
};
use js_sys::{Function, Promise};
use wasm_bindgen::prelude::{JsError, JsValue, wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::device::Device;

/// What a group of checks has found.
#[wasm_bindgen(getter_with_clone)]
#[derive(Debug, Clone)]
pub struct Checked {
    /// Number of checks.
    pub checks: usize,
    /// Of those that failed.
    pub failed: usize,
    /// Seconds of the group, compilation of its kernels and the f64 reference included.
    pub seconds: f64,
    /// The largest error, in words.
    pub worst: String,
    /// The first failures, each with the case that replays it by `elbow verify --case`.
    pub wrong: Vec<String>,
}

/// The groups, in the order in which they should run.
#[wasm_bindgen]
pub fn groups() -> Vec<String> {
    Group::ALL.iter().map(|group| group.name().to_owned()).collect()
}

/// Runs a group, by its number in [`groups`]. `progress(done, of)` is called between checks; if it returns a promise, that is awaited,
/// so that the page can draw.
#[wasm_bindgen]
pub async fn verify(device: &Device, group: usize, progress: Function) -> Result<Checked, JsError> {
    let group = *Group::ALL.get(group).ok_or_else(|| JsError::new("there is no such group of checks"))?;
    let mut progress = async |done: usize, of: usize| {
        let told = progress.call2(&JsValue::NULL, &done.into(), &of.into());
        // What the page does with it does not stop the checks.
        let _ = JsFuture::from(Promise::resolve(&told.unwrap_or_default())).await;
    };
    let report = run_group_async(&device.gpu, group, Size::Quick, Part::ALL, &mut progress).await;
    let wrong = report.broken.iter().map(|broken| match broken.case.as_str() {
        "" => broken.message.clone(),
        case => format!("{} (elbow verify --case '{case}')", broken.message),
    });
    Ok(Checked {
        checks: report.checks,
        failed: report.failed,
        seconds: report.seconds,
        worst: report.worst,
        wrong: wrong.collect(),
    })
}
