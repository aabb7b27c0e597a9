//! The fused layers as functions of tensors.

use candle_core::{D, DType, Error, Result, Tensor};
use elbow::{
    Activation, Gate, Operand, Saved,
    request::{AffineRequest, AlphaSource},
};

use crate::{
    fused::{Fused, alpha_source, resolve_saved},
    numbers::{mistake, operand, rows},
};

/// The operands of a layer, and what of it is not the default.
#[derive(Clone, Copy)]
pub(crate) struct Layer<'a> {
    pub(crate) x: &'a Tensor,
    pub(crate) w: &'a Tensor,
    pub(crate) b: Option<&'a Tensor>,
    pub(crate) alpha: Option<&'a Tensor>,
    pub(crate) w_up: Option<&'a Tensor>,
    pub(crate) activation: Activation,
    pub(crate) gate: Option<Gate>,
    pub(crate) saved: Saved,
}

/// y = act(x·Wᵀ + b), `[.., N]`, of x `[.., K]`, w `[N, K]` and b `[N]`; gradients of all three.
///
/// An operand of another shape or type is an error that names it. The crate's first page has an example.
pub fn linear_act(x: &Tensor, w: &Tensor, b: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
    Layer::new(x, w, activation).b(b).apply()
}

/// y = act(x·Wᵀ + b; α) with a learnable α: one number, `[]` or `[1]`, or one for each channel, `[N]`. Gradients of x, W, b and α.
///
/// candle's operations have three operands: b and α are joined to one, and candle's `cat` takes its gradient apart again.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use elbow_candle::{Activation, linear_act_alpha};
/// let x = Tensor::new(&[[-1f32, -2.0]], &Device::Cpu)?;
/// let (w, b) = (Tensor::new(&[[1f32, 1.0]], &Device::Cpu)?, Tensor::new(&[0f32], &Device::Cpu)?);
/// let alpha = Var::new(&[0.25f32], &Device::Cpu)?;
/// let y = linear_act_alpha(&x, &w, Some(&b), Activation::prelu(0.25).expect("a slope"), &alpha)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-0.75]]);
/// assert_eq!(y.sum_all()?.backward()?.get(&alpha).expect("dα").to_vec1::<f32>()?, [-3.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn linear_act_alpha(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    activation: Activation,
    alpha: &Tensor,
) -> Result<Tensor> {
    Layer::new(x, w, activation).b(b).alpha(Some(alpha)).apply()
}

/// y = act(gate) ⊙ up of one product x·Wᵀ + b, whose weight has the rows of both, w `[2N, K]` and b `[2N]`, in the order that the gate says.
/// ([`gated_apart`] is for two weights.)
///
/// ```
/// use candle_core::{Device, Tensor};
/// use elbow_candle::{Activation, Gate, gated};
/// let x = Tensor::new(&[[2f32]], &Device::Cpu)?;
/// let w = Tensor::new(&[[1f32], [3.0]], &Device::Cpu)?; // gate, then up
/// let y = gated(&x, &w, None, Activation::RELU, Gate::stacked())?;
/// assert_eq!(y.to_vec2::<f32>()?, [[12.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gated(x: &Tensor, w: &Tensor, b: Option<&Tensor>, activation: Activation, gate: Gate) -> Result<Tensor> {
    if gate.is_apart() {
        return Err(Error::msg("gated: a gate whose weights are apart has two of them: gated_apart"));
    }
    Layer::new(x, w, activation).b(b).gate(gate).apply()
}

/// y = act(x·W_gateᵀ) ⊙ (x·W_upᵀ) of two weights `[N, K]`, as `gate_proj` and `up_proj` of Llama: SwiGLU with [`Activation::SILU`]. Without biases, because
/// candle's operations have three operands.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use elbow_candle::{Activation, gated_apart};
/// let x = Tensor::new(&[[2f32]], &Device::Cpu)?;
/// let (w_gate, w_up) = (Tensor::new(&[[1f32]], &Device::Cpu)?, Tensor::new(&[[3f32]], &Device::Cpu)?);
/// assert_eq!(gated_apart(&x, &w_gate, &w_up, Activation::RELU)?.to_vec2::<f32>()?, [[12.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gated_apart(x: &Tensor, w_gate: &Tensor, w_up: &Tensor, activation: Activation) -> Result<Tensor> {
    Layer { w_up: Some(w_up), ..Layer::new(x, w_gate, activation).gate(Gate::apart()) }.apply()
}

