//! What the experiments share.

mod chart;
mod dense;
#[path = "../../digits/data.rs"]
pub(crate) mod digits;
mod lab;
mod learn;
pub(crate) mod page;
pub(crate) mod pinn;
pub(crate) mod propagation;
mod report;
pub(crate) mod residual;
mod stack;
pub(crate) mod statistics;

pub(crate) use self::{
    chart::Chart,
    dense::{Dense, Gradients},
    lab::{Lab, normal},
    learn::{Trainer, cross_entropy, share_right},
    report::Report,
    stack::Stack,
};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
