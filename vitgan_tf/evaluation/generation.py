"""Generates any number of images, reproducibly for every batch size and number of replicas."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Callable, Optional

import numpy as np
import tensorflow as tf

from vitgan_tf.errors import UserError
from vitgan_tf.files import cannot_write, new_folder
from vitgan_tf.images import to_uint8
from vitgan_tf.latents import CHUNK, SequenceRandom, chunk_of_latents

BATCH_SIZE = 128
_CONTENT = "the images"
Draw = Callable[[tf.Tensor, Optional[SequenceRandom]], tf.Tensor]


class ImageSampler:
    """Generates images in batches, on all replicas of the `tf.distribute` strategy in whose scope it is created.

    Image i of a seed is generated from latent i and noise i of that seed, as in the SavedModel's `generate`. Each
    replica draws whole chunks of images, so batch size and number of replicas change no bit of an image, provided
    that the device computes a row of a matrix product identically for any number of chunks. CPUs do.

    Args:
      draw: (latents (batch, latent_dim), noise of the images; None for the fixed noise of the layers) -> float images
        (batch, height, width, channels) in [-1, 1]; traced once.
      latent_dim: size of a latent.
      batch_size: global batch size, rounded up to whole chunks of 16 per replica.
      has_fixed_noise: whether all images have the fixed noise of the layers, instead of their own.
    """

    def __init__(self, draw: Draw, latent_dim: int, batch_size: int = BATCH_SIZE, has_fixed_noise: bool = False):
        self._draw = draw
        self._has_fixed_noise = has_fixed_noise
        self._latent_dim = latent_dim
        self._strategy = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        replicas = self._strategy.num_replicas_in_sync if self._strategy else 1
        self._chunks_per_replica = -(-batch_size // (CHUNK * replicas))
        self._chunks = self._chunks_per_replica * replicas
        self._step = tf.function(self._all_replicas, autograph=False)

    @property
    def images_per_step(self) -> int:
        """Number of images in each batch of `batches`; the last one may be smaller."""
        return self._chunks * CHUNK

    def _all_replicas(self, seed: tf.Tensor, first_chunk: tf.Tensor) -> tf.Tensor:
        if self._strategy is None:  # created outside a scope, but perhaps called inside one
            return self._one_replica(seed, first_chunk)
        images = self._strategy.run(self._share_of_replica, args=(seed, first_chunk))
        return self._strategy.gather(images, axis=0)

    def _share_of_replica(self, seed: tf.Tensor, first_chunk: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return self._one_replica(seed, first_chunk + replica * self._chunks_per_replica)

    def _one_replica(self, seed: tf.Tensor, first_chunk: tf.Tensor) -> tf.Tensor:
        """Pixel values as int32, which strategies can gather; -1 in images that are not finite."""
        chunks = [
            chunk_of_latents(seed, first_chunk + index, self._latent_dim) for index in range(self._chunks_per_replica)
        ]
        num_images = self._chunks_per_replica * CHUNK
        random = None if self._has_fixed_noise else SequenceRandom(seed, first_chunk, num_images)
        images = self._draw(tf.concat(chunks, axis=0), random)
        is_finite = tf.reduce_all(tf.math.is_finite(images), axis=[1, 2, 3], keepdims=True)
        return tf.where(is_finite, tf.cast(to_uint8(images), tf.int32), -1)

    def batches(self, num_images: int, seed: int) -> Iterator[np.ndarray]:
        """Yields the first images of a seed, in order: arrays (any number, height, width, channels) uint8.

        Raises:
          UserError: an image is not finite.
        """
        for first in range(0, num_images, self.images_per_step):
            levels = self._step(tf.constant(seed), tf.constant(first // CHUNK)).numpy()[: num_images - first]
            if levels.min() < 0:
                number = first + int(np.argmax(levels.min(axis=(1, 2, 3)) < 0))
                raise UserError(f"the generator's output is not finite: image {number} of seed {seed}")
            yield levels.astype(np.uint8)

    def images(self, num_images: int, seed: int) -> np.ndarray:
        """Returns all images of `batches` in one array."""
        return np.concatenate(list(self.batches(num_images, seed)))


def numbered(index: int) -> str:
    """Returns the name of an image in a sequence: image_000000 and so on."""
    return f"image_{index:06d}"


@contextlib.contextmanager
def dump_folder(
    directory: str, name: Callable[[int], str] = numbered
) -> Iterator[Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]]:
    """Folder of PNG files that appears complete at the end of the context or not at all.

    Args:
      directory: folder of the images; created with its parents.
      name: number of an image -> name of its file, without .png.

    Yields:
      A function that writes each image of batches (any number, height, width, 1 or 3) uint8 and yields the batches.

    Raises:
      UserError: the path exists and is not an empty folder, or it cannot be written.
    """
    with new_folder(directory, _CONTENT) as partial_directory:
        yield lambda batches: _written(batches, partial_directory, directory, name)


def _written(
    batches: Iterable[np.ndarray], partial_directory: str, directory: str, name: Callable[[int], str]
) -> Iterator[np.ndarray]:
    number = 0
    for images in batches:
        for image in images:
            try:
                with open(os.path.join(partial_directory, f"{name(number)}.png"), "wb") as file:
                    file.write(tf.io.encode_png(image).numpy())
            except OSError as error:
                raise cannot_write(directory, _CONTENT, error) from error
            number += 1
        yield images
