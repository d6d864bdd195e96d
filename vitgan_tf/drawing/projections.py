"""Files of projections, and the pictures that are projected."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from absl import logging

from vitgan_tf.data.decoding import Preprocessing
from vitgan_tf.data.opening import BadImageError
from vitgan_tf.data.sources.folder import images_below
from vitgan_tf.drawing.animation import write_animation
from vitgan_tf.drawing.selection import STYLES
from vitgan_tf.errors import UserError
from vitgan_tf.files import atomic_file, write_atomically
from vitgan_tf.images import image_grid, write_picture
from vitgan_tf.trained.generator import Generator
from vitgan_tf.trained.module import FIXED_NOISE
from vitgan_tf.trained.projection import Projection

_MIN_WIDTH = 320


def read_targets(path: str, generator: Generator) -> dict[str, np.ndarray]:
    """Reads a picture, or those of a folder or zip archive, at the size of the generator's images.

    As in training: the largest centred square, resized; transparent pixels on white; grey or RGB. A warning says what
    the user should know about a file.

    Returns:
      (size, size, num_channels) uint8 by name, without folder and ending.

    Raises:
      UserError: a picture cannot be read, or two have one name.
    """
    preprocessing = Preprocessing(generator.image_size, generator.num_channels)
    if os.path.isfile(path) and not path.lower().endswith(".zip"):
        with open(path, "rb") as file:
            content = file.read()
        return {_stem(path): _decoded(path, content, preprocessing)}
    source, targets = images_below(path), {}
    for index, name in enumerate(source.names):
        if _stem(name) in targets:
            raise UserError(f"two pictures in {path!r} have the name {_stem(name)!r}: rename one of them")
        targets[_stem(name)] = _decoded(name, source.read(index), preprocessing)
    return targets


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _decoded(name: str, content: Any, preprocessing: Preprocessing) -> np.ndarray:
    try:
        decoded = preprocessing.decode(content)
    except BadImageError as error:
        raise UserError(f"cannot project {name!r}: {error}") from error
    for note in decoded.notes:
        logging.warning("%s: %s", name, note)
    return decoded.pixels


def output_paths(folder: str, name: str) -> dict[str, str]:
    """Returns the paths that `write_projection` writes, by what they hold."""
    endings = {"image": "_projected.png", "target": "_target.png", "both": "_both.png", "styles": ".npz"}
    return {kind: os.path.join(folder, f"{name}{ending}") for kind, ending in endings.items()}


def check_outputs(folder: str, names: Iterable[str], path: str) -> None:
    """Checks that no picture that is projected would be overwritten.

    Args:
      folder: folder of the results.
      names: names of the pictures.
      path: the picture, or the folder of the pictures.

    Raises:
      UserError: one would be.
    """
    inputs = {os.path.realpath(path)} if os.path.isfile(path) else set()
    for directory, _, files in os.walk(path):
        inputs |= {os.path.realpath(os.path.join(directory, name)) for name in files}
    for name in names:
        for output in output_paths(folder, name).values():
            if os.path.realpath(output) in inputs:
                raise UserError(f"{output!r} would be overwritten: choose another --outdir")


def write_projection(folder: str, name: str, projection: Projection, target: np.ndarray) -> None:
    """Writes the reconstruction, the target, both side by side, and the styles: see `output_paths`.

    Raises:
      OSError: a file cannot be written.
    """
    paths = output_paths(folder, name)
    write_picture(paths["image"], projection.image)
    write_picture(paths["target"], target)
    write_picture(paths["both"], image_grid(np.stack([target, projection.image]), 2, _MIN_WIDTH))
    noise = {f"noise_{index}": values for index, values in enumerate(projection.noise)}
    with atomic_file(paths["styles"]) as file:
        np.savez_compressed(file, **{STYLES: projection.styles[None]}, **noise)


def write_way(path: str, generator: Generator, projection: Projection, target: np.ndarray) -> None:
    """Writes an animation of the way to a projection, beside its target, with the layers' fixed noise."""
    styles = (*projection.way, projection.styles)
    images = (generator.draw(style[None], noise_seed=FIXED_NOISE)[0] for style in styles)
    write_animation(path, (image_grid(np.stack([target, image]), 2, _MIN_WIDTH) for image in images))


def write_summary(folder: str, lines: list[dict[str, Any]]) -> None:
    """Writes what was found for each picture to projections.json."""
    write_atomically(os.path.join(folder, "projections.json"), (json.dumps(lines, indent=2) + "\n").encode())
