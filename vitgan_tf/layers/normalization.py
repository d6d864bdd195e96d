"""Normalisation layers: pixel norm, layer norm and batch norm."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from vitgan_tf.layers.formulas import layer_norm
from vitgan_tf.layers.ops import as_float32


def pixel_norm(x: tf.Tensor) -> tf.Tensor:
    """x / sqrt(mean(x^2) + 1e-8), with the mean over the last axis, in float32   (Karras et al. 2018, section 4.2)"""
    wide = as_float32(x)
    return tf.cast(wide * tf.math.rsqrt(tf.reduce_mean(tf.square(wide), axis=-1, keepdims=True) + 1e-8), x.dtype)


class LayerNorm(tf.keras.layers.Layer):
    """LN(h) = gamma * (h - mu) / sqrt(sigma^2 + epsilon) + beta      (Ba et al. 2016)

    mu and sigma^2 are taken over the features of each token. gamma is initially 1, beta 0. Same formula as
    `tf.keras.layers.LayerNormalization`, but with the compiled kernels of the training step.

    Call: (batch, num_tokens, features) -> same shape.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        self.gamma, self.beta = (
            self.add_weight(name=name, shape=input_shape[-1:], initializer=value, experimental_autocast=False)
            for name, value in (("gamma", "ones"), ("beta", "zeros"))
        )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return layer_norm(inputs, self.gamma, self.beta, self.epsilon)


class BatchNorm(tf.keras.layers.Layer):
    """(x - mean) / sqrt(variance + epsilon), per feature, optionally with gain and offset      (Ioffe, Szegedy 2015)

    With use_batch_statistics, mean and variance are computed over all pixels of the global batch, in float32 and with
    divisor n. They also update the moving averages, unless they are not finite:
    average <- momentum * average + (1 - momentum) * statistic. Otherwise the moving averages are used.

    `tf.keras.layers.BatchNormalization` keeps moving averages per replica, which one process of several cannot save,
    and computes variances as differences of squares, which can be negative.

    Call: (batch, height, width, features) -> same shape.

    Args:
      momentum: see above.
      epsilon: see above.
      has_affine: whether to learn a gain, initially 1, and an offset, initially 0.
    """

    def __init__(self, momentum: float = 0.9, epsilon: float = 1e-5, has_affine: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.has_affine = has_affine

    def build(self, input_shape: Any) -> None:
        def add(name: str, value: str, **kwargs: Any) -> tf.Variable:
            return self.add_weight(
                name=name, shape=input_shape[-1:], initializer=value, experimental_autocast=False, **kwargs
            )

        # All replicas compute the same values, so any copy may be kept.
        state = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.moving_mean, self.moving_variance = (
            add("moving_mean", "zeros", **state),
            add("moving_variance", "ones", **state),
        )
        self.gamma = add("gamma", "ones") if self.has_affine else None
        self.beta = add("beta", "zeros") if self.has_affine else None
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, use_batch_statistics: bool = False) -> tf.Tensor:
        x = as_float32(inputs)
        mean, variance = self.moving_mean, self.moving_variance
        if use_batch_statistics:
            mean = _mean_over_replicas(tf.reduce_mean(x, axis=[0, 1, 2]))
            variance = _mean_over_replicas(tf.reduce_mean(tf.square(x - mean), axis=[0, 1, 2]))
            for average, statistic in ((self.moving_mean, mean), (self.moving_variance, variance)):
                statistic = tf.where(tf.math.is_finite(statistic), statistic, average)
                average.assign(self.momentum * average + (1.0 - self.momentum) * statistic)
        x = (x - mean) * tf.math.rsqrt(variance + self.epsilon)
        return tf.cast(x * self.gamma + self.beta if self.has_affine else x, inputs.dtype)


def _mean_over_replicas(x: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return x
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, x)
