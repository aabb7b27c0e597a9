//! A job on the GPU: uploads each operand in its own type, records everything, submits once and downloads.

use elbow::{
    Gpu, Operand, Tensor as DeviceTensor,
    affine::{self, Gradient},
    elementwise,
};

use crate::{
    failure::Failure,
    file::Tensor,
    job::{Elementwise, Fused, Job, Outputs, dtype_beside},
    tuning::Tuning,
};

/// Runs the job on the adapter that elbow chooses.
pub(crate) fn run(job: &Job, tuning: &Tuning) -> Result<Outputs, Failure> {
    let gpu = tuning.open(elbow::Options::default())?;
    match job {
        Job::Fused(job) => fused(&gpu, job),
        Job::Elementwise(job) => alone(&gpu, job),
    }
    .map_err(Failure::from)
}

fn upload(gpu: &Gpu, tensor: &Option<Tensor>) -> elbow::Result<Option<DeviceTensor>> {
    tensor.as_ref().map(|t| gpu.upload_as(t.dtype, &t.values, &t.shape)).transpose()
}

/// A tensor for an output of a job with this x, in the shape of `tensor`, if there is one.
fn room(
    gpu: &Gpu,
    x: &Tensor,
    output: Operand,
    tensor: Option<&Tensor>,
    wanted: bool,
) -> elbow::Result<Option<DeviceTensor>> {
    let tensor = tensor.filter(|_| wanted);
    tensor.map(|tensor| gpu.zeros_of(dtype_beside(x, output), &tensor.shape)).transpose()
}

fn gradient(tensor: &Option<DeviceTensor>) -> Option<Gradient<'_>> {
    tensor.as_ref().map(Gradient::overwrite)
}

/// Downloads the outputs that exist, in order.
fn collect(gpu: &Gpu, x: &Tensor, tensors: &[(Operand, &Option<DeviceTensor>)]) -> elbow::Result<Outputs> {
    let mut outputs = Outputs::new();
    for (operand, tensor) in tensors {
        if let Some(tensor) = tensor {
            let values = gpu.download(tensor)?;
            let (shape, dtype) = (tensor.shape().to_vec(), dtype_beside(x, *operand));
            outputs.push((*operand, Tensor { shape, values, dtype }));
        }
    }
    Ok(outputs)
}

fn fused(gpu: &Gpu, job: &Fused) -> elbow::Result<Outputs> {
    let request = &job.request;
    let x = gpu.upload_as(job.x.dtype, &job.x.values, &job.x.shape)?;
    let w = gpu.upload_as(job.w.dtype, &job.w.values, &job.w.shape)?;
    let (b, alpha) = (upload(gpu, &job.b)?, upload(gpu, &job.alpha)?);
    let (residual, dy) = (upload(gpu, &job.residual)?, upload(gpu, &job.dy)?);
    let y = gpu.zeros_of(dtype_beside(&job.x, Operand::Y), &job.y_shape)?;
    let back = dy.is_some();
    let room = |output, of| room(gpu, &job.x, output, of, back);
    let (dx, dw) = (room(Operand::Dx, Some(&job.x))?, room(Operand::Dw, Some(&job.w))?);
    let db = room(Operand::Db, job.b.as_ref())?;
    let dalpha = room(Operand::Dalpha, job.alpha.as_ref())?;
    let dresidual = room(Operand::Dresidual, job.residual.as_ref())?;
    let ddx = upload(gpu, &job.ddx)?;
    let room = |output, of: Option<&Tensor>| self::room(gpu, &job.x, output, of, ddx.is_some());
    let (ddy, dx2, dw2) =
        (room(Operand::Ddy, job.dy.as_ref())?, room(Operand::Dx2, Some(&job.x))?, room(Operand::Dw2, Some(&job.w))?);
    let (db2, dalpha2) = (room(Operand::Db2, job.b.as_ref())?, room(Operand::Dalpha2, job.alpha.as_ref())?);

    let forward = affine::Forward::new(request.activation, &x, &w, &y)
        .layout(request.layout)
        .saved(request.saved)
        .b(b.as_ref().map(DeviceTensor::view))
        .alpha(alpha.as_ref().map(DeviceTensor::view))
        .residual(residual.as_ref().map(DeviceTensor::view));
    let saved = forward.saved_shape()?.map(|(shape, dtype)| gpu.zeros_of(dtype, &shape)).transpose()?;
    let forward = forward.save_to(saved.as_ref().map(DeviceTensor::view));
    let backward = dy.as_ref().map(|dy| {
        let backward = forward.backward(dy).dx(gradient(&dx)).dw(gradient(&dw)).db(gradient(&db));
        backward.dalpha(gradient(&dalpha)).dresidual(gradient(&dresidual)).strategy(job.strategy)
    });
    let second = dy.as_ref().zip(ddx.as_ref()).map(|(dy, ddx)| {
        let second = forward.double_backward(dy).ddx(ddx.view()).ddy(gradient(&ddy)).dx2(gradient(&dx2));
        second.dw2(gradient(&dw2)).db2(gradient(&db2)).dalpha2(gradient(&dalpha2))
    });
    gpu.submit_pass(|pass| {
        forward.record(gpu, &mut *pass)?;
        backward.map_or(Ok(()), |backward| backward.record(gpu, &mut *pass))?;
        second.map_or(Ok(()), |second| second.record(gpu, &mut *pass))
    })?;
    let results = [
        (Operand::Y, &Some(y)),
        (Operand::Dx, &dx),
        (Operand::Dw, &dw),
        (Operand::Db, &db),
        (Operand::Dalpha, &dalpha),
        (Operand::Dresidual, &dresidual),
        (Operand::Ddy, &ddy),
        (Operand::Dx2, &dx2),
        (Operand::Dw2, &dw2),
        (Operand::Db2, &db2),
        (Operand::Dalpha2, &dalpha2),
    ];
    collect(gpu, &job.x, &results)
}

