"""A network that learns in a few lines. Loops are here, so that Ctrl-C ends them between two steps; steps are on the device."""

from pathlib import Path

import numpy as np

from ._elbow import Gpu, Network, Tensor


class Mlp:
    def __init__(
        self,
        sizes,
        activation="relu",
        *,
        loss="cross_entropy",
        optimiser="adamw",
        rate=1e-3,
        max_batch=256,
        alpha="constant",
        dtype="f32",
        initialisation="he",
        seed=0,
        gpu=None,
        **options,
    ):
        self.gpu = Gpu() if gpu is None else gpu
        self.network = Network(
            self.gpu, list(sizes), activation, alpha=alpha, loss=loss, optimiser=optimiser, rate=rate,
            max_batch=max_batch, seed=seed, dtype=dtype, initialisation=initialisation, **options,
        )

    @classmethod
    def open(cls, path, *, max_batch=256, gpu=None, optimiser=None, rate=1e-3, **options):
        mlp = cls.__new__(cls)
        file = Path(path).read_bytes()
        mlp.gpu = Gpu() if gpu is None else gpu
        mlp.network = Network.open(mlp.gpu, file, max_batch=max_batch, optimiser=optimiser, rate=rate, **options)
        return mlp

    @property
    def sizes(self):
        return self.network.sizes

    @property
    def activations(self):
        return self.network.activations

    @property
    def notes(self):
        return self.network.notes

    def _on_device(self, array):
        return array if isinstance(array, Tensor) else self.gpu.tensor(array)

    def _targets(self, targets):
        """Labels of any integer type as words; other targets as they are."""
        if isinstance(targets, Tensor) or not self.network.classifies:
            return self._on_device(targets)
        targets = np.asarray(targets)
        if not np.issubdtype(targets.dtype, np.integer):
            raise ValueError(f"targets: expected integers, the class of each row, got {targets.dtype}")
        if targets.size and not 0 <= targets.min() <= targets.max() < self.sizes[-1]:
            raise ValueError(f"targets: expected classes from 0 to {self.sizes[-1] - 1}, got {targets.min()} to {targets.max()}")
        return self.gpu.tensor(targets.astype(np.uint32))

    def step(self, x, targets):
        return float(self.network.step(self._on_device(x), self._targets(targets)).numpy().mean())

    def fit(self, x, targets, *, epochs=1, batch=None, seed=0):
        x, targets = np.asarray(x), np.asarray(targets)
        if len(x) != len(targets):
            raise ValueError(f"targets: expected {len(x)} rows, as x has, got {len(targets)}")
        batch = min(batch or self.network.max_batch, len(x))
        order, losses = np.random.default_rng(seed), []
        for _ in range(epochs):
            rows = order.permutation(len(x))
            steps = [rows[at : at + batch] for at in range(0, len(x), batch)]
            # Nothing waits for a step before the epoch ends.
            of_steps = [self.network.step(self._on_device(x[at]), self._targets(targets[at])) for at in steps]
            losses.append(float(np.concatenate([of_step.numpy() for of_step in of_steps]).mean()))
        return losses

    def predict(self, x):
        if isinstance(x, Tensor):
            return self.network.infer(x)
        x, most = np.asarray(x), self.network.max_batch
        parts = [self.network.infer(self.gpu.tensor(x[at : at + most])) for at in range(0, max(len(x), 1), most)]
        return np.concatenate(parts)

    def set_rate(self, rate):
        self.network.set_rate(rate)

    def state_dict(self):
        return self.network.state_dict()

    def load_state_dict(self, state):
        self.network.load_state_dict(dict(state))

    def save(self, path, *, checkpoint=False, notes=None):
        self.network.save(path, checkpoint, list((notes or {}).items()))

    def load(self, path):
        self.network.load_safetensors(Path(path).read_bytes())

    def __repr__(self):
        return f"Mlp({self.sizes}, {self.activations}, gpu={self.gpu.name!r})"
