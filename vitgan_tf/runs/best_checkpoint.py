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
from vitgan_tf.files import parsed_json, write_atomically
from vitgan_tf.runs.checkpoints import RunCheckpoints

# Entries of the protocol that records of earlier versions lack.
_LATER = {"noise": None, "tf32": False, "truncation": 1.0, "extractor_accuracy": None, "classes": ""}


class BestCheckpoint:
    """Keeps the whole state of a run at the evaluation with the smallest distance, apart from the newest checkpoints.

    The distance is stored with the state, so that a resumed run knows it. Distances under different protocols are not
    comparable: when the protocol changes, the old state is moved aside and a new one is kept.

    Args:
      checkpoint: checkpoint of the run.
      directory: folder for the state; holds nothing else.
    """

    def __init__(self, checkpoint: tf.train.Checkpoint, directory: str):
        self._checkpoint = checkpoint
        self._directory = directory
        self._record_path = os.path.join(directory, "best.json")

    def offer(self, step: int, distance: float, protocol: Protocol) -> None:
        """Saves the current state if it is the first one, its distance is the smallest or the protocol has changed.

        Raises:
          UserError: the state cannot be written or read back.
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
            return parsed_json(file.read())

    def _is_comparable(self, conditions: dict[str, Any]) -> bool:
        try:
            record = self._record()
            protocol = {**conditions, **_LATER, **record["protocol"]}
            return protocol == {**_LATER, **conditions} and math.isfinite(record["distance"])
        except (ValueError, KeyError, TypeError):
            return False  # damaged

    def _put_aside(self, step: int) -> None:
        aside = f"{self._directory}_until_step_{step}"
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(self._directory, aside)
        logging.warning("the best state so far was chosen under another protocol: it is now in %s", aside)
