"""Types of elbow. Shapes: x `[.., K]`, w `[N, K]`, b `[N]`, y and dy `[.., N]`, alpha `[1]` or `[N]`."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Operand = TypeVar("Operand", Array, "Tensor")
Dtype = Literal["f32", "f16", "bf16", "u32"]
Quantity = Literal[
    "value", "slope", "second_derivative", "third_derivative",
    "alpha_slope", "mixed_derivative", "mixed_third_derivative", "second_alpha_derivative",
]
Layout = Literal["out_in", "in_out"]
ResidualAt = Literal["after", "before"]

__version__: str

class Gpu:
    """A device. Without a name the best there is, a GPU before a software adapter; WGPU_ADAPTER_NAME and WGPU_BACKEND count too.

    RuntimeError, with the adapters that there are, if none fits; or if the adapter computes wrong numbers.
    """

    def __init__(
        self, name: str | None = None, *, backend: str | None = None, power: str | None = None, self_test: bool = True
    ) -> None: ...
    @staticmethod
    def adapters() -> list[str]: ...
    @property
    def name(self) -> str: ...
    @property
    def info(self) -> dict[str, Any]: ...
    @property
    def is_software(self) -> bool:
        """Whether a CPU plays GPU: its results are right, its speed is a CPU's."""
    @property
    def memory_bytes(self) -> int: ...
    def tensor(self, array: npt.NDArray[Any] | Any, dtype: Dtype | None = None) -> Tensor:
        """A copy on the device, of an array or of whatever has `__dlpack__` on the CPU; float32 is rounded to `dtype`."""
    def zeros(self, *shape: int, dtype: Dtype = "f32") -> Tensor: ...
    def wait(self) -> None:
        """Until everything that was submitted has run."""

class Tensor:
    """A row-major array on a device."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Dtype: ...
    def reshape(self, *shape: int) -> Tensor:
        """The same memory; one dimension may be -1."""
    def numpy(self) -> npt.NDArray[Any]:
        """A copy: f32 and bf16 as float32, f16 as float16, u32 as uint32."""
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]: ...
    def __dlpack__(self, **options: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __len__(self) -> int: ...

class Host:
    """Where layers on arrays are computed: on the CPU, or on a GPU with both transfers.

    Without arguments the best adapter and the faster road for each shape, measured at the first call; the CPU alone beside a software adapter.
    `road` forces one. It prints as what it found and measured.
    """

    def __init__(self, gpu: Gpu | None = None, road: Literal["cpu", "gpu"] | None = None) -> None: ...
    def road(self, m: int, n: int, k: int) -> Literal["cpu", "gpu"]: ...
    def costs(self) -> dict[str, float] | None:
        """Seconds of a call and operations a second on both roads, bytes a second up and down; None where there is one road."""

class Activation:
    """An activation, from its text: "gelu", "leaky_relu(0.1)". Called with an array or a tensor it gives its value or a derivative there.

    float64 is computed in elbow's f64 mathematics, by which its kernels are judged.
    """

    def __init__(self, text: str | Activation) -> None: ...
    @overload
    def __call__(self, z: Tensor, quantity: Quantity = "value", alpha: Tensor | None = None) -> Tensor: ...
    @overload
    def __call__(self, z: npt.NDArray[Any], quantity: Quantity = "value", alpha: Array | None = None) -> npt.NDArray[Any]: ...
    @property
    def name(self) -> str: ...
    @property
    def formula(self) -> str: ...
    @property
    def parameters(self) -> list[float]: ...
    @property
    def has_alpha(self) -> bool: ...
    @property
    def gain(self) -> float:
        """1/sqrt(E[act(Z)^2]), the factor of He's initialisation."""
    @property
    def lipschitz(self) -> float: ...
    @property
    def is_flat(self) -> bool:
        """Whether its second derivative is 0 almost everywhere."""

class Layer:
    """A fused layer, stated once: y = act(x @ w.T + b) (+ residual).

    `gate` ("stacked", "interleaved", "apart", each also ",limit=7") makes y = act(gate) * up of it; `jet` ("laplacian(2)", or the coefficients of a
    second-order operator) makes groups of rows that carry derivatives along.
    """

    def __init__(
        self,
        activation: str | Activation | None = None,
        *,
        layout: Layout = "out_in",
        residual_at: ResidualAt = "after",
        gate: str | None = None,
        jet: str | None = None,
    ) -> None: ...
    @overload
    def forward(
        self, x: Operand, w: Operand, b: Operand | None = None, *, keep: Literal[False] = False, host: Host | None = None,
        alpha: Operand | None = None, residual: Operand | None = None, w_up: Operand | None = None, b_up: Operand | None = None,
    ) -> Operand: ...
    @overload
    def forward(
        self, x: Operand, w: Operand, b: Operand | None = None, *, keep: Literal[True], host: Host | None = None,
        alpha: Operand | None = None, residual: Operand | None = None, w_up: Operand | None = None, b_up: Operand | None = None,
    ) -> tuple[Operand, Any]: ...
    def backward(
        self, dy: Operand, x: Operand, w: Operand, b: Operand | None = None, *, kept: Any = None,
        wants: Sequence[str] | None = None, host: Host | None = None,
        alpha: Operand | None = None, residual: Operand | None = None, w_up: Operand | None = None, b_up: Operand | None = None,
    ) -> dict[str, Operand]:
        """dx, dw, db, dalpha, dresidual, dw_up and db_up of the operands that there are. Without `kept` z is computed again."""
    def double_backward(
        self, dy: Operand, x: Operand, w: Operand, b: Operand | None = None, *, kept: Any = None,
        wants: Sequence[str] | None = None, host: Host | None = None, alpha: Operand | None = None,
        residual: Operand | None = None,
        ddx: Operand | None = None, ddw: Operand | None = None, ddb: Operand | None = None, ddalpha: Operand | None = None,
    ) -> dict[str, Operand]:
        """ddy, dx2, dw2, db2 and dalpha2, from what comes back to the gradients."""
    def keeps(self, *, learnable_alpha: bool = False) -> Literal["z", "y", "mask", "none"]: ...

