"""Types of elbow. Shapes: x `[.., K]`, w `[N, K]`, b `[N]`, y and dy `[.., N]`, alpha `[1]` or `[N]`."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from ._elbow import Activation as Activation
from ._elbow import Gpu as Gpu
from ._elbow import Host as Host
from ._elbow import Layer as Layer
from ._elbow import Tensor as Tensor
from ._elbow import set_threads as set_threads
from ._elbow import _Array, _Layout, _Operand, _Quantity, _ResidualAt

__all__ = [
    "Activation", "Gpu", "Host", "Layer", "Mlp", "Tensor",
    "activation", "affine", "affine_backward", "bench", "gated", "jet", "set_threads", "verify",
]
__version__: str

def affine(
    x: _Operand, w: _Operand, b: _Operand | None = None, activation: str | Activation = "identity", *,
    layout: _Layout = "out_in", residual_at: _ResidualAt = "after", **options: Any,
) -> Any:
    """Layer(activation).forward: y, or with `keep=True` y and what backward needs."""

def affine_backward(
    dy: _Operand, x: _Operand, w: _Operand, b: _Operand | None = None, activation: str | Activation = "identity", *,
    layout: _Layout = "out_in", residual_at: _ResidualAt = "after", **options: Any,
) -> dict[str, _Operand]: ...
def activation(z: Any, name: str | Activation, quantity: _Quantity = "value", alpha: Any = None) -> Any: ...
def gated(
    x: _Operand, w: _Operand, b: _Operand | None = None, activation: str = "swiglu", *, gate: str | None = None, **options: Any
) -> Any:
    """y = act(gate) * up of one product, w `[2N, K]`: "swiglu", "geglu", "reglu", "glu"; or of two weights, w and `w_up`."""

def jet(
    x: _Operand, w: _Operand, b: _Operand | None = None, activation: str | Activation = "tanh", *, operator: str = "laplacian(2)", **options: Any
) -> Any:
    """Rows of x are groups: a value, its derivatives along two (six) tangents, and a second-order operator of it."""

class Mlp:
    """A multi-layer perceptron on a device: hidden layers with one activation, or a list of one for each layer, the last included.

    `loss`: "cross_entropy" (targets are classes), "squared_error", "huber", "binary_cross_entropy" (of logits). `optimiser`: "adamw", "sgd", "nesterov",
    with options beta1 or momentum, beta2, epsilon, weight_decay, l1, max_norm; of a loss delta or label_smoothing.
    """

    gpu: Gpu

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
    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        *,
        max_batch: int = 256,
        gpu: Gpu | None = None,
        optimiser: Literal["adamw", "sgd", "nesterov"] | None = None,
        rate: float = 1e-3,
        **options: float,
    ) -> Self:
        """The network of a file of elbow's (`save`, `elbow train`, Rust's `Mlp::save`): its architecture is in the file.

        A checkpoint learns on with the same bits; a model predicts. With an `optimiser` of its own, which begins anew, either learns.
        """
    @property
    def sizes(self) -> list[int]: ...
    @property
    def activations(self) -> list[str]:
        """Of each layer, the last included."""
    @property
    def notes(self) -> dict[str, str]:
        """Those of the file that it was opened from."""
    def step(self, x: Any, targets: Any) -> float:
        """One update; the mean loss before it."""
    def fit(self, x: npt.NDArray[Any], targets: npt.NDArray[Any], *, epochs: int = 1, batch: int | None = None, seed: int = 0) -> list[float]:
        """The mean loss of each epoch."""
    def predict(self, x: Any) -> _Array:
        """Outputs of the last layer, in batches."""
    def set_rate(self, rate: float) -> None: ...
    def state_dict(self) -> dict[str, _Array]:
        """By PyTorch's names: "0.weight", "0.bias", .. of Sequential(Linear, activation, Linear, ..)."""
    def load_state_dict(self, state: Mapping[str, _Array]) -> None: ...
    def save(self, path: str | PathLike[str], *, checkpoint: bool = False, notes: Mapping[str, str] | None = None) -> None:
        """A safetensors file with the architecture, whole or not at all; a checkpoint with the optimiser's state too. PyTorch reads a model's parameters."""
    def load(self, path: str | PathLike[str]) -> None:
        """The parameters alone, of files of others too."""

class _Table(list[dict[str, Any]]):
    passed: bool

def verify(gpu: Gpu | None = None, *, full: bool = False, groups: Iterable[str] | None = None) -> _Table:
    """The library's own checks on this adapter, group by group; `passed` says whether all are right."""

def bench(
    gpu: Gpu | None = None, *, shapes: Iterable[tuple[int, int, int]] = ..., activation: str = "gelu", rounds: int = 5
) -> _Table:
    """Forward of M x N x K on the CPU, on the GPU with both transfers, and on tensors; each verified before it is timed."""
