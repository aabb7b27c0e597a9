//! `elbow eval`: runs a layer of a trained model on the GPU, on the CPU or in the reference.

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

/// Opens the output file, reads the input, checks it, runs the layer, and only then writes.
pub(crate) fn run(args: &Eval) -> Result<(), Failure> {
    let destination = Destination::new(&args.output)?;
    let job = Job::new(args, file::read(&args.input)?)?;
    let outputs = match args.device {
        Device::Gpu => gpu::run(&job, &args.tuning)?,
        Device::Cpu => cpu::baseline(&job)?,
        Device::Reference => cpu::reference(&job)?,
    };
    let bytes = file::serialize(&destination.name(), &outputs)?;
    destination.write(&bytes)
}

/// Checks that the tensors of a file make a layer, as `elbow eval --activation ACTIVATION` does before it runs.
pub fn check(activation: &str, tensors: BTreeMap<Operand, Tensor>) -> Result<(), Failure> {
    let args = Eval { activation: activation.to_owned(), ..Eval::default() };
    Job::new(&args, tensors).map(drop)
}
