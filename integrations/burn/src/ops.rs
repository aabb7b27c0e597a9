//! What a backend of Burn does for a layer: forward, with what is kept, and backward. Burn's macros make from it the operators on `Dispatch` and the
//! lazy ones of `Fusion`.

use burn::backend::{
    Backend, DType, ExtensionType, Shape, backend_extension,
    fusion::custom::TensorSpec,
    tensor::{FloatTensor, IntTensor},
};
use elbow::{Activation, Gate, Result, Saved, View, WeightLayout, affine::Forward};

/// A tensor that a layer may have.
#[derive(ExtensionType, Debug, Clone)]
#[extension_type(fusion)]
pub(crate) enum Optional<B: Backend> {
    /// It has it.
    Given(FloatTensor<B>),
    /// It has none.
    Absent,
}

/// The operands of a layer; `w` and `w_up` are `[K, N]`.
#[derive(ExtensionType, Debug, Clone)]
#[extension_type(fusion)]
pub(crate) struct Operands<B: Backend> {
    /// Input `[.., K]`.
    pub(crate) x: FloatTensor<B>,
    /// Weight, of the gate if there is one.
    pub(crate) w: FloatTensor<B>,
    /// Bias `[N]`.
    #[extension_type]
    pub(crate) b: Optional<B>,
    /// Learnable α, `[1]` or `[N]`.
    #[extension_type]
    pub(crate) alpha: Optional<B>,
    /// Weight of what the gate lets through.
    #[extension_type]
    pub(crate) w_up: Optional<B>,
    /// Its bias `[N]`.
    #[extension_type]
    pub(crate) b_up: Optional<B>,
}

/// What forward leaves for backward.
#[derive(ExtensionType, Debug, Clone)]
#[extension_type(fusion)]
pub(crate) enum Kept<B: Backend> {
    /// z or y.
    Numbers(FloatTensor<B>),
    /// One bit an element.
    Mask(IntTensor<B>),
    /// Nothing: z is computed again, or y is enough.
    Nothing,
}

/// What forward returns.
#[derive(ExtensionType, Debug, Clone)]
#[extension_type(fusion)]
pub(crate) struct Output<B: Backend> {
    /// Output `[.., N]`.
    pub(crate) y: FloatTensor<B>,
    /// What is kept besides y.
    #[extension_type]
    pub(crate) kept: Kept<B>,
}

/// The gradients that were asked for, each shaped as its operand.
#[derive(ExtensionType, Debug, Clone)]
#[extension_type(fusion)]
pub(crate) struct Gradients<B: Backend> {
    /// dx.
    #[extension_type]
    pub(crate) x: Optional<B>,
    /// dW.
    #[extension_type]
    pub(crate) w: Optional<B>,
    /// db.
    #[extension_type]
    pub(crate) b: Optional<B>,
    /// dα.
    #[extension_type]
    pub(crate) alpha: Optional<B>,
    /// dW of up.
    #[extension_type]
    pub(crate) w_up: Optional<B>,
    /// db of up.
    #[extension_type]
    pub(crate) b_up: Optional<B>,
}

/// The choices of a layer, all but its operands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choices {
    /// act.
    pub(crate) activation: Activation,
    /// Whether the layer is a gated unit of two weights.
    pub(crate) gate: Option<Gate>,
    /// What is kept for backward, decided.
    pub(crate) saved: Saved,
}

/// For each operand, in the order of [`Operands`], whether its gradient is wanted.
pub(crate) type Wanted = [bool; 6];

