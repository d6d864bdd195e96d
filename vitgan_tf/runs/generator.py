"""Loads the generator of a run from one of its checkpoints."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import tensorflow as tf

from vitgan_tf.config import ExperimentConfig
from vitgan_tf.errors import UserError, first_line
from vitgan_tf.models.build import build_generator
from vitgan_tf.runs.checkpoints import paths_by_step, restore_from
from vitgan_tf.runs.directory import BEST_CHECKPOINT, CHECKPOINTS, CONFIG, read_run

# Kind of weights -> attribute of `GAN`.
WEIGHTS = {"ema": "ema_generator", "raw": "generator"}


@dataclasses.dataclass(frozen=True)
class TrainedGenerator:
    """Generator of a run.

    Attributes:
      network: latents (batch, latent_dim) -> images.
      config: configuration of the run.
      data: identity of the training images: see `RunDirectory`.
      step: finished training steps.
    """

    network: tf.keras.Model
    config: ExperimentConfig
    data: dict[str, Any]
    step: int


def load_generator(model_dir: str, checkpoint: str = "latest", weights: str = "ema") -> TrainedGenerator:
    """Restores the generator of a run, without the rest of its state.

    Args:
      model_dir: run directory.
      checkpoint: "latest", "best" or the step of a kept checkpoint.
      weights: "ema", the moving average, or "raw".

    Raises:
      UserError: the run or the checkpoint does not exist or cannot be read.
    """
    try:
        config, data = read_run(model_dir)
    except OSError as error:
        raise UserError(f"{model_dir!r} is not a run: it has no {CONFIG} ({error.strerror or error})") from error
    generator = build_generator(config)
    step = tf.Variable(0, dtype=tf.int64)
    path = None
    while path is None:
        path = checkpoint_path(model_dir, checkpoint)
        try:
            restore_from(path, tf.train.Checkpoint(**{WEIGHTS[weights]: generator, "step": step}), is_part=True)
        except UserError:
            # A training in progress may have replaced the checkpoint in the meantime.
            if path == checkpoint_path(model_dir, checkpoint):
                raise
            path = None
    return TrainedGenerator(generator, config, data, int(step.numpy()))


def checkpoint_path(model_dir: str, checkpoint: str) -> str:
    """Returns the path of a kept checkpoint; arguments and errors as in `load_generator`."""
    folder = os.path.join(model_dir, BEST_CHECKPOINT if checkpoint == "best" else CHECKPOINTS)
    try:
        state = tf.train.get_checkpoint_state(folder)
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(f"cannot read the list of checkpoints in {folder!r}: {first_line(error)}") from error
    kept = paths_by_step(state)
    chosen = list(kept)[-1] if kept and checkpoint in ("latest", "best") else checkpoint
    if chosen not in kept:
        there = f"available steps: {', '.join(kept)}" if kept else "there is none"
        raise UserError(f"{folder!r} holds no checkpoint {checkpoint!r}: {there}")
    # By its name: lists that earlier versions wrote in relative folders hold other paths.
    return os.path.join(folder, os.path.basename(kept[chosen]))
