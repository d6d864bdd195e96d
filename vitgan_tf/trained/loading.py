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
from vitgan_tf.files import damaged_file, parsed_json
from vitgan_tf.runs.directory import CONFIG, is_run, read_metrics, read_run
from vitgan_tf.runs.generator import load_generator
from vitgan_tf.trained import archives
from vitgan_tf.trained.functions import Format, of_network
from vitgan_tf.trained.generator import Generator, Origin

_SHIPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shipped")
# Entries of config.json that tell how the generator was made.
_PROVENANCE = ("command", "commit", "versions")


def shipped_names() -> list[str]:
    """Returns the names of the generators that come with the package."""
    return sorted(os.listdir(_SHIPPED)) if os.path.isdir(_SHIPPED) else []


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
    with _folder_of(source) as folder:
        if is_run(folder):
            return _from_run(folder, source, checkpoint, weights)
        return _from_files(folder, source)


@contextlib.contextmanager
def _folder_of(source: str) -> Iterator[str]:
    """Provides the folder that holds a generator's files."""
    path = os.path.expanduser(source)
    if source in shipped_names():
        yield os.path.join(_SHIPPED, source)
    elif is_address(source):
        location = dataclasses.replace(DataLocation(), download=True)
        yield hub_module(source, location, f"the generator {source!r}", "that folder in its place")
    elif archives.is_archive(path):
        with archives.unpacked(path) as folder:
            yield folder
    elif os.path.isdir(path):
        yield path
    else:
        names = shipped_names()
        raise UserError(
            f"there is no generator {source!r}{did_you_mean(source, names)} (a run directory, an exported folder, an "
            f"archive of one, an https address, or one that comes with the package: {', '.join(names)})"
        )


def _from_run(folder: str, source: str, checkpoint: str, weights: str) -> Generator:
    trained = load_generator(folder, checkpoint, weights)
    origin = dataclasses.replace(origin_of(folder, source, trained.step), weights=weights)
    return Generator(of_network(trained.network, trained.step), origin)


def _from_files(folder: str, source: str) -> Generator:
    for name in EXPORT_FORMATS:
        file_format: Format = EXPORT_FORMATS[name]
        if os.path.isfile(os.path.join(folder, file_format.marker)):
            damaged = damaged_file(folder)
            if damaged:
                raise UserError(f"{source!r} is damaged: {damaged} does not match its checksum")
            functions = file_format.read(folder)
            return Generator(functions, origin_of(folder, source, functions.step))
    raise UserError(f"{source!r} holds no generator: it is neither a run directory nor an exported folder")


def origin_of(folder: str, source: str, step: int | None) -> Origin:
    """Reads what is known of a generator.

    Args:
      folder: folder with its config.json, or below that of its run.
      source: what it was loaded from.
      step: number of its training steps.
    """
    parent = os.path.dirname(os.path.abspath(folder))
    for place in (folder, parent):
        if os.path.isfile(os.path.join(place, CONFIG)):
            break
    else:
        return Origin(source)
    try:
        config, data = read_run(place)
        with open(os.path.join(place, CONFIG), encoding="utf-8") as file:
            content = parsed_json(file.read())
    except UserError as error:
        logging.warning("%s", error)
        return Origin(source)
    lines = [line for line in read_metrics(place) if line.get("step") == step]
    scores = lines[-1] if lines else content.get("scores", {})
    provenance = {name: content[name] for name in _PROVENANCE if name in content}
    weights = content.get("export", {}).get("weights", "ema")
    return Origin(source, config, data, scores, provenance, weights, place if is_run(place) else None)
