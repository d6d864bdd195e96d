"""Exports a trained generator to a folder."""

from __future__ import annotations

import json
import os
from typing import Any, Callable

import tensorflow as tf

from vitgan_tf.config import as_dict
from vitgan_tf.config.choices import EXPORT_FORMATS
from vitgan_tf.errors import UserError
from vitgan_tf.files import cannot_write, new_folder, write_atomically, write_checksums
from vitgan_tf.runs.directory import CONFIG
from vitgan_tf.trained.functions import Format
from vitgan_tf.trained.generator import Generator

_CONTENT = "the generator"


def export(
    generator: Generator,
    folder: str,
    format_name: str,
    batch_size: int | None = None,
    finish: Callable[[str], None] = lambda folder: None,
) -> None:
    """Writes a generator with its configuration, scores and checksums; the folder appears complete or not at all.

    Args:
      generator: result of `load`, of a run or in a format that holds the network.
      folder: new or empty folder.
      format_name: name in `choices.EXPORT_FORMATS`.
      batch_size: fixed batch size; None for any.
      finish: called with the folder of the written generator, to add files.

    Raises:
      UserError: the generator's network is not known, the folder is not empty or cannot be written, or a package is
        missing.
    """
    origin, network = generator.origin, generator.network
    if network is None or origin.config is None:
        raise UserError(f"{origin.source!r} holds a generator's functions, not its network: export the run itself")
    file_format: Format = EXPORT_FORMATS[format_name]
    with new_folder(folder, _CONTENT) as partial:
        try:
            file_format.write(network, partial, generator.step or 0, batch_size)
            write_atomically(os.path.join(partial, CONFIG), _configuration(generator, format_name))
            finish(partial)
            write_checksums(partial)
        except (OSError, tf.errors.OpError) as error:
            raise cannot_write(folder, _CONTENT, error) from error


def _configuration(generator: Generator, format_name: str) -> bytes:
    """Returns a config.json as that of a run, with the scores and what was exported."""
    origin = generator.origin
    assert origin.config is not None
    export: dict[str, Any] = {"weights": origin.weights, "step": generator.step, "format": format_name}
    content = {
        "config": as_dict(origin.config),
        "data": origin.data,
        **origin.provenance,
        "scores": origin.scores,
        "export": export,
    }
    return (json.dumps(content, indent=2) + "\n").encode()
