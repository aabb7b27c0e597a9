"""The stubs say what the module has, and a user's program is checked by them."""

import importlib.util
import subprocess
import sys

import elbow

# functools.lru_cache, which a checker sees without its arguments.
ALLOWED = "elbow.torch._layer\n"

RIGHT = """
import numpy as np
import elbow

x, w = np.zeros((4, 8), np.float32), np.zeros((2, 8), np.float32)
y = elbow.Layer("gelu").forward(x, w)
y, kept = elbow.Layer("gelu").forward(x, w, keep=True)
gradients: dict[str, np.ndarray] = elbow.Layer("gelu").backward(y, x, w, kept=kept)
t: elbow.Tensor = elbow.Layer("relu").forward(elbow.Gpu().tensor(x), elbow.Gpu().tensor(w))
sizes: list[int] = elbow.Mlp.open("model.safetensors", optimiser="sgd", rate=0.1, momentum=0.9).sizes
losses: list[float] = elbow.Mlp([2, 4, 1], "tanh", loss="squared_error").fit(x, w)
"""
WRONG = [
    'elbow.Layer("gelu").forward(x, elbow.Gpu().tensor(w))',
    'elbow.Layer("gelu", layout="rows")',
    'elbow.Mlp([2, 4, 1], loss="l1")',
    'elbow.Mlp.open("model.safetensors", optimiser="adam")',
    'elbow.Mlp([2, 1]).save("model.safetensors", notes={"epoch": 3})',
    'elbow.Gpu().tensor(x, "f64")',
    'elbow.verify(groups="losses", only=True)',
]


def run(*command):
    done = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


def test_the_stubs_agree_with_the_module(tmp_path):
    missing = [library for library in ("torch", "jax") if importlib.util.find_spec(library) is None]
    (tmp_path / "allowed").write_text(ALLOWED + "".join(f"elbow.{library}\n" for library in missing))
    (tmp_path / "mypy.ini").write_text("[mypy]\nignore_missing_imports = True\n")
    files = ["--ignore-unused-allowlist", "--allowlist", tmp_path / "allowed", "--mypy-config-file", tmp_path / "mypy.ini"]
    code, said = run("mypy.stubtest", "--concise", *files, "elbow")
    assert code == 0, said


def test_every_public_name_is_documented_and_typed():
    assert all(hasattr(elbow, name) for name in elbow.__all__)


def test_a_program_is_checked(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(RIGHT)
    code, said = run("mypy", "--strict", "--cache-dir", tmp_path, program)
    assert code == 0, said
    program.write_text(RIGHT + "\n".join(WRONG) + "\n")
    code, said = run("mypy", "--strict", "--cache-dir", tmp_path, program)
    first = RIGHT.count("\n") + 1
    for line, wrong in enumerate(WRONG, first):
        assert f"program.py:{line}: error" in said, f"{wrong} is not refused:\n{said}"
