"""Scores a run or a SavedModel: vitgan evaluate --model=runs/cifar10

Computes FID, IS, KID, precision and recall for a checkpoint of a run directory or for a SavedModel folder. Prints a
table and, as the last line of standard output, the result as one JSON object, which is also appended to the
metrics.jsonl of the run or to --output.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from absl import flags

from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.configuration import data_location_from_flags, section_from_flags
from vitgan_tf.commands.flags import (
    define_data_location_flags,
    define_field_flags,
    define_path,
    define_strategy_flags,
)
from vitgan_tf.commands.plugins import define_plugin_flag
from vitgan_tf.commands.quiet import strategy_from_flags
from vitgan_tf.config import DataConfig, EvalConfig
from vitgan_tf.errors import UserError
from vitgan_tf.files import append_json_line
from vitgan_tf.presets import PRESETS, preset
from vitgan_tf.runs.directory import CONFIG, is_saved_model


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_plugin_flag(given)
    define_path(given, "model", None, "Run directory, or folder of a SavedModel.", required=True)
    flags.DEFINE_enum(
        "dataset",
        None,
        list(PRESETS),
        "Preset of the images to compare a SavedModel outside its run directory with.",
        flag_values=given,
    )
    flags.DEFINE_string(
        "checkpoint",
        None,
        "Checkpoint of a run: latest (the default), best, or the step of a kept one.",
        flag_values=given,
    )
    flags.DEFINE_enum(
        "weights",
        None,
        ["ema", "raw"],
        "Weights of a run: ema, the moving average (default), or raw.",
        flag_values=given,
    )
    _define_drawing_flags(given)
    define_field_flags(given, "eval", default="that of the run or of --dataset's preset")
    define_field_flags(
        given, "data", default="that of --dataset's preset", except_fields=("image_size", "num_channels", "flip")
    )
    define_data_location_flags(given)
    define_strategy_flags(given)


def _define_drawing_flags(given: flags.FlagValues) -> None:
    flags.DEFINE_integer("seed", 0, "Seed of the latents.", lower_bound=0, upper_bound=2**31 - 1, flag_values=given)
    flags.DEFINE_integer(
        "batch_size", 128, "Images drawn at a time, over all devices.", lower_bound=1, flag_values=given
    )
    flags.DEFINE_bool(
        "cross_check",
        False,
        "Compute the Frechet distance by tensorflow-gan and by SciPy too.",
        flag_values=given,
    )
    define_path(given, "dump_images", None, "Folder for the generated images as PNG files; new or empty.")
    define_path(
        given, "output", None, "File to which the result is appended as a line; default: metrics.jsonl of the run."
    )


def main(line: CommandLine) -> dict[str, Any]:
    """Scores the model, and returns the result."""
    given = line.flags
    model = given.model
    is_run, is_model = os.path.isfile(os.path.join(model, CONFIG)), is_saved_model(model)
    if not (is_run or is_model):
        raise UserError(f"{model!r} is neither a run directory, with a {CONFIG}, nor a SavedModel")
    for name, allowed in (("dataset", is_model), ("checkpoint", is_run), ("weights", is_run)):
        if given[name].present and not allowed:
            raise UserError(f"--{name} applies only to a {'run directory' if is_model else 'SavedModel'}")
    fields = section_from_flags(given, "eval")
    dataclasses.replace(EvalConfig(), **fields)  # checked before anything is loaded
    data, other_eval = _data_and_eval(given)
    strategy = strategy_from_flags(given)
    from vitgan_tf.reporting import evaluation

    with strategy.scope():
        if is_run:
            candidate = evaluation.from_run(model, given.checkpoint or "latest", given.weights or "ema")
        else:
            candidate = evaluation.from_saved_model(model, data, other_eval)
        path = given.output or evaluation.metrics_path(candidate)
        _check_writable(path)
        result = evaluation.evaluate(
            candidate,
            dataclasses.replace(candidate.eval, **fields),
            data_location_from_flags(given),
            given.seed,
            given.batch_size,
            given.dump_images,
            given.cross_check,
        )
    failure = _append(path, result)
    print(evaluation.table(result))
    print(json.dumps(result, allow_nan=False))
    if failure is not None:
        raise failure
    return result


def _data_and_eval(given: flags.FlagValues) -> tuple[DataConfig | None, EvalConfig | None]:
    """Returns the images of --dataset, as the command line changes them, and the preset's evaluation."""
    fields = section_from_flags(given, "data")
    if not given.dataset:
        if fields:
            raise UserError(f"--{next(iter(fields))} applies only to a SavedModel, with --dataset")
        return None, None
    config = preset(given.dataset)
    return dataclasses.replace(config.data, **fields), config.eval


def _append(path: str | None, result: dict[str, Any]) -> UserError | None:
    """Appends the result to a file, and returns the error if that fails: the result is printed all the same."""
    try:
        if path is not None:
            append_json_line(path, result)
    except OSError as error:
        return _cannot_write(path, error)
    return None


def _check_writable(path: str | None) -> None:
    """Raises UserError if the result cannot be written: the evaluation may take an hour."""
    if path is None or (os.path.exists(path) and os.access(path, os.W_OK)):
        return
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "a", encoding="utf-8"):
            pass
        os.remove(path)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: str | None, error: OSError) -> UserError:
    return UserError(f"cannot write {path!r} ({error.strerror}): choose another file with --output")
