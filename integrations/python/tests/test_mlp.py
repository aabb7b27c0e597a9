"""Networks that learn, and their files."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from elbow import Mlp

X = np.float32([[0, 0], [0, 1], [1, 0], [1, 1]])


def test_xor_is_learned_and_kept_in_a_file(gpu, tmp_path):
    mlp = Mlp([2, 16, 2], "tanh", rate=0.05, max_batch=4, gpu=gpu, seed=1)
    losses = mlp.fit(X, np.array([0, 1, 1, 0]), epochs=100)
    assert len(losses) == 100 and losses[-1] < 0.05 < losses[0]
    assert mlp.predict(X).argmax(1).tolist() == [0, 1, 1, 0]
    mlp.save(tmp_path / "xor.safetensors")
    other = Mlp([2, 16, 2], "tanh", max_batch=4, gpu=gpu, seed=2)
    assert np.abs(other.predict(X) - mlp.predict(X)).max() > 0.1
    other.load(tmp_path / "xor.safetensors")
    assert (other.predict(X) == mlp.predict(X)).all()
    again = Mlp([2, 16, 2], "tanh", max_batch=4, gpu=gpu, seed=3)
    again.load_state_dict(mlp.state_dict())
    assert (again.predict(X) == mlp.predict(X)).all()


def test_a_file_says_what_network_it_is(gpu, tmp_path):
    path = tmp_path / "model.safetensors"
    mlp = Mlp([2, 8, 3], ["prelu(0.1)", "sigmoid"], alpha="channel", loss="binary_cross_entropy", max_batch=4, gpu=gpu)
    mlp.save(path, notes={"data": "none", "epoch": "0"})
    opened = Mlp.open(path, max_batch=2, gpu=gpu)
    assert (opened.sizes, opened.activations, opened.notes) == ([2, 8, 3], ["prelu(0.1)", "sigmoid"], {"data": "none", "epoch": "0"})
    assert mlp.notes == {} and "sigmoid" in repr(opened)
    assert (opened.predict(X) == mlp.predict(X)).all()
    again = tmp_path / "again.safetensors"
    opened.save(str(again), notes=opened.notes)
    assert again.read_bytes() == path.read_bytes()
    # A model has no optimiser; one of its own makes it learn.
    targets = np.float32([[0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]])
    with pytest.raises(ValueError, match="Mlp: expected an optimiser"):
        opened.step(X[:2], targets[:2])
    learning = Mlp.open(path, max_batch=4, gpu=gpu, optimiser="sgd", rate=0.5, momentum=0.9)
    assert (learning.predict(X) == mlp.predict(X)).all()
    losses = learning.fit(X, targets, epochs=20)
    assert losses[-1] < losses[0]
    assert learning.activations[0] == "prelu(0.1)" and list(learning.state_dict())[2] == "1.weight"


@pytest.mark.parametrize("optimiser, dtype", [("adamw", "f32"), ("nesterov", "f32"), ("adamw", "f16")])
def test_a_checkpoint_learns_on_with_the_same_bits(gpu, tmp_path, optimiser, dtype):
    path, labels = tmp_path / "checkpoint.safetensors", np.array([0, 1, 1, 0])
    x = gpu.tensor(X, dtype)
    options = {"momentum": 0.9} if optimiser == "nesterov" else {}
    mlp = Mlp([2, 16, 2], "tanh", rate=0.05, optimiser=optimiser, dtype=dtype, max_batch=4, gpu=gpu, **options)
    for _ in range(3):
        mlp.step(x, labels)
    mlp.set_rate(0.02)
    mlp.save(path, checkpoint=True, notes={"step": "3"})
    mlp.save(tmp_path / "model.safetensors")
    opened = Mlp.open(path, max_batch=4, gpu=gpu)
    assert opened.notes == {"step": "3"}
    losses = [mlp.step(x, labels) for _ in range(3)]
    assert [opened.step(x, labels) for _ in range(3)] == losses
    one, other = mlp.state_dict(), opened.state_dict()
    assert all((one[name].view(np.uint32) == other[name].view(np.uint32)).all() for name in one)
    # Without its state it would be another training.
    anew = Mlp.open(tmp_path / "model.safetensors", max_batch=4, gpu=gpu, optimiser=optimiser, rate=0.02, **options)
    assert [anew.step(x, labels) for _ in range(3)] != losses


def test_files_that_are_no_network_of_elbows(gpu, tmp_path):
    mlp = Mlp([2, 4, 1], max_batch=4, gpu=gpu)
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError):
        Mlp.open(path, gpu=gpu)
    with pytest.raises(OSError, match="none"):
        mlp.save(tmp_path / "none" / "model.safetensors")
    mlp.save(path)
    whole = path.read_bytes()
    for notes, text in [({"elbow.sizes": "3"}, "elbow.sizes"), ({"format": "pt"}, "format")]:
        with pytest.raises(ValueError, match=text):
            mlp.save(path, notes=notes)
    assert path.read_bytes() == whole and len(list(tmp_path.iterdir())) == 1
    for file, text in {
        whole[:-4]: "safetensors",
        whole.replace(b"2,4,1", b"2,5,1"): "0.weight",
        whole.replace(b"elbow.sizes", b"other.sizes"): "elbow.sizes",
        whole.replace(b"elbow.activations\":\"relu", b"elbow.activations\":\"relx"): "relx",
    }.items():
        path.write_bytes(file)
        with pytest.raises(ValueError, match=text):
            Mlp.open(path, gpu=gpu)
    path.write_bytes(whole)
    for options, text in [({"optimiser": "adam"}, "one of sgd"), ({"momentum": 0.9}, "an option that it has"), ({"optimiser": "sgd", "beta1": 0.9}, "beta1")]:
        with pytest.raises(ValueError, match=text):
            Mlp.open(path, gpu=gpu, **options)


def test_a_step_is_that_of_the_formula(gpu):
    """Plain gradient descent on the squared error of a linear layer."""
    mlp = Mlp([3, 2], "identity", loss="squared_error", optimiser="sgd", rate=0.25, max_batch=8, gpu=gpu)
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((8, 3), dtype=np.float32), rng.standard_normal((8, 2), dtype=np.float32)
    before = mlp.state_dict()
    y = x.astype(np.float64) @ before["0.weight"].T + before["0.bias"]
    loss = mlp.step(x, t)
    assert abs(loss - ((y - t) ** 2).mean()) < 1e-6
    dy = 2 * (y - t) / t.size
    after = mlp.state_dict()
    assert np.abs(after["0.weight"] - (before["0.weight"] - 0.25 * dy.T @ x)).max() < 1e-6
    assert np.abs(after["0.bias"] - (before["0.bias"] - 0.25 * dy.sum(0))).max() < 1e-6
    mlp.set_rate(0.0)
    mlp.step(x, t)
    assert (mlp.state_dict()["0.weight"] == after["0.weight"]).all()


def test_batches_of_any_number_are_predicted(gpu):
    mlp = Mlp([2, 8, 3], ["silu", "sigmoid"], max_batch=5, gpu=gpu)
    x = np.random.default_rng(0).standard_normal((13, 2), dtype=np.float32)
    y = mlp.predict(x)
    assert y.shape == (13, 3) and ((0 < y) & (y < 1)).all()
    assert np.abs(mlp.predict(x[3:5]) - y[3:5]).max() < 1e-6
    assert mlp.predict(x[:0]).shape == (0, 3)


def test_what_does_not_fit_is_named_and_changes_nothing(gpu):
    mlp = Mlp([2, 4, 3], "prelu", alpha="channel", max_batch=4, gpu=gpu)
    before = mlp.state_dict()
    assert list(before) == ["0.weight", "0.bias", "1.weight", "2.weight", "2.bias"]
    for text, call in {
        "targets: expected integers": lambda: mlp.step(X, np.zeros(4, np.float32)),
        "targets: expected classes from 0 to 2": lambda: mlp.step(X, np.array([0, 1, 2, 3])),
        "x: expected": lambda: mlp.step(X[:, :1].copy(), np.zeros(4, int)),
        "targets: expected 4 rows": lambda: mlp.fit(X, np.zeros(3, int)),
        "Mlp: expected an option that it has, got momentumm": lambda: Mlp([2, 2], gpu=gpu, momentumm=1),
        "loss: expected one of cross_entropy": lambda: Mlp([2, 2], gpu=gpu, loss="mse"),
        "rates: momentum": lambda: Mlp([2, 2], gpu=gpu, optimiser="sgd", momentum=2.0),
        "mlp: sizes": lambda: Mlp([2], gpu=gpu),
        "a parameter 0.weight, got none": lambda: mlp.load_state_dict({}),
        "0.weight: expected shape [4, 2]": lambda: mlp.load_state_dict(before | {"0.weight": np.zeros((2, 4), np.float32)}),
        "names among 0.weight": lambda: mlp.load_state_dict(before | {"7.weight": before["0.bias"]}),
    }.items():
        with pytest.raises(ValueError) as raised:
            call()
        assert text in str(raised.value), f"{text}: {raised.value}"
    after = mlp.state_dict()
    assert all((after[name] == before[name]).all() for name in before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_an_interrupt_ends_a_long_training():
    program = """
import numpy as np, elbow
mlp = elbow.Mlp([8, 16, 2], max_batch=16)
print("begun", flush=True)
mlp.fit(np.zeros((256, 8), np.float32), np.zeros(256, int), epochs=10**9)
"""
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout.readline() == "begun\n"
        running.send_signal(signal.SIGINT)
        _, error = running.communicate(timeout=60)
        assert "KeyboardInterrupt" in error and running.returncode != 0
    finally:
        running.kill()
