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


def consecutive_latents(seed: int, first: int, num_images: int, latent_dim: int) -> tf.Tensor:
    """Draws the latents of images first, first + 1, ... of a seed: (num_images, latent_dim)."""
    chunks = range(first // CHUNK, -(-(first + num_images) // CHUNK))
    latents = tf.concat([chunk_of_latents(seed, index, latent_dim) for index in chunks], axis=0)
    return latents[first % CHUNK :][:num_images]


@dataclasses.dataclass(frozen=True, eq=False)
class SequenceRandom:
    """Noise of consecutive images of the sequence: an `ImageRandom`.

    Attributes:
      image_seed: seed of the images, a scalar int32.
      first_chunk: chunk of the first image, a scalar int32.
      num_images: number of images, an int or a scalar int32.
      offset: number of images of the first chunk that come before the first image, an int or a scalar int32.
      is_fixed: whether layers use their fixed noise instead, a scalar bool.
      stream: numbers of the forks that led here.
    """

    image_seed: tf.Tensor
    first_chunk: tf.Tensor
    num_images: int | tf.Tensor
    offset: int | tf.Tensor = 0
    is_fixed: tf.Tensor | bool = False
    stream: tuple[int, ...] = ()

    def fork(self, number: int) -> SequenceRandom:
        """Returns an independent stream for the same images, a different one for each number."""
        return dataclasses.replace(self, stream=(*self.stream, number))

    def noise(self, fixed: tf.Tensor) -> tf.Tensor:
        """Draws the noise of each image, N(0, 1), for a layer whose fixed noise is (1, height, width, 1)."""
        drawn = self._normal(list(fixed.shape[1:]), fixed.dtype)
        return drawn if self.is_fixed is False else tf.where(self.is_fixed, fixed, drawn)

    def _normal(self, shape: list[int], dtype: tf.DType) -> tf.Tensor:
        seed = tf.stack([self.image_seed, _NOISE_STREAM])
        for number in self.stream:
            seed = tf.random.experimental.stateless_fold_in(seed, number)

        def chunk(index: tf.Tensor | int) -> tf.Tensor:
            of_chunk = tf.random.experimental.stateless_fold_in(seed, self.first_chunk + index)
            return tf.random.stateless_normal([CHUNK, *shape], of_chunk, dtype=dtype)

        if isinstance(self.num_images, int) and isinstance(self.offset, int):
            chunks = [chunk(index) for index in range(-(-(self.offset + self.num_images) // CHUNK))]
            return tf.concat(chunks, axis=0)[self.offset : self.offset + self.num_images]
        # As many chunks as the largest offset needs: XLA must know their number.
        num_chunks = (self.num_images + 2 * (CHUNK - 1)) // CHUNK
        drawn = tf.reshape(tf.map_fn(chunk, tf.range(num_chunks), fn_output_signature=dtype), [-1, *shape])
        return tf.slice(drawn, [self.offset, *(0 for _ in shape)], [self.num_images, *shape])
