"""Images of a generator in any number, the same ones however they are drawn."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from typing import Callable

import numpy as np
import tensorflow as tf

from vitgan_tf.errors import UserError
from vitgan_tf.images import to_uint8
from vitgan_tf.latents import CHUNK, chunk_of_latents

BATCH_SIZE = 128


class ImageSampler:
    """Draws images in batches, on all replicas of the `tf.distribute` strategy in whose scope it is made.

    Image number i of a seed has latent number i of that seed, the one that the SavedModel's `generate` gives it too.
    A replica draws whole chunks of latents, so that batch size and number of replicas change no bit of an image
    where the device computes a row of a product alike in products of several chunks: CPUs do.

    Args:
      draw: latents (batch, latent_dim) -> float images (batch, height, width, channels) in [-1, 1]; traced once.
      latent_dim: size of a latent.
      batch_size: images at a time, over all replicas, rounded up to whole chunks of 16 for each.
    """

    def __init__(self, draw: Callable[[tf.Tensor], tf.Tensor], latent_dim: int, batch_size: int = BATCH_SIZE):
        self._draw = draw
        self._latent_dim = latent_dim
        self._strategy = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        replicas = self._strategy.num_replicas_in_sync if self._strategy else 1
        self._chunks_per_replica = -(-batch_size // (CHUNK * replicas))
        self._chunks = self._chunks_per_replica * replicas
        self._step = tf.function(self._all_replicas, autograph=False)

    @property
    def images_per_step(self) -> int:
        """Images of a batch, but the last one, that `batches` yields."""
        return self._chunks * CHUNK

    def _all_replicas(self, seed: tf.Tensor, first_chunk: tf.Tensor) -> tf.Tensor:
        if self._strategy is None:  # perhaps in the scope of another one
            return self._one_replica(seed, first_chunk)
        images = self._strategy.run(self._share_of_replica, args=(seed, first_chunk))
        return self._strategy.gather(images, axis=0)

    def _share_of_replica(self, seed: tf.Tensor, first_chunk: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        return self._one_replica(seed, first_chunk + replica * self._chunks_per_replica)

    def _one_replica(self, seed: tf.Tensor, first_chunk: tf.Tensor) -> tf.Tensor:
        """Grey levels as int32, which strategies can gather; -1 in images that are not finite."""
        chunks = [
            chunk_of_latents(seed, first_chunk + index, self._latent_dim) for index in range(self._chunks_per_replica)
        ]
        images = self._draw(tf.concat(chunks, axis=0))
        is_finite = tf.reduce_all(tf.math.is_finite(images), axis=[1, 2, 3], keepdims=True)
        return tf.where(is_finite, tf.cast(to_uint8(images), tf.int32), -1)

    def batches(self, num_images: int, seed: int) -> Iterator[np.ndarray]:
        """The first images of a seed, in order: arrays (any number, height, width, channels) uint8.

        Raises:
          UserError: a value of an image is not finite.
        """
        for first in range(0, num_images, self.images_per_step):
            levels = self._step(tf.constant(seed), tf.constant(first // CHUNK)).numpy()[: num_images - first]
            if levels.min() < 0:
                number = first + int(np.argmax(levels.min(axis=(1, 2, 3)) < 0))
                raise UserError(f"the generator draws values that are not finite: image {number} of seed {seed}")
            yield levels.astype(np.uint8)

    def images(self, num_images: int, seed: int) -> np.ndarray:
        """All images of `batches` in one array."""
        return np.concatenate(list(self.batches(num_images, seed)))


@contextlib.contextmanager
def dump_folder(directory: str) -> Iterator[Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]]:
    """A folder of PNG files, image_000000.png and so on, that appears whole at the end of the context.

    Args:
      directory: of the images; made with its parents.

    Yields:
      A function that passes batches of images (any number, height, width, 1 or 3) uint8 on and writes each image.

    Raises:
      UserError: there is something of this name that is not an empty folder, or it cannot be written.
    """
    try:
        is_empty = os.path.isdir(directory) and not os.path.islink(directory) and not os.listdir(directory)
    except OSError as error:
        raise _cannot_write(directory, error) from error
    if not directory or (os.path.lexists(directory) and not is_empty):
        raise UserError(f"{directory!r} is not an empty folder: images are written into one of their own")
    partial_directory = f"{directory.rstrip(os.sep)}.{os.getpid()}.partial"
    try:
        os.makedirs(partial_directory)
    except OSError as error:
        raise _cannot_write(directory, error) from error
    try:
        yield lambda batches: _written(batches, partial_directory, directory)
        try:
            os.replace(partial_directory, directory)
        except OSError as error:
            raise _cannot_write(directory, error) from error
    finally:
        shutil.rmtree(partial_directory, ignore_errors=True)


def _written(batches: Iterable[np.ndarray], partial_directory: str, directory: str) -> Iterator[np.ndarray]:
    number = 0
    for images in batches:
        for image in images:
            try:
                with open(os.path.join(partial_directory, f"image_{number:06d}.png"), "wb") as file:
                    file.write(tf.io.encode_png(image).numpy())
            except OSError as error:
                raise _cannot_write(directory, error) from error
            number += 1
        yield images


def _cannot_write(directory: str, error: OSError) -> UserError:
    return UserError(f"cannot write the images to {directory!r}: {error.strerror or error}")
