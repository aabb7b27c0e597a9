"""Fused layers for PyTorch's CPU tensors, by the road that `elbow.Host` chooses.

    y = act(x @ weight.T + bias)        forward, backward and double backward, each one call

float32 is computed by elbow; float16 and bfloat16 are computed from their values with sums in float32 and rounded once, and what is kept for backward
stays float32; float64 is the mode for checks: elbow's f64 mathematics around PyTorch's products (a learnable alpha counts as a float32 there).
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from ._elbow import Activation, Layer, set_threads

# PyTorch's number of threads, which torchrun sets; it counts if nothing has run before.
set_threads(torch.get_num_threads())

_NAMES = ("dx", "dw", "db", "dalpha")


@lru_cache
def _layer(activation, gate=None):
    return Layer(activation, gate=gate)


def _array(tensor):
    """The values of a tensor as float32, without a copy where they are."""
    return None if tensor is None else tensor.detach().to(torch.float32).numpy()


def _tensor(array, like):
    return torch.from_numpy(array).to(like.dtype)


def _rows(tensor):
    return tensor.reshape(-1, tensor.shape[-1])


def _nothing(like):
    return like.new_empty(0)


def _new(like):
    return torch.empty_like(like, memory_format=torch.contiguous_format)


def _kind(x, activation, alpha):
    """What forward keeps: the cheapest that is enough; in float64 always z."""
    kind = _layer(activation).keeps(learnable_alpha=alpha is not None)
    return "z" if x.dtype == torch.float64 and kind != "none" else kind


def _keeps_y_itself(x, activation, alpha):
    # A narrow y has lost digits: then y before it was rounded is kept.
    return x.dtype == torch.float32 and _kind(x, activation, alpha) == "y"


def _f64(activation, quantity, z, alpha):
    """A quantity of the activation in elbow's f64 mathematics."""
    return torch.from_numpy(Activation(activation)(z.detach().numpy(), quantity, _array(alpha)))


def _sum_like(terms, alpha):
    return terms.sum().reshape(alpha.shape) if alpha.numel() == 1 else terms.sum(0)


def _z(x, w, b):
    z = x @ w.T
    return z if b is None else z + b


# y, and what backward needs of it: z, a mask, y before it was rounded; nothing if y itself is enough.
@torch.library.custom_op("elbow::affine", mutates_args=(), device_types="cpu")
def _affine(x: Tensor, w: Tensor, b: Tensor | None, alpha: Tensor | None, activation: str) -> tuple[Tensor, Tensor]:
    if x.dtype == torch.float64:
        z = _z(x, w, b)
        return _f64(activation, "value", z, alpha), z if _kind(x, activation, alpha) == "z" else _nothing(x)
    y, kept = _layer(activation).forward(*map(_array, (x, w, b)), alpha=_array(alpha), keep=True)
    if kept is None or _keeps_y_itself(x, activation, alpha):
        return _tensor(y, x), torch.empty(0)
    if kept is y:
        kept = y.copy()
    kept = kept.view(np.int32) if kept.dtype == np.uint32 else kept
    return _tensor(y, x), torch.from_numpy(kept)


