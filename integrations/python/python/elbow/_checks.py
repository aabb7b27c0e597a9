"""verify and bench: is this adapter right, and is it worth it. Thin: the `elbow` command does both in full."""

import time

import numpy as np

from ._elbow import Activation, Gpu, Host, Layer, verify_group, verify_groups


class Table(list):
    """Rows that print as a table."""

    def __init__(self, title, columns, rows):
        super().__init__(rows)
        self.title, self.columns = title, columns

    def __str__(self):
        cells = [self.columns] + [[_cell(row[name]) for name in self.columns] for row in self]
        widths = [max(len(line[i]) for line in cells) for i in range(len(self.columns))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]
        return "\n".join([self.title, *lines])

    __repr__ = __str__


def _cell(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def verify(gpu=None, *, full=False, groups=None):
    gpu = Gpu() if gpu is None else gpu
    # A signal is seen between two groups.
    rows = [verify_group(gpu, name, full) for name in groups or verify_groups()]
    table = Table(str(gpu), ["group", "checks", "failed", "seconds", "worst"], rows)
    table.passed = all(row["failed"] == 0 for row in rows)
    return table


def _times(run, rounds):
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def bench(gpu=None, *, shapes=((64, 256, 256), (256, 512, 512), (1024, 1024, 1024)), activation="gelu", rounds=5):
    gpu = Gpu() if gpu is None else gpu
    roads = {"cpu": Host(road="cpu"), "gpu": Host(gpu, road="gpu")}
    layer, act, rng, rows = Layer(activation), Activation(activation), np.random.default_rng(0), []
    for m, n, k in shapes:
        x, w, b = (rng.standard_normal(shape, dtype=np.float32) for shape in ((m, k), (n, k), n))
        expected = act(x.astype(np.float64) @ w.T.astype(np.float64) + b)
        # 8 u of the sum of the absolute values of the terms, and what the activation adds: docs/numerics.md.
        bound = 2.0**-20 * (np.abs(x) @ np.abs(w).T + np.abs(b) + 1)
        times = {}
        for name, host in roads.items():
            wrong = np.abs(layer.forward(x, w, b, host=host) - expected) > bound
            if wrong.any():
                raise RuntimeError(f"{name}: y{list(np.argwhere(wrong)[0])} of {m}x{n}x{k} is wrong: not timed")
            times[name] = _times(lambda: layer.forward(x, w, b, host=host), rounds)
        tensors = [gpu.tensor(array) for array in (x, w, b)]
        times["resident"] = _times(lambda: (layer.forward(*tensors), gpu.wait()), rounds)
        rows.append({"shape": f"{m}x{n}x{k}"} | {f"{name} ms": min(of) * 1e3 for name, of in times.items()})
    title = f"{gpu}\nforward of {activation}: least of {rounds} rounds; gpu: with both transfers; resident: tensors stay"
    return Table(title, ["shape", "cpu ms", "gpu ms", "resident ms"], rows)
