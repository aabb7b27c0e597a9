//! A job on the CPU, with the fast implementation or the reference. The outputs have the same names and types as on the GPU: numbers are
//! f32 until they are written.

use elbow::{
    Float, Operand, Saved, Want,
    cpu::{
        self, ForwardInputs,
        reference::{self, ReturningInputs},
    },
    request::{BackwardRequest, DoubleBackwardRequest, Gradients, Returning, SecondGradients},
};
use elbow_cpu::{
    BackwardInputs, BackwardOutputs, DoubleBackwardInputs, DoubleBackwardOutputs, ForwardOutputs, SavedIn, SavedOut,
    Workspace, elementwise,
};

use crate::{
    failure::Failure,
    file::Tensor,
    job::{Elementwise, Fused, Job, Outputs},
};

/// The fast implementation, in f32.
pub(crate) fn baseline(job: &Job) -> Result<Outputs, Failure> {
    match job {
        Job::Fused(job) => each_layer(job, fused_baseline),
        Job::Elementwise(job) => alone_baseline(job),
    }
    .map(|outputs| in_their_types(job, outputs))
    .map_err(Failure::from)
}

/// The reference, in f64, rounded to f32 at the end.
pub(crate) fn reference(job: &Job) -> Result<Outputs, Failure> {
    match job {
        Job::Fused(job) => each_layer(job, fused_reference),
        Job::Elementwise(job) => alone_reference(job),
    }
    .map(|outputs| in_their_types(job, outputs))
    .map_err(Failure::from)
}

/// A batch is its layers, one after the other.
fn each_layer(job: &Fused, run: impl Fn(&Fused) -> elbow::Result<Outputs>) -> elbow::Result<Outputs> {
    match job.batch {
        None => run(job),
        Some(_) => Ok(job.joined(job.split().iter().map(run).collect::<elbow::Result<_>>()?)),
    }
}

/// Gives each output the type in which it is written.
fn in_their_types(job: &Job, mut outputs: Outputs) -> Outputs {
    for (operand, tensor) in &mut outputs {
        tensor.dtype = job.dtype(*operand);
    }
    outputs
}

fn values(tensor: &Option<Tensor>) -> Option<&[f32]> {
    tensor.as_ref().map(|t| t.values.as_slice())
}

fn rounded(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor { shape: shape.to_vec(), values: values.iter().map(|&v| v as f32).collect(), dtype: Float::F32 }
}

/// Zeros in the shape of `tensor`, if there is one.
fn like(tensor: &Option<Tensor>) -> Option<Tensor> {
    tensor.as_ref().map(|t| Tensor::zeros(&t.shape))
}

fn room(tensor: &mut Option<Tensor>) -> Option<&mut [f32]> {
    tensor.as_mut().map(|t| t.values.as_mut_slice())
}

impl Fused {
    fn forward_inputs(&self) -> ForwardInputs<'_> {
        ForwardInputs::new(&self.x.values, &self.w.values)
            .b(values(&self.b))
            .alpha(values(&self.alpha))
            .residual(values(&self.residual))
    }

    /// The gradients to compute: of every operand that was given.
    fn backward_request(&self) -> BackwardRequest {
        let want = |there| if there { Want::Overwrite } else { Want::No };
        BackwardRequest::new(
            self.request,
            Gradients::default()
                .x(Want::Overwrite)
                .w(Want::Overwrite)
                .b(want(self.b.is_some()))
                .alpha(want(self.alpha.is_some()))
                .residual(want(self.residual.is_some())),
        )
    }
}

impl Fused {
    /// The gradients of a double backward, of every operand that was given.
    fn second_request(&self) -> DoubleBackwardRequest {
        let want = |there| if there { Want::Overwrite } else { Want::No };
        let wants = SecondGradients::default().dy(Want::Overwrite).x(Want::Overwrite).w(Want::Overwrite);
        let wants = wants.b(want(self.b.is_some())).alpha(want(self.alpha.is_some()));
        DoubleBackwardRequest::new(self.request, Returning::default().x(true), wants)
    }
}

