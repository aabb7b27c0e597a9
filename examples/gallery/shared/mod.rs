//! What the experiments share.

mod chart;
pub(crate) mod classes;
pub(crate) mod covariance;
pub(crate) mod curvature;
mod dense;
#[path = "../../digits/data.rs"]
pub(crate) mod digits;
mod lab;
mod learn;
pub(crate) mod matrices;
pub(crate) mod page;
pub(crate) mod recurrent;
mod report;
mod stack;
pub(crate) mod statistics;

pub(crate) use self::{
    chart::Chart,
    dense::{Dense, Gradients},
    lab::{Lab, normal},
    learn::Trainer,
    report::Report,
    stack::{Stack, classifier, learnt, reader},
};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
