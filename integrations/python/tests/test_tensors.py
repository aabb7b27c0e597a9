"""Devices, tensors and activations."""

import numpy as np
import pytest

import elbow
from elbow import Activation, Gpu


def test_a_device_says_what_it_is(gpu):
    assert gpu.name and gpu.name in str(gpu) and gpu.info["name"] == gpu.name
    assert any(gpu.name in adapter for adapter in Gpu.adapters())
    assert Gpu(gpu.name[:8], self_test=False).name == gpu.name
    with pytest.raises(RuntimeError, match="no GPU adapter: wanted WGPU_ADAPTER_NAME=no such"):
        Gpu("no such")


@pytest.mark.parametrize(
    "array, dtype",
    [
        (np.float32([[1, -2], [np.inf, 0.1]]), "f32"),
        (np.float16([1.5, -65504, 6e-8]), "f16"),
        (np.uint32([0, 2**32 - 1]), "u32"),
        (np.zeros((0, 3), np.float32), "f32"),
    ],
)
def test_arrays_come_back_as_they_were(gpu, array, dtype):
    tensor = gpu.tensor(array)
    assert (tensor.dtype, tensor.shape) == (dtype, array.shape)
    assert tensor.numpy().dtype == array.dtype and tensor.numpy().tobytes() == array.tobytes()
    assert np.asarray(tensor).tobytes() == array.tobytes() and np.from_dlpack(tensor).tobytes() == array.tobytes()


def test_narrow_tensors_are_rounded_to_the_nearest(gpu):
    values = np.float32([0.1, 1 / 3, 70000])
    assert gpu.tensor(values, "f16").numpy().tolist() == [0.0999755859375, 0.333251953125, np.inf]
    assert gpu.tensor(values, "bf16").numpy().tolist() == [0.10009765625, 0.333984375, 70144]


def test_shapes_and_types_that_do_not_fit_are_refused(gpu):
    tensor = gpu.tensor(np.zeros((4, 6), np.float32))
    assert tensor.reshape(3, 8).shape == (3, 8) and tensor.reshape(-1, 2).shape == (12, 2) and len(tensor) == 4
    for bad in [(5, 5), (-1, -1), (-1, 5), (-2, 12)]:
        with pytest.raises(ValueError, match="shape: expected one of 24 elements"):
            tensor.reshape(*bad)
    for array, dtype in [(np.zeros(3), None), (np.zeros(3, np.int64), None), (np.zeros(3, np.float32), "u32")]:
        with pytest.raises(ValueError, match="array: expected a numpy array of"):
            gpu.tensor(array, dtype)
    with pytest.raises(ValueError, match='dtype "f64"'):
        gpu.zeros(3, dtype="f64")


def test_an_activation_is_a_function_and_its_facts(gpu):
    gelu, z = Activation("gelu"), np.linspace(-6, 6, 1001)
    assert str(gelu) == "gelu_erf" and gelu == Activation("GELU") and gelu.formula and gelu.parameters == []
    assert str(Activation("leaky_relu(0.1)")) == "leaky_relu(0.1)" and Activation("prelu").has_alpha
    assert abs(Activation("relu").gain - 2**0.5) < 1e-9 and Activation("relu").is_flat and not gelu.is_flat
    h = 1e-5
    for quantity, of in [("slope", "value"), ("second_derivative", "slope"), ("third_derivative", "second_derivative")]:
        difference = (gelu(z + h, of) - gelu(z - h, of)) / (2 * h)
        assert np.abs(gelu(z, quantity) - difference).max() < 1e-8, quantity
    narrow = z.astype(np.float32)
    for quantity in ("value", "slope", "second_derivative"):
        exact = gelu(narrow.astype(np.float64), quantity)
        assert np.abs(gelu(narrow, quantity) - exact).max() < 1e-6
        assert np.abs(gelu(gpu.tensor(narrow), quantity).numpy() - exact).max() < 1e-6
    alpha = np.float32([0.5, 2])
    z = np.float32([[-1, -1], [3, 3]])
    for given in (z, gpu.tensor(z)):
        to = gpu.tensor if given is not z else (lambda array: array)
        assert np.asarray(elbow.activation(given, "prelu", alpha=to(alpha))).tolist() == [[-0.5, -2], [3, 3]]
    with pytest.raises(ValueError, match="quantity: expected one of value, slope"):
        gelu(z, "curve")
    with pytest.raises(ValueError, match="no learnable alpha"):
        gelu(z, alpha=alpha)
    with pytest.raises(ValueError, match="alpha: expected 1 element or 2"):
        elbow.activation(z, "prelu", alpha=np.ones(3, np.float32))


def test_verify_and_bench_are_tables(gpu):
    table = elbow.verify(gpu, groups=["self-test", "updates"])
    assert table.passed and [row["group"] for row in table] == ["self-test", "updates"] and "checks" in str(table)
    with pytest.raises(ValueError, match="group: expected one of self-test"):
        elbow.verify(gpu, groups=["none"])
    rows = elbow.bench(gpu, shapes=[(8, 16, 32)], rounds=1)
    assert rows[0]["cpu ms"] > 0 and rows[0]["gpu ms"] > 0 and "resident" in str(rows)