fn fused_baseline(job: &Fused) -> elbow::Result<Outputs> {
    let request = &job.request;
    let mut y = Tensor::zeros(&job.y_shape);
    let mut z = vec![0.0; if request.saved == Saved::Z { y.values.len() } else { 0 }];
    let mut mask = vec![0; if request.saved == Saved::Mask { request.m * request.n.div_ceil(32) } else { 0 }];
    let saved = match request.saved {
        Saved::Z => SavedOut::Z(&mut z),
        Saved::Mask => SavedOut::Mask(&mut mask),
        _ => SavedOut::None,
    };
    let outputs = ForwardOutputs { y: &mut y.values, saved, ..Default::default() };
    elbow_cpu::forward(request, job.forward_inputs(), outputs)?;
    let Some(dy) = &job.dy else { return Ok(vec![(Operand::Y, y)]) };

    let (mut dx, mut dw) = (Tensor::zeros(&job.x.shape), Tensor::zeros(&job.w.shape));
    let (mut db, mut dalpha, mut dresidual) = (like(&job.b), like(&job.alpha), like(&job.residual));
    let saved = match request.saved {
        Saved::Z => SavedIn::Z(&z),
        Saved::Y => SavedIn::Y(&y.values),
        Saved::Mask => SavedIn::Mask(&mask),
        _ => SavedIn::None,
    };
    let mut workspace = Workspace::new();
    let inputs = BackwardInputs {
        x: &job.x.values,
        w: &job.w.values,
        b: values(&job.b),
        alpha: values(&job.alpha),
        dy: &dy.values,
        saved,
        ..Default::default()
    };
    let outputs = BackwardOutputs {
        dx: Some(&mut dx.values),
        dw: Some(&mut dw.values),
        db: room(&mut db),
        dalpha: room(&mut dalpha),
        dresidual: room(&mut dresidual),
        ..Default::default()
    };
    elbow_cpu::backward(&job.backward_request(), inputs, outputs, &mut workspace)?;
    let second = match &job.ddx {
        Some(ddx) => second_baseline(job, &dy.values, &ddx.values, saved, &mut workspace)?,
        None => Outputs::new(),
    };
    let mut outputs = vec![(Operand::Y, y), (Operand::Dx, dx), (Operand::Dw, dw)];
    for (operand, tensor) in [(Operand::Db, db), (Operand::Dalpha, dalpha), (Operand::Dresidual, dresidual)] {
        outputs.extend(tensor.map(|tensor| (operand, tensor)));
    }
    outputs.extend(second);
    Ok(outputs)
}

/// The double backward of what forward kept.
fn second_baseline(
    job: &Fused,
    dy: &[f32],
    ddx: &[f32],
    saved: SavedIn<'_>,
    workspace: &mut Workspace,
) -> elbow::Result<Outputs> {
    let (mut ddy, mut dx2) = (Tensor::zeros(&job.y_shape), Tensor::zeros(&job.x.shape));
    let (mut dw2, mut db2, mut dalpha2) = (Tensor::zeros(&job.w.shape), like(&job.b), like(&job.alpha));
    let inputs = DoubleBackwardInputs {
        x: &job.x.values,
        w: &job.w.values,
        b: values(&job.b),
        alpha: values(&job.alpha),
        dy,
        saved,
        ddx: Some(ddx),
        ..Default::default()
    };
    let outputs = DoubleBackwardOutputs {
        ddy: Some(&mut ddy.values),
        dx2: Some(&mut dx2.values),
        dw2: Some(&mut dw2.values),
        db2: room(&mut db2),
        dalpha2: room(&mut dalpha2),
        ..Default::default()
    };
    elbow_cpu::double_backward(&job.second_request(), inputs, outputs, workspace)?;
    let mut outputs = vec![(Operand::Ddy, ddy), (Operand::Dx2, dx2), (Operand::Dw2, dw2)];
    outputs.extend(db2.map(|tensor| (Operand::Db2, tensor)));
    outputs.extend(dalpha2.map(|tensor| (Operand::Dalpha2, tensor)));
    Ok(outputs)
}

