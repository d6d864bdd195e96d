"""Grids, tables of mixed styles and of truncations, and single images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from vitgan_tf.drawing.look import Look
from vitgan_tf.drawing.selection import Selection
from vitgan_tf.errors import UserError
from vitgan_tf.evaluation.generation import dump_folder
from vitgan_tf.images import image_grid, write_picture
from vitgan_tf.progress import progress
from vitgan_tf.trained.generator import Generator
from vitgan_tf.trained.module import FIXED_NOISE


def write_grid(selection: Selection, path: str, look: Look, columns: int) -> None:
    """Writes a grid of images, see `write_picture` and `image_grid`.

    Raises:
      UserError: the generator cannot render at this scale, or the picture is too large.
    """
    look.check_size(selection.generator, selection.count, columns)
    write_picture(path, image_grid(selection.images(look), columns, look.min_width))


def write_images(selection: Selection, directory: str, look: Look) -> None:
    """Writes each image as a PNG file of its name, in a new or empty folder that appears complete or not at all.

    Raises:
      UserError: see `Generator.render` and `dump_folder`.
    """
    selection.generator.rendered_size(look.render_scale)
    number = selection.generator.batch_size(look.render_scale)
    with dump_folder(directory, selection.name) as written:
        batches = written(selection.batches(look))
        for _ in progress(batches, "draw", -(-selection.count // number), "batch"):
            pass


def write_truncations(selection: Selection, path: str, look: Look, truncations: Sequence[float]) -> None:
    """Writes a table with a row for each image and a column for each truncation psi, see `write_picture`.

    Raises:
      UserError: the generator cannot render at this scale, or the picture is too large.
    """
    look.check_size(selection.generator, selection.count * len(truncations), len(truncations))
    columns = [selection.images(look, truncation) for truncation in truncations]
    images = np.stack(columns, axis=1)  # (row, column, height, width, channels)
    write_picture(path, image_grid(images.reshape(-1, *images.shape[2:]), len(truncations), look.min_width))


def write_style_mixing(
    generator: Generator, path: str, look: Look, num_images: int, seed: int, crossover: int
) -> None:
    """Writes a style mixing table, see `write_picture` (Karras et al. 2019, section 3.1).

    The first column shows the images of one set of latents, the first row those of another. Every other image takes
    its row's style in the first `crossover` places of the generator, and its column's style in the rest.

    Args:
      generator: draws the images.
      path: path of the picture.
      look: how they are drawn.
      num_images: number of latents in each of the two sets.
      seed: seed of the latents.
      crossover: number of places, from the first block on, that take the row's style: 0 to all.

    Raises:
      UserError: the generator takes styles in one place only, crossover is out of range, the generator cannot render
        at this scale, or the picture is too large.
    """
    look.check_size(generator, (num_images + 1) ** 2, num_images + 1)
    latents = tf.random.stateless_normal([2 * num_images, generator.latent_dim], [seed, 0])
    rows, columns = np.split(generator.map(latents, look.truncation), 2)
    places = generator.num_styles
    if places == 1:
        raise UserError("styles cannot be mixed: this generator takes w in one place, not in every block")
    if not 0 <= crossover <= places:
        raise UserError(f"crossover must be 0 to {places}, the number of places that take w, got {crossover}")

    def drawn(styles: np.ndarray) -> np.ndarray:
        return generator.draw(styles, look.render_scale, FIXED_NOISE if look.has_fixed_noise else seed)

    images = [np.full_like(drawn(columns[:1]), 255), drawn(columns)]  # the corner is empty
    for style in rows:
        row = np.repeat(style[None, :crossover], num_images, axis=0)
        images += [drawn(style[None]), drawn(np.concatenate([row, columns[:, crossover:]], axis=1))]
    write_picture(path, image_grid(np.concatenate(images), num_images + 1, look.min_width))
