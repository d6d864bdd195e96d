"""The generator that comes with the package: small, known, and as good as it says."""

import os

import pytest

import vitgan_tf
from vitgan_tf.commands.calls import call
from vitgan_tf.presets import changes_to_preset
from vitgan_tf.trained.sources import shipped_folder, shipped_names

MAX_BYTES = 3_000_000


def test_it_is_small_and_says_what_it_is():
    assert shipped_names() == ["digits"]
    folder = shipped_folder("digits")
    size = sum(os.path.getsize(os.path.join(path, name)) for path, _, names in os.walk(folder) for name in names)
    assert size < MAX_BYTES
    generator = vitgan_tf.load("digits")
    assert generator.generate(3).shape == (3, 16, 16, 1)
    assert changes_to_preset(generator.config) == []
    assert generator.step == generator.config.total_steps
    assert len(generator.origin.provenance["commit"]) == 40


@pytest.mark.slow
def test_its_score_is_the_one_that_it_states(tmp_path):
    """By a classifier that is trained anew: its distances differ by a few per cent."""
    stated = vitgan_tf.load("digits").scores
    result = call("evaluate", model="digits", num_generated=2000, cache_dir=tmp_path)
    assert result["digits_fd"] == pytest.approx(stated["digits_fd"], rel=0.25)
    assert result["digits_fd"] < 3.5 * result["digits_fd_half_split"]
    assert result["step"] == 5000 and result["digits_precision"] == pytest.approx(stated["digits_precision"], abs=0.1)
