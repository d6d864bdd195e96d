"""Checkpoints that are kept apart, and generators out of checkpoints."""

from __future__ import annotations

import dataclasses
import json
import os
import re

import tensorflow as tf

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
    path = _checkpoint_path(model_dir, checkpoint)
    generator = build_generator(config)
    step = tf.Variable(0, dtype=tf.int64)
    restore_from(path, tf.train.Checkpoint(**{WEIGHTS[weights]: generator, "step": step}), is_part=True)
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
    state = tf.train.get_checkpoint_state(folder)
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

    What its distance was is kept beside it, so that a run that goes on knows it; under another protocol than the
    present one it does not count.

    Args:
      manager: of a folder that holds nothing else.
    """

    def __init__(self, manager: tf.train.CheckpointManager):
        self._manager = manager
        self._record_path = os.path.join(manager.directory, "best.json")

    def offer(self, step: int, distance: float, protocol: Protocol) -> None:
        """Saves the present state if none is kept whose distance, under this protocol, is less or the same."""
        conditions = protocol.as_dict()
        try:
            with open(self._record_path, encoding="utf-8") as file:
                record = json.load(file)
            if record["protocol"] == conditions and record["distance"] <= distance:
                return
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass  # none yet, or damaged
        self._manager.save(checkpoint_number=step)
        record = {"step": step, "distance": distance, "protocol": conditions}
        write_atomically(self._record_path, (json.dumps(record, indent=2) + "\n").encode())
