"""What a discriminator sees of other images of its batch."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from vitgan_tf.layers.ops import as_float32


class MinibatchStandardDeviation(tf.keras.layers.Layer):
    """Appends, as a map of its own, how much the images of a group differ (Karras et al. 2018, section 3).

    Of each feature at each pixel, the standard deviation over the images of the group, sqrt(var + 1e-8) with the
    divisor group_size; of these, the mean over features and pixels, the same number at every pixel of the group.

    Groups are consecutive images. StyleGAN2 has every (batch / group_size)-th; but here real, generated and
    augmented views pass in one batch, one after the other, and a group must be of one kind.

    Call: (batch, height, width, features) -> (batch, height, width, features + 1). Of a batch that is no multiple of
    group_size, a group is their greatest common divisor; a batch of unknown size must be one.

    Args:
      group_size: images of a group.

    Raises:
      ValueError: group_size below 1.
    """

    def __init__(self, group_size: int = 4, **kwargs: Any):
        super().__init__(**kwargs)
        if group_size < 1:
            raise ValueError(f"group_size must be at least 1, got {group_size}")
        self.group_size = group_size

    def call(self, features: tf.Tensor) -> tf.Tensor:
        batch_size, height, width, units = features.shape
        group_size = self.group_size if batch_size is None else math.gcd(batch_size, self.group_size)
        groups = tf.reshape(as_float32(features), [-1, group_size, height, width, units])
        deviations = tf.sqrt(tf.math.reduce_variance(groups, axis=1) + 1e-8)  # (groups, height, width, units)
        means = tf.reduce_mean(deviations, axis=[1, 2, 3])  # (groups,)
        maps = tf.tile(tf.repeat(means, group_size)[:, None, None, None], [1, height, width, 1])
        return tf.concat([features, tf.cast(maps, features.dtype)], axis=-1)
