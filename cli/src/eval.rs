//! `elbow eval`: runs a layer of a trained model, or all of a network, on the GPU, on the CPU or in the reference.

use std::{collections::BTreeMap, path::PathBuf};

use elbow::{Activation, Operand};

use crate::{
    args::{Device, Eval},
    cpu,
    destination::Destination,
    failure::Failure,
    file::{self, Source, Tensor},
    gpu,
    job::{Fused, Job},
    layers,
    names::Files,
};

/// Opens the output file, reads the input, checks it, runs the layers, and only then writes.
pub(crate) fn run(args: &Eval) -> Result<(), Failure> {
    let (inputs, output) = match args.files.as_slice() {
        [inputs @ .., output] => (inputs, output),
        [] => return Err(Failure::mismatch("files", "IN OUT or MODEL IN OUT", "none")),
    };
    let destination = Destination::new(output)?;
    let outputs = match Work::read(args, inputs)? {
        Work::Network(jobs) => layers::run(args.device, &args.tuning, jobs)?,
        Work::Layer(job) => match args.device {
            Device::Gpu => gpu::run(&job, &args.tuning)?,
            Device::Cpu => cpu::baseline(&job)?,
            Device::Reference => cpu::reference(&job)?,
        },
    };
    let bytes = file::serialize(&destination.name(), &outputs)?;
    destination.write(&bytes)
}

/// What is to be run, with its numbers: the bytes of the files are not held beside them.
enum Work {
    Layer(Job),
    Network(Vec<Fused>),
}

impl Work {
    fn read(args: &Eval, inputs: &[PathBuf]) -> Result<Self, Failure> {
        let names: Vec<String> = inputs.iter().map(|path| path.display().to_string()).collect();
        let bytes = inputs.iter().map(|path| file::bytes(path)).collect::<Result<Vec<_>, _>>()?;
        let sources = names.iter().zip(&bytes).map(|(name, bytes)| Source::new(name, bytes));
        let mut sources = sources.collect::<Result<Vec<_>, _>>()?;
        let input = sources.pop().ok_or_else(|| Failure::mismatch("files", "IN OUT or MODEL IN OUT", "one"))?;
        let files = Files { model: sources.pop(), input };
        match network(args, &bytes[0])? {
            Some(activations) => {
                let x = layers::input(args, &files)?;
                layers::jobs(args, files.parameters(), x, &activations).map(Work::Network)
            }
            None => Job::new(args, files.operands(args)?).map(Work::Layer),
        }
    }
}

/// The activations of a network, as they are asked for or as the file says; None for a single layer.
fn network(args: &Eval, parameters: &[u8]) -> Result<Option<Vec<Activation>>, Failure> {
    match (&args.layers, &args.activation) {
        (Some(layers), _) => layers::activations(layers).map(Some),
        (None, Some(_)) => Ok(None),
        (None, None) => match layers::described(parameters) {
            Some(activations) => Ok(Some(activations)),
            None => {
                let expected = "--activation SPEC for a layer, or --layers SPECS for a network (a file of elbow's own says its layers)";
                Err(Failure::mismatch("what to run", expected, "neither"))
            }
        },
    }
}

/// Checks that the tensors of a file make a layer, as `elbow eval --activation ACTIVATION` does before it runs.
pub fn check(activation: &str, tensors: BTreeMap<Operand, Tensor>) -> Result<(), Failure> {
    let args = Eval { activation: Some(activation.to_owned()), ..Eval::default() };
    Job::new(&args, tensors).map(drop)
}

/// Checks that a file of any bytes has the layers of a network and their x, as `elbow eval` does before it runs: those that its metadata says,
/// or two of PyTorch's `Sequential`.
pub fn check_network(bytes: &[u8]) -> Result<(), Failure> {
    let files = Files { model: None, input: Source::new("in", bytes)? };
    let activations = layers::described(bytes).map_or_else(|| layers::activations("prelu,identity"), Ok)?;
    let args = Eval::default();
    layers::jobs(&args, files.parameters(), layers::input(&args, &files)?, &activations).map(drop)
}
