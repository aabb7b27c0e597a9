"""elbow in Python, from a layer to a network that reads digits. Run it: `python tutorial.py`."""

import gzip
from pathlib import Path

import numpy as np

import elbow

# 1. A layer on arrays: y = gelu(x @ w.T + b), on the CPU or a GPU, whichever is faster for this shape.
rng = np.random.default_rng(0)
x, w, b = (rng.standard_normal(shape, dtype=np.float32) for shape in [(32, 64), (10, 64), (10,)])
y = elbow.affine(x, w, b, "gelu")
print("a layer:", y.shape)

# 2. Its gradients. What forward keeps is the cheapest that is enough: z here, y or one bit an element for others.
layer = elbow.Layer("gelu")
y, kept = layer.forward(x, w, b, keep=True)
gradients = layer.backward(np.ones_like(y), x, w, b, kept=kept)
print("its gradients:", {name: gradient.shape for name, gradient in gradients.items()})

# 3. A device, and tensors that stay on it. The same calls.
gpu = elbow.Gpu()
print("the device:", gpu)
on_gpu = [gpu.tensor(array) for array in (x, w, b)]
print("largest difference:", np.abs(elbow.affine(*on_gpu, "gelu").numpy() - y).max())

# 4. Activations are functions, with derivatives, in f64 too.
gelu = elbow.Activation("gelu")
print(f"{gelu}: {gelu.formula}, slope at 1: {gelu(np.array([1.0]), 'slope')[0]:.6f}, gain {gelu.gain:.4f}")

# 5. A network on the device.
lines = gzip.open(Path(__file__).parents[3] / "examples/data/digits.csv.gz", "rt")
digits = np.loadtxt(lines, delimiter=",", dtype=np.float32)
images, labels = digits[:, :64] / 16, digits[:, 64].astype(np.int64)
mlp = elbow.Mlp([64, 64, 10], "silu", rate=3e-3, max_batch=128, gpu=gpu)
held_back = np.arange(len(images)) % 5 == 0
losses = mlp.fit(images[~held_back], labels[~held_back], epochs=15)
right = (mlp.predict(images[held_back]).argmax(1) == labels[held_back]).mean()
print(f"digits: loss {losses[0]:.3f} to {losses[-1]:.3f}, {right:.1%} of those held back right")
assert right > 0.9

# 6. Its parameters have PyTorch's names.
print("parameters:", {name: value.shape for name, value in mlp.state_dict().items()})
