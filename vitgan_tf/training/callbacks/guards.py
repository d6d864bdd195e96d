"""Callbacks that end a diverged training, or warn of a collapsing one."""

from __future__ import annotations

import math
from typing import Any, Callable

import numpy as np
from absl import logging

from vitgan_tf.errors import DivergedError
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.training.callbacks.base import StepCallback
from vitgan_tf.training.summaries import Summaries


class StopOnDivergence(StepCallback):
    """Ends the training with an error at the first loss or gradient norm that is not finite.

    Args:
      report: (step, metrics) -> end of the error line, which names a file with details.
    """

    def __init__(self, report: Callable[[int, dict[str, float]], str] = lambda step, logs: "", **schedule: int):
        super().__init__(**schedule)
        self._report = report

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        bad = [name for name, value in logs.items() if not math.isfinite(value)]
        if bad:
            raise DivergedError(
                f"training diverged: {', '.join(bad)} not finite at step {step}; the last checkpoint is older. "
                f"Try a lower learning rate or another seed{self._report(step, logs)}"
            )


class SkipWatch(StopOnDivergence):
    """Warns of skipped updates, and ends the training with an error after MAX_SKIPPED steps in a row.

    Consecutive skipped updates cause one warning. With steps_per_execution > 1, only the last step of an execution
    is checked.
    """

    MAX_SKIPPED = 100

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        self._has_warned = False

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        count = int(self.model.skipped_in_a_row.numpy())
        if count >= self.MAX_SKIPPED:
            raise DivergedError(
                f"training diverged: no update was finite in the {count} steps up to {step}; the existing "
                f"checkpoints are good{self._report(step, logs)}"
            )
        if count and not self._has_warned:
            logging.warning("step %d: skipped an update that was not finite%s", step, self._report(step, logs))
        self._has_warned = count > 0


class CollapseWatch(StepCallback):
    """Warns, in the log and in TensorBoard, of a saturated discriminator or a collapsed generator.

    Discriminator: its loss is below MIN_LOSS for PERIODS periods in a row: the generator learns nothing.
    Generator: the standard deviation over NUM_IMAGES images, averaged over pixels, is below MIN_DEVIATION grey levels
    of 255 for PERIODS periods in a row.

    Args:
      summaries: receive the standard deviation, as samples_deviation.
      sampler: draws the moving average's images.
      seed: seed of the images, the same at every step.
    """

    PERIODS = 5
    MIN_LOSS = 1e-3
    MIN_DEVIATION = 1.0
    NUM_IMAGES = 64

    def __init__(self, summaries: Summaries, sampler: ImageSampler, seed: int, **schedule: int):
        super().__init__(**schedule)
        self._summaries = summaries
        self._sampler = sampler
        self._seed = seed
        self._periods = {"generator": 0, "discriminator": 0}  # consecutive bad ones

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        images = self._sampler.images(self.NUM_IMAGES, self._seed).astype(np.float64)
        deviation = float(images.std(axis=0).mean())
        self._summaries.scalars(step, {"samples_deviation": deviation})
        self._watch(
            "generator",
            step,
            deviation < self.MIN_DEVIATION,
            f"the generator's images are nearly all the same (standard deviation {deviation:.2g} of 255)",
        )
        if "d_loss" in logs:
            gap = f"mean logits {logs['real_logits']:.3g} of real and {logs['fake_logits']:.3g} of generated images"
            self._watch(
                "discriminator",
                step,
                logs["d_loss"] < self.MIN_LOSS,
                f"the discriminator is saturated (loss {logs['d_loss']:.2g}, {gap}): the generator learns nothing",
            )

    def _watch(self, network: str, step: int, is_bad: bool, message: str) -> None:
        self._periods[network] = self._periods[network] + 1 if is_bad else 0
        if self._periods[network] == self.PERIODS:
            message = f"step {step}: for {self.PERIODS} periods, {message}"
            logging.warning("%s", message)
            self._summaries.text(step, "warnings", message)
