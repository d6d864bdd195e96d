"""Endless, shuffled batches that are a function of the step."""

from __future__ import annotations

import mmap
import os

import numpy as np
import tensorflow as tf

from vitgan_tf.images import to_float

# Keep the random numbers of the order and of the flips apart from each other and from those of the training step.
_ORDER_STREAM, _FLIP_STREAM = 0x6F726465, 0x666C6970
_ALIGNMENT = 64  # bytes; TensorFlow's


def _as_tensor(images: np.ndarray) -> tf.Tensor:
    """The images as a tensor on the CPU, without a copy if they come from `loading.load_images`."""
    if isinstance(images.base, mmap.mmap) and isinstance(images, np.memmap):  # the whole file, not a part of it
        return tf.raw_ops.ImmutableConst(
            dtype=images.dtype, shape=images.shape, memory_region_name=os.fspath(images.filename)
        )
    flags = images.flags
    if images.ctypes.data % _ALIGNMENT or not (flags.c_contiguous and flags.writeable):
        return tf.constant(images)
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def training_dataset(
    images: np.ndarray,
    batch_size: int,
    seed: int,
    first_step: int = 0,
    flip: bool = False,
    num_workers: int = 1,
    worker: int = 0,
    num_parallel_calls: int = tf.data.AUTOTUNE,
) -> tf.data.Dataset:
    """Batches for training, from a given step on, without end.

    Epoch e is the permutation of all images that (seed, e) defines, and image number i of the run stands at place
    i mod num_images of epoch i // num_images: the batch of a step does not depend on where the run was started,
    so that the step number in a checkpoint is all that is to be known of the data. A batch may reach into the
    next epoch; none is smaller than the others. Whether an image is flipped depends on seed, step and place.

    Args:
      images: (num_images, height, width, channels) uint8, in memory or mapped from disk; from `loading.load_images`,
        they are not copied.
      batch_size: images per batch, over all workers.
      seed: of the order and the flips.
      first_step: step whose batch comes first.
      flip: whether half of the images, drawn anew each time, are mirrored left to right.
      num_workers: processes that share each batch in equal parts; together they see what one alone would see.
      worker: number of this one.
      num_parallel_calls: batches that are made at the same time.

    Returns:
      A data set of float32 batches (batch_size / num_workers, height, width, channels) in [-1, 1].

    Raises:
      ValueError: batch_size is not a multiple of num_workers, or there is no such worker.
    """
    if batch_size % num_workers or not 0 <= worker < num_workers:
        raise ValueError(f"no share of {batch_size} images for worker {worker} of {num_workers}")
    num_images, share = images.shape[0], batch_size // num_workers
    source = _as_tensor(images)

    def random_state(number: tf.Tensor, stream: int) -> tf.Tensor:
        return tf.random.experimental.stateless_fold_in(tf.stack([tf.constant(seed, tf.int64), number]), stream)

    def order_of(epoch: tf.Tensor) -> tf.data.Dataset:
        # Not index_shuffle: of each part of its seed it uses one byte, and for some sizes it repeats an image.
        state = random_state(epoch, _ORDER_STREAM)
        order = tf.random.experimental.stateless_shuffle(tf.range(num_images, dtype=tf.int64), state, alg="philox")
        return tf.data.Dataset.from_tensor_slices(order)

    def batch_at(step: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
        batch = tf.gather(source, indices[worker * share : (worker + 1) * share])
        if flip:
            drawn = tf.random.stateless_uniform([batch_size], random_state(step, _FLIP_STREAM), alg="philox")
            flipped = drawn[worker * share : (worker + 1) * share] < 0.5
            # Rows reversed as one list of them, and whole images chosen: ten times as fast as the plain tf.where.
            rows = tf.reshape(batch, [-1, *images.shape[2:]])
            both = tf.concat([batch, tf.reshape(tf.reverse(rows, axis=[1]), batch.shape)], axis=0)
            batch = tf.gather(both, tf.range(share) + share * tf.cast(flipped, tf.int32))
        return to_float(batch)

    first_epoch, place = divmod(first_step * batch_size, num_images)
    endless = np.iinfo(np.int64).max
    indices = tf.data.Dataset.range(first_epoch, endless).flat_map(order_of).skip(place)
    indices = indices.batch(batch_size, drop_remainder=True)
    numbered = tf.data.Dataset.zip((tf.data.Dataset.range(first_step, endless), indices))
    return numbered.map(batch_at, num_parallel_calls, deterministic=True).prefetch(tf.data.AUTOTUNE)
