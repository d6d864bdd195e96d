"""The progress bar of a training."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import tqdm
from absl import logging

from vitgan_tf.training.callbacks.base import StepCallback


class ProgressBar(StepCallback):
    """Steps, time passed and left, steps per second and losses: a bar on a terminal, now and then a line in a log."""

    LOG_SECONDS = 30.0
    LOG_FORMAT = (
        "{n_fmt}/{total_fmt} steps ({percentage:.0f} %), {elapsed} passed, {remaining} left, {rate_fmt}{postfix}"
    )

    def __init__(self, first_step: int, total_steps: int):
        super().__init__(first_step, total_steps)
        self._bar: Any = None  # a tqdm.tqdm during the training
        self._has_begun = False
        self._last_line = -math.inf

    def on_train_begin(self, logs: Any = None) -> None:
        self._bar = tqdm.tqdm(
            total=self.total_steps,
            initial=self.first_step,
            unit="step",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        if not self._has_begun:
            self._has_begun = True
            # The time left is estimated without the first steps of a process, which are mostly tracing.
            self._bar.initial = self._bar.n = step
            self._bar.start_t = self._bar.last_print_t = time.time()
        elif not self._bar.disable:
            self._bar.update(step - self._bar.n)
        losses = ", ".join(f"{name} {logs[name]:.3f}" for name in ("d_loss", "g_loss"))
        if not self._bar.disable:
            self._bar.set_postfix_str(losses, refresh=step == self.total_steps)
            return
        now = time.time()
        if now - self._last_line >= self.LOG_SECONDS or step == self.total_steps:
            self._last_line = now
            line = tqdm.tqdm.format_meter(
                step,
                self.total_steps,
                now - self._bar.start_t,
                unit="step",
                initial=self._bar.initial,
                postfix=losses,
                bar_format=self.LOG_FORMAT,
            )
            logging.info("%s", line)

    def on_train_end(self, logs: Any = None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the bar's line, if it has begun."""
        if self._bar is not None:
            self._bar.close()
