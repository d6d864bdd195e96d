"""What a run leaves on disk, beside checkpoints and TensorBoard events."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from typing import Any

import tensorflow as tf

import vitgan_tf
from vitgan_tf.config import ExperimentConfig, differences, from_dict
from vitgan_tf.errors import UserError
from vitgan_tf.images import write_atomically

# These may change when a run goes on: they do not alter what its steps compute.
_FREE_TO_CHANGE = ("train.total_kimg", "train.xla", "log.")


class RunDirectory:
    """The files of one run: config.json, metrics.jsonl, samples/, checkpoints/, saved_model/.

    Args:
      path: made, with its parents, if it is missing.
      config: of the run.
      provenance: further entries of config.json, for example the command line.

    Raises:
      UserError: the directory cannot be made or written, or holds a run of another configuration.
    """

    def __init__(self, path: str, config: ExperimentConfig, provenance: dict[str, Any] | None = None):
        self.path = path
        try:
            for folder in (self.samples, self.checkpoints):
                os.makedirs(folder, exist_ok=True)
            self._check_same_run(config)
            self._write_config(config, provenance or {})
        except OSError as error:
            raise UserError(
                f"cannot write the run directory {path!r} ({error.strerror or error}): "
                "choose another with --model_dir"
            ) from error

    @property
    def checkpoints(self) -> str:
        return os.path.join(self.path, "checkpoints")

    @property
    def samples(self) -> str:
        return os.path.join(self.path, "samples")

    @property
    def saved_model(self) -> str:
        return os.path.join(self.path, "saved_model")

    @property
    def classifier(self) -> str:
        return os.path.join(self.path, "digits_classifier.h5")

    @property
    def _config_path(self) -> str:
        return os.path.join(self.path, "config.json")

    @property
    def _metrics_path(self) -> str:
        return os.path.join(self.path, "metrics.jsonl")

    def _check_same_run(self, config: ExperimentConfig) -> None:
        if not os.path.exists(self._config_path):
            return
        try:
            with open(self._config_path, encoding="utf-8") as file:
                old = from_dict(json.load(file)["config"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{self._config_path} is not the configuration of a run ({error})") from error
        changed = [line for line in differences(old, config) if not line.startswith(_FREE_TO_CHANGE)]
        if changed:
            raise UserError(
                f"{self.path!r} holds a run of another configuration ({'; '.join(changed)}): "
                "choose another --model_dir, or the same fields"
            )

    def _write_config(self, config: ExperimentConfig, provenance: dict[str, Any]) -> None:
        content = {
            "config": dataclasses.asdict(config),
            "versions": {
                "vitgan_tf": vitgan_tf.__version__,
                "tensorflow": tf.__version__,
                "python": platform.python_version(),
            },
            **provenance,
        }
        write_atomically(self._config_path, (json.dumps(content, indent=2) + "\n").encode())

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Adds one line to metrics.jsonl."""
        with open(self._metrics_path, "a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")

    def drop_metrics_after(self, step: int) -> None:
        """Removes the lines of steps that an interrupted run reached and did not save: they will come again."""
        if not os.path.exists(self._metrics_path):
            return
        with open(self._metrics_path, encoding="utf-8") as file:
            lines = file.readlines()
        kept = [line for line in lines if _step_of(line) <= step]
        if len(kept) < len(lines):
            write_atomically(self._metrics_path, "".join(kept).encode())


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")  # cut off while it was written
