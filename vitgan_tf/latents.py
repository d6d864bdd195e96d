"""Random numbers of generated images in an endless sequence, each determined by a seed and the image's index."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

# Images are drawn in chunks, so that any part of a long sequence can be drawn on its own.
CHUNK = 16
# Separates the noise of a seed from its latents.
_NOISE_STREAM = 0x6E6F6973


def chunk_of_latents(seed: tf.Tensor | int, index: tf.Tensor | int, latent_dim: int) -> tf.Tensor:
    """Draws CHUNK latents from N(0, I), starting with number CHUNK * index: (CHUNK, latent_dim)."""
    return tf.random.stateless_normal([CHUNK, latent_dim], tf.stack([seed, index]))


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceRandom:
    """Noise of consecutive images of the sequence: an `ImageRandom`.

    Attributes:
      image_seed: seed of the images, a scalar int32.
      first_chunk: chunk of the first image, a scalar int32.
      num_images: number of images, an int or a scalar int32.
      offset: number of images of the first chunk that come before the first image, an int or a scalar int32.
      is_fixed: whether layers use their fixed noise instead, a scalar bool.
      seed: (2,) integers; by default those of the image seed.
    """

    image_seed: tf.Tensor
    first_chunk: tf.Tensor
    num_images: int | tf.Tensor
    offset: int | tf.Tensor = 0
    is_fixed: tf.Tensor | bool = False
    seed: tf.Tensor | None = None

    def fork(self, number: int) -> SequenceRandom:
        """Returns an independent stream for the same images, a different one for each number."""
        seed = tf.stack([self.image_seed, _NOISE_STREAM]) if self.seed is None else self.seed
        return dataclasses.replace(self, seed=tf.random.experimental.stateless_fold_in(seed, number))

    def noise(self, fixed: tf.Tensor) -> tf.Tensor:
        """Draws the noise of each image, N(0, 1), for a layer whose fixed noise is (1, height, width, 1)."""
        drawn = self._normal(list(fixed.shape[1:]), fixed.dtype)
        return drawn if self.is_fixed is False else tf.where(self.is_fixed, fixed, drawn)

    def _normal(self, shape: list[int], dtype: tf.DType) -> tf.Tensor:
        def chunk(index: tf.Tensor | int) -> tf.Tensor:
            seed = tf.random.experimental.stateless_fold_in(self.seed, self.first_chunk + index)
            return tf.random.stateless_normal([CHUNK, *shape], seed, dtype=dtype)

        end = self.offset + self.num_images
        num_chunks = -(-end // CHUNK)
        if isinstance(num_chunks, int):
            return tf.concat([chunk(index) for index in range(num_chunks)], axis=0)[self.offset : end]
        chunks = tf.map_fn(chunk, tf.range(num_chunks), fn_output_signature=dtype)
        return tf.reshape(chunks, [-1, *shape])[self.offset : end]
