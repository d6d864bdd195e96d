"""Two versions of the package by turns: speed, start, operations and memory, and their ratios.

Each number is measured in a process of its own. Importing this module does not import TensorFlow.
"""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, NoReturn

from vitgan_tf import checkout
from vitgan_tf.benchmarks.scale import Measure, in_own_process, ratio
from vitgan_tf.errors import Interrupted, UserError
from vitgan_tf.progress import Progress
from vitgan_tf.signals import handled

SIDES = ("old", "new")
# Steps take milliseconds: they are measured at their own batch size. Other presets need seconds for each step.
_QUICK = ("digits", "tiny")
QUICK_STEPS, STEPS, BATCH_SIZE = 20, 3, 32
BENCHMARKS = ("train", "sample")
# The compared values, as benchmark_name, and whether higher or lower ones are better.
_BETTER = {
    "train_images_per_second": "higher",
    "train_images_per_second_at_equal_peak": "higher",
    "train_fraction_of_matmul_peak": "higher",
    "train_matmul_peak_gflops": None,  # of the machine
    "train_gflops_per_step": "lower",
    "train_seconds_to_first_step": "lower",
    "train_seconds_of_imports": "lower",
    "train_seconds_of_building": "lower",
    "train_seconds_of_tracing": "lower",
    "train_seconds_of_first_step": "lower",
    "train_graph_operations": "lower",
    "train_live_operations": "lower",
    "train_peak_memory_gb": "lower",
    "sample_images_per_second": "higher",
    "sample_images_per_second_at_equal_peak": "higher",
    "sample_fraction_of_matmul_peak": "higher",
    "sample_peak_memory_gb": "lower",
}

# By side, values by name.
Pair = dict[str, dict[str, float]]


