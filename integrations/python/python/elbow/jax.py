"""Fused layers for JAX: `fused_linear` under jit and grad, by a callback to the host.

JAX's CPU arrays go by the road that `elbow.Host` chooses. float32 alone; no vmap over weights, no second derivative.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ._elbow import Layer

_NAMES = ("dx", "dw", "db")


def _host(array):
    return None if array is None else np.asarray(array)


def _kept_shape(layer, y):
    """What forward keeps beside y; no element where y itself, or nothing, is enough."""
    kind = layer.keeps()
    if kind == "mask":
        return jax.ShapeDtypeStruct((*y.shape[:-1], (y.shape[-1] + 31) // 32), jnp.uint32)
    return jax.ShapeDtypeStruct(y.shape if kind == "z" else (0,), jnp.float32)


def _forward(activation, x, w, b):
    layer = Layer(activation)
    y = jax.ShapeDtypeStruct((*x.shape[:-1], w.shape[0]), x.dtype)
    kept = _kept_shape(layer, y)

    def call(x, w, b):
        y, kept_here = layer.forward(_host(x), _host(w), _host(b), keep=True)
        return y, kept_here if kept.size else np.empty((0,), np.float32)

    return jax.pure_callback(call, (y, kept), x, w, b)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _linear(x, w, b, activation):
    return _forward(activation, x, w, b)[0]


def _linear_forward(x, w, b, activation):
    y, kept = _forward(activation, x, w, b)
    return y, (x, w, b, y if Layer(activation).keeps() == "y" else kept)


def _linear_backward(activation, saved, dy):
    x, w, b, kept = saved
    operands = [operand for operand in (x, w, b) if operand is not None]
    names = _NAMES[: len(operands)]

    def call(dy, kept, x, w, b):
        kept = _host(kept)
        gradients = Layer(activation).backward(_host(dy), _host(x), _host(w), _host(b), kept=kept if kept.size else None, wants=names)
        return tuple(gradients[name] for name in names)

    shapes = tuple(jax.ShapeDtypeStruct(operand.shape, operand.dtype) for operand in operands)
    gradients = jax.pure_callback(call, shapes, dy, kept, x, w, b)
    return (*gradients, None)[:3]


_linear.defvjp(_linear_forward, _linear_backward)


def fused_linear(x, w, b=None, activation="gelu"):
    """act(x @ w.T + b): x `[.., K]`, w `[N, K]`, b `[N]`. ValueError if a shape, a type or the activation's name does not fit."""
    if w.ndim != 2 or x.ndim < 1 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"w: expected [N, {x.shape[-1] if x.ndim else 'K'}] for x {list(x.shape)}, got {list(w.shape)}")
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(f"b: expected [{w.shape[0]}], got {list(b.shape)}")
    for name, operand in (("x", x), ("w", w), ("b", b)):
        if operand is not None and operand.dtype != jnp.float32:
            raise ValueError(f"{name}: expected float32, got {operand.dtype}")
    return _linear(x, w, b, str(activation))
