"""Types of the compiled module: classes of which users see the names in elbow."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal, TypeVar, final, overload

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

__all__ = ["Activation", "Gpu", "Host", "Layer", "Network", "Tensor", "set_threads", "verify_group", "verify_groups"]

_Array = npt.NDArray[np.float32]
_Operand = TypeVar("_Operand", _Array, "Tensor")
_Dtype = Literal["f32", "f16", "bf16", "u32"]
_Quantity = Literal[
    "value", "slope", "second_derivative", "third_derivative",
    "alpha_slope", "mixed_derivative", "mixed_third_derivative", "second_alpha_derivative",
]
_Layout = Literal["out_in", "in_out"]
_ResidualAt = Literal["after", "before"]

@final
class Gpu:
    """A device. Without a name the best there is, a GPU before a software adapter; WGPU_ADAPTER_NAME and WGPU_BACKEND count too.

    RuntimeError, with the adapters that there are, if none fits; or if the adapter computes wrong numbers.
    """

    def __new__(
        cls, name: str | None = None, *, backend: str | None = None, power: str | None = None, self_test: bool = True
    ) -> Self: ...
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
    def tensor(self, array: npt.NDArray[Any] | Any, dtype: _Dtype | None = None) -> Tensor:
        """A copy on the device, of an array or of whatever has `__dlpack__` on the CPU; float32 is rounded to `dtype`."""
    def zeros(self, *shape: int, dtype: _Dtype = "f32") -> Tensor: ...
    def wait(self) -> None:
        """Until everything that was submitted has run."""

@final
class Tensor:
    """A row-major array on a device."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> _Dtype: ...
    def reshape(self, *shape: int) -> Tensor:
        """The same memory; one dimension may be -1."""
    def numpy(self) -> npt.NDArray[Any]:
        """A copy: f32 and bf16 as float32, f16 as float16, u32 as uint32."""
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]: ...
    def __dlpack__(self, **options: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __len__(self) -> int: ...

@final
class Host:
    """Where layers on arrays are computed: on the CPU, or on a GPU with both transfers.

    Without arguments the best adapter and the faster road for each shape, measured at the first call; the CPU alone beside a software adapter.
    `road` forces one. It prints as what it found and measured.
    """

    def __new__(cls, gpu: Gpu | None = None, road: Literal["cpu", "gpu"] | None = None) -> Self: ...
    def road(self, m: int, n: int, k: int) -> Literal["cpu", "gpu"]: ...
    def costs(self) -> dict[str, float] | None:
        """Seconds of a call and operations a second on both roads, bytes a second up and down; None where there is one road."""

@final
class Activation:
    """An activation, from its text: "gelu", "leaky_relu(0.1)". Called with an array or a tensor it gives its value or a derivative there.

    float64 is computed in elbow's f64 mathematics, by which its kernels are judged.
    """

    def __new__(cls, text: str | Activation) -> Self: ...
    @overload
    def __call__(self, z: Tensor, quantity: _Quantity = "value", alpha: Tensor | None = None) -> Tensor: ...
    @overload
    def __call__(self, z: npt.NDArray[Any], quantity: _Quantity = "value", alpha: _Array | None = None) -> npt.NDArray[Any]: ...
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

@final
class Layer:
    """A fused layer, stated once: y = act(x @ w.T + b) (+ residual).

    `gate` ("stacked", "interleaved", "apart", each also ",limit=7") makes y = act(gate) * up of it; `jet` ("laplacian(2)", or the coefficients of a
    second-order operator) makes groups of rows that carry derivatives along.
    """

    def __new__(
        cls,
        activation: str | Activation | None = None,
        *,
        layout: _Layout = "out_in",
        residual_at: _ResidualAt = "after",
        gate: str | None = None,
        jet: str | None = None,
    ) -> Self: ...
    @overload
    def forward(
        self, x: _Operand, w: _Operand, b: _Operand | None = None, *, keep: Literal[False] = False, host: Host | None = None,
        alpha: _Operand | None = None, residual: _Operand | None = None, w_up: _Operand | None = None, b_up: _Operand | None = None,
    ) -> _Operand: ...
    @overload
    def forward(
        self, x: _Operand, w: _Operand, b: _Operand | None = None, *, keep: Literal[True], host: Host | None = None,
        alpha: _Operand | None = None, residual: _Operand | None = None, w_up: _Operand | None = None, b_up: _Operand | None = None,
    ) -> tuple[_Operand, Any]: ...
    def backward(
        self, dy: _Operand, x: _Operand, w: _Operand, b: _Operand | None = None, *, kept: Any = None,
        wants: Sequence[str] | None = None, host: Host | None = None,
        alpha: _Operand | None = None, residual: _Operand | None = None, w_up: _Operand | None = None, b_up: _Operand | None = None,
    ) -> dict[str, _Operand]:
        """dx, dw, db, dalpha, dresidual, dw_up and db_up of the operands that there are. Without `kept` z is computed again."""
    def double_backward(
        self, dy: _Operand, x: _Operand, w: _Operand, b: _Operand | None = None, *, kept: Any = None,
        wants: Sequence[str] | None = None, host: Host | None = None, alpha: _Operand | None = None,
        residual: _Operand | None = None,
        ddx: _Operand | None = None, ddw: _Operand | None = None, ddb: _Operand | None = None, ddalpha: _Operand | None = None,
    ) -> dict[str, _Operand]:
        """ddy, dx2, dw2, db2 and dalpha2, from what comes back to the gradients."""
    def keeps(self, *, learnable_alpha: bool = False) -> Literal["z", "y", "mask", "none"]: ...

def set_threads(count: int) -> bool:
    """So many threads for the CPU's road; False if it has begun to work already."""

def verify_groups() -> list[str]: ...
def verify_group(gpu: Gpu, name: str, full: bool) -> dict[str, Any]: ...

@final
class Network:
    """What Mlp is made of."""

    def __new__(
        cls, gpu: Gpu, sizes: Sequence[int], activation: Sequence[str | Activation], *, alpha: str, loss: str, optimiser: str, rate: float,
        max_batch: int, seed: int, dtype: str, initialisation: str, **options: float,
    ) -> Self: ...
    @staticmethod
    def open(gpu: Gpu, file: bytes, *, max_batch: int, optimiser: str | None, rate: float, **options: float) -> Network: ...
    @property
    def sizes(self) -> list[int]: ...
    @property
    def activations(self) -> list[str]: ...
    @property
    def notes(self) -> dict[str, str]: ...
    @property
    def max_batch(self) -> int: ...
    @property
    def classifies(self) -> bool: ...
    def step(self, x: Tensor, targets: Tensor) -> Tensor: ...
    def infer(self, x: Tensor) -> Tensor: ...
    def set_rate(self, rate: float) -> None: ...
    def state_dict(self) -> dict[str, _Array]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
    def save(self, path: str | PathLike[str], checkpoint: bool, notes: Sequence[tuple[str, str]]) -> None: ...
    def load_safetensors(self, file: bytes) -> None: ...
