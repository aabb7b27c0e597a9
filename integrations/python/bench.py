"""FusedLinear beside PyTorch's own nn.Linear and activation, forward and backward: `python bench.py`.

Both are compared with f64 before they are timed, in the same run, and take turns, so that a busy machine disturbs both. The upstream gradient is
random: a sum's ones would let products be cheaper. Figures are of this machine as it is now.
"""

import argparse
import os
import platform
import time

import torch
from torch import nn

import elbow
from elbow.torch import FusedLinear

parser = argparse.ArgumentParser()
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--activation", default="gelu", choices=["gelu", "relu", "silu", "tanh"])
parser.add_argument("--shapes", nargs="*", default=["64x256x256", "512x512x512", "2048x384x1536"], help="MxNxK")
options = parser.parse_args()

ACTIVATION = {"gelu": nn.GELU(), "relu": nn.ReLU(), "silu": nn.SiLU(), "tanh": nn.Tanh()}[options.activation]


def both(layer, x, dy):
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(dy)
    gradients = [x.grad, *(p.grad for p in layer.parameters())]
    layer.zero_grad()
    return [y.detach(), *gradients]


def forward(layer, x, dy):
    with torch.no_grad():
        return layer(x)


def checked(name, layer, exact, x, dy):
    """Within 2^-16 of the largest element of each result: a result that is wrong is not timed."""
    for what, got, expected in zip(("y", "dx", "dw", "db"), both(layer, x, dy), both(exact, x.double(), dy.double())):
        off = (got.double() - expected).abs().max() / (expected.abs().max() + 1)
        if not off <= 2**-16:
            raise SystemExit(f"{name}: {what} is off by {off:.1e} of its largest element: not timed")


def main():
    torch.manual_seed(0)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    # PyTorch's threads otherwise spin on the cores that ours want next: README.md, "Beside PyTorch's own".
    print(f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', '(not set: threads of PyTorch spin)')}")
    print(f"road: {elbow.Host()}")
    print(f"{'M x N x K':>16} {'':>8} {'torch min':>10} {'median':>8} {'elbow min':>10} {'median':>8} ms   torch / elbow")
    for shape in options.shapes:
        m, n, k = map(int, shape.split("x"))
        linear, x, dy = nn.Linear(k, n), torch.randn(m, k), torch.randn(m, n)
        layers = {"torch": nn.Sequential(linear, ACTIVATION), "elbow": FusedLinear.of(linear, options.activation)}
        exact = nn.Sequential(nn.Linear(k, n).double(), ACTIVATION)
        exact[0].load_state_dict(linear.state_dict())
        for name, layer in layers.items():
            checked(name, layer, exact, x, dy)
        for what, run in (("forward", forward), ("both", both)):
            times = {name: [] for name in layers}
            for round in range(options.rounds + 2):
                for name, layer in layers.items():
                    start = time.perf_counter()
                    run(layer, x, dy)
                    times[name].append(time.perf_counter() - start)
            least = {name: min(of[2:]) * 1e3 for name, of in times.items()}
            median = {name: sorted(of[2:])[options.rounds // 2] * 1e3 for name, of in times.items()}
            print(
                f"{shape:>16} {what:>8} {least['torch']:10.3f} {median['torch']:8.3f} {least['elbow']:10.3f} {median['elbow']:8.3f}"
                f"      {least['torch'] / least['elbow']:.2f}"
            )


if __name__ == "__main__":
    main()
