"""Per-image random numbers that do not depend on how a batch is split."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import tensorflow as tf

# Arguments of `BatchRandom.fork` for the random numbers of a generated image other than its latent.
NOISE, OTHER_LATENT, IS_MIXED, CUTOFF, DIRECTION, INTERPOLATION = range(1, 7)


class ImageRandom(Protocol):
    """Source of the noise of a generator's images."""

    def fork(self, number: int) -> ImageRandom:
        """Returns an independent stream for the same images, a different one for each number."""

    def noise(self, fixed: tf.Tensor) -> tf.Tensor:
        """Returns the noise of each image, (count, height, width, 1) or a shape that is broadcast to it.

        Args:
          fixed: fixed noise of the layer, (1, height, width, 1).
        """


@dataclasses.dataclass(frozen=True, eq=False)
class BatchRandom:
    """Random numbers for the images of a batch, one row per image.

    The numbers of an image depend only on the seed and on its index in the global batch. They are the same on every
    replica and for any split of the batch into passes.

    Attributes:
      seed: (2,) integers.
      size: number of images in the global batch.
      indices: indices of the selected images in the global batch, (count,) int32; None for all images.
    """

    seed: tf.Tensor
    size: int | tf.Tensor
    indices: tf.Tensor | None = None

    def normal(self, *shape: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Draws from N(0, 1), (count, *shape)."""
        return self._own(tf.random.stateless_normal([self.size, *shape], self.seed, dtype=dtype))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Draws uniformly from [low, high), (count, *shape)."""
        return self._own(tf.random.stateless_uniform([self.size, *shape], self.seed, low, high, dtype))

    def noise(self, fixed: tf.Tensor) -> tf.Tensor:
        """Draws the noise of each image: see `ImageRandom`, of which this is one."""
        return self.normal(*fixed.shape[1:], dtype=fixed.dtype)

    def fork(self, number: int) -> BatchRandom:
        """Returns an independent stream for the same images, a different one for each number."""
        return dataclasses.replace(self, seed=tf.random.experimental.stateless_fold_in(self.seed, number))

    def split(self, count: int) -> list[BatchRandom]:
        """Returns count independent streams for the same images."""
        seeds = tf.unstack(tf.random.experimental.stateless_split(self.seed, count))
        return [dataclasses.replace(self, seed=seed) for seed in seeds]

    def rows(self, rows: tf.Tensor) -> BatchRandom:
        """Selects the images at the given rows, as a gather from (count, ...) would."""
        indices = rows if self.indices is None else tf.gather(self.indices, rows)
        return dataclasses.replace(self, indices=indices)

    def _own(self, numbers: tf.Tensor) -> tf.Tensor:
        return numbers if self.indices is None else tf.gather(numbers, self.indices)
