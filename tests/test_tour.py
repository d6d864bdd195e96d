"""docs/tour.ipynb: its code runs, with a shorter training, and its outputs are there and small."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

NOTEBOOK = pathlib.Path(__file__).parents[1] / "docs" / "tour.ipynb"
SHORTER = {"total_kimg=6": "total_kimg=0.128", "eval_every_kimg=3": "eval_every_kimg=0.064"}
SHORTER |= {
    "num_generated=1000": "num_generated=200",
    "steps=300": "steps=5",
    '"log.eval_samples": 500': '"log.eval_samples": 200',
}


def _cells():
    return [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_the_tour_runs(tmp_path):
    code = "\n".join("".join(cell["source"]) for cell in _cells())
    for long, short in SHORTER.items():
        assert long in code
        code = code.replace(long, short)
    env = {**os.environ, "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=env, timeout=600)


def test_its_outputs_are_there_and_small():
    assert NOTEBOOK.stat().st_size < 300_000
    shown = [output for cell in _cells() for output in cell["outputs"]]
    assert not [output for output in shown if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in shown) >= 7
