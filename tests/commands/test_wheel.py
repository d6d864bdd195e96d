"""The wheel alone, in an empty folder: it trains, evaluates, draws and reports."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from support import small
from support.commands import OFFLINE, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder in which the wheel is unpacked, as pip does it."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "installed"))
    shutil.copytree(ROOT / "vitgan_tf", source / "vitgan_tf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "DESCRIPTION.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(source)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, capture_output=True)
    (path,) = source.glob("vitgan_tf-*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(target)
    return target


def test_the_wheel_alone_trains_evaluates_draws_and_reports(wheel, tmp_path):
    """As `python -m vitgan_tf`, which is the entry point `vitgan` without its script."""
    (entry_points,) = wheel.glob("*.dist-info/entry_points.txt")
    assert "vitgan = vitgan_tf.commands.main:main" in entry_points.read_text()
    # An index of packages shows the description without the checkout: its links are complete.
    description = (entry_points.parent / "METADATA").read_text(encoding="utf-8").partition("\n\n")[2]
    assert "vitgan run" in description and not re.search(r"\]\((?!https://)", description)
    env = {**OFFLINE, "PYTHONPATH": str(wheel)}

    def vitgan(*arguments):
        command = [sys.executable, "-m", "vitgan_tf", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)

    # A configuration of another run, and flags from a file.
    flags = ["--dataset=tiny", "--total_kimg=0.016", "--diagnostics_every_kimg=0", "--xla=off", *small.FLAGS]
    (tmp_path / "flags.txt").write_text("\n".join(flags))
    printed = vitgan("run", "--flagfile=flags.txt", "--dry_run")
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "given.json").write_text(json.dumps({"config": json.loads(printed.stdout)}))
    trained = vitgan("run", "--config=given.json", "--model_dir=run", "--seed=3")
    assert trained.returncode == 0, trained.stderr
    content = json.loads((tmp_path / "run" / "config.json").read_text())
    expected = json.loads(printed.stdout)
    expected["train"]["seed"] = 3
    assert content["config"] == expected
    assert content["command"] == ["python", "-m", "vitgan_tf", "run", *trained.args[4:]]
    # The folder may be in a checkout of anything.
    assert content["commit"] is None
    for arguments, name in (
        (("evaluate", "--model=run", "--num_generated=200"), "run/metrics.jsonl"),
        (("generate", "--model=run/saved_model", "--output=grid.png", "--gif=way.gif"), "grid.png"),
        (("report", "run"), "run/report.html"),
        (("export", "--model=run", "--output=exported"), "exported/README.md"),
        (("generate", "--model=digits", "--output=digits.png"), "digits.png"),
    ):
        result = vitgan(*arguments)
        assert result.returncode == 0, result.stderr
        assert os.path.getsize(tmp_path / name) > 1000
    assert (wheel / "vitgan_tf" / "viewer" / "page" / "index.html").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "digits.png",
        "exported",
        "flags.txt",
        "given.json",
        "grid.png",
        "run",
        "way.gif",
    ]
    missing = vitgan("run", "--dataset=celeba64", "--data_dir=data")
    assert (
        missing.returncode == 1 and "and run: python -m vitgan_tf prepare-data --dataset=celeba64" in missing.stderr
    )
