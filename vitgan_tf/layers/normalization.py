"""Layer normalisation with learned gain, and normalisation without."""

from __future__ import annotations

import tensorflow as tf

from vitgan_tf.layers.kernels import layer_norm, widened


def pixel_norm(x: tf.Tensor) -> tf.Tensor:
    """x / sqrt(mean(x^2) + 1e-8), the mean over the last axis, in float32      (Karras et al. 2018, section 4.2)"""
    wide = widened(x)
    return tf.cast(wide * tf.math.rsqrt(tf.reduce_mean(tf.square(wide), axis=-1, keepdims=True) + 1e-8), x.dtype)


class LayerNorm(tf.keras.layers.Layer):
    """LN(h) = gamma * (h - mu) / sqrt(sigma^2 + epsilon) + beta      (Ba et al. 2016)

    mu and sigma^2 over the features of one token; gamma starts at 1, beta at 0. The formula of
    `tf.keras.layers.LayerNormalization`, with the compiled kernels of the training step.

    Call: (batch, num_tokens, features) -> the same.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape):
        self.gamma, self.beta = (
            self.add_weight(name=name, shape=input_shape[-1:], initializer=value, experimental_autocast=False)
            for name, value in (("gamma", "ones"), ("beta", "zeros"))
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return layer_norm(inputs, self.gamma, self.beta, self.epsilon)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
