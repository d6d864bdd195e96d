"""Two commits by turns: medians and ratios of known numbers, the order of the processes, and what failures leave."""

import contextlib
import json
import os
import signal

import numpy as np
import pytest
from support import commands, small

from vitgan_tf import checkout
from vitgan_tf.benchmarks import compare
from vitgan_tf.benchmarks.compare import comparison, measure_commits, measure_pairs
from vitgan_tf.errors import Interrupted, UserError

ROWS = ["old", "new", "ratio", "lowest", "highest", "better"]


class _Machine:
    """Measures in no time. The new version is faster; the speed of the machine drifts from process to process.

    Only the new version counts live operations.
    """

    def __init__(self, failing=lambda count: None):
        self.turns, self._drift, self._failing = [], np.random.RandomState(0), failing

    def measures(self):
        return {(side, name): self._measure(side, name) for side in ("old", "new") for name in ("train", "sample")}

    def _measure(self, side, benchmark):
        def measure(fields):
            self._failing(len(self.turns))
            self.turns.append((benchmark, side, fields))
            peak = 200.0 * self._drift.uniform(0.5, 2.0)
            fraction = 0.5 if side == "old" else 0.6
            if benchmark == "sample":
                row = {"fraction_of_matmul_peak": fraction, "matmul_peak_gflops": peak, "peak_memory_gb": 1.0}
                last = {**row, "batch_size": 128, "images_per_second": fraction * peak / 2}
                return {"gflops_per_image": 2.0, "batch_sizes": [{**row, "images_per_second": 1.0}, last]}
            return {
                "batch_size": 32,
                "images_per_second": fraction * peak / 15,
                "gflops_per_step": 480.0,
                "fraction_of_matmul_peak": fraction,
                "matmul_peak_gflops": peak,
                "seconds_to_first_step": 20 / peak,
                "seconds_of_start": {"imports": 12 / peak, "tracing": 8 / peak},
                "graph_operations": 12_345 if side == "old" else 12_000,
                **({"live_operations": 11_000} if side == "new" else {}),
                "peak_memory_gb": 2.0 if side == "old" else 1.8,
            }

        return measure


def test_medians_and_ratios_are_those_of_the_pairs():
    pairs = [pair for _, pair in measure_pairs(_Machine().measures(), ["cifar10"], 5, None)]
    rows = comparison(pairs)
    assert [row["row"] for row in rows] == ROWS
    old, new, ratio, lowest, highest, better = rows
    for name in ("train_images_per_second", "train_seconds_of_tracing", "sample_images_per_second"):
        values = np.array([[pair[side][name] for pair in pairs] for side in ("old", "new")])
        ratios = values[1] / values[0]
        assert len(set(ratios)) == 5
        found = [row[name] for row in (old, new, ratio, lowest, highest)]
        expected = [*np.median(values, axis=1), np.median(ratios), ratios.min(), ratios.max()]
        np.testing.assert_allclose(found, expected, rtol=1e-3)
    # The machine's drift does not count: 200 GFLOP/s at half the peak are 6.7 images of 15 GFLOP per second.
    equal = [row["train_images_per_second_at_equal_peak"] for row in rows]
    np.testing.assert_allclose(equal[:5], [500 / 15, 600 / 15, 1.2, 1.2, 1.2], rtol=1e-3)
    equal = [row["sample_images_per_second_at_equal_peak"] for row in rows]
    np.testing.assert_allclose(equal[:5], [250, 300, 1.2, 1.2, 1.2], rtol=1e-3)
    assert [row["train_graph_operations"] for row in rows[:3]] == [12_345, 12_000, 0.9721]
    assert [row["train_peak_memory_gb"] for row in rows] == [2.0, 1.8, 0.9, 0.9, 0.9, "lower"]
    assert better["train_images_per_second"] == "higher" and better["train_seconds_of_imports"] == "lower"
    # Other values than those of the machine say what is better.
    assert {name for name, value in better.items() if value is None} == {"train_matmul_peak_gflops"}


def test_values_that_one_version_lacks_have_no_ratio():
    rows = comparison([pair for _, pair in measure_pairs(_Machine().measures(), ["tiny"], 2, None)])
    assert [row["train_live_operations"] for row in rows] == [None, 11_000, None, None, None, "lower"]
    assert "train_seconds_of_building" not in rows[0]
    assert len({tuple(row) for row in rows}) == 1  # the table has a line for each value


def test_sides_take_turns_and_every_second_pair_begins_with_the_new_one():
    machine = _Machine()
    presets = [name for name, _ in measure_pairs(machine.measures(), ["cifar10", "digits"], 2, None)]
    assert presets == ["cifar10", "digits"] * 2
    forth = [(name, side) for name in ("train", "sample") for side in ("old", "new")]
    back = [(name, side) for name in ("train", "sample") for side in ("new", "old")]
    assert [turn[:2] for turn in machine.turns] == [*forth, *forth, *back, *back]
    fields = [fields for _, _, fields in machine.turns]
    assert fields[0] == fields[1] == {"dataset": "cifar10", "steps": 3, "train.batch_size": 32}
    assert fields[2] == fields[3] == {"dataset": "cifar10", "steps": 3}
    assert fields[4] == fields[6] == {"dataset": "digits", "steps": 20}
    machine = _Machine()
    list(measure_pairs(machine.measures(), ["cifar10", "tiny"], 1, 7))
    assert {fields["steps"] for _, _, fields in machine.turns} == {7}


