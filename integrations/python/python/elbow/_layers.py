"""Layers in one call. A layer that is called many times is stated once: Layer."""

from ._elbow import Activation, Layer


def affine(x, w, b=None, activation="identity", *, layout="out_in", residual_at="after", **options):
    layer = Layer(activation, layout=layout, residual_at=residual_at)
    return layer.forward(x, w, b, **options)


def affine_backward(dy, x, w, b=None, activation="identity", *, layout="out_in", residual_at="after", **options):
    layer = Layer(activation, layout=layout, residual_at=residual_at)
    return layer.backward(dy, x, w, b, **options)


def activation(z, name, quantity="value", alpha=None):
    return Activation(name)(z, quantity, alpha)


def gated(x, w, b=None, activation="swiglu", *, gate=None, **options):
    if gate is None:
        gate = "stacked" if options.get("w_up") is None else "apart"
    return Layer(activation, gate=gate).forward(x, w, b, **options)


def jet(x, w, b=None, activation="tanh", *, operator="laplacian(2)", **options):
    return Layer(activation, jet=operator).forward(x, w, b, **options)
