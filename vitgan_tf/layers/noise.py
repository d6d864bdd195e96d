"""Noise of each image, or fixed noise, in generators."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from vitgan_tf.layers.ops import as_float32
from vitgan_tf.randomness import ImageRandom


def add_fixed_noise(layer: tf.keras.layers.Layer, height: int, width: int) -> tf.Variable:
    """Adds a layer's fixed noise to its weights: N(0, 1), (1, height, width, 1), not trained."""
    return layer.add_weight(
        name="fixed_noise",
        shape=(1, height, width, 1),
        initializer=tf.keras.initializers.RandomNormal(stddev=1.0),
        trainable=False,
        experimental_autocast=False,
        # Constant on all replicas, so any copy may be kept.
        aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
    )


def drawn_or_fixed(fixed: tf.Tensor, random: ImageRandom | None) -> tf.Tensor:
    """Returns the noise that random draws for each image; for None, the fixed noise of all images."""
    return fixed if random is None else random.noise(fixed)


class TokenNoise(tf.keras.layers.Layer):
    """tokens + strength * noise      (TransGAN's code, ViT_custom_scale2_rp_noise)

    noise is N(0, 1), one number per token, shared by all features; strength is a learned scalar, initially 0.

    Call: (batch, grid_size^2, features) -> same shape. random draws the noise of each image; None uses the layer's
    fixed noise, which is the same for all images and saved with the layer.

    Args:
      grid_size: edge of the token grid.
    """

    def __init__(self, grid_size: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.grid_size = grid_size

    def build(self, input_shape: Any) -> None:
        self.strength = self.add_weight(name="strength", shape=(), initializer="zeros", experimental_autocast=False)
        self.fixed_noise = add_fixed_noise(self, self.grid_size, self.grid_size)
        super().build(input_shape)

    def call(self, tokens: tf.Tensor, random: ImageRandom | None = None) -> tf.Tensor:
        noise = tf.reshape(drawn_or_fixed(self.fixed_noise, random), [-1, self.grid_size**2, 1])
        return tf.cast(as_float32(tokens) + noise * self.strength, tokens.dtype)