impl<'a> Layer<'a> {
    pub(crate) fn new(x: &'a Tensor, w: &'a Tensor, activation: Activation) -> Self {
        Layer { x, w, b: None, alpha: None, w_up: None, activation, gate: None, saved: Saved::Auto }
    }

    pub(crate) fn b(self, b: Option<&'a Tensor>) -> Self {
        Layer { b, ..self }
    }

    pub(crate) fn alpha(self, alpha: Option<&'a Tensor>) -> Self {
        Layer { alpha, ..self }
    }

    pub(crate) fn gate(self, gate: Gate) -> Self {
        Layer { gate: Some(gate), ..self }
    }

    pub(crate) fn saved(self, saved: Saved) -> Self {
        Layer { saved, ..self }
    }

    /// What is asked for, with every shape checked.
    fn request(&self) -> Result<AffineRequest> {
        let (_, k) = match self.x.rank() {
            0 => return Err(mistake(Operand::X, "shape [.., K]", "shape []")),
            _ => rows(self.x.shape()),
        };
        let (m, _) = rows(self.x.shape());
        let gated = self.gate.is_some_and(|gate| !gate.is_apart());
        let rows_of_w = if gated { "2N" } else { "N" };
        let n = match *self.w.dims() {
            [rows, columns] if columns == k && !gated => rows,
            [rows, columns] if columns == k && rows.is_multiple_of(2) => rows / 2,
            _ => {
                let expected = format!("shape [{rows_of_w}, {k}], because x is {:?}", self.x.dims());
                return Err(mistake(Operand::W, expected, format!("shape {:?}", self.w.dims())));
            }
        };
        if let Some(b) = self.b
            && b.dims() != [self.w.dims()[0]]
        {
            let expected = format!("shape [{}], because w is {:?}", self.w.dims()[0], self.w.dims());
            return Err(mistake(Operand::B, expected, format!("shape {:?}", b.dims())));
        }
        if let Some(w_up) = self.w_up
            && w_up.dims() != self.w.dims()
        {
            return Err(mistake(
                Operand::WUp,
                format!("shape {:?}, as w", self.w.dims()),
                format!("shape {:?}", w_up.dims()),
            ));
        }
        Ok(AffineRequest::new(m, n, k, self.activation)
            .bias(self.b.is_some())
            .gate(self.gate)
            .alpha(alpha_of(self.alpha, n)?)
            .saved(self.saved))
    }

    /// Records the layer in candle's graph.
    pub(crate) fn apply(&self) -> Result<Tensor> {
        let request = self.request()?;
        let dtype = self.x.dtype();
        let given = |name, tensor: &Tensor| same_type(name, tensor, dtype).and_then(|()| operand(name, tensor));
        let x = given(Operand::X, self.x)?;
        let w = given(Operand::W, self.w)?;
        let b = self.b.map(|b| given(Operand::B, b)).transpose()?;
        let alpha = self.alpha.map(|alpha| given(Operand::Alpha, alpha)).transpose()?;
        let alpha = alpha.map(|alpha| alpha.flatten_all()).transpose()?;
        let third = match (self.w_up, b, alpha) {
            (Some(w_up), ..) => Some(given(Operand::WUp, w_up)?),
            (None, Some(b), Some(alpha)) => Some(Tensor::cat(&[b, alpha], D::Minus1)?),
            (None, b, alpha) => b.or(alpha),
        };
        let saved = resolve_saved(&request, dtype).map_err(Error::wrap)?;
        let tracked = x.track_op() || w.track_op() || third.as_ref().is_some_and(Tensor::track_op);
        let fused = Fused::new(request.saved(if tracked { saved } else { Saved::None }));
        match third {
            Some(third) => x.apply_op3(&w, &third, fused),
            None => x.apply_op2(&w, fused),
        }
    }
}

/// Where α comes from: an error if there are neither one nor n numbers.
pub(crate) fn alpha_of(alpha: Option<&Tensor>, n: usize) -> Result<AlphaSource> {
    alpha_source(alpha, n).ok_or_else(|| {
        let got = alpha.map(|alpha| format!("shape {:?}", alpha.dims()));
        mistake(Operand::Alpha, format!("shape [1] or [{n}]"), got.unwrap_or_default())
    })
}

/// All operands of an operation have the type of x.
pub(crate) fn same_type(name: Operand, tensor: &Tensor, dtype: DType) -> Result<()> {
    match tensor.dtype() == dtype {
        true => Ok(()),
        false => Err(mistake(name, format!("{}, as x", dtype.as_str()), tensor.dtype().as_str())),
    }
}