def measure_commits(
    baseline: str,
    presets: Sequence[str],
    num_pairs: int,
    steps: int | None,
    arguments: Sequence[str],
    show: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Compares the checkout that contains this package with another of its commits.

    Args:
      baseline: the other commit, old; this checkout, with its changes since its commit, is new.
      presets, num_pairs, steps: see `measure_pairs`.
      arguments: flags for all processes, known to both versions.
      show: called with the result of the finished pairs, if there are any, when a process fails and at Ctrl-C.

    Returns:
      old, new: abbreviated commits, followed by "-dirty" if tracked files have changed since.
      pairs: number of pairs by preset.
      For each preset, under its name, the rows of `comparison`.

    Raises:
      UserError: the commit cannot be checked out, or a process fails.
      Interrupted: at SIGTERM.
    """
    pairs: dict[str, list[Pair]] = {preset: [] for preset in presets}
    with handled([signal.SIGTERM], _stop), checkout.worktree(baseline) as worktree:
        trees = dict(zip(SIDES, (worktree, checkout.ROOT)))
        commits = {side: checkout.short_name(tree) for side, tree in trees.items()}

        def result() -> dict[str, Any]:
            numbers = {preset: len(finished) for preset, finished in pairs.items()}
            rows = {preset: comparison(finished) for preset, finished in pairs.items() if finished}
            return {**commits, "pairs": numbers, **rows}

        try:
            for preset, pair in measure_pairs(_measures(trees, arguments), presets, num_pairs, steps):
                pairs[preset].append(pair)
        except (UserError, KeyboardInterrupt):
            if any(pairs.values()):
                show(result())
            raise
    return result()


def _stop(number: int, _: Any) -> NoReturn:
    raise Interrupted(number, "stopped by SIGTERM")


def _measures(trees: Mapping[str, str], arguments: Sequence[str]) -> dict[tuple[str, str], Measure]:
    """Returns a `Measure` for each side and benchmark, which runs that side's own `benchmark` command."""
    measures = {}
    for (side, tree), benchmark in itertools.product(trees.items(), BENCHMARKS):
        path = os.pathsep.join(filter(None, [tree, os.environ.get("PYTHONPATH")]))
        # A script, as commits before the command `vitgan` have it too.
        command = [sys.executable, os.path.join(tree, "tools", "benchmark.py"), benchmark, *arguments]
        measures[side, benchmark] = in_own_process(command, {**os.environ, "PYTHONPATH": path})
    return measures


def measure_pairs(
    measures: Mapping[tuple[str, str], Measure],
    presets: Sequence[str],
    num_pairs: int,
    steps: int | None,
) -> Iterator[tuple[str, Pair]]:
    """Measures both sides of each preset in turn, num_pairs times; every second time, the new side goes first.

    The presets digits and tiny train at their own batch size, others with 32 images.

    Args:
      measures: by side and benchmark.
      presets: names of the presets.
      num_pairs: pairs of each preset.
      steps: timed steps of a training process, and batches of each size of a sampling one; None for 20 with digits
        and tiny, 3 with others.

    Yields:
      A preset and its next pair.

    Raises:
      UserError: a process fails.
    """
    total = num_pairs * len(presets) * len(BENCHMARKS) * len(SIDES)
    shown, done = Progress("compare", total, "process"), itertools.count()
    try:
        for number, preset in itertools.product(range(num_pairs), presets):
            pair: Pair = {side: {} for side in SIDES}
            for benchmark, side in itertools.product(BENCHMARKS, SIDES if number % 2 == 0 else SIDES[::-1]):
                shown.show(next(done), f"now {benchmark} {preset}, {side}", is_due=True)
                try:
                    result = measures[side, benchmark](_fields(benchmark, preset, steps))
                except UserError as error:
                    raise UserError(f"{benchmark}, {side}: {error}") from error
                pair[side].update(_values(benchmark, result))
            yield preset, pair
    finally:
        shown.close()


def _fields(benchmark: str, preset: str, steps: int | None) -> dict[str, Any]:
    is_quick = preset in _QUICK
    batch_size = {} if is_quick or benchmark == "sample" else {"train.batch_size": BATCH_SIZE}
    return {"dataset": preset, "steps": steps or (QUICK_STEPS if is_quick else STEPS), **batch_size}


def _values(benchmark: str, result: dict[str, Any]) -> dict[str, float]:
    """Returns what is compared in a benchmark's result, as far as that version of the package measures it."""
    if benchmark == "train":
        phases = {f"seconds_of_{phase}": value for phase, value in result.get("seconds_of_start", {}).items()}
        values, gflops_per_image = {**result, **phases}, result["gflops_per_step"] / result["batch_size"]
    else:
        values, gflops_per_image = result["batch_sizes"][-1], result["gflops_per_image"]
    speed = ratio(1000 * values["fraction_of_matmul_peak"], gflops_per_image)
    values = {**values, "images_per_second_at_equal_peak": speed}
    named = {f"{benchmark}_{name}": value for name, value in values.items()}
    return {name: named[name] for name in _BETTER if name in named}


def comparison(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Compares both sides of the pairs of a preset.

    Returns:
      Six rows, each with its name as "row" and a number for each value, None where a side does not measure it:
      old, new: medians over the pairs.
      ratio: median over the pairs of new / old, which cancels what both processes of a pair share.
      lowest, highest: range of that ratio over the pairs.
      better: whether "higher" or "lower" values, and ratios above or below 1, are better; None for the machine's own.
      The values are those of `measure_training`, preceded by train_, and those of `measure_sampling` at the largest
      batch size, preceded by sample_; besides,
      images_per_second_at_equal_peak: images per second of a machine whose large float32 matrix products run at 10^12
        operations per second. It cancels drifts of the machine's speed, within a pair too.
      seconds_of_imports, building, tracing, first_step: the phases of seconds_to_first_step.
    """
    rows: list[dict[str, Any]] = [{"row": row} for row in ("old", "new", "ratio", "lowest", "highest", "better")]
    for name, better in _BETTER.items():
        old, new = ([pair[side][name] for pair in pairs if name in pair[side]] for side in SIDES)
        if old or new:
            for row, value in zip(rows, [*_summary(old, new), better]):
                row[name] = value
    return rows


def _summary(old: Sequence[float], new: Sequence[float]) -> list[float | None]:
    """Returns the numbers of the first five rows; a side that does not measure a value has none."""
    median, ratios = statistics.median, list(map(ratio, new, old))
    summaries: list[tuple[Callable[[Sequence[float]], float], Sequence[float]]]
    summaries = [(median, old), (median, new), (median, ratios), (min, ratios), (max, ratios)]
    return [summary(values) if values else None for summary, values in summaries]
