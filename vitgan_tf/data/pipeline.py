"""Endless, shuffled batches, each a deterministic function of seed and step."""

from __future__ import annotations

import mmap
import os

import numpy as np
import tensorflow as tf

from vitgan_tf.images import to_float

# Separate the random streams of the shuffling, the flips and the training step.
_ORDER_STREAM, _FLIP_STREAM = 0x6F726465, 0x666C6970
_ALIGNMENT = 64  # bytes; TensorFlow's alignment of tensors


def as_tensor(images: np.ndarray) -> tf.Tensor:
    """Returns the images as a CPU tensor, without a copy if they come from `loading.load_images`."""
    if isinstance(images.base, mmap.mmap) and isinstance(images, np.memmap):  # the whole file, not a slice of it
        return tf.raw_ops.ImmutableConst(
            dtype=images.dtype, shape=images.shape, memory_region_name=os.fspath(images.filename)
        )
    flags = images.flags
    if images.ctypes.data % _ALIGNMENT or not (flags.c_contiguous and flags.writeable):
        return tf.constant(images)
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def _flipped(batch: tf.Tensor, is_flipped: tf.Tensor) -> tf.Tensor:
    """Flips some images of a batch, (batch_size, height, width, channels), left to right."""
    # Reversing all rows at once and gathering whole images is ten times as fast as a plain tf.where.
    rows = tf.reshape(batch, [-1, *batch.shape[2:]])
    both = tf.concat([batch, tf.reshape(tf.reverse(rows, axis=[1]), batch.shape)], axis=0)
    batch_size = batch.shape[0]
    return tf.gather(both, tf.range(batch_size) + batch_size * tf.cast(is_flipped, tf.int32))


def training_dataset(
    images: np.ndarray,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    flip: bool = False,
    num_workers: int = 1,
    worker: int = 0,
    num_parallel_calls: int = tf.data.AUTOTUNE,
    batches_per_step: int = 1,
) -> tf.data.Dataset:
    """Returns the endless real images of each training step, starting at a given one.

    Epoch e is the permutation of all images defined by (seed, e), and image i of the run is at position
    i mod num_images of epoch i // num_images. A batch therefore does not depend on where the run started: the step in
    a checkpoint is the only state of the data. Batches may span epochs, and all have the same size. A flip depends on
    seed, step and position in the batch.

    Args:
      images: (num_images, height, width, channels) uint8, in memory or memory-mapped; not copied if they come from
        `loading.load_images`.
      batch_size: global batch size, over all workers.
      seed: seed of the shuffling and the flips.
      first_step: step of the first batch.
      flip: whether to apply a random horizontal flip with p = 0.5.
      num_workers: processes that share each batch equally; together they see the batches of a single process.
      worker: index of this process.
      num_parallel_calls: number of steps prepared in parallel.
      batches_per_step: batches of a step, one after the other: update i of the run's discriminator sees the same
        images for any number of them.

    Returns:
      A dataset of float32 images (batches_per_step * batch_size / num_workers, height, width, channels) in [-1, 1].

    Raises:
      ValueError: batch_size is not a multiple of num_workers, or worker is out of range.
    """
    if batch_size % num_workers or not 0 <= worker < num_workers:
        raise ValueError(f"a batch of {batch_size} images has no equal share for worker {worker} of {num_workers}")
    num_images, share = images.shape[0], batch_size // num_workers
    source = as_tensor(images)

    def random_state(number: tf.Tensor, stream: int) -> tf.Tensor:
        return tf.random.experimental.stateless_fold_in(tf.stack([tf.constant(seed, tf.int64), number]), stream)

    def order_of(epoch: tf.Tensor) -> tf.data.Dataset:
        # Not index_shuffle: it uses one byte of each part of its seed, and repeats an image for some sizes.
        state = random_state(epoch, _ORDER_STREAM)
        order = tf.random.experimental.stateless_shuffle(tf.range(num_images, dtype=tf.int64), state, alg="philox")
        return tf.data.Dataset.from_tensor_slices(order)

    def batch_at(number: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
        batch = tf.gather(source, indices[worker * share : (worker + 1) * share])
        if flip:
            drawn = tf.random.stateless_uniform([batch_size], random_state(number, _FLIP_STREAM), alg="philox")
            batch = _flipped(batch, drawn[worker * share : (worker + 1) * share] < 0.5)
        return to_float(batch)

    first_batch = first_step * batches_per_step
    first_epoch, place = divmod(first_batch * batch_size, num_images)
    endless = np.iinfo(np.int64).max
    indices = tf.data.Dataset.range(first_epoch, endless).flat_map(order_of).skip(place)
    indices = indices.batch(batch_size, drop_remainder=True)
    numbered = tf.data.Dataset.zip((tf.data.Dataset.range(first_batch, endless), indices))
    batches = numbered.map(batch_at, num_parallel_calls, deterministic=True)
    return _joined(batches, batches_per_step).prefetch(tf.data.AUTOTUNE)


def _joined(batches: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """Joins every so many batches along their first axis."""
    if count == 1:
        return batches
    share, *shape = batches.element_spec.shape
    return batches.batch(count, drop_remainder=True).map(lambda each: tf.reshape(each, [count * share, *shape]))
