"""The state of a run at its best evaluation."""

from __future__ import annotations

import json
import math
import os
import shutil
from typing import Any

import tensorflow as tf
from absl import logging

from vitgan_tf.evaluation.protocol import Protocol
from vitgan_tf.files import write_atomically
from vitgan_tf.runs.checkpoints import RunCheckpoints


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
        """Saves the present state if none is kept whose distance, under this protocol, is less or the same.

        Raises:
          UserError: it cannot be written, or not be read back.
        """
        conditions = protocol.as_dict()
        if os.path.exists(self._record_path):
            if not self._is_comparable(conditions):
                self._put_aside(step)
            elif not distance < self._record()["distance"]:
                return
        os.makedirs(self._directory, exist_ok=True)
        RunCheckpoints(self._checkpoint, self._directory, keep=1).save(step)
        record = {"step": step, "distance": distance, "protocol": conditions}
        write_atomically(self._record_path, (json.dumps(record, indent=2) + "\n").encode())

    def _record(self) -> dict[str, Any]:
        with open(self._record_path, encoding="utf-8") as file:
            return json.load(file)

    def _is_comparable(self, conditions: dict[str, Any]) -> bool:
        try:
            record = self._record()
            return record["protocol"] == conditions and math.isfinite(record["distance"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return False  # damaged

    def _put_aside(self, step: int) -> None:
        aside = f"{self._directory}_until_step_{step}"
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(self._directory, aside)
        logging.warning("the best state so far was chosen under another protocol: it is now in %s", aside)
