"""What happens beside the steps of `GAN.fit`: each callback decides for itself when to act.

`step` counts finished training steps over the whole run, whether or not it was interrupted. Keras counts the
batches of one call of `fit` from 0.
"""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any, Callable

import numpy as np
import tensorflow as tf
import tqdm
from absl import logging

from vitgan_tf.errors import DivergedError, UserError
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.images import image_grid, write_png
from vitgan_tf.training.checkpoints import BestCheckpoint, RunCheckpoints
from vitgan_tf.training.run_directory import RunDirectory
from vitgan_tf.training.summaries import Summaries, written_if_possible


class StepCallback(tf.keras.callbacks.Callback):
    """Calls `at_step` after every period-th step of the run and after its last one.

    Where the device runs several steps before the host is asked, at the first chance after such a step. With
    acts_before_training, a class attribute, also before its first one, as step 0 and without metrics. A run that was
    stopped after a step, before what is due at it, makes up for it when it goes on: see `is_missing`.

    Args:
      first_step: finished steps when this call of `fit` starts.
      total_steps: length of the run.
      period: steps between two calls.
    """

    acts_before_training = False

    def __init__(self, first_step: int, total_steps: int, period: int = 1):
        super().__init__()
        self.first_step = first_step
        self.total_steps = total_steps
        self.period = period
        self.step = first_step  # finished ones

    def on_train_begin(self, logs: Any = None) -> None:
        if self.first_step == 0:
            is_due = self.acts_before_training
        else:
            is_due = self.first_step % self.period == 0 and self.is_missing(self.first_step)
        if is_due:
            self.at_step(self.first_step, {})

    def is_missing(self, step: int) -> bool:
        """Whether what `at_step` leaves behind of a step, which needs no metrics, is not there."""
        return False

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        before, self.step = self.step, self.first_step + batch + 1
        if self.step // self.period > before // self.period or self.step == self.total_steps:
            self.at_step(self.step, logs)

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        """Acts; logs holds the metrics of `GAN.train_step`."""
        raise NotImplementedError


class StopOnDivergence(StepCallback):
    """Ends the training with an error at the first loss or gradient norm that is not finite.

    Args:
      report: step, metrics -> the end of the error line: where more is written about it.
    """

    def __init__(self, report: Callable[[int, dict[str, float]], str] = lambda step, logs: "", **schedule: int):
        super().__init__(**schedule)
        self._report = report

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        bad = [name for name, value in logs.items() if not math.isfinite(value)]
        if bad:
            raise DivergedError(
                f"training diverged: {', '.join(bad)} not finite at step {step}; the last checkpoint is from before. "
                f"Try a lower learning rate or another seed{self._report(step, logs)}"
            )


class SkipWatch(StopOnDivergence):
    """Tells of updates that were left out, and ends the training with an error after MAX_SKIPPED steps in a row.

    Tells once in a row. Where the device runs several steps before the host is asked, of those at their end alone.
    """

    MAX_SKIPPED = 100

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        self._is_told = False

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        count = int(self.model.skipped_in_a_row.numpy())
        if count >= self.MAX_SKIPPED:
            raise DivergedError(
                f"training diverged: no update was finite in the {count} steps up to {step}; the checkpoints from "
                f"before are good{self._report(step, logs)}"
            )
        if count and not self._is_told:
            logging.warning("step %d: an update is not finite, and left out%s", step, self._report(step, logs))
        self._is_told = count > 0


