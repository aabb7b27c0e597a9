//! `elbow eval`: a layer of a trained model, on the device of choice.

use std::collections::BTreeMap;

use elbow::Operand;

use crate::{
    args::{Device, Eval},
    cpu,
    destination::Destination,
    failure::Failure,
    file::{self, Tensor},
    gpu,
    job::Job,
};

/// Finds a place for the results, reads, checks, runs, and only then writes.
pub(crate) fn run(args: &Eval) -> Result<(), Failure> {
    let destination = Destination::new(&args.output)?;
    let job = Job::new(args, file::read(&args.input)?)?;
    let outputs = match args.device {
        Device::Gpu => gpu::run(&job)?,
        Device::Cpu => cpu::baseline(&job)?,
        Device::Reference => cpu::reference(&job)?,
    };
    let bytes = file::serialize(&destination.name(), &outputs)?;
    destination.write(&bytes)
}

/// What `elbow eval --activation ACTIVATION` checks between reading and running: whether the tensors make a layer.
pub fn check(activation: &str, tensors: BTreeMap<Operand, Tensor>) -> Result<(), Failure> {
    let args = Eval { activation: activation.to_owned(), ..Eval::default() };
    Job::new(&args, tensors).map(drop)
}
