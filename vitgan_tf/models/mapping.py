"""StyleGAN2's mapping network: latents to styles."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from vitgan_tf.layers.equalized import EqualizedDense
from vitgan_tf.layers.normalization import pixel_norm


class MappingNetwork(tf.keras.Model):
    """w = MLP(z / sqrt(mean(z^2) + 1e-8))      (Karras et al. 2019, 2020)

    num_layers equalised linear layers with a reduced learning rate, each followed by a leaky ReLU (slope 0.2, gain
    sqrt 2).

    Call: latents z (batch, latent_dim), drawn from N(0, I) -> styles w (batch, style_dim).

    Args:
      style_dim: width of every layer.
      num_layers: number of layers.
      lr_multiplier: relative learning rate of the layers.

    Raises:
      ValueError: num_layers is below 1.
    """

    def __init__(self, style_dim: int, num_layers: int = 8, lr_multiplier: float = 0.01, **kwargs: Any):
        super().__init__(**kwargs)
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        self.style_dim = style_dim
        self.dense_layers = [
            EqualizedDense(style_dim, lr_multiplier=lr_multiplier, name=f"dense_{i}", dtype=self.dtype_policy)
            for i in range(num_layers)
        ]

    def build(self, input_shape: Any) -> None:
        for layer in self.dense_layers:
            layer.build(input_shape)
            input_shape = (input_shape[0], self.style_dim)
        self.built = True

    def call(self, latents: tf.Tensor) -> tf.Tensor:
        w = pixel_norm(latents)
        for layer in self.dense_layers:
            w = tf.nn.leaky_relu(layer(w), 0.2) * math.sqrt(2.0)
        return w
