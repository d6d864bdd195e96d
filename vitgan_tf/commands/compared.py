"""Finds the images that `vitgan evaluate` scores, and which real ones it compares them with."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from absl import flags, logging

from vitgan_tf.commands.configuration import data_location_from_flags, section_from_flags
from vitgan_tf.commands.models import check_checkpoint_flags
from vitgan_tf.config import DataConfig, DataLocation, EvalConfig
from vitgan_tf.errors import UserError
from vitgan_tf.presets import PRESETS, preset
from vitgan_tf.trained.sources import is_run_source

if TYPE_CHECKING:
    from vitgan_tf.reporting.candidates import Candidate

STATISTICS_SUFFIX = ".npz"
# Flags of the images that only some kinds of candidates leave open.
_SHAPE_FIELDS = ("image_size", "num_channels")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The two sides of an evaluation.

    Attributes:
      candidate: the images that are scored; with no images of its own, the real ones stand for themselves.
      location: location of the real images.
      statistics: file of the real images' statistics, in place of the images.
    """

    candidate: Candidate
    location: DataLocation
    statistics: str | None


def check_flags(given: flags.FlagValues) -> None:
    """Raises UserError if the flags that say what is compared do not go together."""
    reference = named_reference(given)
    reference_only = given.model is None and given.images is None
    if (given.model is not None and given.images is not None) or (
        reference_only and (given.reference is None or given.save_statistics is None)
    ):
        raise UserError(
            "say what is scored, with --model=RUN or --images=DIR, but not both; or, with --reference=DIR and "
            "--save_statistics=FILE.npz, whose statistics are written"
        )
    check_checkpoint_flags(given)
    if given.dataset is not None and given.reference is not None:
        raise UserError("--reference takes the place of --dataset: leave out one of them")
    if given.model is not None:
        _check_model(given)
    if given.images is not None:
        _check_images(given, reference)
    if reference is not None:
        _check_reference(given, reference)
    for name in section_from_flags(given, "data"):
        if name not in _SHAPE_FIELDS and reference is None:
            raise UserError(f"--{name} applies only to an exported generator, with --dataset, and with --reference")


def named_reference(given: flags.FlagValues) -> str | None:
    """Returns --reference, or --dataset in its place."""
    return given.dataset if given.reference is None else given.reference


def _check_model(given: flags.FlagValues) -> None:
    if given["dataset"].present and is_run_directory(given):
        raise UserError("--dataset applies only to an exported generator")
    for name, flag in zip(_SHAPE_FIELDS, ("resolution", "num_channels")):
        if name in section_from_flags(given, "data"):
            raise UserError(f"--{flag} does not apply to a generator, whose images have their size")
    if given.path_length and 1.0 not in given.truncation:
        raise UserError("--path_length is for styles that are not truncated: add 1 to --truncation")


def _check_images(given: flags.FlagValues, reference: str | None) -> None:
    for name, is_set in (
        ("seed", given.seed != [0]),
        ("truncation", given.truncation != [1.0]),
        ("path_length", given.path_length > 0),
    ):
        if is_set:
            raise UserError(f"--{name} needs a generator: it does not apply to given images")
    if reference is None:
        raise UserError("--images are compared with real ones: set --reference=DIR, a data set or FILE.npz")


def _check_reference(given: flags.FlagValues, reference: str) -> None:
    if reference in PRESETS:
        if reference == "folder" and given.data_dir is None:
            raise UserError("--reference=folder needs the folder of the images: set --reference=DIR in its place")
        if os.path.isdir(reference):
            logging.warning("--reference=%s is the data set; the folder is --reference=./%s", reference, reference)
        return
    if not os.path.exists(os.path.expanduser(reference)):
        raise UserError(f"--reference={reference}: there is no such data set, folder or file")
    if not is_statistics(reference):
        return
    if given.save_statistics is not None:
        raise UserError("--save_statistics describes real images, not statistics: set another --reference")
    if given.nearest:
        raise UserError("--nearest needs real images, not their statistics: set another --reference")
    for name in ("num_real", "split"):
        if name in section_from_flags(given, "eval"):
            raise UserError(f"--{name} does not apply to statistics, whose images are chosen")


def is_statistics(reference: str) -> bool:
    """Returns whether a reference is a file of statistics."""
    return reference not in PRESETS and reference.lower().endswith(STATISTICS_SUFFIX)