def affine(
    x: Operand, w: Operand, b: Operand | None = None, activation: str | Activation = "identity", *,
    layout: Layout = "out_in", residual_at: ResidualAt = "after", **options: Any,
) -> Any:
    """Layer(activation).forward: y, or with `keep=True` y and what backward needs."""

def affine_backward(
    dy: Operand, x: Operand, w: Operand, b: Operand | None = None, activation: str | Activation = "identity", *,
    layout: Layout = "out_in", residual_at: ResidualAt = "after", **options: Any,
) -> dict[str, Operand]: ...
def activation(z: Any, name: str | Activation, quantity: Quantity = "value", alpha: Any = None) -> Any: ...
def gated(
    x: Operand, w: Operand, b: Operand | None = None, activation: str = "swiglu", *, gate: str | None = None, **options: Any
) -> Any:
    """y = act(gate) * up of one product, w `[2N, K]`: "swiglu", "geglu", "reglu", "glu"; or of two weights, w and `w_up`."""

def jet(
    x: Operand, w: Operand, b: Operand | None = None, activation: str | Activation = "tanh", *, operator: str = "laplacian(2)", **options: Any
) -> Any:
    """Rows of x are groups: a value, its derivatives along two (six) tangents, and a second-order operator of it."""

class Mlp:
    """A multi-layer perceptron on a device: hidden layers with one activation, or a list of one for each layer, the last included.

    `loss`: "cross_entropy" (targets are classes), "squared_error", "huber", "binary_cross_entropy" (of logits). `optimiser`: "adamw", "sgd", "nesterov",
    with options beta1 or momentum, beta2, epsilon, weight_decay, l1, max_norm; of a loss delta or label_smoothing.
    """

    gpu: Gpu
    sizes: list[int]

    def __init__(
        self,
        sizes: Iterable[int],
        activation: str | Activation | Sequence[str | Activation] = "relu",
        *,
        loss: Literal["cross_entropy", "squared_error", "huber", "binary_cross_entropy"] = "cross_entropy",
        optimiser: Literal["adamw", "sgd", "nesterov"] = "adamw",
        rate: float = 1e-3,
        max_batch: int = 256,
        alpha: Literal["constant", "layer", "channel"] = "constant",
        dtype: Literal["f32", "f16", "bf16"] = "f32",
        initialisation: Literal["he", "critical", "lecun", "glorot", "glorot_normal"] = "he",
        seed: int = 0,
        gpu: Gpu | None = None,
        **options: float,
    ) -> None: ...
    def step(self, x: Any, targets: Any) -> float:
        """One update; the mean loss before it."""
    def fit(self, x: npt.NDArray[Any], targets: npt.NDArray[Any], *, epochs: int = 1, batch: int | None = None, seed: int = 0) -> list[float]:
        """The mean loss of each epoch."""
    def predict(self, x: Any) -> Array:
        """Outputs of the last layer, in batches."""
    def set_rate(self, rate: float) -> None: ...
    def state_dict(self) -> dict[str, Array]:
        """By PyTorch's names: "0.weight", "0.bias", .. of Sequential(Linear, activation, Linear, ..)."""
    def load_state_dict(self, state: Mapping[str, Array]) -> None: ...
    def save(self, path: str | PathLike[str]) -> None:
        """A safetensors file."""
    def load(self, path: str | PathLike[str]) -> None: ...

class Table(list[dict[str, Any]]):
    passed: bool

def verify(gpu: Gpu | None = None, *, full: bool = False, groups: Iterable[str] | None = None) -> Table:
    """The library's own checks on this adapter, group by group; `passed` says whether all are right."""

def bench(
    gpu: Gpu | None = None, *, shapes: Iterable[tuple[int, int, int]] = ..., activation: str = "gelu", rounds: int = 5
) -> Table:
    """Forward of M x N x K on the CPU, on the GPU with both transfers, and on tensors; each verified before it is timed."""

def set_threads(count: int) -> bool:
    """So many threads for the CPU's road; False if it has begun to work already."""
