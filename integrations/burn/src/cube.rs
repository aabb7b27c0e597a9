//! The kernels on the memory of CubeCL's wgpu tensors: Burn's device, queue and buffers, nothing copied.
//!
//! Order is that of the queue. CubeCL collects work in its streams; those that made the operands are flushed, then the layer is submitted, and what Burn does
//! next comes after it.

use std::any::Any;

use burn::backend::{
    DType, FloatDType, IntDType, TensorMetadata,
    ops::{FloatTensorOps, IntTensorOps},
};
use burn_cubecl::{
    CubeBackend,
    cubecl::{
        client::Client,
        wgpu::{AutoCompiler, WgpuResource, WgpuServer},
    },
    kernel::into_contiguous,
    tensor::CubeTensor,
};
use elbow::{Dtype, Error, Gpu, Gradient, Operand, Result, Saved, View, WeightLayout, wgpu};

use crate::{
    device,
    ops::{Choices, Gradients, Kept, Kernels, Operands, Optional, Output, Placed, Wanted, done, kept_shape, y_shape},
};

type B = CubeBackend;

impl Kernels for CubeBackend {
    fn elbow_forward(operands: Operands<Self>, choices: Choices) -> Output<Self> {
        done(forward(operands, &choices))
    }

    fn elbow_backward(
        operands: Operands<Self>,
        kept: Kept<Self>,
        dy: CubeTensor,
        choices: Choices,
        wanted: Wanted,
    ) -> Gradients<Self> {
        done(backward(operands, kept, dy, &choices, wanted))
    }
}

/// y and what is kept, recorded and submitted.
pub(crate) fn forward(operands: Operands<B>, choices: &Choices) -> Result<Output<B>> {
    let gpu = gpu_of(&operands.x)?;
    let operands = Ready::new(operands);
    let y_shape = y_shape(&operands.x.shape(), &operands.logical_w());
    let y = operands.empty(&y_shape);
    let kept = match kept_shape(&y_shape, choices) {
        Some((shape, Saved::Mask)) => Kept::Mask(B::int_empty(shape.into(), &y.device, IntDType::U32)),
        Some((shape, _)) => Kept::Numbers(operands.empty(&shape)),
        None => Kept::Nothing,
    };
    let mut memory = Memory::default();
    let placed = operands.place(&mut memory)?;
    let y_at = memory.of(Operand::Y, &y)?;
    let kept_at = memory.of_kept(&kept)?;
    memory.flush(&y.client)?;
    let placed = placed.at(&memory);
    let layer = placed.layer(choices, memory.view(y_at)).save_to(kept_at.map(|at| memory.view(at)));
    gpu.submit_pass(|pass| layer.record(&gpu, pass))?;
    Ok(Output { y, kept })
}

