"""Random numbers of a batch that do not depend on how the batch is divided."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

# The random numbers of a generated image that are not its latent: for `BatchRandom.fork`.
NOISE, OTHER_LATENT, IS_MIXED, CUTOFF, DIRECTION = range(1, 6)


@dataclasses.dataclass(frozen=True, eq=False)
class BatchRandom:
    """Random numbers of the images of a batch, one row for each image.

    The numbers of an image depend on the seed and on the image's place in the whole batch alone: whoever works on
    the image, on one replica or another, in one pass or in several, draws the same numbers for it.

    Attributes:
      seed: (2,) integers.
      size: images of the whole batch.
      indices: places in the whole batch of the images that are worked on, (count,) int32; None for all images.
    """

    seed: tf.Tensor
    size: int | tf.Tensor
    indices: tf.Tensor | None = None

    def normal(self, *shape: int, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Numbers from N(0, 1), (count, *shape)."""
        return self._own(tf.random.stateless_normal([self.size, *shape], self.seed, dtype=dtype))

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: tf.DType = tf.float32) -> tf.Tensor:
        """Uniform numbers in [low, high), (count, *shape)."""
        return self._own(tf.random.stateless_uniform([self.size, *shape], self.seed, low, high, dtype))

    def fork(self, number: int) -> BatchRandom:
        """Independent random numbers of the same images; each number gives others."""
        return dataclasses.replace(self, seed=tf.random.experimental.stateless_fold_in(self.seed, number))

    def split(self, count: int) -> list[BatchRandom]:
        """As many independent sources of random numbers of the same images."""
        seeds = tf.unstack(tf.random.experimental.stateless_split(self.seed, count))
        return [dataclasses.replace(self, seed=seed) for seed in seeds]

    def rows(self, rows: tf.Tensor) -> BatchRandom:
        """The random numbers of some of these images: the rows that a gather of (count, ...) would take."""
        indices = rows if self.indices is None else tf.gather(self.indices, rows)
        return dataclasses.replace(self, indices=indices)

    def _own(self, numbers: tf.Tensor) -> tf.Tensor:
        return numbers if self.indices is None else tf.gather(numbers, self.indices)
