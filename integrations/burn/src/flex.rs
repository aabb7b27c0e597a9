//! The kernels on Burn's CPU backend: elbow-cpu on the memory of Flex's tensors, f32.

use burn::{
    backend::{DType, Flex, TensorMetadata, flex::FlexTensor},
    tensor::{Shape, TensorData},
};
use elbow::{
    Error, Operand, Result, Saved, Want, WeightLayout,
    request::{AffineRequest, AlphaSource, BackwardRequest, Gradients as Wants},
};
use elbow_cpu::{BackwardInputs, BackwardOutputs, ForwardInputs, ForwardOutputs, SavedIn, SavedOut, Workspace};

use crate::ops::{Choices, Gradients, Kept, Kernels, Operands, Optional, Output, Wanted, done, kept_shape, y_shape};

impl Kernels for Flex {
    fn elbow_forward(operands: Operands<Self>, choices: Choices) -> Output<Self> {
        done(forward(&Ready::new(operands), &choices))
    }

    fn elbow_backward(
        operands: Operands<Self>,
        kept: Kept<Self>,
        dy: FlexTensor,
        choices: Choices,
        wanted: Wanted,
    ) -> Gradients<Self> {
        done(backward(&Ready::new(operands), &kept, &dy.to_contiguous(), &choices, wanted))
    }
}

fn forward(operands: &Ready, choices: &Choices) -> Result<Output<Flex>> {
    let shape = y_shape(&operands.x.shape(), &operands.w.shape());
    let kept = kept_shape(&shape, choices);
    let of_kept = kept.as_ref().map_or(0, |(shape, _)| shape.iter().product());
    let (mut y, mut z, mut mask) = (vec![0.0; shape.iter().product()], Vec::new(), Vec::new());
    let saved = match choices.saved {
        Saved::Z => {
            z.resize(of_kept, 0.0);
            SavedOut::Z(&mut z)
        }
        Saved::Mask => {
            mask.resize(of_kept, 0);
            SavedOut::Mask(&mut mask)
        }
        Saved::Auto | Saved::Y | Saved::None => SavedOut::None,
    };
    let inputs = ForwardInputs::new(numbers(Operand::X, &operands.x)?, numbers(Operand::W, &operands.w)?)
        .b(some(Operand::B, &operands.b)?)
        .alpha(some(Operand::Alpha, &operands.alpha)?)
        .w_up(some(Operand::WUp, &operands.w_up)?)
        .b_up(some(Operand::BUp, &operands.b_up)?);
    elbow_cpu::forward(&operands.request(choices), inputs, ForwardOutputs { y: &mut y, saved, ..Default::default() })?;
    let kept = match kept {
        Some((shape, Saved::Mask)) => Kept::Mask(FlexTensor::from_data(TensorData::new(mask, shape))),
        Some((shape, _)) => Kept::Numbers(FlexTensor::from_data(TensorData::new(z, shape))),
        None => Kept::Nothing,
    };
    Ok(Output { y: FlexTensor::from_data(TensorData::new(y, shape)), kept })
}

