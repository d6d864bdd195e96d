"""Files of a run: their names and contents. Importing this module imports no TensorFlow."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from typing import Any

from vitgan_tf.config import ExperimentConfig, as_dict, differences, from_dict, unread_fields
from vitgan_tf.errors import UserError
from vitgan_tf.files import append_json_line, only_one, parsed_json, read_json_lines, write_atomically
from vitgan_tf.runs.metrics import training_step
from vitgan_tf.version import __version__

CONFIG = "config.json"
METRICS = "metrics.jsonl"
DIVERGENCE = "divergence.json"
LOG = "log.txt"
CHECKPOINTS = "checkpoints"
BEST_CHECKPOINT = "best_checkpoint"
DIGITS_CLASSIFIER = "digits_classifier.h5"
SAMPLES = "samples"
REAL_IMAGES = "real.png"
SAVED_MODEL = "saved_model"
EVENTS_PREFIX = "events."
# Entry of config.json: what the run started from.
_SOURCE = "init_from"

# A resumed run may change these: they do not alter the result of its steps, except for rounding.
FREE_TO_CHANGE = (
    "train.total_kimg",
    "train.microbatch",
    "train.steps_per_execution",
    "train.xla",
    "train.on_nan",
    "train.gpu_memory_gb",
    "log.",
    "eval.",
)


def sample_name(step: int) -> str:
    """Returns the file name of the sample grid of a step, in the folder `SAMPLES`."""
    return f"step_{step:08d}.png"


def sample_step(name: str) -> int | None:
    """Returns the step of a sample grid; None for a file of another name."""
    found = re.fullmatch(r"step_(\d+)\.png", name)
    return int(found[1]) if found else None


def is_run(path: str) -> bool:
    """True if a folder is the directory of a run."""
    return os.path.isfile(os.path.join(path, CONFIG)) and os.path.isdir(os.path.join(path, CHECKPOINTS))


def is_saved_model(path: str) -> bool:
    """True if a folder holds a SavedModel."""
    return os.path.isfile(os.path.join(path, "saved_model.pb"))


def read_run(path: str) -> tuple[ExperimentConfig, dict[str, Any]]:
    """Returns the configuration of a run directory and the identity of its training images: see `read_config`."""
    return read_config(os.path.join(path, CONFIG))


def config_content(path: str) -> dict[str, Any]:
    """Returns the content of a config.json as it is.

    Raises:
      OSError: the file cannot be read.
      ValueError, TypeError: it is not a JSON object.
    """
    with open(path, encoding="utf-8") as file:
        return dict(parsed_json(file.read()))


def read_config(path: str) -> tuple[ExperimentConfig, dict[str, Any]]:
    """Returns the configuration in a config.json and the identity of the training images.

    Raises:
      OSError: the file cannot be read; FileNotFoundError if it does not exist.
      UserError: the file is damaged, or is not the configuration of a run.
    """
    plugins = ""
    try:
        content = config_content(path)
        arguments = (argument for argument in content.get("command") or [] if isinstance(argument, str))
        plugins = " ".join(argument for argument in arguments if argument.startswith("--plugin="))
        return from_dict(content["config"]), dict(content.get("data", {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        hint = f"; it was trained with {plugins}" if plugins else ""
        raise UserError(f"{path} is not the configuration of a run ({error}){hint}") from error


def recorded_source(path: str) -> dict[str, Any]:
    """Returns what a run started from, an entry of its config.json; empty for nothing and for a damaged file."""
    try:
        return dict(config_content(os.path.join(path, CONFIG)).get(_SOURCE) or {})
    except (OSError, ValueError, TypeError):
        return {}


def read_metrics(path: str) -> list[dict[str, Any]]:
    """Returns the lines of a run's metrics.jsonl so far; none if the file does not exist."""
    metrics_path = os.path.join(path, METRICS)
    return read_json_lines(metrics_path) if os.path.exists(metrics_path) else []


