"""Layers on arrays by both roads and on tensors, beside formulas in f64."""

import numpy as np
import pytest

import elbow
from elbow import Activation, Host, Layer


def f64(array):
    return array.astype(np.float64)


def formula(x, w, b, dy, activation, alpha=None):
    """y, the gradients, and for each the sum of the absolute values of its terms."""
    act, z = Activation(activation), f64(x) @ f64(w).T + b
    slope = act(z, "slope", alpha)
    y, dz = act(z, "value", alpha), dy * slope
    made = {"y": y, "dx": dz @ f64(w), "dw": dz.T @ f64(x), "db": dz.sum(0)}
    size, a = np.abs(x) @ np.abs(w).T + np.abs(b) + 1, np.abs(dz) + np.abs(dy)
    terms = {"y": size, "dx": a @ np.abs(w), "dw": a.T @ np.abs(x), "db": a.sum(0)}
    if alpha is not None:
        each = dy * act(z, "alpha_slope", alpha)
        made["dalpha"] = each.sum(0) if len(alpha) > 1 else each.sum(keepdims=True).reshape(1)
        terms["dalpha"] = (np.abs(dy) * size).sum(0) if len(alpha) > 1 else (np.abs(dy) * size).sum().reshape(1)
    return made, {name: value * 2.0**-18 for name, value in terms.items()}


def check(got, expected, bounds):
    for name, value in got.items():
        wrong = np.abs(np.asarray(value) - expected[name]) > bounds[name]
        assert not wrong.any(), f"{name}{np.argwhere(wrong)[0]}: {np.asarray(value)[wrong][0]}, not {expected[name][wrong][0]}"


@pytest.fixture(params=["cpu", "gpu", "tensors"])
def put(request, gpu):
    """How operands are given, and the options of a call."""
    if request.param == "tensors":
        return gpu.tensor, {}
    return (lambda array: array), {"host": Host(gpu, road=request.param)}


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh", "softplus", "hardsigmoid", "identity", "mish"])
@pytest.mark.parametrize("keeps", [True, False])
def test_a_layer_and_its_gradients_are_those_of_the_formula(put, normal, activation, keeps):
    put, options = put
    x, w, b, dy = normal(37, 19), normal(23, 19), normal(23), normal(37, 23)
    expected, bounds = formula(x, w, b, dy, activation)
    layer, operands = Layer(activation), [put(array) for array in (x, w, b)]
    y, kept = layer.forward(*operands, keep=True, **options)
    check({"y": y}, expected, bounds)
    gradients = layer.backward(put(dy), *operands, kept=kept if keeps else None, **options)
    assert set(gradients) == {"dx", "dw", "db"}
    check(gradients, expected, bounds)


@pytest.mark.parametrize("channels", [1, 23])
def test_a_learnable_slope_has_its_gradient(put, normal, channels):
    put, options = put
    x, w, b, dy, alpha = normal(37, 19), normal(23, 19), normal(23), normal(37, 23), np.abs(normal(channels))
    expected, bounds = formula(x, w, b, dy, "prelu", alpha)
    operands = [put(array) for array in (x, w, b)]
    y, kept = elbow.affine(*operands, "prelu", alpha=put(alpha), keep=True, **options)
    check({"y": y}, expected, bounds)
    check(elbow.affine_backward(put(dy), *operands, "prelu", alpha=put(alpha), kept=kept, **options), expected, bounds)


