"""What a run leaves on disk, beside checkpoints and TensorBoard events."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

import vitgan_tf
from vitgan_tf.config import ExperimentConfig, as_dict, differences, from_dict, unread_fields
from vitgan_tf.errors import UserError
from vitgan_tf.files import append_json_line, only_one, write_atomically

# These may change when a run goes on: they do not alter what its steps compute, but for rounding.
FREE_TO_CHANGE = (
    "train.total_kimg",
    "train.microbatch",
    "train.steps_per_execution",
    "train.xla",
    "train.on_nan",
    "log.",
    "eval.",
)

CONFIG = "config.json"
METRICS = "metrics.jsonl"
DIVERGENCE = "divergence.json"
CHECKPOINTS = "checkpoints"
BEST_CHECKPOINT = "best_checkpoint"
DIGITS_CLASSIFIER = "digits_classifier.h5"
SAMPLES = "samples"
SAVED_MODEL = "saved_model"


def read_run(path: str) -> tuple[ExperimentConfig, dict[str, Any]]:
    """The configuration of a run, and what identifies its training images.

    Raises:
      FileNotFoundError: path holds no config.json.
      UserError: that of something else, or damaged.
    """
    config_path = os.path.join(path, CONFIG)
    plugins = ""
    try:
        with open(config_path, encoding="utf-8") as file:
            content = json.load(file)
        arguments = (argument for argument in content.get("command") or [] if isinstance(argument, str))
        plugins = " ".join(argument for argument in arguments if argument.startswith("--plugin="))
        return from_dict(content["config"]), dict(content.get("data", {}))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        hint = f"; it was trained with {plugins}" if plugins else ""
        raise UserError(f"{config_path} is not the configuration of a run ({error}){hint}") from error


@contextlib.contextmanager
def held_run(path: str) -> Iterator[None]:
    """Holds a run directory, made with its parents if it is missing, for the one process that writes to it.

    The lock is the operating system's, and ends with the process in whatever way that ends.

    Raises:
      UserError: another process holds it, or the directory cannot be made or written, or has a name that TensorFlow
        takes for a pattern.
    """
    if "://" in path:
        raise UserError(f"{path!r} is no folder: --model_dir is on a disk, of this machine or mounted")
    if set("*?[]\\") & set(path):
        raise UserError(
            f"{path!r}: TensorFlow finds no checkpoints in a --model_dir with any of * ? [ ] \\ in its name"
        )
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(only_one(path))
        except BlockingIOError as error:
            raise UserError(
                f"another process writes to the run directory {path!r}: wait for it, or choose another --model_dir"
            ) from error
        except OSError as error:
            raise _unwritable(path, error) from error
        yield


def _unwritable(path: str, error: OSError) -> UserError:
    reason = error.strerror or error
    return UserError(f"cannot write the run directory {path!r} ({reason}): choose another with --model_dir")


class RunDirectory:
    """The files of one run: config.json, metrics.jsonl, samples/, checkpoints/, best_checkpoint/, saved_model/.

    Args:
      path: made, with its parents, if it is missing.
      config: of the run.
      provenance: further entries of config.json, for example the command line.
      data: what identifies the training images; an entry of config.json.

    Raises:
      UserError: the directory cannot be made or written, or holds a run of another configuration or on other images.
    """

    def __init__(
        self,
        path: str,
        config: ExperimentConfig,
        provenance: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
    ):
        self.path = path
        try:
            for folder in (self.samples, self.checkpoints):
                os.makedirs(folder, exist_ok=True)
            self._check_same_run(config, data or {})
            self._write_config(config, {"data": data or {}, **(provenance or {})})
        except OSError as error:
            raise _unwritable(path, error) from error

    @property
    def checkpoints(self) -> str:
        return os.path.join(self.path, CHECKPOINTS)

    @property
    def best_checkpoint(self) -> str:
        return os.path.join(self.path, BEST_CHECKPOINT)

    @property
    def samples(self) -> str:
        return os.path.join(self.path, SAMPLES)

    @property
    def saved_model(self) -> str:
        return os.path.join(self.path, SAVED_MODEL)

    @property
    def classifier(self) -> str:
        return os.path.join(self.path, DIGITS_CLASSIFIER)

    @property
    def _config_path(self) -> str:
        return os.path.join(self.path, CONFIG)

    @property
    def _metrics_path(self) -> str:
        return os.path.join(self.path, METRICS)

    def _check_same_run(self, config: ExperimentConfig, data: dict[str, Any]) -> None:
        if not os.path.exists(self._config_path):
            return
        old, old_data = read_run(self.path)
        changed = differences(old, config, FREE_TO_CHANGE + unread_fields(config))
        if changed:
            raise UserError(
                f"{self.path!r} holds a run of another configuration ({'; '.join(changed)}): "
                "choose another --model_dir, or the same fields"
            )
        if old_data and old_data != data:
            raise UserError(
                f"{self.path!r} holds a run on other images (then {_listed(old_data)}, now {_listed(data)}): "
                "choose another --model_dir, or the same images"
            )

    def _write_config(self, config: ExperimentConfig, provenance: dict[str, Any]) -> None:
        content = {
            "config": as_dict(config),
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
        append_json_line(self._metrics_path, values)

    def write_divergence(self, report: dict[str, Any]) -> str:
        """Writes divergence.json, and returns its path."""
        path = os.path.join(self.path, DIVERGENCE)
        write_atomically(path, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
        return path

    def has_metrics_of(self, step: int) -> bool:
        """Whether the training has written a line of metrics.jsonl at a step."""
        return any(_training_step(line) == step for line in self._metrics_lines())

    def _metrics_lines(self) -> list[bytes]:
        if not os.path.exists(self._metrics_path):
            return []
        with open(self._metrics_path, "rb") as file:
            return file.readlines()

    def drop_metrics_after(self, step: int) -> None:
        """Removes what the training wrote at steps that it reached and did not save: those lines will come again."""
        lines = self._metrics_lines()
        kept = [line for line in lines if _training_step(line) <= step]
        if len(kept) < len(lines):
            write_atomically(self._metrics_path, b"".join(kept))


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _training_step(line: bytes) -> float:
    """Of a line that the training wrote; -1 of others, infinity of one that was cut off while it was written."""
    try:
        values = json.loads(line)
        return float(values["step"]) if values.get("source", "training") == "training" else -1
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return float("inf")