@_affine.register_fake
def _(x, w, b, alpha, activation):
    y = x.new_empty((*x.shape[:-1], w.shape[0]))
    kind = _kind(x, activation, alpha)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    if kind == "none" or _keeps_y_itself(x, activation, alpha):
        return y, x.new_empty(0, dtype=dtype)
    if kind == "mask":
        return y, x.new_empty((*x.shape[:-1], (w.shape[0] + 31) // 32), dtype=torch.int32)
    return y, x.new_empty(y.shape, dtype=dtype)


def _kept_array(kept):
    if kept.numel() == 0:
        return None
    array = kept.detach().numpy()
    return array.view(np.uint32) if array.dtype == np.int32 else array


@torch.library.custom_op("elbow::affine_backward", mutates_args=(), device_types="cpu")
def _affine_backward(
    dy: Tensor, x: Tensor, w: Tensor, b: Tensor | None, alpha: Tensor | None, kept: Tensor, activation: str,
    wants: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs = (x, w, b, alpha)
    if x.dtype == torch.float64:
        x2, dy2 = _rows(x), _rows(dy)
        z = _z(x2, w, b)
        dz = dy2 * _f64(activation, "slope", z, alpha)
        makes = (
            lambda: (dz @ w).reshape(x.shape),
            lambda: dz.T @ x2,
            lambda: dz.sum(0),
            lambda: _sum_like(dy2 * _f64(activation, "alpha_slope", z, alpha), alpha),
        )
        return tuple(make() if want else _nothing(x) for make, want in zip(makes, wants))
    names = [name for name, want in zip(_NAMES, wants) if want]
    gradients = _layer(activation).backward(
        *map(_array, (dy, x, w, b)), alpha=_array(alpha), kept=_kept_array(kept), wants=names
    )
    made = [_tensor(gradients[name], like) if want else None for name, like, want in zip(_NAMES, inputs, wants)]
    return tuple(_nothing(x) if gradient is None else gradient for gradient in made)


@_affine_backward.register_fake
def _(dy, x, w, b, alpha, kept, activation, wants):
    return tuple(_new(t) if want else _nothing(x) for t, want in zip((x, w, b, alpha), wants))


@torch.library.custom_op("elbow::affine_double_backward", mutates_args=(), device_types="cpu")
def _affine_double_backward(
    dy: Tensor, x: Tensor, w: Tensor, b: Tensor | None, alpha: Tensor | None, kept: Tensor,
    ddx: Tensor | None, ddw: Tensor | None, ddb: Tensor | None, ddalpha: Tensor | None, activation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    if x.dtype == torch.float64:
        return _double_in_f64(dy, x, w, b, alpha, ddx, ddw, ddb, ddalpha, activation)
    returning = dict(zip(("ddx", "ddw", "ddb", "ddalpha"), map(_array, (ddx, ddw, ddb, ddalpha))))
    seconds = _layer(activation).double_backward(
        *map(_array, (dy, x, w, b)), alpha=_array(alpha), kept=_kept_array(kept), **returning
    )
    likes = {"ddy": dy, "dx2": x, "dw2": w, "db2": b, "dalpha2": alpha}
    return tuple(_nothing(x) if like is None else _tensor(seconds[name], like) for name, like in likes.items())


def _double_in_f64(dy, x, w, b, alpha, ddx, ddw, ddb, ddalpha, activation):
    x2, dy2 = _rows(x), _rows(dy)
    z = _z(x2, w, b)
    of = lambda quantity: _f64(activation, quantity, z, alpha)
    tangent, bent = torch.zeros_like(z), torch.zeros_like(z)
    if ddx is not None:
        tangent = tangent + _rows(ddx) @ w.T
    if ddw is not None:
        tangent = tangent + x2 @ ddw.T
    if ddb is not None:
        tangent = tangent + ddb
    ddy, bent = tangent * of("slope"), tangent * of("second_derivative")
    dalpha2 = _nothing(x)
    if alpha is not None:
        dda = torch.zeros_like(alpha) if ddalpha is None else ddalpha
        ddy, bent = ddy + dda * of("alpha_slope"), bent + dda * of("mixed_derivative")
        dalpha2 = _sum_like(dy2 * (tangent * of("mixed_derivative") + dda * of("second_alpha_derivative")), alpha)
    dz, dz2 = dy2 * of("slope"), dy2 * bent
    dx2, dw2 = dz2 @ w, dz2.T @ x2
    dx2 = dx2 if ddw is None else dx2 + dz @ ddw
    dw2 = dw2 if ddx is None else dw2 + dz.T @ _rows(ddx)
    return ddy.reshape(dy.shape), dx2.reshape(x.shape), dw2, _nothing(x) if b is None else dz2.sum(0), dalpha2


@_affine_double_backward.register_fake
def _(dy, x, w, b, alpha, kept, ddx, ddw, ddb, ddalpha, activation):
    return tuple(_nothing(x) if t is None else _new(t) for t in (dy, x, w, b, alpha))


def _remember(ctx, inputs, output):
    x, w, b, alpha, activation = inputs
    y, kept = output
    ctx.activation = activation
    ctx.mark_non_differentiable(kept)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, w, b, alpha, y if _keeps_y_itself(x, activation, alpha) else kept)


def _first_order(ctx, dy, _dkept):
    if dy is None:
        return (None,) * 5
    wants = [ctx.needs_input_grad[i] and t is not None for i, t in enumerate(ctx.saved_tensors[:4])]
    gradients = torch.ops.elbow.affine_backward(dy, *ctx.saved_tensors, ctx.activation, wants)
    return *(gradient if want else None for gradient, want in zip(gradients, wants)), None


def _remember_first(ctx, inputs, output):
    *tensors, ctx.activation, ctx.wants = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _second_order(ctx, *returning):
    dy, x, w, b, alpha, kept = ctx.saved_tensors
    returning = [dd if want else None for dd, want in zip(returning, ctx.wants)]
    if all(dd is None for dd in returning):
        return (None,) * 8
    seconds = torch.ops.elbow.affine_double_backward(dy, x, w, b, alpha, kept, *returning, ctx.activation)
    ddy, *others = (None if like is None else second for second, like in zip(seconds, (dy, x, w, b, alpha)))
    return ddy, *others, None, None, None


torch.library.register_autograd("elbow::affine", _first_order, setup_context=_remember)
torch.library.register_autograd("elbow::affine_backward", _second_order, setup_context=_remember_first)


@torch.library.custom_op("elbow::gated", mutates_args=(), device_types="cpu")
def _gated(
    x: Tensor, w_gate: Tensor, w_up: Tensor, b_gate: Tensor | None, b_up: Tensor | None, activation: str
) -> tuple[Tensor, Tensor]:
    if x.dtype == torch.float64:
        gate, up = _z(x, w_gate, b_gate), _z(x, w_up, b_up)
        return _f64(activation, "value", gate, None) * up, torch.cat((gate, up), -1)
    layer = _layer(activation, "apart")
    y, z = layer.forward(*map(_array, (x, w_gate, b_gate)), w_up=_array(w_up), b_up=_array(b_up), keep=True)
    return _tensor(y, x), torch.from_numpy(z)


@_gated.register_fake
def _(x, w_gate, w_up, b_gate, b_up, activation):
    y = x.new_empty((*x.shape[:-1], w_gate.shape[0]))
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return y, x.new_empty((*x.shape[:-1], 2 * w_gate.shape[0]), dtype=dtype)


@torch.library.custom_op("elbow::gated_backward", mutates_args=(), device_types="cpu")
def _gated_backward(
    dy: Tensor, x: Tensor, w_gate: Tensor, w_up: Tensor, b_gate: Tensor | None, b_up: Tensor | None, z: Tensor,
    activation: str, wants: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = (x, w_gate, w_up, b_gate, b_up)
    if x.dtype == torch.float64:
        x2, dy2 = _rows(x), _rows(dy)
        gate, up = _rows(z).chunk(2, -1)
        dgate, dup = dy2 * up * _f64(activation, "slope", gate, None), dy2 * _f64(activation, "value", gate, None)
        makes = (
            lambda: (dgate @ w_gate + dup @ w_up).reshape(x.shape),
            lambda: dgate.T @ x2,
            lambda: dup.T @ x2,
            lambda: dgate.sum(0),
            lambda: dup.sum(0),
        )
        return tuple(make() if want else _nothing(x) for make, want in zip(makes, wants))
    names = ("dx", "dw", "dw_up", "db", "db_up")
    gradients = _layer(activation, "apart").backward(
        *map(_array, (dy, x, w_gate, b_gate)), w_up=_array(w_up), b_up=_array(b_up), kept=_kept_array(z),
        wants=[name for name, want in zip(names, wants) if want],
    )
    made = [_tensor(gradients[name], like) if want else None for name, like, want in zip(names, inputs, wants)]
    return tuple(_nothing(x) if gradient is None else gradient for gradient in made)


@_gated_backward.register_fake
def _(dy, x, w_gate, w_up, b_gate, b_up, z, activation, wants):
    inputs = (x, w_gate, w_up, b_gate, b_up)
    return tuple(_new(t) if want else _nothing(x) for t, want in zip(inputs, wants))


def _remember_gated(ctx, inputs, output):
    *tensors, ctx.activation = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[1])


def _gated_order(ctx, dy, _dz):
    if dy is None:
        return (None,) * 6
    wants = [ctx.needs_input_grad[i] and t is not None for i, t in enumerate(ctx.saved_tensors[:5])]
    gradients = torch.ops.elbow.gated_backward(dy, *ctx.saved_tensors, ctx.activation, wants)
    return *(gradient if want else None for gradient, want in zip(gradients, wants)), None


torch.library.register_autograd("elbow::gated", _gated_order, setup_context=_remember_gated)


def _cast(*tensors):
    """As torch.nn.functional.linear: under autocast operands have its type, but for float64; else they must have one."""
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        tensors = tuple(t if t is None or t.dtype == torch.float64 else t.to(dtype) for t in tensors)
    types = {t.dtype for t in tensors if t is not None}
    if len(types) > 1:
        raise ValueError(f"operands: expected one dtype, got {', '.join(sorted(map(str, types)))}")
    return tensors


def _checked(name, tensor, shape):
    if tensor is not None and tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(tensor.shape)}")


def fused_linear(x, w, b=None, activation="gelu", alpha=None):
    """act(x @ w.T + b): x `[.., K]`, w `[N, K]`, b `[N]`; alpha `[1]` or `[N]` is the learnable parameter of the activation.

    Differentiable twice in x, w, b and alpha; ValueError if a shape or the activation's name does not fit.
    """
    if w.dim() != 2 or x.dim() < 1 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"w: expected [N, {x.shape[-1] if x.dim() else 'K'}] for x {list(x.shape)}, got {list(w.shape)}")
    _checked("b", b, w.shape[:1])
    if alpha is not None and tuple(alpha.shape) not in ((1,), (w.shape[0],)):
        raise ValueError(f"alpha: expected [1] or [{w.shape[0]}], got {list(alpha.shape)}")
    x, w, b = _cast(x, w, b)
    if alpha is not None and alpha.dtype != x.dtype:
        alpha = alpha.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    return torch.ops.elbow.affine(x, w, b, alpha, str(activation))[0]


def fused_gated(x, w_gate, w_up, b_gate=None, b_up=None, activation="silu"):
    """act(x @ w_gate.T + b_gate) * (x @ w_up.T + b_up); differentiable once."""
    if w_gate.dim() != 2 or x.shape[-1] != w_gate.shape[1]:
        raise ValueError(f"w_gate: expected [N, {x.shape[-1]}] for x {list(x.shape)}, got {list(w_gate.shape)}")
    _checked("w_up", w_up, w_gate.shape)
    _checked("b_gate", b_gate, w_gate.shape[:1])
    _checked("b_up", b_up, w_gate.shape[:1])
    if (b_gate is None) != (b_up is None):
        raise ValueError("b_up: expected a bias of both sides or of none, got one")
    x, w_gate, w_up, b_gate, b_up = _cast(x, w_gate, w_up, b_gate, b_up)
    return torch.ops.elbow.gated(x, w_gate, w_up, b_gate, b_up, str(activation))[0]


class FusedLinear(nn.Linear):
    """nn.Linear and the activation behind it. The state is nn.Linear's: checkpoints go both ways."""

    def __init__(self, in_features, out_features, bias=True, activation="gelu", device=None, dtype=None):
        super().__init__(in_features, out_features, bias, device, dtype)
        self.activation = str(Activation(activation))

    @classmethod
    def of(cls, linear, activation="gelu"):
        """With the very parameters of an nn.Linear."""
        # On the meta device nothing is allocated that would be thrown away.
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None, activation, device="meta")
        layer.weight, layer.bias = linear.weight, linear.bias
        return layer

    def forward(self, x):
        return fused_linear(x, self.weight, self.bias, self.activation)

    def extra_repr(self):
        return f"{super().extra_repr()}, activation={self.activation}"


