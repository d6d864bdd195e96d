"""Callbacks that write scalars, samples, scores and checkpoints."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import tqdm
from absl import logging

from vitgan_tf.data.pipeline import training_dataset
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.evaluator import Evaluator
from vitgan_tf.evaluation.generation import ImageSampler
from vitgan_tf.images import image_grid, to_uint8, write_picture
from vitgan_tf.runs.best_checkpoint import BestCheckpoint
from vitgan_tf.runs.checkpoints import RunCheckpoints
from vitgan_tf.runs.directory import RunDirectory
from vitgan_tf.runs.metrics import TRAINING
from vitgan_tf.training.callbacks.base import StepCallback
from vitgan_tf.training.summaries import Summaries, written_if_possible


class MetricsReset(StepCallback):
    """Resets the means of the metrics. All processes of a run must do so at the same steps."""

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        self.model.reset_metrics()


class ScalarWriter(MetricsReset):
    """Writes TensorBoard scalars: metrics averaged over the period, and training speed in images per second.

    For a metric with a maximum, NAME_spike is the ratio of maximum to mean: near 1 if the training is stable.
    """

    def __init__(self, summaries: Summaries, images_per_step: int, **schedule: int):
        super().__init__(**schedule)
        self._summaries = summaries
        self._images_per_step = images_per_step
        self._seconds = 0.0
        self._steps = 0
        self._started = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # The first execution is mostly tracing.
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
            scalars["images_per_second"] = self._images_per_step * self._steps / self._seconds
        self._summaries.scalars(step, scalars)
        self._seconds, self._steps = 0.0, 0
        super().at_step(step, logs)


class SampleWriter(StepCallback):
    """Writes a grid of the moving average's images from fixed latents: samples/step_*.png and TensorBoard."""

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

    def is_missing(self, step: int) -> bool:
        return not os.path.exists(self._directory.sample_path(step))

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        grid = image_grid(self._sampler.images(self.COLUMNS**2, self._seed), self.COLUMNS, self.MIN_WIDTH)
        path = self._directory.sample_path(step)
        with written_if_possible(path):
            write_picture(path, grid)
        self._summaries.images(step, {"samples": grid})


def write_real_images(directory: RunDirectory, images: np.ndarray, seed: int, flip: bool) -> None:
    """Writes a grid of up to 100 training images as the networks see them, mirrored or not: samples/real.png.

    Args:
      directory: files of the run.
      images: (num_images, size, size, channels) uint8.
      seed: seed of the choice.
      flip: whether images are mirrored at random.
    """
    count = min(len(images), SampleWriter.COLUMNS**2)
    batch = next(iter(training_dataset(images, count, seed, flip=flip)))
    with written_if_possible(directory.real_images):
        grid = image_grid(to_uint8(batch).numpy(), SampleWriter.COLUMNS, SampleWriter.MIN_WIDTH)
        write_picture(directory.real_images, grid)


class MetricsWriter(StepCallback):
    """Scores the moving average's images and writes a line of metrics.jsonl and TensorBoard scalars.

    Args:
      directory: files of the run.
      summaries: receive the scores.
      sampler: draws the moving average's images.
      evaluator: determines the scores, the number of images and their seed.
      best: keeps the state with the smallest distance.
      images_per_step: real images per training step, for kimg.
    """

    acts_before_training = True

    def __init__(
        self,
        directory: RunDirectory,
        summaries: Summaries,
        sampler: ImageSampler,
        evaluator: Evaluator,
        best: BestCheckpoint,
        images_per_step: int,
        **schedule: int,
    ):
        super().__init__(**schedule)
        self._directory = directory
        self._summaries = summaries
        self._sampler = sampler
        self._evaluator = evaluator
        self._best = best
        self._images_per_step = images_per_step

    def is_missing(self, step: int) -> bool:
        return not self._directory.has_metrics_of(step)

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        protocol = self._evaluator.protocol
        scores = self._evaluator.evaluate(self._sampler.batches(protocol.num_generated, protocol.seed))
        kimg = step * self._images_per_step / 1000
        line = {"step": step, "kimg": kimg, "weights": "ema", "source": TRAINING, **protocol.as_dict(), **scores}
        with written_if_possible("a line of metrics.jsonl"):
            self._directory.append_metrics(line)
        scalars = {name: value for name, value in scores.items() if isinstance(value, float)}
        self._summaries.scalars(step, scalars)
        with written_if_possible("the best checkpoint"):
            self._best.offer(step, scores[self._evaluator.distance_name], protocol)
        with tqdm.tqdm.external_write_mode():  # on its own line above the bar
            logging.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in scalars.items()))


class CheckpointWriter(StepCallback):
    """Saves the whole state of the run. A failure ends the training only at its last step."""

    def __init__(self, checkpoints: RunCheckpoints, **schedule: int):
        super().__init__(**schedule)
        self._checkpoints = checkpoints

    def at_step(self, step: int, logs: dict[str, float]) -> None:
        try:
            self._checkpoints.save(step)
        except UserError as error:
            if step == self.total_steps:
                raise
            logging.warning("%s: training continues, and the next checkpoint tries again", error)
