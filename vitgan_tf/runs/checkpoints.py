"""Saves and restores the newest states of a run."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from absl import logging

from vitgan_tf.errors import UserError, first_line


def restore_from(path: str, checkpoint: tf.train.Checkpoint, is_part: bool = False) -> None:
    """Restores every object of a checkpoint.

    Args:
      path: path of the files, without their suffixes.
      checkpoint: objects that take the values.
      is_part: whether the files may hold further objects.

    Raises:
      UserError: the files cannot be read, or hold other variables.
    """
    try:
        status = checkpoint.restore(path)
        if is_part:
            status.assert_existing_objects_matched().expect_partial()
        else:
            status.assert_consumed()
    except (AssertionError, ValueError) as error:  # variables that are missing, or of another shape
        raise UserError(
            f"cannot restore {path} (it holds other variables than this version of vitgan_tf has for this "
            "configuration: the run's config.json names the commit that wrote it)"
        ) from error
    except (IndexError, tf.errors.OpError) as error:  # IndexError: a truncated file
        raise UserError(f"cannot restore {path} ({first_line(error)})") from error


def paths_by_step(state: Any) -> dict[str, str]:
    """Returns the paths in TensorFlow's list of checkpoints, by step and in the order of writing.

    Args:
      state: result of `tf.train.get_checkpoint_state`.
    """
    paths = state.all_model_checkpoint_paths if state else []
    numbers = (re.search(r"-(\d+)$", path) for path in paths)
    return {number[1]: path for number, path in zip(numbers, paths) if number}


class RunCheckpoints:
    """Keeps the newest states of a run: `ckpt-STEP` in a folder of their own, and TensorFlow's list of them.

    TensorFlow writes the files of a checkpoint under temporary names and renames them when they are complete, the
    index last. Every tensor has a checksum. `tf.train.CheckpointManager` trusts the files that it has written, and
    removes the oldest ones first; here, a checkpoint is read back before an older one is removed.

    Args:
      checkpoint: checkpoint of the run.
      directory: folder for the files; must exist when `save` is called.
      keep: number of newest checkpoints that are kept.
    """

    def __init__(self, checkpoint: tf.train.Checkpoint, directory: str, keep: int):
        self._checkpoint = checkpoint
        self._directory = directory
        self._keep = keep
        self._damaged: set[int] = set()

    def restore_newest(self) -> int | None:
        """Restores the newest intact state and returns its step; None if no checkpoint was ever saved.

        A warning names each damaged or missing checkpoint. Nothing is written.

        Raises:
          UserError: there are checkpoints, but none can be restored.
        """
        listed, steps = self._listed_steps(), self._steps()
        for step in sorted(set(listed) - set(steps)):
            logging.warning("the checkpoint of step %d is missing in %s", step, self._directory)
        errors = []
        for step in reversed(steps):
            try:
                restore_from(self._path(step), self._checkpoint)
            except UserError as error:
                errors.append(error)
                self._damaged.add(step)
                logging.warning("%s: trying the previous checkpoint", error)
            else:
                return step
        if errors or listed:
            reason = errors[0] if errors else "all are missing"
            raise UserError(
                f"{self._directory!r} holds no checkpoint that can be restored ({reason}). Nothing was changed: "
                "copy one back, or choose another --model_dir"
            )
        return None

    def save(self, step: int) -> None:
        """Saves the current state; replaces an earlier checkpoint of this step.

        Raises:
          UserError: the state cannot be written or read back. Older checkpoints are untouched.
        """
        try:
            self._put_damaged_aside()
            self._remove_remains()
            # The oldest checkpoint is removed once this one is known to be intact.
            self._list(self._steps())
            manager = tf.train.CheckpointManager(self._checkpoint, self._directory, max_to_keep=None)
            path = manager.save(checkpoint_number=step)
            self._damaged.add(step)
            reader = tf.train.load_checkpoint(path)
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)  # compares checksums
            self._damaged.remove(step)
            steps = [other for other in self._steps() if other != step] + [step]
            self._list(steps[-self._keep :])
            self._remove(steps[: -self._keep])
        except (OSError, ValueError, IndexError, tf.errors.OpError) as error:
            with contextlib.suppress(OSError):
                self._remove_remains()
            raise UserError(
                f"cannot write the checkpoint of step {step} to {self._directory!r} ({first_line(error)})"
            ) from error

    def _path(self, step: int) -> str:
        return os.path.join(self._directory, f"ckpt-{step}")

    def _steps(self) -> list[int]:
        """Returns the steps of the checkpoints that have an index, in order."""
        if not os.path.isdir(self._directory):  # the process that writes has not created it yet
            return []
        names = (re.fullmatch(r"ckpt-(\d+)\.index", name) for name in os.listdir(self._directory))
        return sorted(int(name[1]) for name in names if name)

    def _listed_steps(self) -> list[int]:
        """Returns the steps in TensorFlow's list, in its order; a damaged list counts as empty."""
        try:
            state = tf.train.get_checkpoint_state(self._directory)
        except (ValueError, tf.errors.OpError):
            state = None
        return list(map(int, paths_by_step(state)))

    def _put_damaged_aside(self) -> None:
        for step in self._damaged:
            for path in self._files(step):
                os.replace(path, path + ".damaged")
        self._damaged.clear()

    def _files(self, step: int) -> list[str]:
        paths = glob.glob(glob.escape(self._path(step)) + ".*")
        return [path for path in paths if not path.endswith(".damaged")]

    def _remove(self, steps: Sequence[int]) -> None:
        for step in steps:
            # The index is written last and removed first: files without one are remains.
            for path in sorted(self._files(step), key=lambda path: not path.endswith(".index")):
                os.remove(path)

    def _list(self, steps: Sequence[int]) -> None:
        """Writes TensorFlow's list of checkpoints; the last step is the newest."""
        if not steps:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(self._directory, "checkpoint"))
            return
        if list(steps) == self._listed_steps():
            return
        paths = list(map(self._path, steps))
        times = [os.path.getmtime(path + ".index") for path in paths]
        # Absolute: in a relative folder, TensorFlow would take the names for paths from the working directory.
        tf.compat.v1.train.update_checkpoint_state(
            os.path.abspath(self._directory),
            os.path.basename(paths[-1]),
            list(map(os.path.basename, paths)),
            all_model_checkpoint_timestamps=times,
            last_preserved_timestamp=min(times) - 1.0,
        )

    def _remove_remains(self) -> None:
        kept = {f"ckpt-{step}" for step in self._steps()}
        for name in os.listdir(self._directory):
            step_name = re.match(r"ckpt-\d+|checkpoint\.tmp", name)
            is_file = re.fullmatch(r"ckpt-\d+\.(index|data-\d+-of-\d+)", name)
            if not step_name or (is_file and step_name[0] in kept) or name.endswith(".damaged"):
                continue
            path = os.path.join(self._directory, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