fn backward(
    operands: Operands<B>,
    kept: Kept<B>,
    dy: CubeTensor,
    choices: &Choices,
    wanted: Wanted,
) -> Result<Gradients<B>> {
    let gpu = gpu_of(&operands.x)?;
    let operands = Ready::new(operands);
    let dy = into_contiguous(dy);
    let y = View::absent(&y_shape(&operands.x.shape(), &operands.logical_w()), dtype(Operand::Y, dy.dtype)?);
    let mut memory = Memory::default();
    let placed = operands.place(&mut memory)?;
    let kept_at = memory.of_kept(&kept)?;
    let dy_at = memory.of(Operand::Dy, &dy)?;
    let mut gradient = |operand, of: Option<&CubeTensor>, wanted: bool| -> Result<Option<(CubeTensor, usize)>> {
        let Some(of) = of.filter(|_| wanted) else { return Ok(None) };
        let dtype = if operand == Operand::Dx { of.dtype.into() } else { FloatDType::F32 };
        let made = B::float_empty(of.shape(), &of.device, dtype);
        let at = memory.of(operand, &made)?;
        Ok(Some((made, at)))
    };
    let [x, w, b, alpha, w_up, b_up] = wanted;
    let dx = gradient(Operand::Dx, Some(&operands.x), x)?;
    let dw = gradient(Operand::Dw, Some(&operands.w), w)?;
    let db = gradient(Operand::Db, operands.b.as_ref(), b)?;
    let dalpha = gradient(Operand::Dalpha, operands.alpha.as_ref(), alpha)?;
    let dw_up = gradient(Operand::DwUp, operands.w_up.as_ref(), w_up)?;
    let db_up = gradient(Operand::DbUp, operands.b_up.as_ref(), b_up)?;
    memory.flush(&dy.client)?;
    let view = |made: &Option<(CubeTensor, usize)>| made.as_ref().map(|&(_, at)| Gradient::overwrite(memory.view(at)));
    let kept = kept_at.map(|at| memory.view(at));
    let placed = placed.at(&memory);
    let layer = match (choices.saved, kept) {
        (Saved::Y, Some(y)) => placed.layer(choices, y),
        (_, kept) => placed.layer(choices, y).save_to(kept),
    };
    let backward = layer.backward(memory.view(dy_at)).dx(view(&dx)).dw(view(&dw)).db(view(&db));
    let backward = backward.dalpha(view(&dalpha)).dw_up(view(&dw_up)).db_up(view(&db_up));
    gpu.submit_pass(|pass| backward.record(&gpu, pass))?;
    // elbow sums the gradients of parameters in f32; Burn's have the type of the parameter.
    let tensor = |made: Option<(CubeTensor, usize)>, of: Option<&CubeTensor>| -> Option<CubeTensor> {
        let ((made, _), of) = (made?, of?);
        Some(if made.dtype == of.dtype { made } else { B::float_cast(made, of.dtype.into()) })
    };
    let weight = |made, of| tensor(made, of).map(|dw| operands.as_weight(dw));
    let Ready { x, w, b, alpha, w_up, b_up, .. } = &operands;
    Ok(Gradients {
        x: tensor(dx, Some(x)).into(),
        w: weight(dw, Some(w)).into(),
        b: tensor(db, b.as_ref()).into(),
        alpha: tensor(dalpha, alpha.as_ref()).into(),
        w_up: weight(dw_up, w_up.as_ref()).into(),
        b_up: tensor(db_up, b_up.as_ref()).into(),
    })
}

/// The operands as kernels take them: rows without gaps. A weight that is a transposed view, `[N, K]` in memory, is taken as it lies; w and `w_up` are then
/// that memory's shape.
struct Ready {
    x: CubeTensor,
    w: CubeTensor,
    b: Option<CubeTensor>,
    alpha: Option<CubeTensor>,
    w_up: Option<CubeTensor>,
    b_up: Option<CubeTensor>,
    layout: WeightLayout,
}

impl Ready {
    fn new(operands: Operands<B>) -> Self {
        let some = |operand: Optional<B>| operand.as_option().cloned();
        let whole = |operand: Optional<B>| some(operand).map(into_contiguous);
        let (w, w_up) = (operands.w, some(operands.w_up));
        let turned = lies_turned(&w) && w_up.as_ref().is_none_or(lies_turned);
        let weight = |w: CubeTensor| if turned { swapped(w) } else { into_contiguous(w) };
        Ready {
            x: into_contiguous(operands.x),
            w: weight(w),
            b: whole(operands.b),
            alpha: whole(operands.alpha),
            w_up: w_up.map(weight),
            b_up: whole(operands.b_up),
            layout: if turned { WeightLayout::OutIn } else { WeightLayout::InOut },
        }
    }

    /// `[K, N]`.
    fn logical_w(&self) -> burn::tensor::Shape {
        let mut shape = self.w.shape();
        if self.layout == WeightLayout::OutIn {
            shape.swap(0, 1);
        }
        shape
    }

    /// A gradient that lies as the weight does, seen as `[K, N]`.
    fn as_weight(&self, dw: CubeTensor) -> CubeTensor {
        if self.layout == WeightLayout::OutIn { swapped(dw) } else { dw }
    }

    /// Memory for a result, in the type of x.
    fn empty(&self, shape: &[usize]) -> CubeTensor {
        B::float_empty(shape.to_vec().into(), &self.x.device, FloatDType::from(self.x.dtype))
    }

    fn place(&self, memory: &mut Memory) -> Result<PlacedAt> {
        let mut some = |operand, tensor: &Option<CubeTensor>| match tensor {
            Some(tensor) => memory.of(operand, tensor).map(Some),
            None => Ok(None),
        };
        let (b, alpha) = (some(Operand::B, &self.b)?, some(Operand::Alpha, &self.alpha)?);
        let (w_up, b_up) = (some(Operand::WUp, &self.w_up)?, some(Operand::BUp, &self.b_up)?);
        let (x, w) = (memory.of(Operand::X, &self.x)?, memory.of(Operand::W, &self.w)?);
        Ok(PlacedAt { x, w, b, alpha, w_up, b_up, layout: self.layout })
    }
}

