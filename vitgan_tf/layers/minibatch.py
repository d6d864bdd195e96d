"""Minibatch standard deviation: statistics across images for a discriminator."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from vitgan_tf.layers.ops import as_float32


class MinibatchStandardDeviation(tf.keras.layers.Layer):
    """Appends the standard deviation within groups of images as a feature map (Karras et al. 2018, section 3).

    The standard deviation over a group, sqrt(var + 1e-8) with divisor group_size, is computed per feature and pixel.
    Its mean over features and pixels fills the new map of all images of the group.

    Groups are consecutive images. StyleGAN2 takes every (batch / group_size)-th image instead. Here, one batch holds
    real, generated and augmented views one after the other, and a group must be of one kind.

    Call: (batch, height, width, features) -> (batch, height, width, features + 1). If the batch size is not a
    multiple of group_size, groups have the size of their greatest common divisor. A batch of unknown size must be a
    multiple.

    Args:
      group_size: number of images per group.

    Raises:
      ValueError: group_size is below 1.
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