def test_double_backward_is_the_difference_of_gradients(put, normal):
    """Along a direction d, the gradients of <dx, ddx> + .. are what central differences of the f64 formula give."""
    put, options = put
    x, w, b, dy = normal(9, 5), normal(4, 5), normal(4), normal(9, 4)
    ddx, ddw, ddb = normal(9, 5), normal(4, 5), normal(4)

    def inner(x, w, b, dy):
        z = x @ w.T + b
        dz = dy * Activation("tanh")(z, "slope")
        return (dz @ w * ddx).sum() + (dz.T @ x * ddw).sum() + (dz.sum(0) * ddb).sum()

    operands = [put(array) for array in (x, w, b)]
    _, kept = elbow.affine(*operands, "tanh", keep=True, **options)
    seconds = Layer("tanh").double_backward(
        put(dy), *operands, kept=kept, ddx=put(ddx), ddw=put(ddw), ddb=put(ddb), **options
    )
    at, h = [f64(array) for array in (x, w, b, dy)], 1e-5
    for place, name in enumerate(["dx2", "dw2", "db2", "ddy"]):
        got = np.asarray(seconds[name])
        for index in np.ndindex(got.shape):
            up, down = [[a.copy() for a in at] for _ in range(2)]
            up[place][index] += h
            down[place][index] -= h
            slope = (inner(*up) - inner(*down)) / (2 * h)
            assert abs(got[index] - slope) < 1e-4 * (1 + abs(slope)), f"{name}{index}"


def test_leading_dimensions_layouts_residuals_and_wants(put, normal):
    put, options = put
    x, w, b, residual = normal(2, 3, 7), normal(7, 5), normal(5), normal(2, 3, 5)
    given = [put(array) for array in (x, w, b)]
    y = elbow.affine(*given, "relu", layout="in_out", residual=put(residual), **options)
    assert y.shape == (2, 3, 5)
    expected = np.maximum(f64(x) @ w + b, 0) + residual
    assert np.abs(np.asarray(y) - expected).max() < 1e-5
    before = elbow.affine(*given, "relu", layout="in_out", residual=put(residual), residual_at="before", **options)
    assert np.abs(np.asarray(before) - np.maximum(f64(x) @ w + b + residual, 0)).max() < 1e-5
    dy = put(normal(2, 3, 5))
    gradients = elbow.affine_backward(dy, *given, "relu", layout="in_out", residual=put(residual), wants=["dw", "dresidual"], **options)
    assert list(gradients) == ["dw", "dresidual"] and gradients["dw"].shape == (7, 5)
    with pytest.raises(ValueError, match="wants: expected some of dx, dw, db, got \"dalpha\""):
        elbow.affine_backward(dy, *given, "relu", layout="in_out", wants=["dalpha"], **options)


def test_gated_layers_and_jets(put, normal):
    put, options = put
    x, w, b = normal(8, 6), normal(10, 6), normal(10)
    z = f64(x) @ w.T + b
    silu = Activation("silu")
    stacked = elbow.gated(*map(put, (x, w, b)), **options)
    assert np.abs(np.asarray(stacked) - silu(z[:, :5]) * z[:, 5:]).max() < 1e-5
    pairs = elbow.gated(*map(put, (x, w, b)), "geglu", gate="interleaved", **options)
    assert np.abs(np.asarray(pairs) - Activation("gelu")(np.ascontiguousarray(z[:, ::2])) * z[:, 1::2]).max() < 1e-5
    apart = elbow.gated(*map(put, (x, w[:5], b[:5])), w_up=put(w[5:]), b_up=put(b[5:]), **options)
    assert np.abs(np.asarray(apart) - silu(z[:, :5]) * z[:, 5:]).max() < 1e-5
    # Two points, each a group of value, two tangents and the operator, here the Laplacian.
    got = np.asarray(elbow.jet(*map(put, (x, w, b)), "tanh", **options)).reshape(2, 4, 10)
    z = (f64(x) @ w.T).reshape(2, 4, 10)
    z[:, 0] += b
    tanh = Activation("tanh")
    slope, bend = tanh(np.ascontiguousarray(z[:, 0]), "slope"), tanh(np.ascontiguousarray(z[:, 0]), "second_derivative")
    assert np.abs(got[:, 1] - slope * z[:, 1]).max() < 1e-5
    assert np.abs(got[:, 3] - slope * z[:, 3] - bend * (z[:, 1] ** 2 + z[:, 2] ** 2)).max() < 1e-4