class PReLULinear(FusedLinear):
    """nn.Linear and nn.PReLU behind it, one slope or one for each channel; `slope` is nn.PReLU's `weight`."""

    def __init__(self, in_features, out_features, bias=True, num_parameters=1, init=0.25, device=None, dtype=None):
        if num_parameters not in (1, out_features):
            raise ValueError(f"num_parameters: expected 1 or {out_features}, got {num_parameters}")
        super().__init__(in_features, out_features, bias, "prelu", device, dtype)
        self.slope = nn.Parameter(torch.full((num_parameters,), init, device=device, dtype=dtype))

    def forward(self, x):
        return fused_linear(x, self.weight, self.bias, self.activation, self.slope)


class SwiGLU(nn.Module):
    """silu(gate_proj(x)) * up_proj(x), the first half of a gated feed-forward block. The state has the names of most checkpoints."""

    def __init__(self, in_features, hidden_features, bias=False, activation="silu", device=None, dtype=None):
        super().__init__()
        self.gate_proj = nn.Linear(in_features, hidden_features, bias, device, dtype)
        self.up_proj = nn.Linear(in_features, hidden_features, bias, device, dtype)
        self.activation = str(Activation(activation))

    def forward(self, x):
        gate, up = self.gate_proj, self.up_proj
        return fused_gated(x, gate.weight, up.weight, gate.bias, up.bias, self.activation)
