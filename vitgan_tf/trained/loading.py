"""Loads a trained generator from wherever it is."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator

from absl import logging

from vitgan_tf.config import DataLocation
from vitgan_tf.config.choices import EXPORT_FORMATS
from vitgan_tf.errors import UserError, did_you_mean
from vitgan_tf.evaluation.hub import hub_module
from vitgan_tf.evaluation.network_files import is_address
from vitgan_tf.runs.directory import CONFIG, SAVED_MODEL, config_content, is_run, read_metrics, read_run
from vitgan_tf.runs.generator import load_generator
from vitgan_tf.runs.metrics import scores_of
from vitgan_tf.trained import archives
from vitgan_tf.trained.functions import Format, of_network
from vitgan_tf.trained.generator import Generator, Origin
from vitgan_tf.trained.sources import shipped_folder, shipped_names

# Entries of config.json that tell how the generator was made.
_PROVENANCE = ("command", "commit", "versions")


def load(source: str, checkpoint: str = "latest", weights: str = "ema") -> Generator:
    """Loads a trained generator.

    Args:
      source: run directory; folder in a format of `vitgan export`, such as a run's saved_model/; zip or tar archive
        of one; address of one on TensorFlow Hub, https://..., which is kept in TensorFlow Hub's cache; or the name of
        one that comes with the package. A shipped name takes precedence over a folder of the
        same name; write ./NAME for the folder. A SavedModel can run arbitrary code: load only files you trust.
      checkpoint: of a run: "latest", "best" or the step of a kept checkpoint.
      weights: of a run: "ema", the moving average, or "raw".

    Raises:
      UserError: there is nothing of that kind, or it cannot be read.
    """
    with _folder_of(source) as (folder, is_lasting):
        is_of_run = is_run(folder)
        generator = _from_run(folder, source, checkpoint, weights) if is_of_run else _from_files(folder, source)
    if not is_lasting:
        generator.origin = dataclasses.replace(generator.origin, run_dir=None)
    return generator


@contextlib.contextmanager
def _folder_of(source: str) -> Iterator[tuple[str, bool]]:
    """Provides the folder that holds a generator's files, and whether it stays."""
    path = os.path.expanduser(source)
    if source in shipped_names():
        yield shipped_folder(source), True
    elif is_address(source):
        location = dataclasses.replace(DataLocation(), download=True)
        yield hub_module(source, location, f"the generator {source!r}", "that folder in its place"), True
    elif archives.is_archive(path):
        with archives.unpacked(path) as folder:
            yield folder, False
    elif os.path.isdir(path):
        yield path, True
    else:
        names = shipped_names()
        raise UserError(
            f"there is no generator {source!r}{did_you_mean(source, names)} (a run directory, an exported folder, an "
            f"archive of one, an https address, or one that comes with the package: {', '.join(names)})"
        )


def _from_run(folder: str, source: str, checkpoint: str, weights: str) -> Generator:
    trained = load_generator(folder, checkpoint, weights)
    origin = origin_of(folder, source, trained.step, weights)
    return Generator(of_network(trained.network, trained.step), origin)


def _from_files(folder: str, source: str) -> Generator:
    for name in EXPORT_FORMATS:
        file_format: Format = EXPORT_FORMATS[name]
        if os.path.isfile(os.path.join(folder, file_format.marker)):
            functions = file_format.read(folder)
            return Generator(functions, origin_of(folder, source, functions.step))
    raise UserError(f"{source!r} holds no generator: it is neither a run directory nor an exported folder")


def origin_of(folder: str, source: str, step: int | None, weights: str | None = None) -> Origin:
    """Reads what is known of a generator.

    Args:
      folder: folder with its config.json or, for saved_model/ of a run, in the folder of its run.
      source: what it was loaded from.
      step: number of its training steps.
      weights: "ema" or "raw"; by default, as config.json says.
    """
    parent = os.path.dirname(os.path.abspath(folder))
    places = [folder, *([parent] if os.path.basename(os.path.abspath(folder)) == SAVED_MODEL else [])]
    place = next((place for place in places if os.path.isfile(os.path.join(place, CONFIG))), None)
    if place is None:
        return Origin(source)
    try:
        config, data = read_run(place)
        content = config_content(os.path.join(place, CONFIG))
    except UserError as error:
        logging.warning("%s", error)
        return Origin(source)
    weights = weights or content.get("export", {}).get("weights", "ema")
    scores = scores_of(read_metrics(place), step, weights) or content.get("scores", {})
    provenance = {name: content[name] for name in _PROVENANCE if name in content}
    return Origin(source, config, data, scores, provenance, weights, place if is_run(place) else None)
