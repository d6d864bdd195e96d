"""Many runs of one preset, each a process of its own: the cells of a table, several at a time, resumable."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from absl import logging

from vitgan_tf.errors import Interrupted
from vitgan_tf.files import read_json_lines
from vitgan_tf.runs.metrics import training_lines

_POLL_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run: networks under a seed.

    Attributes:
      variant: name in `presets.VARIANTS`, or what else tells it from others.
      seed: of the run.
      command: that trains it, resuming by itself.
      model_dir: its run directory.
    """

    variant: str
    seed: int
    command: tuple[str, ...]
    model_dir: str

    @property
    def log_path(self) -> str:
        return os.path.join(self.model_dir, "log.txt")

    def last_words(self) -> str:
        """The last line of its log."""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return "".join(file.read().strip().splitlines()[-1:])

    def metrics(self) -> list[dict]:
        """The lines of metrics.jsonl so far."""
        path = os.path.join(self.model_dir, "metrics.jsonl")
        if not os.path.exists(path):
            return []
        return read_json_lines(path)

    def training_metrics(self) -> list[dict]:
        """Those lines that the training itself has written."""
        return training_lines(self.metrics())

    def is_finished(self, total_steps: int) -> bool:
        """Whether the run has reached its last step and exported its generator."""
        steps = [line["step"] for line in self.metrics()]
        exported = os.path.exists(os.path.join(self.model_dir, "saved_model", "saved_model.pb"))
        return exported and total_steps in steps


def run_cells(cells: Sequence[Cell], total_steps: int, jobs: int) -> list[Cell]:
    """Trains the cells that are not finished, `jobs` at a time, each with its share of the processor's cores.

    Ctrl-C and SIGTERM stop all of them; the next call goes on where they stopped.

    Args:
      cells: in the order in which they are started.
      total_steps: length of every run.
      jobs: processes at a time.

    Returns:
      The cells that ended with an error, for example because the training diverged; their log.txt says why.

    Raises:
      Interrupted: at SIGTERM.
    """
    waiting = [cell for cell in cells if not cell.is_finished(total_steps)]
    logging.info("%d cells, %d of them finished before", len(cells), len(cells) - len(waiting))
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    # Threads within an operation, and operations side by side; runs at the same time share a GPU's memory.
    environment = {
        **os.environ,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
    }
    failed: list[Cell] = []
    running: dict[Cell, subprocess.Popen] = {}
    done, started = 0, time.time()
    stopped: list[int] = []  # raised in the handler, it could come between the start of a run and its note
    before = signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                cell = waiting.pop(0)
                running[cell] = _start(cell, environment)
            time.sleep(_POLL_SECONDS)
            if stopped:
                raise Interrupted(stopped[0], "stopped by SIGTERM: the same command goes on from there")
            for cell in [cell for cell, process in running.items() if process.poll() is not None]:
                code = running.pop(cell).returncode
                done += 1
                if code:
                    failed.append(cell)
                left = (time.time() - started) / done * (len(waiting) + len(running)) / 60
                outcome = f"exit code {code}, see {cell.log_path}" if code else "finished"
                logging.info("%s, seed %d: %s; about %.0f minutes left", cell.variant, cell.seed, outcome, left)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
        signal.signal(signal.SIGTERM, before)
    return failed


def _start(cell: Cell, environment: dict[str, str]) -> subprocess.Popen:
    os.makedirs(cell.model_dir, exist_ok=True)
    with open(cell.log_path, "ab") as log:
        return subprocess.Popen(
            cell.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def share_file(path: str, cells: Sequence[Cell]) -> None:
    """Copies a file into every run directory that has none of its name: for example the classifier of the scores."""
    for cell in cells:
        target = os.path.join(cell.model_dir, os.path.basename(path))
        if not os.path.exists(target):
            os.makedirs(cell.model_dir, exist_ok=True)
            shutil.copyfile(path, target)


def scores_at(cells: Sequence[Cell], step: int, metric: str) -> list[float]:
    """The score that the training of each cell wrote at a step, if it has reached it, in order."""
    lines = [line for cell in cells for line in cell.training_metrics()]
    return [line[metric] for line in lines if line["step"] == step and metric in line]


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and standard deviation over seeds (divisor n - 1; NaN for fewer than two)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def python_command(script: str, flags: dict[str, object]) -> tuple[str, ...]:
    """The command that runs a script of this checkout under this interpreter, with flags as --name=value."""
    return (sys.executable, script, *(f"--{name}={value}" for name, value in flags.items()))
