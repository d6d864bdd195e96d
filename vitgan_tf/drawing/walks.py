"""Walks between latents or styles, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from vitgan_tf.drawing.look import Look
from vitgan_tf.drawing.selection import Selection
from vitgan_tf.errors import UserError
from vitgan_tf.images import image_grid
from vitgan_tf.progress import progress
from vitgan_tf.trained.generator import Generator
from vitgan_tf.trained.module import FIXED_NOISE


class Walk:
    """A grid of images, each of which passes through keyframes of its own.

    Args:
      generator: draws the images.
      keys: latents (keyframes, num_images, latent_dim), or styles (keyframes, num_images, num_styles, style_dim).
        Between latents, the way is spherical, see `slerp`; between styles, it is straight.
      frames: frames from one keyframe to the next.
      is_loop: whether the way leads back to the first keyframe; otherwise, the last frame is the last keyframe.
      seed: seed of the noise, which is the same in all frames.
    """

    def __init__(self, generator: Generator, keys: np.ndarray, frames: int, is_loop: bool = True, seed: int = 0):
        self._generator = generator
        self._keys = keys
        self._frames = frames
        self._is_loop = is_loop
        self._seed = seed

    def __len__(self) -> int:
        return len(self._keys) * self._frames if self._is_loop else (len(self._keys) - 1) * self._frames + 1

    def styles(self, frame: int, truncation: float = 1.0) -> np.ndarray:
        """Returns the styles of a frame: (num_images, num_styles, style_dim)."""
        key, step = divmod(frame, self._frames)
        start, end, fraction = self._keys[key], self._keys[(key + 1) % len(self._keys)], step / self._frames
        if self._keys.ndim == 3:
            return self._generator.map(slerp(start, end, fraction), truncation)
        return self._generator.truncated(start + np.float32(fraction) * (end - start), truncation)

    def grids(self, look: Look, columns: int) -> Iterator[np.ndarray]:
        """Yields the frames, (height, width, channels) uint8: see `image_grid`."""
        noise_seed = FIXED_NOISE if look.has_fixed_noise else self._seed
        number = self._generator.batch_size(look.render_scale)
        for frame in range(len(self)):
            styles = self.styles(frame, look.truncation)
            images = [
                self._generator.draw(styles[first : first + number], look.render_scale, noise_seed, first)
                for first in range(0, len(styles), number)
            ]
            yield image_grid(np.concatenate(images), columns, look.min_width)

    def shown(self, look: Look, columns: int) -> Iterator[np.ndarray]:
        """Yields the frames of `grids`, and shows how many are drawn."""
        return progress(self.grids(look, columns), "draw", len(self), "frame")


def random_keys(generator: Generator, keyframes: int, num_images: int, seed: int, space: str = "z") -> np.ndarray:
    """Draws the keyframes of a walk: latents, or for the space "w", their styles; see `Walk`."""
    latents = tf.random.stateless_normal([keyframes, num_images, generator.latent_dim], [seed, 0]).numpy()
    return latents if space == "z" else np.stack(list(map(generator.map, latents)))


def keys_of(selection: Selection, num_images: int, space: str) -> np.ndarray:
    """Returns the keyframes of a walk: the selection, divided evenly and in order among num_images images.

    Args:
      selection: the keyframes, those of the first image first.
      num_images: number of images in the grid.
      space: "z" for latents, "w" for styles.

    Raises:
      UserError: they cannot be shared out evenly, or there are fewer than two for each image.
    """
    count = selection.count
    if count % num_images or count < 2 * num_images:
        raise UserError(
            f"{count} keyframes cannot be divided evenly among {num_images} images, at least two each: change "
            "--num_images, or the number of seeds or latents"
        )
    keys = selection.latents(0, count) if space == "z" else selection.styles(0, count)
    return keys.reshape(num_images, -1, *keys.shape[1:]).swapaxes(0, 1)


def slerp(start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    """Spherical interpolation of Gaussian latents (batch, latent_dim), row by row (White 2016).

    sin((1 - t) a) / sin(a) * start + sin(t a) / sin(a) * end, where a is the angle between them. The norm stays that
    of a Gaussian draw, whereas a straight line would pass close to 0.
    """
    cosine = np.sum(start * end, axis=1, keepdims=True)
    cosine /= np.linalg.norm(start, axis=1, keepdims=True) * np.linalg.norm(end, axis=1, keepdims=True)
    angle = np.arccos(np.clip(cosine, -1.0 + 1e-6, 1.0 - 1e-6))
    weights = np.sin((1 - fraction) * angle) / np.sin(angle), np.sin(fraction * angle) / np.sin(angle)
    return (weights[0] * start + weights[1] * end).astype(np.float32)
