"""The examples run, and say what they should."""

import json
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_notebook_learns_to_read_digits():
    notebook = nbformat.read(EXAMPLES / "tutorial.ipynb", 4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": EXAMPLES}}).execute()
    said = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("of those held back right" in text for text in said)


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_have_the_losses_of_one(tmp_path, processes):
    """Sums in another order differ by some 2^-23 of their size in each step, and training carries that on: 1e-4 of a loss after 70 steps."""
    pytest.importorskip("torch")
    alone, together = tmp_path / "alone.json", tmp_path / "together.json"
    run(sys.executable, EXAMPLES / "ddp_digits.py", "--out", alone)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    run(*torchrun, EXAMPLES / "ddp_digits.py", "--out", together)
    alone, together = (json.loads(path.read_text()) for path in (alone, together))
    assert len(alone["losses"]) == len(together["losses"]) == 70
    for step, (one, several) in enumerate(zip(alone["losses"], together["losses"])):
        assert abs(one - several) <= 1e-4 * one, f"step {step}: {one} alone, {several} of {processes}"
    assert alone["losses"][-1] < 0.2 * alone["losses"][0] and together["right"] > 0.9
