"""A whole run. tests/golden has one that learns."""

import json

import pytest
from support import classifier, small

from vitgan_tf.config import override
from vitgan_tf.presets import preset
from vitgan_tf.training.run import run_experiment

pytestmark = pytest.mark.slow


def test_a_run_that_begins_anew_has_its_first_evaluation_once(tmp_path, messages):
    """It was stopped after the evaluation at step 0 and before the first checkpoint. Its plan is logged and saved."""
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "source": "training"}\n{"step": 9, "source": "by hand"}\n')
    fields = {**small.FIELDS, "train.total_kimg": 0.016, "log.diagnostics_every_kimg": 0.0}
    run_experiment(override(preset("tiny"), fields), str(classifier.give(tmp_path)))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["source"]) for line in lines] == [(9, "by hand"), (0, "training"), (2, "training")]
    assert "digits_fd" in lines[1]
    execution = json.loads((tmp_path / "config.json").read_text())["execution"]
    assert execution == "1 CPU, float32, xla=kernels, 8 images at a time"
    assert any(f"discriminator 0.00 M, on {execution}, " in line for line in messages)
