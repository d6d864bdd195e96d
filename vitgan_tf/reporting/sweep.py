"""Trains the runs of a table, several processes at a time; an interrupted sweep resumes."""

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
from collections.abc import Mapping, Sequence

from absl import logging

from vitgan_tf.errors import Interrupted
from vitgan_tf.runs.directory import LOG, SAVED_MODEL, is_saved_model, read_metrics
from vitgan_tf.runs.metrics import training_lines
from vitgan_tf.signals import handled

_POLL_SECONDS = 0.5


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a table.

    Attributes:
      variant: name in `presets.VARIANTS`, or another name of the networks.
      seed: seed of the run.
      command: trains the run, or resumes it.
      model_dir: run directory.
    """

    variant: str
    seed: int
    command: tuple[str, ...]
    model_dir: str

    @property
    def log_path(self) -> str:
        return os.path.join(self.model_dir, LOG)

    def last_words(self) -> str:
        """Returns the last line of the log."""
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return "".join(file.read().strip().splitlines()[-1:])

    def metrics(self) -> list[dict]:
        """Returns the lines of metrics.jsonl so far."""
        return read_metrics(self.model_dir)

    def training_metrics(self) -> list[dict]:
        """Returns the lines that the training wrote."""
        return training_lines(self.metrics())

    def is_finished(self, total_steps: int) -> bool:
        """True if the run has reached its last step and exported its generator."""
        steps = [line["step"] for line in self.metrics()]
        exported = is_saved_model(os.path.join(self.model_dir, SAVED_MODEL))
        return exported and total_steps in steps


def run_cells(cells: Sequence[Cell], total_steps: int, jobs: int) -> list[Cell]:
    """Trains the unfinished cells, `jobs` at a time; each process gets its share of the processor's cores.

    Ctrl-C and SIGTERM stop all processes; the next call resumes their runs.

    Args:
      cells: started in this order.
      total_steps: length of every run.
      jobs: number of simultaneous processes.

    Returns:
      The cells that ended with an error, for example a diverged training; their log.txt says why.

    Raises:
      Interrupted: at SIGTERM.
    """
    waiting = [cell for cell in cells if not cell.is_finished(total_steps)]
    logging.info("%d cells, %d of them already finished", len(cells), len(cells) - len(waiting))
    environment = _environment(jobs)
    failed: list[Cell] = []
    running: dict[Cell, subprocess.Popen] = {}
    done, started = 0, time.time()
    stopped: list[int] = []  # an exception in the handler could lose a process between its start and `running`
    with handled([signal.SIGTERM], lambda number, _: stopped.append(number)):
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    cell = waiting.pop(0)
                    running[cell] = _start(cell, environment)
                time.sleep(_POLL_SECONDS)
                if stopped:
                    raise Interrupted(stopped[0], "stopped by SIGTERM: the same command resumes")
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
    return failed


def _environment(jobs: int) -> dict[str, str]:
    """Returns the environment of a process that shares cores and GPU memory with others."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    return {
        **os.environ,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
    }


def _start(cell: Cell, environment: dict[str, str]) -> subprocess.Popen:
    os.makedirs(cell.model_dir, exist_ok=True)
    with open(cell.log_path, "ab") as log:
        return subprocess.Popen(
            cell.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def share_file(path: str, cells: Sequence[Cell]) -> None:
    """Copies a file, for example the classifier of the scores, into every run directory that lacks it."""
    for cell in cells:
        target = os.path.join(cell.model_dir, os.path.basename(path))
        if not os.path.exists(target):
            os.makedirs(cell.model_dir, exist_ok=True)
            shutil.copyfile(path, target)


def scores_at(cells: Sequence[Cell], step: int, metric: str) -> list[float]:
    """Returns the training's score of each cell at a step, in order; cells that have not reached it are left out."""
    lines = [line for cell in cells for line in cell.training_metrics()]
    return [line[metric] for line in lines if line["step"] == step and metric in line]


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the standard deviation (divisor n - 1; NaN for fewer than two values)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else math.nan


def training_command(flags: Mapping[str, object], plugins: Sequence[str] = ()) -> tuple[str, ...]:
    """Returns the command that trains under this interpreter.

    Args:
      flags: by name, without dashes.
      plugins: files for --plugin.
    """
    given = [*(f"--plugin={path}" for path in plugins), *(f"--{name}={value}" for name, value in flags.items())]
    return (sys.executable, "-m", "vitgan_tf", "run", *given)
