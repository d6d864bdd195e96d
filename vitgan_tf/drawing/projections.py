"""Files of projections, and the pictures that are projected."""

from __future__ import annotations

import json
import os
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


def write_projection(folder: str, name: str, projection: Projection, target: np.ndarray) -> None:
    """Writes NAME.png, the found image; NAME_target.png; NAME_both.png, side by side; and NAME.npz, the styles.

    Raises:
      OSError: a file cannot be written.
    """
    pictures = {"": projection.image, "_target": target}
    pictures["_both"] = image_grid(np.stack([target, projection.image]), 2, _MIN_WIDTH)
    for ending, picture in pictures.items():
        write_picture(os.path.join(folder, f"{name}{ending}.png"), picture)
    noise = {f"noise_{index}": values for index, values in enumerate(projection.noise)}
    with atomic_file(os.path.join(folder, f"{name}.npz")) as file:
        np.savez_compressed(file, **{STYLES: projection.styles[None]}, **noise)


def write_way(path: str, generator: Generator, projection: Projection, target: np.ndarray) -> None:
    """Writes an animation of the way to a projection, beside its target; see `write_animation`."""
    images = [generator.draw(projection.way[first : first + 1]) for first in range(len(projection.way))] + [
        projection.image[None]
    ]
    write_animation(path, (image_grid(np.stack([target, image[0]]), 2, _MIN_WIDTH) for image in images))


def write_summary(folder: str, lines: list[dict[str, Any]]) -> None:
    """Writes what was found for each picture to projections.json."""
    write_atomically(os.path.join(folder, "projections.json"), (json.dumps(lines, indent=2) + "\n").encode())
