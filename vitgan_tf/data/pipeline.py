"""Endless, shuffled batches that are a function of the step."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from vitgan_tf.images import to_float

_FLIP_STREAM = 0x666C6970  # keeps the flips' random numbers apart from others of the same seed and step
_SHUFFLE_STREAM = 498247692  # what tf.random.experimental.index_shuffle puts before a seed of two numbers


_ALIGNMENT = 64  # bytes; TensorFlow's


def _as_tensor(images: np.ndarray) -> tf.Tensor:
    """The images as a tensor on the CPU, without a copy if they come from `loading.load_images`."""
    if isinstance(images, np.memmap):
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

    def batch_at(step: tf.Tensor) -> tf.Tensor:
        mine = worker * share + tf.range(share, dtype=tf.int64)
        place = step * batch_size + mine
        zeros = tf.zeros_like(place)
        # index_shuffle for several indices: that function of TensorFlow 2.15 pads several seeds along the wrong axis.
        indices = tf.raw_ops.RandomIndexShuffle(
            index=place % num_images,
            seed=tf.stack([zeros + _SHUFFLE_STREAM, zeros + seed, place // num_images], axis=1),
            max_index=zeros + num_images - 1,
            rounds=4,
        )
        batch = tf.gather(source, indices)
        if flip:
            state = tf.random.experimental.stateless_fold_in(
                tf.stack([tf.constant(seed, tf.int64), step]), _FLIP_STREAM
            )
            drawn = tf.random.stateless_uniform([batch_size], state)[worker * share : (worker + 1) * share]
            # Rows reversed as one list of them, and whole images chosen: ten times as fast as the plain tf.where.
            rows = tf.reshape(batch, [-1, *images.shape[2:]])
            both = tf.concat([batch, tf.reshape(tf.reverse(rows, axis=[1]), batch.shape)], axis=0)
            batch = tf.gather(both, tf.range(share) + share * tf.cast(drawn < 0.5, tf.int32))
        return to_float(batch)

    steps = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max // batch_size)
    return steps.map(batch_at, num_parallel_calls, deterministic=True).prefetch(tf.data.AUTOTUNE)