fn fused_reference(job: &Fused) -> elbow::Result<Outputs> {
    let forward = reference::forward(&job.request, job.forward_inputs())?;
    let mut outputs = vec![(Operand::Y, rounded(&job.y_shape, &forward.y))];
    let Some(dy) = &job.dy else { return Ok(outputs) };
    let inputs = reference::BackwardInputs::new(&job.x.values, &job.w.values, &dy.values)
        .b(values(&job.b))
        .alpha(values(&job.alpha));
    let gradients = reference::backward(&job.backward_request(), inputs)?;
    outputs.push((Operand::Dx, rounded(&job.x.shape, &gradients.dx.value)));
    outputs.push((Operand::Dw, rounded(&job.w.shape, &gradients.dw.value)));
    let others = [
        (Operand::Db, &job.b, &gradients.db),
        (Operand::Dalpha, &job.alpha, &gradients.dalpha),
        (Operand::Dresidual, &job.residual, &gradients.dresidual),
    ];
    for (operand, of, gradient) in others {
        outputs.extend(of.as_ref().map(|of| (operand, rounded(&of.shape, &gradient.value))));
    }
    let Some(ddx) = &job.ddx else { return Ok(outputs) };
    let returning = ReturningInputs::default().ddx(Some(&ddx.values));
    let second = reference::double_backward(&job.second_request(), inputs, returning)?;
    outputs.push((Operand::Ddy, rounded(&job.y_shape, &second.ddy.value)));
    outputs.push((Operand::Dx2, rounded(&job.x.shape, &second.dx2.value)));
    outputs.push((Operand::Dw2, rounded(&job.w.shape, &second.dw2.value)));
    let others = [(Operand::Db2, &job.b, &second.db2), (Operand::Dalpha2, &job.alpha, &second.dalpha2)];
    for (operand, of, gradient) in others {
        outputs.extend(of.as_ref().map(|of| (operand, rounded(&of.shape, &gradient.value))));
    }
    Ok(outputs)
}

impl Elementwise {
    fn request(&self) -> cpu::Elementwise {
        cpu::Elementwise::new(self.rows, self.channels, self.activation).alpha(self.source)
    }
}

fn alone_baseline(job: &Elementwise) -> elbow::Result<Outputs> {
    let (request, x, alpha) = (job.request(), &job.x.values, values(&job.alpha));
    let mut y = Tensor::zeros(&job.x.shape);
    elementwise::forward(&request, x, alpha, &mut y.values)?;
    let mut outputs = vec![(Operand::Y, y)];
    let Some(dy) = &job.dy else { return Ok(outputs) };
    let (mut dx, mut dalpha) = (Tensor::zeros(&job.x.shape), like(&job.alpha));
    elementwise::backward(&request, x, alpha, &dy.values, &mut dx.values, room(&mut dalpha))?;
    outputs.push((Operand::Dx, dx));
    outputs.extend(dalpha.map(|tensor| (Operand::Dalpha, tensor)));
    let Some(ddx) = &job.ddx else { return Ok(outputs) };
    let (mut ddy, mut dx2) = (Tensor::zeros(&job.x.shape), Tensor::zeros(&job.x.shape));
    let mut dalpha2 = like(&job.alpha);
    let results = elementwise::DoubleBackwardOutputs {
        ddy: Some(&mut ddy.values),
        dx2: Some(&mut dx2.values),
        dalpha2: room(&mut dalpha2),
    };
    elementwise::double_backward(&request, x, alpha, &dy.values, &ddx.values, results)?;
    outputs.extend([(Operand::Ddy, ddy), (Operand::Dx2, dx2)]);
    outputs.extend(dalpha2.map(|tensor| (Operand::Dalpha2, tensor)));
    Ok(outputs)
}

fn alone_reference(job: &Elementwise) -> elbow::Result<Outputs> {
    let (request, x, alpha) = (job.request(), &job.x.values, values(&job.alpha));
    let y = reference::elementwise::forward(&request, x, alpha)?;
    let shape = &job.x.shape;
    let mut outputs = vec![(Operand::Y, rounded(shape, &y))];
    let Some(dy) = &job.dy else { return Ok(outputs) };
    let back = reference::elementwise::backward(&request, x, alpha, &dy.values)?;
    outputs.push((Operand::Dx, rounded(shape, &back.dx)));
    if let Some(alpha) = &job.alpha {
        outputs.push((Operand::Dalpha, rounded(&alpha.shape, &back.dalpha.value)));
    }
    let Some(ddx) = &job.ddx else { return Ok(outputs) };
    let double = reference::elementwise::double_backward(&request, x, alpha, &dy.values, &ddx.values)?;
    outputs.push((Operand::Ddy, rounded(shape, &double.ddy)));
    outputs.push((Operand::Dx2, rounded(shape, &double.dx2)));
    if let Some(alpha) = &job.alpha {
        outputs.push((Operand::Dalpha2, rounded(&alpha.shape, &double.dalpha2.value)));
    }
    Ok(outputs)
}