fn backward(
    operands: &Ready,
    kept: &Kept<Flex>,
    dy: &FlexTensor,
    choices: &Choices,
    wanted: Wanted,
) -> Result<Gradients<Flex>> {
    let saved = match (choices.saved, kept) {
        (Saved::Y, Kept::Numbers(y)) => SavedIn::Y(numbers(Operand::Saved, y)?),
        (_, Kept::Numbers(z)) => SavedIn::Z(numbers(Operand::Saved, z)?),
        (_, Kept::Mask(mask)) => SavedIn::Mask(mask.as_slice().ok_or_else(|| gaps(Operand::Saved, mask))?),
        (_, Kept::Nothing) => SavedIn::None,
    };
    let inputs = BackwardInputs {
        x: numbers(Operand::X, &operands.x)?,
        w: numbers(Operand::W, &operands.w)?,
        b: some(Operand::B, &operands.b)?,
        alpha: some(Operand::Alpha, &operands.alpha)?,
        w_up: some(Operand::WUp, &operands.w_up)?,
        b_up: some(Operand::BUp, &operands.b_up)?,
        dy: numbers(Operand::Dy, dy)?,
        saved,
        ..Default::default()
    };
    let made = |of: Option<&FlexTensor>, wanted: bool| {
        of.filter(|_| wanted).map(|of| (vec![0.0f32; of.shape().num_elements()], of.shape()))
    };
    let [x, w, b, alpha, w_up, b_up] = wanted;
    let (mut dx, mut dw) = (made(Some(&operands.x), x), made(Some(&operands.w), w));
    let (mut db, mut dalpha) = (made(operands.b.as_ref(), b), made(operands.alpha.as_ref(), alpha));
    let (mut dw_up, mut db_up) = (made(operands.w_up.as_ref(), w_up), made(operands.b_up.as_ref(), b_up));
    let want = |made: &Option<_>| if made.is_some() { Want::Overwrite } else { Want::No };
    let wants = Wants::default().x(want(&dx)).w(want(&dw)).b(want(&db));
    let wants = wants.alpha(want(&dalpha)).w_up(want(&dw_up)).b_up(want(&db_up));
    let request = BackwardRequest::new(operands.request(choices), wants);
    let outputs = BackwardOutputs {
        dx: memory(&mut dx),
        dw: memory(&mut dw),
        db: memory(&mut db),
        dalpha: memory(&mut dalpha),
        dw_up: memory(&mut dw_up),
        db_up: memory(&mut db_up),
        ..Default::default()
    };
    elbow_cpu::backward(&request, inputs, outputs, &mut Workspace::new())?;
    let tensor = |made: Option<(Vec<f32>, Shape)>| -> Optional<Flex> {
        made.map(|(values, shape)| FlexTensor::from_data(TensorData::new(values, shape))).into()
    };
    Ok(Gradients {
        x: tensor(dx),
        w: tensor(dw),
        b: tensor(db),
        alpha: tensor(dalpha),
        w_up: tensor(dw_up),
        b_up: tensor(db_up),
    })
}

fn memory(made: &mut Option<(Vec<f32>, Shape)>) -> Option<&mut [f32]> {
    made.as_mut().map(|(values, _)| &mut values[..])
}

/// The operands without gaps.
struct Ready {
    x: FlexTensor,
    w: FlexTensor,
    b: Option<FlexTensor>,
    alpha: Option<FlexTensor>,
    w_up: Option<FlexTensor>,
    b_up: Option<FlexTensor>,
}

impl Ready {
    fn new(operands: Operands<Flex>) -> Self {
        let whole = |operand: Optional<Flex>| operand.as_option().map(FlexTensor::to_contiguous);
        Ready {
            x: operands.x.to_contiguous(),
            w: operands.w.to_contiguous(),
            b: whole(operands.b),
            alpha: whole(operands.alpha),
            w_up: whole(operands.w_up),
            b_up: whole(operands.b_up),
        }
    }

    fn request(&self, choices: &Choices) -> AffineRequest {
        let ([k, n], x) = (self.w.shape().dims(), self.x.shape());
        let alpha = match &self.alpha {
            Some(alpha) if alpha.shape().num_elements() == 1 => AlphaSource::PerLayer,
            Some(_) => AlphaSource::PerChannel,
            None => AlphaSource::Constant,
        };
        let m = x.iter().take(x.num_dims() - 1).product();
        AffineRequest::new(m, n, k, choices.activation)
            .layout(WeightLayout::InOut)
            .bias(self.b.is_some())
            .alpha(alpha)
            .gate(choices.gate)
            .saved(choices.saved)
    }
}

fn numbers(operand: Operand, tensor: &FlexTensor) -> Result<&[f32]> {
    match tensor.dtype() {
        DType::F32 => tensor.as_slice().ok_or_else(|| gaps(operand, tensor)),
        got => Err(Error::Operand { operand, expected: "f32 on the CPU".into(), got: format!("{got:?}") }),
    }
}

fn some(operand: Operand, tensor: &Option<FlexTensor>) -> Result<Option<&[f32]>> {
    tensor.as_ref().map(|tensor| numbers(operand, tensor)).transpose()
}

fn gaps(operand: Operand, tensor: &FlexTensor) -> Error {
    Error::Operand { operand, expected: "memory without gaps".into(), got: format!("{tensor:?}") }
}