/// y of the last of these layers, each of which has the y before as its x: one submission, nothing leaves the device in between.
pub(crate) fn chain(jobs: &[Fused], tuning: &Tuning) -> Result<Outputs, Failure> {
    let gpu = tuning.open(elbow::Options::default())?;
    let Some((first, last)) = jobs.first().zip(jobs.last()) else { return Ok(Outputs::new()) };
    let mut below = gpu.upload_as(first.x.dtype, &first.x.values, &first.x.shape)?;
    let mut calls = Vec::with_capacity(jobs.len());
    for job in jobs {
        let w = gpu.upload_as(job.w.dtype, &job.w.values, &job.w.shape)?;
        let (b, alpha) = (upload(&gpu, &job.b)?, upload(&gpu, &job.alpha)?);
        let y = gpu.zeros_of(first.x.dtype, &job.y_shape)?;
        let forward = affine::Forward::new(job.request.activation, &below, &w, &y)
            .layout(job.request.layout)
            .saved(job.request.saved)
            .b(b.as_ref().map(DeviceTensor::view))
            .alpha(alpha.as_ref().map(DeviceTensor::view));
        calls.push(forward.prepare(&gpu)?);
        below = y;
    }
    gpu.submit_pass(|pass| calls.iter().try_for_each(|call| call.record(&mut *pass)))?;
    Ok(collect(&gpu, &last.x, &[(Operand::Y, &Some(below))])?)
}

fn alone(gpu: &Gpu, job: &Elementwise) -> elbow::Result<Outputs> {
    let x = gpu.upload_as(job.x.dtype, &job.x.values, &job.x.shape)?;
    let (dy, ddx) = (upload(gpu, &job.dy)?, upload(gpu, &job.ddx)?);
    // One element may have any shape in the file; the call takes [1] or [C].
    let flat = job.alpha.as_ref().map(|a| Tensor { shape: vec![a.values.len()], ..a.clone() });
    let alpha = upload(gpu, &flat)?;
    let (back, twice) = (dy.is_some(), ddx.is_some());
    let like_x = |output, wanted| room(gpu, &job.x, output, Some(&job.x), wanted);
    let like_alpha = |output, wanted| room(gpu, &job.x, output, flat.as_ref(), wanted);
    let y = gpu.zeros_of(dtype_beside(&job.x, Operand::Y), &job.x.shape)?;
    let dx = like_x(Operand::Dx, back)?;
    let (ddy, dx2) = (like_x(Operand::Ddy, twice)?, like_x(Operand::Dx2, twice)?);
    let (dalpha, dalpha2) = (like_alpha(Operand::Dalpha, back)?, like_alpha(Operand::Dalpha2, twice)?);

    let alpha = alpha.as_ref().map(DeviceTensor::view);
    let forward = elementwise::Forward::new(job.activation, &x, &y).alpha(alpha);
    gpu.submit_pass(|pass| {
        forward.record(gpu, &mut *pass)?;
        let Some(dy) = &dy else { return Ok(()) };
        let backward = forward.backward(dy).dx(gradient(&dx)).dalpha(gradient(&dalpha));
        backward.record(gpu, &mut *pass)?;
        let Some(ddx) = &ddx else { return Ok(()) };
        let double = backward.backward(ddx).ddy(gradient(&ddy)).dx2(gradient(&dx2)).dalpha2(gradient(&dalpha2));
        double.record(gpu, &mut *pass)
    })?;
    let y = Some(y);
    let results = [
        (Operand::Y, &y),
        (Operand::Dx, &dx),
        (Operand::Dalpha, &dalpha),
        (Operand::Ddy, &ddy),
        (Operand::Dx2, &dx2),
        (Operand::Dalpha2, &dalpha2),
    ];
    let mut outputs = collect(gpu, &job.x, &results)?;
    for (operand, tensor) in &mut outputs {
        if let (Operand::Dalpha | Operand::Dalpha2, Some(alpha)) = (*operand, &job.alpha) {
            tensor.shape.clone_from(&alpha.shape);
        }
    }
    Ok(outputs)
}
