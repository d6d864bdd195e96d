"""Checkpoints that are kept apart, and generators out of checkpoints."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
from typing import Any

import tensorflow as tf
from absl import logging

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.files import write_atomically
from vitgan_tf.models.generator import build_generator
from vitgan_tf.training.run_directory import BEST_CHECKPOINT, CHECKPOINTS, read_run

# Of the generator's weights in a checkpoint: attribute of `GAN`.
WEIGHTS = {"ema": "ema_generator", "raw": "generator"}


@dataclasses.dataclass(frozen=True)
class TrainedGenerator:
    """A generator out of a run.

    Attributes:
      network: latents (batch, latent_dim) -> images.
      config: of the run.
      data: what identifies the images of the training: see `RunDirectory`.
      step: finished training steps.
    """

    network: tf.keras.Model
    config: ExperimentConfig
    data: dict[str, object]
    step: int


def load_generator(model_dir: str, checkpoint: str = "latest", weights: str = "ema") -> TrainedGenerator:
    """The generator of a run, without the rest of it.

    Args:
      model_dir: the run directory.
      checkpoint: "latest", "best" or the number of a step whose checkpoint is kept.
      weights: "ema", the moving average, or "raw".

    Raises:
      UserError: there is no such run or checkpoint, or it cannot be read.
    """
    try:
        config, data = read_run(model_dir)
    except OSError as error:
        raise UserError(f"{model_dir!r} is not a run: it has no config.json ({error.strerror or error})") from error
    generator = build_generator(config)
    step = tf.Variable(0, dtype=tf.int64)
    path = None
    while path is None:
        path = _checkpoint_path(model_dir, checkpoint)
        try:
            restore_from(path, tf.train.Checkpoint(**{WEIGHTS[weights]: generator, "step": step}), is_part=True)
        except UserError:
            # A run that goes on may have replaced it in the meantime.
            if path == _checkpoint_path(model_dir, checkpoint):
                raise
            path = None
    return TrainedGenerator(generator, config, data, int(step.numpy()))


def restore_from(path: str, checkpoint: tf.train.Checkpoint, is_part: bool = False) -> None:
    """Restores every object of a checkpoint.

    Args:
      path: of the files, without their endings.
      checkpoint: takes the values.
      is_part: whether the files may hold more than that.

    Raises:
      UserError: the files cannot be read, or hold other objects.
    """
    try:
        status = checkpoint.restore(path)
        if is_part:
            status.assert_existing_objects_matched().expect_partial()
        else:
            status.assert_consumed()
    except (AssertionError, IndexError, ValueError, tf.errors.OpError) as error:  # IndexError: of a file cut short
        raise UserError(f"cannot restore {path} ({first_line(error)})") from error


def _checkpoint_path(model_dir: str, checkpoint: str) -> str:
    folder = os.path.join(model_dir, BEST_CHECKPOINT if checkpoint == "best" else CHECKPOINTS)
    try:
        state = tf.train.get_checkpoint_state(folder)
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(f"cannot read the list of checkpoints in {folder!r}: {first_line(error)}") from error
    kept = list(state.all_model_checkpoint_paths) if state else []
    if checkpoint in ("latest", "best"):
        chosen = kept[-1:]
    else:
        chosen = [path for path in kept if path.endswith(f"-{checkpoint}")]
    if not chosen:
        steps = ", ".join(re.findall(r"-(\d+)$", path)[0] for path in kept)
        there = f"there are those of step {steps}" if kept else "there is none"
        raise UserError(f"{folder!r} holds no checkpoint {checkpoint!r}: {there}")
    return chosen[0]


class BestCheckpoint:
    """Keeps the whole state of the run at the evaluation with the least distance, apart from the newest ones.

    What its distance was is kept beside it, so that a run that goes on knows it. Distances under another protocol do
    not compare: that state is then put aside, and a new one begun.

    Args:
      checkpoint: of the run.
      directory: for the state; holds nothing else.
    """

    def __init__(self, checkpoint: tf.train.Checkpoint, directory: str):
        self._checkpoint = checkpoint
        self._directory = directory
        self._record_path = os.path.join(directory, "best.json")

    def offer(self, step: int, distance: float, protocol: Protocol) -> None:
        """Saves the present state if none is kept whose distance, under this protocol, is less or the same."""
        conditions = protocol.as_dict()
        if os.path.exists(self._record_path):
            if not self._is_comparable(conditions):
                self._put_aside(step)
            elif self._record()["distance"] <= distance:
                return
        tf.train.CheckpointManager(self._checkpoint, self._directory, max_to_keep=1).save(checkpoint_number=step)
        record = {"step": step, "distance": distance, "protocol": conditions}
        write_atomically(self._record_path, (json.dumps(record, indent=2) + "\n").encode())

    def _record(self) -> dict[str, Any]:
        with open(self._record_path, encoding="utf-8") as file:
            return json.load(file)

    def _is_comparable(self, conditions: dict[str, Any]) -> bool:
        try:
            record = self._record()
            return record["protocol"] == conditions and math.isfinite(record["distance"])
        except (ValueError, KeyError, TypeError):
            return False  # damaged

    def _put_aside(self, step: int) -> None:
        aside = f"{self._directory}_until_step_{step}"
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(self._directory, aside)
        logging.warning("the best state so far was chosen under another protocol: it is now in %s", aside)