def test_what_does_not_fit_is_a_value_error_that_names_it(gpu, normal):
    x, w = normal(4, 7), normal(3, 7)
    layer = Layer("gelu")
    for text, call in {
        "w: expected [N, 7]": lambda: layer.forward(x, normal(7, 3)),
        "b: expected [3], got [4]": lambda: layer.forward(x, w, normal(4)),
        'x: expected a numpy array of float32, got float64; x.astype("float32") converts it': lambda: layer.forward(x.astype(float), w),
        "w: expected a numpy array of float32, got list": lambda: layer.forward(x, [[1.0] * 7]),
        "w: expected a Tensor, because x is one, got ndarray": lambda: layer.forward(gpu.tensor(x), w),
        "dy: expected": lambda: layer.backward(normal(4, 2), x, w),
        "kept: expected what forward kept, z": lambda: layer.backward(normal(4, 3), x, w, kept=np.zeros((4, 3), np.uint32)),
        "saved: expected z": lambda: layer.backward(normal(4, 3), x, w, kept=normal(4, 2)),
        "operand: expected one of alpha": lambda: layer.forward(x, w, bias=normal(3)),
        "alpha: expected": lambda: Layer("prelu").forward(x, w, alpha=normal(2)),
        'activation "gelo": expected gelu?': lambda: Layer("gelo"),
        "weight layout": lambda: Layer("gelu", layout="io"),
        "a batch of layers": lambda: layer.forward(x, normal(2, 3, 7)),
        "jet": lambda: Layer("tanh", jet="laplacian(9)"),
        "ddx: expected": lambda: layer.double_backward(normal(4, 3), x, w, ddx=normal(4, 6)),
    }.items():
        with pytest.raises(ValueError) as raised:
            call()
        assert text in str(raised.value) and "\n" not in str(raised.value), f"{text}: {raised.value}"


def test_strided_arrays_are_read_as_they_look(normal):
    x, w = normal(7, 5), normal(6, 14)
    y = elbow.affine(x.T, w[::2, ::2])
    assert np.abs(y - f64(x).T @ w[::2, ::2].T).max() < 1e-5
    assert elbow.affine(np.asfortranarray(w), normal(3, 14)).shape == (6, 3)


def test_no_rows_no_columns_no_inputs(put):
    put, options = put
    zeros = lambda *shape: put(np.zeros(shape, np.float32))
    assert elbow.affine(zeros(0, 3), zeros(4, 3), **options).shape == (0, 4)
    assert elbow.affine(zeros(2, 3), zeros(0, 3), **options).shape == (2, 0)
    b = put(np.float32([1, -1]))
    assert np.asarray(elbow.affine(zeros(2, 0), zeros(2, 0), b, "relu", **options)).tolist() == [[1, 0], [1, 0]]
    gradients = elbow.affine_backward(zeros(0, 4), zeros(0, 3), zeros(4, 3), **options)
    assert not np.asarray(gradients["dw"]).any()


def test_a_host_says_what_it_is(gpu):
    assert str(Host(road="cpu")) == "the CPU's road alone: asked for"
    assert Host(gpu, road="gpu").road(1, 1, 1) == "gpu"
    measured = Host(gpu)
    assert "measured at the first call" in str(measured)
    costs = measured.costs()
    assert all(value > 0 for value in costs.values()) and "GFLOP/s" in str(measured)
    if gpu.is_software:
        assert "SOFTWARE" in str(Host())
    with pytest.raises(ValueError, match="road: expected"):
        Host(gpu, road="train")


def test_calls_run_beside_each_other(normal):
    """The interpreter's lock is free while a layer runs."""
    import threading

    x, w = normal(1500, 512), normal(512, 512)
    counted, done = [0], threading.Event()

    def count():
        while not done.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    before = counted[0]
    for _ in range(3):
        elbow.affine(x, w, None, "gelu")
    during = counted[0] - before
    done.set()
    thread.join()
    assert during > 100
