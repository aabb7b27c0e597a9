"""The operators of elbow.torch by PyTorch's own checks, and beside its own layers."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn
from torch.autograd import gradcheck, gradgradcheck

import elbow.torch as et

ACTIVATIONS = ["relu", "gelu", "silu", "tanh", "softplus", "hardsigmoid", "mish", "identity", "relu_squared"]
# F of PyTorch, where it has the same.
OURS = {
    "relu": torch.relu,
    "gelu": nn.functional.gelu,
    "gelu_tanh": lambda z: nn.functional.gelu(z, approximate="tanh"),
    "silu": nn.functional.silu,
    "tanh": torch.tanh,
    "softplus": nn.functional.softplus,
    "mish": nn.functional.mish,
    "leaky_relu(0.2)": lambda z: nn.functional.leaky_relu(z, 0.2),
    # PyTorch's own has no second derivative.
    "hardsigmoid": lambda z: torch.clamp(z / 6 + 0.5, 0, 1),
    "sigmoid": torch.sigmoid,
}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(3)


def leaves(*shapes, dtype=torch.float64):
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck_of_first_and_second_order(activation):
    x, w, b = leaves((2, 3, 5), (4, 5), (4,))
    run = lambda *operands: et.fused_linear(*operands, activation=activation)
    assert gradcheck(run, (x, w, b))
    assert gradgradcheck(run, (x, w, b))
    assert gradcheck(lambda x, w: run(x, w), (x, w))
    assert gradgradcheck(lambda x, w: run(x, w), (x, w))


@pytest.mark.parametrize("activation, channels", [("prelu", 1), ("prelu", 4), ("swish", 4), ("elu", 1)])
def test_gradcheck_of_a_learnable_alpha(activation, channels):
    x, w, b = leaves((3, 5), (4, 5), (4,))
    # Alpha is a float32: it and the step of the differences have few bits.
    alpha = (torch.arange(channels, dtype=torch.float64) / 4 + 0.5).requires_grad_()
    run = lambda *operands: et.fused_linear(*operands[:3], activation, operands[3])
    assert gradcheck(run, (x, w, b, alpha), eps=2**-12, atol=1e-5, rtol=1e-4)
    assert gradgradcheck(run, (x, w, b, alpha), eps=2**-12, atol=1e-5, rtol=1e-4)


def test_gradcheck_of_gated_layers():
    x, wg, wu, bg, bu = leaves((2, 3, 5), (4, 5), (4, 5), (4,), (4,))
    assert gradcheck(et.fused_gated, (x, wg, wu, bg, bu))
    assert gradcheck(et.fused_gated, (x, wg, wu))
    y = et.fused_gated(x, wg, wu)
    (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="autograd"):
        dx.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("activation", ["relu", "gelu", "hardsigmoid", "identity"])
def test_opcheck(dtype, activation):
    x, w, b = leaves((2, 3, 5), (4, 5), (4,), dtype=dtype)
    torch.library.opcheck(torch.ops.elbow.affine, (x, w, b, None, activation))
    torch.library.opcheck(torch.ops.elbow.affine, (x, w, None, None, activation))
    torch.library.opcheck(torch.ops.elbow.gated, (x, w, w.detach().clone().requires_grad_(), b, b.detach().clone(), "silu"))


def test_opcheck_of_alpha_and_of_the_gradients():
    x, w, b, alpha = leaves((6, 5), (4, 5), (4,), (4,), dtype=torch.float32)
    torch.library.opcheck(torch.ops.elbow.affine, (x, w, b, alpha, "prelu"))
    dy, = leaves((6, 4), dtype=torch.float32)
    kept = torch.ops.elbow.affine(x, w, b, None, "gelu")[1].detach()
    torch.library.opcheck(torch.ops.elbow.affine_backward, (dy, x, w, b, None, kept, "gelu", [True, True, True, False]))
    torch.library.opcheck(torch.ops.elbow.affine_backward, (dy, x, w, None, None, kept, "gelu", [False, True, False, False]))


@pytest.mark.parametrize("activation", OURS)
def test_float32_is_that_of_torchs_layers_in_f64(activation):
    """y and all gradients of first and second order, within 2^-18 of the largest element."""
    shapes = ((17, 33), (9, 33), (9,))
    narrow = leaves(*shapes, dtype=torch.float32)
    wide = [t.detach().double().requires_grad_() for t in narrow]
    dy, v = torch.randn(17, 9), torch.randn(17, 33)

    def all_of(x, w, b, layer):
        y = layer(x, w, b)
        first = torch.autograd.grad(y, (x, w, b), dy.to(y.dtype), create_graph=True)
        penalty = (first[0] * v.to(y.dtype)).sum() + (first[1] ** 2).sum()
        second = torch.autograd.grad(penalty, (x, w), allow_unused=True)
        return [y, *first, *second]

    got = all_of(*narrow, lambda *operands: et.fused_linear(*operands, activation))
    expected = all_of(*wide, lambda x, w, b: OURS[activation](nn.functional.linear(x, w, b)))
    for place, (got, expected) in enumerate(zip(got, expected)):
        assert (got.double() - expected).abs().max() <= 2**-18 * (expected.abs().max() + 1), place


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_are_computed_in_float32_and_rounded_once(dtype):
    x, w, b = leaves((17, 33), (9, 33), (9,), dtype=dtype)
    dy = torch.randn(17, 9).to(dtype)
    wide = [t.detach().float().requires_grad_() for t in (x, w, b)]
    for activation in ("relu", "gelu", "softplus"):
        y, expected = et.fused_linear(x, w, b, activation), et.fused_linear(*wide, activation)
        assert y.dtype == dtype and torch.equal(y, expected.to(dtype))
        for got, exact in zip(torch.autograd.grad(y, (x, w, b), dy), torch.autograd.grad(expected, wide, dy.float())):
            assert torch.equal(got, exact.to(dtype)), activation


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_as_that_of_nn_linear(dtype):
    layer, x = et.FusedLinear(33, 9), torch.randn(17, 33)
    with torch.autocast("cpu", dtype):
        y, theirs = layer(x), nn.functional.gelu(nn.functional.linear(x, layer.weight, layer.bias))
    assert y.dtype == theirs.dtype == dtype
    exact = et.fused_linear(x.to(dtype).float(), layer.weight.to(dtype).float(), layer.bias.to(dtype).float())
    assert torch.equal(y, exact.to(dtype))
    y.sum().backward()
    assert layer.weight.grad.dtype == torch.float32 and layer.weight.grad.isfinite().all()
    prelu = et.PReLULinear(33, 9, num_parameters=9)
    with torch.autocast("cpu", dtype):
        prelu(x).sum().backward()
    assert prelu.slope.grad.dtype == torch.float32 and prelu.slope.grad.abs().sum() > 0


def test_modules_take_the_states_of_torchs():
    linear, x = nn.Linear(33, 9), torch.randn(2, 17, 33)
    fused = et.FusedLinear(33, 9, activation="silu")
    fused.load_state_dict(linear.state_dict())
    assert torch.allclose(fused(x), nn.functional.silu(linear(x)), atol=1e-5)
    of = et.FusedLinear.of(linear, "relu")
    assert of.weight is linear.weight and torch.allclose(of(x), torch.relu(linear(x)), atol=1e-5) and "relu" in repr(of)
    prelu = et.PReLULinear(33, 9, num_parameters=9)
    prelu.load_state_dict(linear.state_dict() | {"slope": torch.full((9,), 0.1)})
    assert torch.allclose(prelu(x), nn.functional.prelu(linear(x).transpose(1, 2), torch.full((9,), 0.1)).transpose(1, 2), atol=1e-5)
    gated = et.SwiGLU(33, 9)
    assert list(gated.state_dict()) == ["gate_proj.weight", "up_proj.weight"]
    assert torch.allclose(gated(x), nn.functional.silu(gated.gate_proj(x)) * gated.up_proj(x), atol=1e-5)


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_networks_compute_the_same(backend):
    if backend == "inductor":
        import shutil

        if not shutil.which("g++") and not shutil.which("clang++"):
            pytest.skip("inductor needs a C++ compiler")
    network = nn.Sequential(et.FusedLinear(8, 16), et.PReLULinear(16, 16), et.SwiGLU(16, 4))
    x = torch.randn(5, 8)
    expected = network(x)
    expected.square().sum().backward()
    gradients = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    got = torch.compile(network, backend=backend, fullgraph=True)(x)
    got.square().sum().backward()
    assert torch.allclose(got, expected, atol=1e-6)
    for parameter, gradient in zip(network.parameters(), gradients):
        assert torch.allclose(parameter.grad, gradient, atol=1e-5)


def test_unwanted_gradients_are_not_computed_and_others_are_right():
    x, w, b = torch.randn(5, 8), torch.randn(4, 8), torch.randn(4, requires_grad=True)
    et.fused_linear(x, w, b).sum().backward()
    z = (x.double() @ w.double().T + b.detach().double()).requires_grad_()
    nn.functional.gelu(z).sum().backward()
    assert x.grad is None and torch.allclose(b.grad.double(), z.grad.sum(0), atol=1e-5)


def test_what_does_not_fit_is_a_value_error():
    x, w, b = torch.randn(5, 8), torch.randn(4, 8), torch.randn(4)
    for text, call in {
        "w: expected [N, 8]": lambda: et.fused_linear(x, w.T.contiguous()),
        "b: expected shape [4], got [3]": lambda: et.fused_linear(x, w, b[:3]),
        "alpha: expected [1] or [4]": lambda: et.fused_linear(x, w, b, "prelu", b[:2]),
        "operands: expected one dtype": lambda: et.fused_linear(x.double(), w, b),
        'activation "gelo"': lambda: et.fused_linear(x, w, b, "gelo"),
        "w_up: expected shape": lambda: et.fused_gated(x, w, w[:2]),
        "b_up: expected a bias of both": lambda: et.fused_gated(x, w, w, b),
        "num_parameters: expected 1 or 4": lambda: et.PReLULinear(8, 4, num_parameters=3),
    }.items():
        with pytest.raises(ValueError) as raised:
            call()
        assert text in str(raised.value), raised.value


def test_tensors_of_the_device_and_torchs_meet_over_dlpack(gpu):
    x = torch.randn(3, 4)
    assert torch.equal(torch.from_dlpack(gpu.tensor(x)), x)