def _failing(error):
    """Raises the error in the seventh process: the third of the second preset."""

    def fail(count):
        if count == 6:
            error()

    return fail


def _user_error():
    raise UserError("cannot measure --dataset=tiny: exit code -9")


def _ctrl_c():
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "failure, error, words",
    [
        (_user_error, UserError, "^sample, old: cannot measure --dataset=tiny: exit code -9$"),
        (_ctrl_c, KeyboardInterrupt, "^$"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), Interrupted, "SIGTERM"),
    ],
)
def test_finished_pairs_are_shown_when_a_process_fails(monkeypatch, tmp_path, failure, error, words):
    opened, shown = [], []

    @contextlib.contextmanager
    def worktree(revision):
        opened.append(revision)
        try:
            yield str(tmp_path)
        finally:
            opened.clear()

    monkeypatch.setattr(checkout, "worktree", worktree)
    monkeypatch.setattr(checkout, "short_name", lambda folder: "abc" if folder == str(tmp_path) else "def-dirty")
    machine = _Machine(_failing(failure))
    monkeypatch.setattr(compare, "_measures", lambda trees, arguments: machine.measures())
    with pytest.raises(error, match=words):
        measure_commits("HEAD", ["tiny", "digits"], 1, None, [], show=shown.append)
    (result,) = shown
    assert (result["old"], result["new"], result["pairs"]) == ("abc", "def-dirty", {"tiny": 1, "digits": 0})
    assert [row["row"] for row in result["tiny"]] == ROWS and "digits" not in result
    assert not opened and len(machine.turns) == 6


def test_nothing_is_shown_before_the_first_pair(monkeypatch, tmp_path):
    monkeypatch.setattr(checkout, "worktree", lambda revision: contextlib.nullcontext(str(tmp_path)))
    monkeypatch.setattr(checkout, "short_name", lambda folder: "abc")
    shown = []
    # There is no script: Python says so, and exits with code 2.
    with pytest.raises(UserError, match=r"^train, old: cannot measure --dataset=tiny --steps=20: exit code 2$"):
        measure_commits("HEAD", ["tiny"], 1, None, [], show=shown.append)
    assert not shown


@pytest.mark.slow
@pytest.mark.skipif(checkout.commit() is None, reason="needs a checkout")
def test_a_commit_is_compared_with_this_checkout():
    """Both have the small networks of the flags, and the last line of the output is the table."""
    arguments = ["--baseline=HEAD", "--presets=tiny", "--pairs=1", "--steps=2", *small.FLAGS]
    result = commands.run("tools/benchmark.py", "compare", *arguments)
    assert result.returncode == 0, result.stderr
    *table, last = result.stdout.splitlines()
    values = json.loads(last)
    assert values["new"].split("-")[0] == values["old"] and values["pairs"] == {"tiny": 1}
    old, new, ratio, *_ = values["tiny"]
    assert old["train_gflops_per_step"] == new["train_gflops_per_step"] > 0
    for name in ("train_images_per_second", "train_seconds_to_first_step", "sample_images_per_second"):
        np.testing.assert_allclose(ratio[name], new[name] / old[name], rtol=1e-3)
    start = sum(new[f"train_seconds_of_{phase}"] for phase in ("imports", "building", "tracing", "first_step"))
    np.testing.assert_allclose(start, new["train_seconds_to_first_step"], rtol=1e-2)
    assert table[table.index("tiny") + 1].split() == ["row", *ROWS]
    for number, words in enumerate(("train tiny, old", "train tiny, new", "sample tiny, old", "sample tiny, new")):
        assert f"compare: {number}/4" in result.stderr and f"now {words}" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, words",
    [
        ((), "compare needs a commit, for example --baseline=HEAD"),
        (("--baseline=no_such_commit",), "'no_such_commit' is no commit in "),
        (("--baseline=HEAD", "--presets="), "--presets needs names, each of them once"),
        (("--baseline=HEAD", "--presets=tiny,tiny"), "--presets needs names, each of them once"),
        (("--baseline=HEAD", "--presets=tyni"), "did you mean 'tiny'?"),
        (("--baseline=HEAD", "--dataset=tiny"), "--presets=cifar10,digits instead of --dataset"),
        (("--baseline=HEAD", "--batch_size=8"), "compare sets its own batch sizes"),
        (("--baseline=HEAD", "--profile=somewhere"), "--profile applies only to train"),
    ],
)
def test_wrong_input_is_an_error_of_one_line(arguments, words):
    assert words in commands.error_line("tools/benchmark.py", "compare", *arguments)


@pytest.mark.slow
def test_flags_of_compare_are_refused_elsewhere():
    for flag in ("--baseline=HEAD", "--pairs=2", "--presets=tiny"):
        line = commands.error_line("tools/benchmark.py", "train", flag)
        assert f"{flag.split('=')[0]} applies only to compare: leave it out" in line
