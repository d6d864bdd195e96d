"""Endless, shuffled batches whose order is a function of the step."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vitgan_tf.config import DataConfig
from vitgan_tf.data.digits import load_digits
from vitgan_tf.errors import UserError
from vitgan_tf.images import to_float


def load_images(config: DataConfig) -> tuple[np.ndarray, np.ndarray]:
    """All training images of a data set: uint8 (num_images, size, size, channels), and labels (num_images,).

    Raises:
      UserError: the data set has no loader, or not the configured number of channels.
    """
    if config.dataset != "digits":
        raise UserError(
            f"data set {config.dataset!r} cannot be loaded yet: this version trains on the embedded digits only; "
            "use --dataset=digits, with any other field as you like"
        )
    images, labels = load_digits(config.image_size)
    if config.num_channels != images.shape[-1]:
        raise UserError(f"the digits have one channel; set --data.num_channels=1, not {config.num_channels}")
    return images, labels


def training_dataset(images: np.ndarray, batch_size: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
    """Batches for training, from a given step on, without end.

    Epoch e is the permutation of all images that (seed, e) defines, and image number i of the run stands at place
    i mod num_images of epoch i // num_images: the batch of a step does not depend on where the run was started,
    so that the step number in a checkpoint is all that is to be known of the data. A batch may reach into the
    next epoch; none is smaller than the others.

    Args:
      images: (num_images, height, width, channels) uint8.
      batch_size: images per batch.
      seed: of the order.
      first_step: step whose batch comes first.

    Returns:
      A data set of float32 batches (batch_size, height, width, channels) in [-1, 1].
    """
    num_images = images.shape[0]
    source = tf.constant(images)

    def index_at(place: tf.Tensor) -> tf.Tensor:
        order = tf.stack([tf.constant(seed, tf.int64), place // num_images])
        return tf.random.experimental.index_shuffle(place % num_images, order, max_index=num_images - 1)

    indices = tf.data.Dataset.range(first_step * batch_size, np.iinfo(np.int64).max).map(index_at)
    batches = indices.batch(batch_size, drop_remainder=True)
    return batches.map(lambda batch: to_float(tf.gather(source, batch))).prefetch(tf.data.AUTOTUNE)
