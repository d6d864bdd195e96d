"""The API reference: made from the docstrings without a warning, with a page for each module."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.slow
def test_every_module_has_a_page(tmp_path):
    command = ["make", "api", f"API_DIR={tmp_path}", f"VENV={sys.prefix}", f"--assume-old={sys.prefix}/.developed"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    rooms = [path.parent for path in (ROOT / "vitgan_tf").glob("*/__init__.py")]
    # A package that lists its public names has them on its own page.
    open_rooms = [room for room in rooms if "__all__" not in (room / "__init__.py").read_text(encoding="utf-8")]
    modules = [path for room in open_rooms for path in room.rglob("*.py") if path.stem != "__init__"]
    pages = [(tmp_path / path.relative_to(ROOT)).with_suffix(".html") for path in (*modules, *rooms)]
    assert len(modules) > 100 and not [page for page in pages if not page.exists()]
    page = (tmp_path / "vitgan_tf" / "layers" / "attention.html").read_text(encoding="utf-8")
    assert "L2MultiHeadAttention" in page and "softmax" in page
