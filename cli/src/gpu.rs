//! A job on the GPU: upload, record everything, submit once, download.

use elbow::{
    Gpu, Operand, Saved, Tensor as DeviceTensor,
    affine::{self, Gradient},
    elementwise,
};

use crate::{
    failure::Failure,
    file::Tensor,
    job::{Elementwise, Fused, Job, Outputs},
};

/// Runs the job on the adapter that elbow chooses.
pub(crate) fn run(job: &Job) -> Result<Outputs, Failure> {
    let gpu = Gpu::new()?;
    match job {
        Job::Fused(job) => fused(&gpu, job),
        Job::Elementwise(job) => alone(&gpu, job),
    }
    .map_err(Failure::from)
}

fn upload(gpu: &Gpu, tensor: &Option<Tensor>) -> elbow::Result<Option<DeviceTensor>> {
    tensor.as_ref().map(|t| gpu.upload(&t.values, &t.shape)).transpose()
}

fn zeros_like(gpu: &Gpu, tensor: &Option<Tensor>, wanted: bool) -> elbow::Result<Option<DeviceTensor>> {
    tensor.as_ref().filter(|_| wanted).map(|t| gpu.zeros(&t.shape)).transpose()
}

fn gradient(tensor: &Option<DeviceTensor>) -> Option<Gradient<'_>> {
    tensor.as_ref().and_then(Gradient::overwrite)
}

/// Downloads those that are there, in order.
fn collect(gpu: &Gpu, tensors: &[(Operand, &Option<DeviceTensor>)]) -> elbow::Result<Outputs> {
    let mut outputs = Outputs::new();
    for (operand, tensor) in tensors {
        if let Some(tensor) = tensor {
            outputs.push((*operand, Tensor { shape: tensor.shape().to_vec(), values: gpu.download(tensor)? }));
        }
    }
    Ok(outputs)
}

fn fused(gpu: &Gpu, job: &Fused) -> elbow::Result<Outputs> {
    let request = &job.request;
    let x = gpu.upload(&job.x.values, &job.x.shape)?;
    let w = gpu.upload(&job.w.values, &job.w.shape)?;
    let (b, alpha) = (upload(gpu, &job.b)?, upload(gpu, &job.alpha)?);
    let (residual, dy) = (upload(gpu, &job.residual)?, upload(gpu, &job.dy)?);
    let y = gpu.zeros(&job.y_shape)?;
    let saved = match request.saved {
        Saved::Z => Some(gpu.zeros(&job.y_shape)?),
        Saved::Mask => Some(gpu.zeros(&[request.m, request.n.div_ceil(32)])?),
        _ => None,
    };
    let back = dy.is_some();
    let dx = back.then(|| gpu.zeros(&job.x.shape)).transpose()?;
    let dw = back.then(|| gpu.zeros(&job.w.shape)).transpose()?;
    let db = zeros_like(gpu, &job.b, back)?;
    let dalpha = zeros_like(gpu, &job.alpha, back)?;
    let dresidual = zeros_like(gpu, &job.residual, back)?;

    let forward = affine::Forward {
        layout: request.layout,
        saved: request.saved,
        b: b.as_ref().map(DeviceTensor::view),
        alpha: alpha.as_ref().map(DeviceTensor::view),
        residual: residual.as_ref().map(DeviceTensor::view),
        save_to: saved.as_ref().map(DeviceTensor::view),
        ..affine::Forward::new(request.activation, &x, &w, &y)
    };
    let backward = dy.as_ref().map(|dy| affine::Backward {
        layout: request.layout,
        residual: residual.is_some(),
        x: Some(x.view()),
        w: Some(w.view()),
        b: forward.b,
        alpha: forward.alpha,
        saved_from: if request.saved == Saved::Y { Some(y.view()) } else { forward.save_to },
        dx: gradient(&dx),
        dw: gradient(&dw),
        db: gradient(&db),
        dalpha: gradient(&dalpha),
        dresidual: gradient(&dresidual),
        road: job.road,
        ..affine::Backward::new(request.activation, request.saved, dy)
    });
    gpu.submit_pass(|pass| {
        forward.record(gpu, &mut *pass)?;
        backward.map_or(Ok(()), |backward| backward.record(gpu, &mut *pass))
    })?;
    let y = Some(y);
    let (dresidual, results) = (
        (Operand::Dresidual, &dresidual),
        [(Operand::Y, &y), (Operand::Dx, &dx), (Operand::Dw, &dw), (Operand::Db, &db), (Operand::Dalpha, &dalpha)],
    );
    let mut outputs = collect(gpu, &results)?;
    outputs.extend(collect(gpu, &[dresidual])?);
    Ok(outputs)
}

fn alone(gpu: &Gpu, job: &Elementwise) -> elbow::Result<Outputs> {
    let x = gpu.upload(&job.x.values, &job.x.shape)?;
    let (dy, ddx) = (upload(gpu, &job.dy)?, upload(gpu, &job.ddx)?);
    // One element may have come in any shape; the operator wants [1] or [C].
    let flat = job.alpha.as_ref().map(|a| Tensor { shape: vec![a.values.len()], values: a.values.clone() });
    let alpha = upload(gpu, &flat)?;
    let y = Some(gpu.zeros(&job.x.shape)?);
    let like_x = |wanted: bool| wanted.then(|| gpu.zeros(&job.x.shape)).transpose();
    let (back, twice) = (dy.is_some(), ddx.is_some());
    let (dx, ddy, dx2) = (like_x(back)?, like_x(twice)?, like_x(twice)?);
    let (dalpha, dalpha2) = (zeros_like(gpu, &flat, back)?, zeros_like(gpu, &flat, twice)?);

    let alpha = alpha.as_ref().map(DeviceTensor::view);
    gpu.submit_pass(|pass| {
        if let Some(y) = &y {
            let forward = elementwise::Forward { alpha, ..elementwise::Forward::new(job.activation, &x, y) };
            forward.record(gpu, &mut *pass)?;
        }
        let Some(dy) = &dy else { return Ok(()) };
        let backward = elementwise::Backward {
            alpha,
            dx: gradient(&dx),
            dalpha: gradient(&dalpha),
            ..elementwise::Backward::new(job.activation, &x, dy)
        };
        backward.record(gpu, &mut *pass)?;
        let Some(ddx) = &ddx else { return Ok(()) };
        let double = elementwise::DoubleBackward {
            alpha,
            ddy: gradient(&ddy),
            dx2: gradient(&dx2),
            dalpha2: gradient(&dalpha2),
            ..elementwise::DoubleBackward::new(job.activation, &x, dy, ddx)
        };
        double.record(gpu, &mut *pass)
    })?;
    let results = [
        (Operand::Y, &y),
        (Operand::Dx, &dx),
        (Operand::Dalpha, &dalpha),
        (Operand::Ddy, &ddy),
        (Operand::Dx2, &dx2),
        (Operand::Dalpha2, &dalpha2),
    ];
    let mut outputs = collect(gpu, &results)?;
    for (operand, tensor) in &mut outputs {
        if let (Operand::Dalpha | Operand::Dalpha2, Some(alpha)) = (*operand, &job.alpha) {
            tensor.shape.clone_from(&alpha.shape);
        }
    }
    Ok(outputs)
}
