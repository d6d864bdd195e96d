"""Pictures from a generator's SavedModel."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
from PIL import Image

from vitgan_tf.errors import UserError
from vitgan_tf.images import image_grid, to_uint8, write_png

FRAME_MILLISECONDS = 50


def load(path: str) -> tf.Module:
    """A generator that `export_generator` wrote.

    Raises:
      UserError: path is no SavedModel, or one of something else.
    """
    if not os.path.isfile(os.path.join(path, "saved_model.pb")):
        raise UserError(f"{path!r} is not a SavedModel: a finished run has one in its saved_model/ folder")
    try:
        model = tf.saved_model.load(path)
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise UserError(f"cannot load the SavedModel {path!r}: {str(error).splitlines()[0]}") from error
    missing = {"serving_default", "generate"} - set(model.signatures)
    if missing:
        raise UserError(f"the SavedModel {path!r} is not a generator: it has no signature {sorted(missing)[0]!r}")
    return model


def write_grid(
    model: tf.Module, path: str, num_images: int, seed: int, truncation: float, columns: int, min_width: int
) -> None:
    """Writes a grid of images as PNG; the arguments are those of the `generate` signature and `image_grid`."""
    images = model.generate(num_images, seed, truncation)["images"].numpy()
    write_png(path, image_grid(images, columns, min_width))


def write_interpolation(
    model: tf.Module,
    path: str,
    num_images: int,
    seed: int,
    keyframes: int,
    frames: int,
    columns: int,
    min_width: int,
) -> None:
    """Writes a GIF in which every image of a grid goes through `keyframes` random latents and back to the first.

    Args:
      model: from `load`.
      path: of the GIF.
      num_images: animated images.
      seed: of the latents.
      keyframes: latents on the way of each image.
      frames: frames from one of them to the next.
      columns: images in a row.
      min_width: least width in pixels.
    """
    latent_dim = model.signatures["serving_default"].structured_input_signature[1]["latents"].shape[1]
    latents = tf.random.stateless_normal([keyframes, num_images, latent_dim], [seed, 0]).numpy()
    pictures = []
    for index in range(keyframes):
        for frame in range(frames):
            between = slerp(latents[index], latents[(index + 1) % keyframes], frame / frames)
            images = to_uint8(model.synthesize(between)["images"]).numpy()
            grid = image_grid(images, columns, min_width)
            pictures.append(Image.fromarray(grid[..., 0] if grid.shape[-1] == 1 else grid))
    pictures[0].save(
        path, format="GIF", save_all=True, append_images=pictures[1:], duration=FRAME_MILLISECONDS, loop=0
    )


def slerp(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    """Spherical interpolation of Gaussian latents (batch, latent_dim), row by row (White 2016).

    sin((1 - t) a) / sin(a) * start + sin(t a) / sin(a) * end, a the angle between them: between two latents the
    norm stays that of a Gaussian draw, where a straight line would pass close to 0.
    """
    cosine = np.sum(start * end, axis=1, keepdims=True)
    cosine /= np.linalg.norm(start, axis=1, keepdims=True) * np.linalg.norm(end, axis=1, keepdims=True)
    angle = np.arccos(np.clip(cosine, -1.0 + 1e-6, 1.0 - 1e-6))
    weights = np.sin((1 - fraction) * angle) / np.sin(angle), np.sin(fraction * angle) / np.sin(angle)
    return (weights[0] * start + weights[1] * end).astype(np.float32)
