//! `elbow eval --layers`: the layers of a whole network in a file, as PyTorch names them.

use std::str::FromStr;

use elbow::{Activation, Operand, Saved, mlp::Description};

use crate::{
    args::{Device, Eval},
    cpu,
    failure::Failure,
    file::{Source, Tensor},
    gpu,
    job::{Fused, FusedOperands, Job, Outputs, fused},
    names::{Files, flatten, has},
    tuning::Tuning,
};

/// Activations as an option of the command line.
#[derive(Debug, Clone)]
pub(crate) struct Activations(pub(crate) Vec<Activation>);

impl FromStr for Activations {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        activations(text).map(Activations)
    }
}

/// Activations in the order of the layers, separated by commas outside of parentheses.
pub(crate) fn activations(text: &str) -> Result<Vec<Activation>, Failure> {
    let mut depth = 0i32;
    let between = |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    };
    text.split(between).map(|word| word.parse().map_err(Failure::from)).collect()
}

/// The activations that a file of [`elbow::Mlp`] says in its metadata; None of another file.
pub(crate) fn described(bytes: &[u8]) -> Option<Vec<Activation>> {
    Description::read(bytes).ok().map(|description| description.activations)
}

/// x of a network, in the files; an error for operands that it has not.
pub(crate) fn input(args: &Eval, files: &Files<'_>) -> Result<Tensor, Failure> {
    for operand in [Operand::Dy, Operand::Ddx, Operand::Residual] {
        if files.operand(args, operand)?.is_some() {
            return Err(Failure::mismatch(operand, "none: of a network only y is computed", "a tensor"));
        }
    }
    let x = files.operand(args, Operand::X)?;
    x.ok_or_else(|| Failure::mismatch(Operand::X, "a tensor x, or --map x=NAME", has(&files.input)))
}

/// The layers of a model, each as a job whose x is the y of the one before.
pub(crate) fn jobs(
    args: &Eval,
    model: &Source<'_>,
    mut x: Tensor,
    activations: &[Activation],
) -> Result<Vec<Fused>, Failure> {
    let modules = modules(&args.prefix, &args.modules, model)?;
    if modules.len() != activations.len() {
        let found: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        let got = format!("{} ({})", found.len(), found.join(", "));
        return Err(Failure::mismatch(
            "--layers",
            format_args!("{} layers, one for each activation", activations.len()),
            got,
        ));
    }
    let mut jobs = Vec::with_capacity(modules.len());
    for (module, &activation) in modules.iter().zip(activations) {
        let of = |failure: Failure| Failure::new(format_args!("layer {}: {failure}", module.name));
        let [weight, bias] = ["weight", "bias"].map(|part| format!("{}.{part}", module.name));
        let mut w = model.tensor(Operand::W, &weight, args.convert).map_err(of)?;
        flatten(&mut w, args.flatten);
        let b = model.shape(&bias).map(|_| model.tensor(Operand::B, &bias, args.convert)).transpose().map_err(of)?;
        let alpha = match &module.alpha {
            Some(name) => Some(model.tensor(Operand::Alpha, name, args.convert).map_err(of)?),
            // PReLU has learned its slope: another number would be another network.
            None if activation.name() == "prelu" => {
                let expected = "the weight of a PReLU behind it (--modules MODULE:PRELU), or leaky_relu(SLOPE)";
                return Err(of(Failure::mismatch(Operand::Alpha, expected, "none")));
            }
            None => None,
        };
        if alpha.is_some() && !activation.has_alpha() {
            let expected =
                format!("no weight of one dimension behind it, because {activation} has no learnable parameter");
            return Err(of(Failure::mismatch(Operand::Alpha, expected, "a tensor")));
        }
        let dtype = x.dtype;
        let operands = FusedOperands { x, w, b, alpha, residual: None, dy: None, ddx: None };
        let mut job = fused(args, activation, operands).map_err(of)?;
        job.request.saved = Saved::None;
        x = Tensor { shape: job.y_shape.clone(), values: Vec::new(), dtype };
        jobs.push(job);
    }
    Ok(jobs)
}

/// y of the last layer.
pub(crate) fn run(device: Device, tuning: &Tuning, jobs: Vec<Fused>) -> Result<Outputs, Failure> {
    if device == Device::Gpu {
        return gpu::chain(&jobs, tuning);
    }
    let mut y = None;
    for mut job in jobs {
        job.x = y.take().unwrap_or(job.x);
        let job = Job::Fused(Box::new(job));
        let outputs = match device {
            Device::Reference => cpu::reference(&job)?,
            _ => cpu::baseline(&job)?,
        };
        y = outputs.into_iter().next().map(|(_, y)| y);
    }
    Ok(y.map(|y| (Operand::Y, y)).into_iter().collect())
}

/// A layer in a file: the tensors NAME.weight and perhaps NAME.bias, and the name of its α.
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) alpha: Option<String>,
}

/// The modules that are asked for, or those of PyTorch's `Sequential`: numbers with a weight of two dimensions (or three, of a batch). A
/// weight of one dimension behind a layer is α, that of a PReLU; with a bias it is a norm, which is no layer.
pub(crate) fn modules(prefix: &str, asked: &[String], model: &Source<'_>) -> Result<Vec<Module>, Failure> {
    let there = |name: &str| match model.shape(name) {
        Some(_) => Ok(()),
        None => Err(Failure::mismatch("--modules", format_args!("a tensor {name:?}"), has(model))),
    };
    let mut modules: Vec<Module> = Vec::new();
    for word in asked {
        let (name, alpha) = word.split_once(':').map_or((word.as_str(), None), |(name, alpha)| (name, Some(alpha)));
        let module =
            Module { name: format!("{prefix}{name}"), alpha: alpha.map(|alpha| format!("{prefix}{alpha}.weight")) };
        there(&format!("{}.weight", module.name))?;
        module.alpha.iter().try_for_each(|alpha| there(alpha))?;
        modules.push(module);
    }
    if !modules.is_empty() {
        return Ok(modules);
    }
    let names = model.names();
    let number = |name: &String| name.strip_prefix(prefix)?.strip_suffix(".weight")?.parse::<u32>().ok();
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    for number in numbers {
        let name = format!("{prefix}{number}");
        let weight = format!("{name}.weight");
        // `1e0` and `01` are numbers too, and no names of Sequential's.
        let Some(shape) = model.shape(&weight) else { continue };
        match (shape.len(), modules.last_mut()) {
            (0 | 1, _) if model.shape(&format!("{name}.bias")).is_some() => {
                let expected = "layers with their activations alone; --modules names those to take";
                return Err(Failure::mismatch(name, expected, "a norm"));
            }
            (0 | 1, Some(below)) if below.alpha.is_none() => below.alpha = Some(weight),
            (0 | 1, _) => return Err(Failure::mismatch(weight, "the α of a layer before it", format!("{shape:?}"))),
            _ => modules.push(Module { name, alpha: None }),
        }
    }
    if modules.is_empty() {
        let expected =
            format!("tensors {prefix}NUMBER.weight, as of PyTorch's Sequential; --prefix and --modules name others");
        return Err(Failure::mismatch(model.name, expected, has(model)));
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_within_parentheses_separate_nothing() {
        let read = activations("gelu,hardtanh(-1,1),identity").expect("three activations");
        assert_eq!(
            read.iter().map(Activation::to_string).collect::<Vec<_>>(),
            ["gelu_erf", "hardtanh(-1,1)", "identity"]
        );
        assert!(activations("gelu,,identity").is_err() && activations("").is_err());
    }
}
