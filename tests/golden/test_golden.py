"""The golden run is what it was, and what tells says so."""

import json

import pytest
from support import commands

from golden.golden_run import GOLDEN, differences

VALUES = json.loads(GOLDEN.read_text(encoding="utf-8"))["values"]


@pytest.mark.slow
def test_the_golden_run_begins_as_it_did():
    """Its first evaluation and 16 steps: `make golden` runs all of it."""
    result = commands.run("tests/golden/golden_run.py", "--early")
    assert result.returncode == 0, result.stdout
    assert "golden run: 0 differences" in result.stdout


def test_the_digits_were_learned_in_it():
    """At less than half the distance of the first images, and more than three kinds of digits."""
    assert VALUES["500/scores/digits_fd"] < 0.5 * VALUES["0/scores/digits_fd"]
    assert VALUES["0/scores/digits_is"] < 2.0 and VALUES["500/scores/digits_is"] > 3.0


@pytest.mark.parametrize("is_exact", [True, False])
def test_nothing_differs_from_itself(is_exact):
    assert differences(VALUES, dict(VALUES), is_exact) == []


def test_one_bit_is_told_of_where_numbers_are_exact():
    name, score = "16/weights/generator/mapping/dense_layers/0/kernel", "500/scores/digits_fd"
    changed = {**VALUES, name: ["0" * 16, VALUES[name][1]], score: VALUES[score] + 1e-9}
    assert [line.split(":")[0] for line in differences(VALUES, changed, True)] == [name, score]
    assert differences(VALUES, changed, False) == []


def test_what_is_missing_new_or_far_away_is_told_of_everywhere():
    losses = {name: value * 1.01 for name, value in VALUES.items() if name.startswith("16/losses/d_loss")}
    lost, added = "16/weights/step", "16/weights/other"
    found = {**VALUES, **losses, added: ["0" * 16, 1.0]}
    del found[lost]
    for is_exact in (True, False):
        assert {line.split(":")[0] for line in differences(VALUES, found, is_exact)} == {*losses, lost, added}