/// Whether a matrix is the transposed view of one without gaps.
fn lies_turned(w: &CubeTensor) -> bool {
    !w.is_contiguous() && !w.meta.is_tiled() && swapped(w.clone()).is_contiguous()
}

/// The same memory with both dimensions swapped.
fn swapped(mut matrix: CubeTensor) -> CubeTensor {
    matrix.meta.swap(0, 1);
    matrix
}

/// Where the operands are in a [`Memory`].
struct PlacedAt {
    x: usize,
    w: usize,
    b: Option<usize>,
    alpha: Option<usize>,
    w_up: Option<usize>,
    b_up: Option<usize>,
    layout: WeightLayout,
}

impl PlacedAt {
    fn at<'a>(&self, memory: &'a Memory) -> Placed<'a> {
        let some = |at: Option<usize>| at.map(|at| memory.view(at));
        Placed {
            x: memory.view(self.x),
            w: memory.view(self.w),
            b: some(self.b),
            alpha: some(self.alpha),
            w_up: some(self.w_up),
            b_up: some(self.b_up),
            layout: self.layout,
        }
    }
}

/// Buffers and places of the tensors of one call. As long as it is there CubeCL gives none of that memory to anything else.
#[derive(Default)]
struct Memory {
    held: Vec<Held>,
}

struct Held {
    /// CubeCL's promise that the memory stays.
    _resource: Box<dyn Any>,
    tensor: CubeTensor,
    buffer: wgpu::Buffer,
    offset: u64,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Memory {
    /// Finds the memory of a tensor without gaps, and its number in here.
    fn of(&mut self, operand: Operand, tensor: &CubeTensor) -> Result<usize> {
        let dtype = dtype(operand, tensor.dtype)?;
        let resource = tensor
            .client
            .get_resource::<WgpuServer<AutoCompiler>>(tensor.handle.clone())
            .map_err(|error| failed(format!("the memory of {operand}"), error))?;
        let WgpuResource { buffer, offset, .. } = resource.resource().clone();
        let shape = tensor.shape().iter().copied().collect();
        let tensor = tensor.clone();
        self.held.push(Held { _resource: Box::new(resource), tensor, buffer, offset, shape, dtype });
        Ok(self.held.len() - 1)
    }

    fn of_kept(&mut self, kept: &Kept<B>) -> Result<Option<usize>> {
        match kept {
            Kept::Numbers(tensor) | Kept::Mask(tensor) => self.of(Operand::Saved, tensor).map(Some),
            Kept::Nothing => Ok(None),
        }
    }

    /// Sends what CubeCL has collected to the queue: the work of each stream that an operand comes from, and of this thread's. (In CubeCL 0.11.3
    /// asking for the memory does so already; it is not promised.)
    fn flush(&self, client: &Client) -> Result<()> {
        let mut flushed = Vec::new();
        for stream in self.held.iter().map(|held| held.tensor.handle.stream) {
            if !flushed.contains(&stream) {
                flushed.push(stream);
                stream.executes(|| client.flush()).map_err(|error| failed("work before the layer".into(), error))?;
            }
        }
        Ok(())
    }

    fn view(&self, at: usize) -> View<'_> {
        let Held { buffer, offset, shape, dtype, .. } = &self.held[at];
        View::new(buffer, *offset, shape, *dtype)
    }
}

fn failed(what: String, error: impl core::fmt::Display) -> Error {
    Error::Unsupported { what, why: format!("CubeCL says: {error}") }
}

/// elbow's type for one of Burn's.
pub(crate) fn dtype(operand: Operand, dtype: DType) -> Result<Dtype> {
    match dtype {
        DType::F32 => Ok(Dtype::F32),
        DType::F16 => Ok(Dtype::F16),
        DType::BF16 => Ok(Dtype::BF16),
        DType::U32 => Ok(Dtype::U32),
        other => Err(Error::Operand { operand, expected: "f32, f16 or bf16".into(), got: format!("{other:?}") }),
    }
}

fn gpu_of(x: &CubeTensor) -> Result<Gpu> {
    let refused = |why: &str| Error::Unsupported { what: format!("an elbow layer on {:?}", x.device), why: why.into() };
    if x.client.is_capturing() {
        return Err(refused("Burn records a graph, which would not have the layer in it"));
    }
    device::of(x.device.to_id()).ok_or_else(|| refused("elbow does not know the device"))
}