/// A layer's kernels on one backend, without gradients of its own.
#[backend_extension(Cube, Flex: cfg(feature = "flex"), Fusion)]
pub(crate) trait Kernels: Backend {
    /// y, and what the choices keep.
    #[fusion(meta = output_of)]
    fn elbow_forward(#[extension_type] operands: Operands<Self>, choices: Choices) -> Output<Self>;

    /// The gradients that are wanted, from dy `[.., N]` and what was kept (y too, if y is what was kept).
    #[fusion(meta = gradients_of)]
    fn elbow_backward(
        #[extension_type] operands: Operands<Self>,
        #[extension_type] kept: Kept<Self>,
        dy: FloatTensor<Self>,
        choices: Choices,
        wanted: Wanted,
    ) -> Gradients<Self>;
}

/// A layer as an operator: with gradients on `Autodiff`, without on the backends themselves.
#[backend_extension(Cube, Flex: cfg(feature = "flex"), Autodiff)]
pub(crate) trait LayerOps: Backend {
    /// y `[.., N]`.
    fn elbow_layer(#[extension_type] operands: Operands<Self>, choices: Choices) -> FloatTensor<Self>;
}

/// y of [`Kernels::elbow_forward`], with nothing kept.
#[cfg(feature = "flex")]
impl LayerOps for burn::backend::Flex {
    fn elbow_layer(operands: Operands<Self>, choices: Choices) -> FloatTensor<Self> {
        Self::elbow_forward(operands, Choices { saved: Saved::None, ..choices }).y
    }
}

/// y of [`Kernels::elbow_forward`], with nothing kept.
impl LayerOps for burn::backend::Cube {
    fn elbow_layer(operands: Operands<Self>, choices: Choices) -> FloatTensor<Self> {
        Self::elbow_forward(operands, Choices { saved: Saved::None, ..choices }).y
    }
}

/// Shapes and types of what forward returns.
fn output_of(operands: &OperandsMetadata, choices: &Choices) -> OutputMetadata {
    let (y, dtype) = (y_shape(&operands.x.shape, &operands.w.shape), operands.x.dtype);
    let kept = match kept_shape(&y, choices) {
        Some((shape, Saved::Mask)) => KeptMetadata::Mask(TensorSpec::new(shape.into(), DType::U32)),
        Some((shape, _)) => KeptMetadata::Numbers(TensorSpec::new(shape.into(), dtype)),
        None => KeptMetadata::Nothing,
    };
    OutputMetadata { y: TensorSpec::new(y.into(), dtype), kept }
}

/// Those of the gradients.
fn gradients_of(
    operands: &OperandsMetadata,
    _: &KeptMetadata,
    _: &TensorSpec,
    _: &Choices,
    wanted: &Wanted,
) -> GradientsMetadata {
    let like = |operand: &TensorSpec, wanted| match wanted {
        true => OptionalMetadata::Given(operand.clone()),
        false => OptionalMetadata::Absent,
    };
    let of = |operand: &OptionalMetadata, wanted| match operand {
        OptionalMetadata::Given(operand) => like(operand, wanted),
        OptionalMetadata::Absent => OptionalMetadata::Absent,
    };
    let [x, w, b, alpha, w_up, b_up] = *wanted;
    GradientsMetadata {
        x: like(&operands.x, x),
        w: like(&operands.w, w),
        b: of(&operands.b, b),
        alpha: of(&operands.alpha, alpha),
        w_up: of(&operands.w_up, w_up),
        b_up: of(&operands.b_up, b_up),
    }
}

/// y `[.., N]` of x `[.., K]` and w `[K, N]`.
pub(crate) fn y_shape(x: &Shape, w: &Shape) -> Vec<usize> {
    let mut shape: Vec<usize> = x.iter().copied().collect();
    if let (Some(last), Some(&n)) = (shape.last_mut(), w.iter().last()) {
        *last = n;
    }
    shape
}

/// Shape of what is kept besides y: z, of a gated unit both numbers of each, or the bits.
pub(crate) fn kept_shape(y: &[usize], choices: &Choices) -> Option<(Vec<usize>, Saved)> {
    let (&n, rows) = y.split_last()?;
    let columns = match choices.saved {
        Saved::Z if choices.gate.is_some() => 2 * n,
        Saved::Z => n,
        Saved::Mask => n.div_ceil(32),
        Saved::Auto | Saved::Y | Saved::None => return None,
    };
    Some(([rows, &[columns]].concat(), choices.saved))
}

impl<B: Backend> Optional<B> {
    /// As std has it.
    pub(crate) fn as_option(&self) -> Option<&FloatTensor<B>> {
        match self {
            Optional::Given(tensor) => Some(tensor),
            Optional::Absent => None,
        }
    }
}

impl<B: Backend> From<Option<FloatTensor<B>>> for Optional<B> {
    fn from(tensor: Option<FloatTensor<B>>) -> Self {
        tensor.map_or(Optional::Absent, Optional::Given)
    }
}

/// The operands as elbow sees them, once they lie where `V` says.
pub(crate) struct Placed<'a> {
    pub(crate) x: View<'a>,
    pub(crate) w: View<'a>,
    pub(crate) b: Option<View<'a>>,
    pub(crate) alpha: Option<View<'a>>,
    pub(crate) w_up: Option<View<'a>>,
    pub(crate) b_up: Option<View<'a>>,
    pub(crate) layout: WeightLayout,
}

impl<'a> Placed<'a> {
    /// The layer, of which y lies there.
    pub(crate) fn layer(&self, choices: &Choices, y: View<'a>) -> Forward<'a> {
        Forward::new(choices.activation, self.x, self.w, y)
            .layout(self.layout)
            .b(self.b)
            .alpha(self.alpha)
            .w_up(self.w_up)
            .b_up(self.b_up)
            .gate(choices.gate)
            .saved(choices.saved)
    }
}

/// Operators of Burn return tensors, also those that run later, behind fusion. What users can do wrong was refused when the layer was called
/// ([`crate::Layer::forward`]); what is left is a device without memory, or lost. Fusion catches the panic, and reading the result is then an error of Burn's.
pub(crate) fn done<T>(result: Result<T>) -> T {
    #[expect(clippy::panic, reason = "Burn's operators have no other way to say that the device failed")]
    result.unwrap_or_else(|error| panic!("elbow: {error}"))
}
