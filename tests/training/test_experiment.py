"""A whole run, judged by its scores."""

import json

import pytest

from vitgan_tf.config import override
from vitgan_tf.presets import preset
from vitgan_tf.training.experiment import run_experiment

pytestmark = pytest.mark.slow


def test_the_digits_preset_learns_to_draw_digits(tmp_path):
    """A tenth of the run: many kinds of digits, at less than half the distance of the first images."""
    steps = 400
    changes = {"train.total_kimg": steps * 64 / 1000, "log.eval_every_kimg": 1000.0, "log.samples_every_kimg": 1000.0}
    run_experiment(override(preset("digits"), changes), str(tmp_path))
    first, last = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert (first["step"], last["step"]) == (0, steps)
    assert last["digits_fd"] < 0.5 * first["digits_fd"]
    assert first["digits_is"] < 2.0 and last["digits_is"] > 3.0
    assert sum(fraction > 0.01 for fraction in last["digits_class_fractions"]) >= 6


def test_a_run_that_begins_anew_has_its_first_evaluation_once(tmp_path):
    """It was stopped after the evaluation at step 0 and before the first checkpoint."""
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "source": "training"}\n{"step": 9, "source": "by hand"}\n')
    run_experiment(override(preset("tiny"), {"train.total_kimg": 0.016}), str(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["source"]) for line in lines] == [(9, "by hand"), (0, "training"), (2, "training")]
    assert "digits_fd" in lines[1]
