//! What the experiments share.

mod chart;
mod dense;
#[path = "../../digits/data.rs"]
pub(crate) mod digits;
mod lab;
mod learn;
pub(crate) mod page;
pub(crate) mod pinn;
mod report;
pub(crate) mod residual;
pub(crate) mod stack;
pub(crate) mod statistics;

pub(crate) use self::{
    chart::Chart,
    dense::{Dense, Gradients},
    lab::{Lab, normal},
    learn::Trainer,
    report::Report,
};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
