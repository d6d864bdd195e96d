"""Scores a run, a SavedModel or a folder of images: vitgan evaluate --model=runs/cifar10

Computes FID, IS, KID, precision, recall, density, coverage and the sliced Wasserstein distance for a checkpoint of a
run directory, an exported generator, or --images=DIR beside --reference=DIR. Prints a table and, as the last line of
standard output, the result as one JSON object, which is also appended to the metrics.jsonl of the run or to --output.
With several seeds or truncations, each has its line, and the last one sums them up.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from typing import Any

from absl import flags

from vitgan_tf.commands import compared
from vitgan_tf.commands.calls import CommandLine
from vitgan_tf.commands.configuration import section_from_flags
from vitgan_tf.commands.flags import (
    define_data_location_flags,
    define_field_flags,
    define_numbers,
    define_path,
    define_strategy_flags,
)
from vitgan_tf.commands.models import MODEL_HELP, define_checkpoint_flags
from vitgan_tf.commands.plugins import define_plugin_flag
from vitgan_tf.commands.quiet import strategy_from_flags
from vitgan_tf.config import EvalConfig
from vitgan_tf.errors import UserError
from vitgan_tf.files import append_json_line, write_atomically
from vitgan_tf.presets import PRESETS

TRUNCATION_PICTURE, NEAREST_PICTURE = "truncation.png", "nearest.png"


def define_flags(given: flags.FlagValues) -> None:
    """Defines the flags of this command."""
    define_plugin_flag(given)
    _define_compared_flags(given)
    _define_drawing_flags(given)
    flags.DEFINE_bool(
        "cross_check",
        False,
        "Compute the Frechet distance by tensorflow-gan and by SciPy too.",
        flag_values=given,
    )
    flags.DEFINE_integer(
        "nearest",
        None,
        f"Draw so many images beside the real ones nearest to them, in {NEAREST_PICTURE} beside the result.",
        lower_bound=1,
        flag_values=given,
    )
    flags.DEFINE_integer(
        "path_length",
        0,
        "Compute the path length in W, of so many samples; StyleGAN2's authors take 50,000.",
        lower_bound=0,
        flag_values=given,
    )
    define_path(given, "dump_images", None, "Folder for the generated images as PNG files; new or empty.")
    define_path(
        given,
        "save_statistics",
        None,
        "File for the statistics of the real images, which pytorch-fid and torch-fidelity can read.",
        suffixes=(compared.STATISTICS_SUFFIX,),
    )
    define_path(
        given, "output", None, "File to which the result is appended as a line; default: metrics.jsonl of the run."
    )
    define_field_flags(given, "eval", default="that of the run or of --dataset's preset")
    define_field_flags(given, "data", default="that of --dataset's preset", except_fields=("flip",))
    flags.DEFINE_alias("resolution", "data.image_size", given)
    define_data_location_flags(given)
    define_strategy_flags(given)


def _define_compared_flags(given: flags.FlagValues) -> None:
    define_path(given, "model", None, MODEL_HELP)
    define_path(given, "images", None, "Folder or zip archive of images to score in place of a model's.")
    flags.DEFINE_string(
        "reference",
        None,
        "Real images to compare with: a folder or zip archive, a file of statistics (.npz, also of pytorch-fid and "
        "torch-fidelity), or the preset of a data set; default: those of the run or of --dataset.",
        flag_values=given,
    )
    flags.DEFINE_enum(
        "dataset",
        None,
        list(PRESETS),
        "Preset of the images to compare an exported generator with; default: those of its training.",
        flag_values=given,
    )
    define_checkpoint_flags(given)


def _define_drawing_flags(given: flags.FlagValues) -> None:
    define_numbers(given, "seed", [0], "Seed of the latents, or several: 0,1,2", int, (0, 2**31 - 1))
    define_numbers(
        given,
        "truncation",
        [1.0],
        "Truncation psi, which pulls styles towards their mean, or several: 0.5,0.7,1. 1 for none, 0 for the mean.",
        float,
        (0, 100),
    )
    flags.DEFINE_integer(
        "batch_size", 128, "Images drawn at a time, over all devices.", lower_bound=1, flag_values=given
    )


def main(line: CommandLine) -> dict[str, Any]:
    """Scores the images, and returns the result."""
    given = line.flags
    compared.check_flags(given)
    fields = section_from_flags(given, "eval")
    _check_fields(given, fields)
    drawings = list(itertools.product(given.truncation, given.seed))
    if given.dump_images and len(drawings) > 1:
        raise UserError("--dump_images takes one seed and one truncation: leave out the others")
    strategy = strategy_from_flags(given)
    from vitgan_tf.reporting import evaluation

    with strategy.scope():
        comparison = compared.comparison(given)
        candidate = comparison.candidate
        path = given.output or evaluation.metrics_path(candidate)
        _check_writable(path)
        _check_writable(given.save_statistics, "--save_statistics")
        if given.nearest and path is None:
            raise UserError(f"--nearest writes {NEAREST_PICTURE} beside the result: set --output=FILE")
        options = evaluation.Options(
            given.batch_size, given.dump_images, given.cross_check, comparison.statistics, given.path_length
        )
        config = _changed(candidate.eval, fields)
        scoring = evaluation.Scoring(candidate, config, comparison.location, options)
        if given.save_statistics:
            scoring.save_statistics(given.save_statistics)
        if given.model is None and given.images is None:
            return {"statistics": given.save_statistics}
        results, failure = [], None
        for truncation, seed in drawings:
            results.append(scoring.result(seed, truncation))
            failure = _append(path, results[-1]) or failure
        result = _printed(results, path)
        if given.nearest and path is not None:
            picture = os.path.join(os.path.dirname(path), NEAREST_PICTURE)
            scoring.write_nearest(picture, given.nearest, given.seed[0], given.truncation[0])
    if failure is not None:
        raise failure
    return result


def _check_fields(given: flags.FlagValues, fields: dict[str, Any]) -> None:
    """Checks fields before anything is loaded, but for settings of a network that the run may have."""
    is_run = compared.is_run_directory(given)
    _changed(EvalConfig(), {name: fields[name] for name in fields if not (is_run and name.startswith("network_"))})


def _changed(config: EvalConfig, fields: dict[str, Any]) -> EvalConfig:
    """Returns the settings with the fields of the command line; those of another network than theirs do not count."""
    if "extractor" in fields or "network" in fields:
        known = dataclasses.asdict(config).items()
        config = EvalConfig(**{name: value for name, value in known if not name.startswith("network")})
        config = dataclasses.replace(config, extractor="auto")
    return dataclasses.replace(config, **fields)


def _printed(results: list[dict[str, Any]], path: str | None) -> dict[str, Any]:
    """Prints the result of one evaluation or the summary of several, and returns it."""
    from vitgan_tf.reporting import evaluation, summary

    result = results[0]
    print(evaluation.table(result))
    if len(results) > 1:
        entries = summary.summarize(results)
        print(summary.summary_table(entries))
        result = {"source": "summary", "results": results, "summary": entries}
        picture = summary.trade_off(entries) if len(entries) > 1 else None
        if picture is not None and path is not None:
            picture_path = os.path.join(os.path.dirname(path), TRUNCATION_PICTURE)
            write_atomically(picture_path, picture)
            print(f"precision against recall: {picture_path}")
    print(json.dumps(result, allow_nan=False))
    return result


def _append(path: str | None, result: dict[str, Any]) -> UserError | None:
    """Appends the result to a file, and returns the error if that fails: the result is printed all the same."""
    try:
        if path is not None:
            append_json_line(path, result)
    except OSError as error:
        return _cannot_write(path, error)
    return None


def _check_writable(path: str | None, flag: str = "--output") -> None:
    """Raises UserError if a file cannot be written: the evaluation may take an hour."""
    if path is None or (os.path.exists(path) and os.access(path, os.W_OK)):
        return
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "a", encoding="utf-8"):
            pass
        os.remove(path)
    except OSError as error:
        raise _cannot_write(path, error, flag) from error


def _cannot_write(path: str | None, error: OSError, flag: str = "--output") -> UserError:
    return UserError(f"cannot write {path!r} ({error.strerror}): choose another file with {flag}")