class CollapseWatch(StepCallback):
    """Warns, in the log and in TensorBoard, of a discriminator or generator that has given up.

    The discriminator: its loss has been below MIN_LOSS for PERIODS periods in a row, so that logits are saturated and
    the generator learns nothing. The generator: its images differ, in standard deviation over NUM_IMAGES of them,
    meaned over pixels, by less than MIN_DEVIATION levels of 255 for PERIODS periods in a row.

    Args:
      summaries: the deviation is among them, as samples_deviation.
      sampler: of the moving average.
      seed: of the images, the same at every step.
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
        self._periods = {"generator": 0, "discriminator": 0}  # bad ones in a row

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


class MetricsReset(StepCallback):
    """Begins the means of the metrics anew. Every process of a run must do so at the same steps."""

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        self.model.reset_metrics()


class ScalarWriter(MetricsReset):
    """TensorBoard scalars: means of the metrics over the period, and the images that the steps took per second.

    Where there is a maximum too, also its ratio to the mean, `_spike`: near 1 where the training is stable.
    """

    def __init__(self, summaries: Summaries, batch_size: int, **schedule: int):
        super().__init__(**schedule)
        self._summaries = summaries
        self._batch_size = batch_size
        self._seconds = 0.0
        self._steps = 0
        self._started = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # The first time, most of it is tracing.
        if self.step > self.first_step:
            self._seconds += time.perf_counter() - self._started
            self._steps += self.first_step + batch + 1 - self.step
        super().on_train_batch_end(batch, logs)

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        scalars = dict(logs)
        for name, value in logs.items():
            if f"{name}_max" in logs and value > 0:
                scalars[f"{name}_spike"] = logs[f"{name}_max"] / value
        if self._steps:
            scalars["images_per_second"] = self._batch_size * self._steps / self._seconds
        self._summaries.scalars(step, scalars)
        self._seconds, self._steps = 0.0, 0
        super().at_step(step, logs)


class SampleWriter(StepCallback):
    """Grids of the moving average's images, always from the same latents: samples/step_*.png and TensorBoard."""

    acts_before_training = True
    COLUMNS = 10
    MIN_WIDTH = 640

    def __init__(
        self,
        directory: RunDirectory,
        summaries: Summaries,
        sampler: ImageSampler,
        seed: int,
        **schedule: int,
    ):
        super().__init__(**schedule)
        self._directory = directory
        self._summaries = summaries
        self._sampler = sampler
        self._seed = seed

    def _path(self, step: int) -> str:
        return os.path.join(self._directory.samples, f"step_{step:08d}.png")

    def is_missing(self, step: int) -> bool:
        return not os.path.exists(self._path(step))

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        grid = image_grid(self._sampler.images(self.COLUMNS**2, self._seed), self.COLUMNS, self.MIN_WIDTH)
        with written_if_possible(self._path(step)):
            write_png(self._path(step), grid)
        self._summaries.images(step, {"samples": grid})


class MetricsWriter(StepCallback):
    """Scores of the moving average's images: a line of metrics.jsonl and TensorBoard scalars.

    Args:
      sampler: of the moving average.
      evaluator: says how many images it wants, from which seed.
      best: keeps the state with the least distance.
      batch_size: real images per training step, for kimg.
    """

    acts_before_training = True

    def __init__(
        self,
        directory: RunDirectory,
        summaries: Summaries,
        sampler: ImageSampler,
        evaluator: Evaluator,
        best: BestCheckpoint,
        batch_size: int,
        **schedule: int,
    ):
        super().__init__(**schedule)
        self._directory = directory
        self._summaries = summaries
        self._sampler = sampler
        self._evaluator = evaluator
        self._best = best
        self._batch_size = batch_size

    def is_missing(self, step: int) -> bool:
        return not self._directory.has_metrics_of(step)

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        protocol = self._evaluator.protocol
        scores = self._evaluator.evaluate(self._sampler.batches(protocol.num_generated, protocol.seed))
        kimg = step * self._batch_size / 1000
        line = {"step": step, "kimg": kimg, "weights": "ema", "source": "training", **protocol.as_dict(), **scores}
        with written_if_possible("a line of metrics.jsonl"):
            self._directory.append_metrics(line)
        scalars = {name: value for name, value in scores.items() if isinstance(value, float)}
        self._summaries.scalars(step, scalars)
        with written_if_possible("the best checkpoint"):
            self._best.offer(step, scores[self._evaluator.distance_name], protocol)
        with tqdm.tqdm.external_write_mode():  # on a line of its own, above the bar
            logging.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in scalars.items()))


class CheckpointWriter(StepCallback):
    """Saves the whole state of the run. Where that fails, the training goes on, but for its last step."""

    def __init__(self, checkpoints: RunCheckpoints, **schedule: int):
        super().__init__(**schedule)
        self._checkpoints = checkpoints

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        try:
            self._checkpoints.save(step)
        except UserError as error:
            if step == self.total_steps:
                raise
            logging.warning("%s: the training goes on, and tries again at the next one", error)


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