def is_run_directory(given: flags.FlagValues) -> bool:
    """Returns whether --model is a run directory."""
    return is_run_source(given.model)


def comparison(given: flags.FlagValues) -> Comparison:
    """Loads what the flags name; see `check_flags`.

    Raises:
      UserError: something is missing, cannot be read, or does not fit the rest.
    """
    from vitgan_tf.reporting import candidates

    location = data_location_from_flags(given)
    data, settings, reference_location, statistics = _reference(given, location)
    if given.images is not None and data is not None:
        data, images_data = _shapes(given, data, statistics, location, reference_location)
        candidate = dataclasses.replace(candidates.from_images(given.images, images_data, location), data=data)
    elif given.model is None and data is not None:
        candidate = _only_reference(given, data, reference_location)
    elif is_run_directory(given):
        candidate = candidates.from_run(given.model, given.checkpoint or "latest", given.weights or "ema")
        if data is not None and statistics is None:
            candidate = dataclasses.replace(
                candidate, data=candidates.of_size(data, candidate.data, given.model), fingerprint=None
            )
    else:
        candidate = candidates.from_model(given.model, data, settings)
    origin = {**candidate.origin, **({"reference": given.reference} if given.reference else {})}
    return Comparison(dataclasses.replace(candidate, origin=origin), reference_location, statistics)


def _reference(
    given: flags.FlagValues, location: DataLocation
) -> tuple[DataConfig | None, EvalConfig | None, DataLocation, str | None]:
    """Returns the real images, the evaluation of their preset, where they lie, and a file of statistics."""
    name, fields = named_reference(given), section_from_flags(given, "data")
    if name is None:
        return None, None, location, None
    if name in PRESETS:
        config = preset(name, image_size=fields.get("image_size"))
        return dataclasses.replace(config.data, **fields), config.eval, location, None
    # The candidate determines size and channels.
    data = DataConfig(**{"dataset": "folder", "image_size": 1, "num_channels": 3, **fields})
    path = os.path.expanduser(name)
    if is_statistics(name):
        return data, None, location, path
    return data, None, dataclasses.replace(location, data_dir=path), None


def _shapes(
    given: flags.FlagValues,
    data: DataConfig,
    statistics: str | None,
    location: DataLocation,
    reference_location: DataLocation,
) -> tuple[DataConfig, DataConfig]:
    """Returns the real images and the given ones in their common size and channels."""
    from vitgan_tf.data.shapes import common_shape

    fields = section_from_flags(given, "data")

    def shape(location: DataLocation) -> dict[str, Any]:
        known = {name: fields[name] for name in _SHAPE_FIELDS if name in fields}
        if len(known) < len(_SHAPE_FIELDS):
            has_size = "image_size" in fields
            known = {**dict(zip(_SHAPE_FIELDS, common_shape(location, is_resized=has_size))), **known}
        return known

    images_shape = shape(dataclasses.replace(location, data_dir=given.images))
    if data.dataset == "folder":
        real_shape = images_shape if statistics is not None else shape(reference_location)
        data = dataclasses.replace(data, **real_shape)
    differences, advice = [], []
    for name, words, flag in (
        ("image_size", "{} pixels wide", f"--resolution={data.image_size}"),
        ("num_channels", "of {} channel(s)", f"--num_channels={data.num_channels}"),
    ):
        ours, others = images_shape[name], getattr(data, name)
        if ours != others:
            differences.append(
                f"{given.images!r} has images {words.format(ours)}, the real ones are {words.format(others)}"
            )
            advice.append(flag)
    if differences:
        raise UserError(f"{'; '.join(differences)}: {' '.join(advice)} brings all to one kind")
    folder = DataConfig(**{**fields, "dataset": "folder", **images_shape})
    return data, folder


def _only_reference(given: flags.FlagValues, data: DataConfig, location: DataLocation) -> Candidate:
    """Returns a candidate without images, for the statistics of the real ones."""
    from vitgan_tf.data.shapes import common_shape
    from vitgan_tf.reporting.candidates import Candidate

    fields = section_from_flags(given, "data")
    if data.dataset == "folder" and not set(_SHAPE_FIELDS) <= set(fields):
        shape = dict(zip(_SHAPE_FIELDS, common_shape(location, is_resized="image_size" in fields)))
        data = dataclasses.replace(data, **{**shape, **fields})
    return Candidate(data, EvalConfig(), {})
