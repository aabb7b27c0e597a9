//! elbow's layers in candle's graph: values and gradients within bounds of the f64 reference, and of candle's own layers.
//!
//! `ELBOW_CANDLE_ROAD=gpu` takes every layer over the GPU, whatever it costs; without it the CPU's road is taken.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod candle;
mod case;
mod gated;
mod operands;
mod refused;
mod saved;
mod second;

use std::sync::Once;

use elbow_candle::{
    elbow_host::{Host, Road},
    set_host,
};

/// Before the first layer of a test.
fn begin() {
    static BEGIN: Once = Once::new();
    BEGIN.call_once(|| {
        let road = std::env::var("ELBOW_CANDLE_ROAD").unwrap_or("cpu".into());
        assert!(["cpu", "gpu"].contains(&&road[..]), "ELBOW_CANDLE_ROAD is {road}, not gpu");
        let host = match &road[..] {
            "gpu" => Host::with(elbow::Gpu::new().expect("an adapter"), Road::Gpu),
            _ => Host::cpu(),
        };
        set_host(host).unwrap();
    });
}