@contextlib.contextmanager
def held_run(path: str) -> Iterator[None]:
    """Locks a run directory, which is created if it is missing, for the one process that may write to it.

    The operating system releases the lock when the process ends, however it ends.

    Raises:
      UserError: another process holds the lock, the directory cannot be created or written, or TensorFlow would
        read its name as a glob pattern.
    """
    if "://" in path:
        raise UserError(f"{path!r} is not a local folder: --model_dir must be on a disk, of this machine or mounted")
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
    """Directory of one run: config.json, metrics.jsonl, samples/, checkpoints/, best_checkpoint/, saved_model/.

    Args:
      path: run directory; created with its parents if it is missing.
      config: configuration of the run.
      provenance: further entries of config.json, for example the command line.
      data: identity of the training images, an entry of config.json.

    Raises:
      UserError: the directory cannot be created or written, or holds a run of another configuration or on other
        images.
    """

    def __init__(
        self,
        path: str,
        config: ExperimentConfig,
        provenance: Mapping[str, Any] | None = None,
        data: dict[str, Any] | None = None,
    ):
        self.path = path
        self.checkpoints = os.path.join(path, CHECKPOINTS)
        self.best_checkpoint = os.path.join(path, BEST_CHECKPOINT)
        self.samples = os.path.join(path, SAMPLES)
        self.saved_model = os.path.join(path, SAVED_MODEL)
        self.classifier = os.path.join(path, DIGITS_CLASSIFIER)
        self._config_path = os.path.join(path, CONFIG)
        self._metrics_path = os.path.join(path, METRICS)
        try:
            for folder in (self.samples, self.checkpoints):
                os.makedirs(folder, exist_ok=True)
            self._check_same_run(config, data or {})
            source = recorded_source(path)
            self._content = {"config": as_dict(config), "versions": _versions(), "data": data or {}}
            self._content.update({**(provenance or {}), **({_SOURCE: source} if source else {})})
            self._write_config()
        except OSError as error:
            raise _unwritable(path, error) from error

    @property
    def real_images(self) -> str:
        """Path of the grid of training images."""
        return os.path.join(self.samples, REAL_IMAGES)

    def sample_path(self, step: int) -> str:
        """Returns the path of the sample grid of a step."""
        return os.path.join(self.samples, sample_name(step))

    def _check_same_run(self, config: ExperimentConfig, data: dict[str, Any]) -> None:
        if not os.path.exists(self._config_path):
            return
        old, old_data = read_run(self.path)
        changed = differences(old, config, FREE_TO_CHANGE + unread_fields(config))
        if changed:
            raise UserError(
                f"{self.path!r} holds a run of another configuration ({'; '.join(changed)}): "
                f"choose another --model_dir, or its own fields with --config={self._config_path}"
            )
        if old_data and old_data != data:
            raise UserError(
                f"{self.path!r} holds a run on other images (then {_listed(old_data)}, now {_listed(data)}): "
                "choose another --model_dir, or the same images"
            )

    def record_source(self, source: Mapping[str, Any]) -> None:
        """Writes what a new run starts from to config.json, where it stays when the run is resumed."""
        self._content.pop(_SOURCE, None)
        self._content.update({_SOURCE: dict(source)} if source else {})
        self._write_config()

    def _write_config(self) -> None:
        write_atomically(self._config_path, (json.dumps(self._content, indent=2) + "\n").encode())

    def append_metrics(self, values: dict[str, Any]) -> None:
        """Appends a line to metrics.jsonl."""
        append_json_line(self._metrics_path, values)

    def write_divergence(self, report: dict[str, Any]) -> str:
        """Writes divergence.json and returns its path."""
        path = os.path.join(self.path, DIVERGENCE)
        write_atomically(path, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
        return path

    def has_metrics_of(self, step: int) -> bool:
        """True if the training has written a line of metrics.jsonl for a step."""
        return any(training_step(line) == step for line in self._metrics_lines())

    def _metrics_lines(self) -> list[bytes]:
        if not os.path.exists(self._metrics_path):
            return []
        with open(self._metrics_path, "rb") as file:
            return file.readlines()

    def drop_metrics_after(self, step: int) -> None:
        """Drops the training's metrics newer than the restored checkpoint."""
        lines = self._metrics_lines()
        kept = [line for line in lines if training_step(line) <= step]
        if len(kept) < len(lines):
            write_atomically(self._metrics_path, b"".join(kept))


def _versions() -> dict[str, str]:
    return {
        "vitgan_tf": __version__,
        "tensorflow": importlib.metadata.version("tensorflow"),
        "python": platform.python_version(),
    }


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
