"""elbow.jax beside JAX's own layers, under jit and grad."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp

from elbow.jax import fused_linear

OURS = {"relu": jax.nn.relu, "gelu_tanh": jax.nn.gelu, "silu": jax.nn.silu, "softplus": jax.nn.softplus, "hardsigmoid": jax.nn.hard_sigmoid, "identity": lambda z: z}


@pytest.mark.parametrize("activation", OURS)
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_jax(normal, activation, bias):
    x, w, b, dy = map(jnp.asarray, (normal(2, 9, 17), normal(5, 17), normal(5), normal(2, 9, 5)))
    operands = (x, w, b) if bias else (x, w)
    ours = lambda x, w, b=None: (fused_linear(x, w, b, activation) * dy).sum()
    theirs = lambda x, w, b=0: (OURS[activation](x @ w.T + b) * dy).sum()
    grads = lambda f: jax.jit(jax.value_and_grad(f, argnums=tuple(range(len(operands)))))(*operands)
    (got, gradients), (expected, others) = grads(ours), grads(theirs)
    assert abs(got - expected) < 1e-4 * (1 + abs(expected))
    for gradient, other in zip(gradients, others):
        assert np.abs(gradient - other).max() < 2**-18 * (np.abs(other).max() + 1) * 4


def test_what_does_not_fit_is_a_value_error(normal):
    x, w = jnp.asarray(normal(4, 7)), jnp.asarray(normal(3, 7))
    for text, call in {
        "w: expected [N, 7]": lambda: fused_linear(x, w.T),
        "b: expected [3]": lambda: fused_linear(x, w, w[0]),
        "x: expected float32, got bfloat16": lambda: fused_linear(x.astype(jnp.bfloat16), w),
        'activation "gelo"': lambda: fused_linear(x, w, None, "gelo"),
    }.items():
        with pytest.raises(ValueError) as raised:
            call()
        assert text in str(raised.value)
