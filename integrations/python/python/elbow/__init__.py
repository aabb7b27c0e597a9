"""elbow: fused affine + activation layers on any GPU, forward and backward.

    y = act(x @ w.T + b)

Arrays of float32 go by the faster road, the CPU or a GPU with both transfers; tensors of a Gpu stay on it. What does not fit is a ValueError that
names the operand; what a device did is a RuntimeError. `elbow.torch` and `elbow.jax` are imported by their users.
"""

from ._checks import bench, verify
from ._elbow import Activation, Gpu, Host, Layer, Tensor, set_threads
from ._layers import activation, affine, affine_backward, gated, jet
from ._mlp import Mlp

__version__ = "0.1.0"
__all__ = [
    "Activation", "Gpu", "Host", "Layer", "Mlp", "Tensor",
    "activation", "affine", "affine_backward", "bench", "gated", "jet", "set_threads", "verify",
]
