//! What nobody awaits: warnings and errors of elbow and wgpu, and panics. They go to a function of the page, so that it can show them.

use std::{cell::RefCell, panic};

use js_sys::Function;
use log::{Level, LevelFilter, Log, Metadata, Record};
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

thread_local! {
    /// A page has one thread.
    static TOLD: RefCell<Option<Function>> = const { RefCell::new(None) };
}

fn tell(text: &str) {
    TOLD.with_borrow(|told| {
        if let Some(told) = told {
            // The page's own mistake is not ours to report.
            let _ = told.call1(&JsValue::NULL, &JsValue::from_str(text));
        }
    });
}

#[derive(Debug)]
struct Page;

impl Log for Page {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            tell(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Says which function is called with each warning, error or panic.
#[wasm_bindgen]
pub fn report_to(function: Function) {
    TOLD.set(Some(function));
    // A second call changes the function alone.
    if log::set_logger(&Page).is_ok() {
        log::set_max_level(LevelFilter::Warn);
        panic::set_hook(Box::new(|what| tell(&format!("the program has stopped: {what}"))));
    }
}
