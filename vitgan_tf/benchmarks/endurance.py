"""Stability of a long run: memory, open files, step time and size of the event files."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from typing import Any

import numpy as np
import psutil
import tensorflow as tf

from vitgan_tf.benchmarks.timing import rounded
from vitgan_tf.config import DataLocation, ExperimentConfig, log_intervals, override
from vitgan_tf.training.run import run_experiment

ROWS = 10
ROUNDS = 40  # evaluations, sample grids and checkpoints in a run


class _Recorder(tf.keras.callbacks.Callback):
    """Records memory, open files, step time and size of the event files every `period` steps."""

    def __init__(self, directory: str, period: int):
        super().__init__()
        self.rows: list[dict[str, Any]] = []
        self._directory = directory
        self._period = period
        self._process = psutil.Process()
        self._seconds: list[float] = []
        self._start = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._seconds.append(time.perf_counter() - self._start)
        if (batch + 1) % self._period:
            return
        events = [name for name in os.listdir(self._directory) if name.startswith("events.")]
        self.rows.append(
            {
                "step": batch + 1,
                "memory_mb": self._process.memory_info().rss / 1e6,
                "open_files": self._process.num_fds(),
                "milliseconds_per_step": rounded(1000 * statistics.median(self._seconds)),
                "events_mb": rounded(
                    sum(os.path.getsize(os.path.join(self._directory, name)) for name in events) / 1e6
                ),
            }
        )
        self._seconds.clear()


def measure_endurance(
    config: ExperimentConfig, num_steps: int, location: DataLocation | None = None
) -> dict[str, Any]:
    """Trains in this process, in a temporary directory, and measures what grows.

    Args:
      config: experiment; its length is overridden, and evaluations, samples, checkpoints and diagnostics take place
        40 times.
      num_steps: length of the run.
      location: location of the data; see `run_experiment`.

    Returns:
      dataset, steps.
      memory_kb_per_1000_steps: least-squares slope of the resident memory, without the first tenth of the run.
      largest_step_time_ratio: ratio of the largest to the smallest median step time of a tenth of the run.
      rows: one per tenth of the run: step, memory_mb (resident, 10^6 bytes), open_files, milliseconds_per_step
        (median, so that the few steps with work in callbacks do not count) and events_mb (TensorBoard's files).
    """
    period = max(1, num_steps // ROWS)
    kimg = num_steps * config.images_per_step / 1000
    every = dict.fromkeys(log_intervals(), kimg / ROUNDS)
    with tempfile.TemporaryDirectory() as directory:
        recorder = _Recorder(directory, period)
        run_experiment(
            override(config, {"train.total_kimg": kimg, **every}), directory, location=location, callbacks=[recorder]
        )
    rows = recorder.rows
    slope = np.polyfit([row["step"] for row in rows[1:]], [row["memory_mb"] for row in rows[1:]], 1)[0]
    times = [row["milliseconds_per_step"] for row in rows]
    return {
        "dataset": config.data.dataset,
        "steps": num_steps,
        "memory_kb_per_1000_steps": rounded(float(slope) * 1000 * 1000),
        "largest_step_time_ratio": rounded(max(times) / min(times)),
        "rows": [{**row, "memory_mb": rounded(row["memory_mb"])} for row in rows],
    }
