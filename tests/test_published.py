"""The table of published figures: ours come out of results alone."""

import json
import os
import shutil

import pytest
from support import commands

from vitgan_tf.config import override
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.presets import preset
from vitgan_tf.runs.directory import RunDirectory

pytestmark = pytest.mark.slow

SCRIPT = "experiments/published.py"
DOCS = commands.ROOT / "docs"


@pytest.fixture
def docs(tmp_path):
    shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("*.png"))
    return tmp_path / "docs"


def _make_run(path, variant="vitgan", fields=None, line=None, **protocol):
    """A run directory with one result."""
    config = override(preset("cifar10", variant), fields or {})
    directory = RunDirectory(str(path), config, {"command": ["run.py", "--dataset=cifar10"], "commit": "abc123"})
    values = {
        **{"dataset": "cifar10", "split": "training", "image_size": 32, "num_channels": 3, "real_fingerprint": "0"},
        **{"num_real": 50_000, "num_split": 50_000, "num_real_kept": 50_000, "num_generated": 50_000, "seed": 0},
        **{"extractor": "tfgan_inception", "extractor_sha256": "0", "is_published_extractor": True},
        **{"feature_dim": 2048, "resize": "bilinear", **protocol},
    }
    scores = {"fid50k_full": 12.3456, "is50k": 8.7654}
    origin = {"step": 195_313, "weights": "ema"}
    directory.append_metrics({**origin, **Protocol(**values).as_dict(), **scores, **(line or {})})
    return f"--record={path}"


def test_the_table_in_the_repository_is_what_the_script_makes_of_its_data(docs):
    committed = (docs / "published.md").read_text()
    result = commands.run(SCRIPT, f"--docs_dir={docs}")
    assert result.returncode == 0, result.stderr
    assert (docs / "published.md").read_text() == committed
    assert "| ViTGAN | CIFAR-10 | FID | 6.66 |" in committed


def test_a_result_is_recorded_in_every_row_of_its_variant(docs, tmp_path):
    record = _make_run(tmp_path / "run", fields={"train.seed": 4, "train.total_kimg": 30_000.0})
    other = _make_run(tmp_path / "other", "g_add_linear", line={"fid50k_full": 20.0})
    for run in (record, other):
        result = commands.run(SCRIPT, f"--docs_dir={docs}", run)
        assert result.returncode == 0, result.stderr
    lines = (docs / "published.md").read_text().splitlines()
    measured = [line for line in lines if "12.35" in line or "8.765" in line]
    assert len([line for line in measured if line.startswith(("| ViTGAN |", "| (C) modulate, Fourier |"))]) == 4
    assert all("195313, `run.py --dataset=cifar10`, abc123" in line for line in measured)
    (added,) = (line for line in lines if line.startswith("| (A) add, linear | CIFAR-10 | FID |"))
    assert "| 14.3 | 20 |" in added
    records = [json.loads(line) for line in (docs / "measured.jsonl").read_text().splitlines()]
    assert [(line["variant"], line["seed_of_training"]) for line in records[-2:]] == [
        ("vitgan", 4),
        ("g_add_linear", 0),
    ]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"num_generated": 5000}, "no result that compares with published ones"),
        ({"num_real": 10_000}, "no result that compares with published ones"),
        ({"line": {"weights": "raw"}}, "no result that compares with published ones"),
        ({"fields": {"generator.num_blocks": 2}}, "is no row of the tables: generator.num_blocks: 4 -> 2"),
    ],
)
def test_what_does_not_compare_is_not_recorded(docs, tmp_path, changes, words):
    before = {path: path.read_bytes() for path in docs.iterdir()}
    record = _make_run(tmp_path / "run", **changes)
    assert words in commands.error_line(SCRIPT, f"--docs_dir={docs}", record)
    assert {path: path.read_bytes() for path in docs.iterdir()} == before


def test_what_is_no_run_is_refused(docs, tmp_path):
    assert "config.json" in commands.error_line(SCRIPT, f"--docs_dir={docs}", f"--record={tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    os.close(os.open(tmp_path / "metrics.jsonl", os.O_CREAT))
    assert "is not a run of this version" in commands.error_line(SCRIPT, f"--docs_dir={docs}", f"--record={tmp_path}")
