//! What the experiments share.

pub(crate) mod attack;
pub(crate) mod boxes;
mod chart;
pub(crate) mod classes;
pub(crate) mod covariance;
pub(crate) mod curvature;
mod dense;
pub(crate) mod digits;
pub(crate) mod feed_forward;
pub(crate) mod images;
mod lab;
mod learn;
mod learner;
pub(crate) mod magika;
pub(crate) mod matrices;
pub(crate) mod minilm;
pub(crate) mod mixed_integer;
mod onnx;
mod package;
pub(crate) mod page;
pub(crate) mod pinn;
pub(crate) mod propagation;
pub(crate) mod recurrent;
mod report;
pub(crate) mod residual;
pub(crate) mod robustness;
mod stack;
pub(crate) mod statistics;

pub(crate) use self::{
    chart::Chart,
    dense::{Dense, Gradients},
    lab::{Lab, normal},
    learn::{Trainer, cross_entropy, share_right, towards},
    learner::Learner,
    report::Report,
    stack::{Stack, classifier, learnt, reader},
};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
