"""The formulas between the matrix products, plainly: see `layers.formulas` for who calls which."""

from __future__ import annotations

import math

import tensorflow as tf

from vitgan_tf.config.choices import ACTIVATIONS


def is_narrow(x: tf.Tensor) -> bool:
    """Whether x has 16 bits."""
    return x.dtype.size < 4


def as_float32(x: tf.Tensor) -> tf.Tensor:
    """float32 where x has 16 bits, else x as it is."""
    return tf.cast(x, tf.float32) if is_narrow(x) else x


def product(
    inputs: tf.Tensor, kernel: tf.Tensor, scale: tf.Tensor | float = 1.0, kernel_is_transposed: bool = False
) -> tf.Tensor:
    """inputs (kernel * scale), in the inputs' dtype: the kernel is scaled in its own, then rounded once.

    Args:
      inputs: (rows, fan_in).
      kernel: (fan_in, units), float32 whatever the inputs; or with kernel_is_transposed (units, fan_in).
      scale: a scalar.
      kernel_is_transposed: see kernel.
    """
    return tf.matmul(inputs, tf.cast(kernel * scale, inputs.dtype), transpose_b=kernel_is_transposed)


def bias_act(
    x: tf.Tensor, bias: tf.Tensor, activation: str = "linear", residual: tf.Tensor | None = None
) -> tf.Tensor:
    """activation(x + bias) + residual, in the dtype of x.

    Args:
      x: (..., features).
      bias: (features,), or a shape that is broadcast to x; float32 where x has 16 bits.
      activation: see `activate`.
      residual: the shape and dtype of x; None for zeros.
    """
    # On CPUs, the gradient of bias_add sums 16 bits in 16 bits.
    can_add = bias.shape.rank == 1 and not is_narrow(x)
    outputs = activate(tf.nn.bias_add(x, bias) if can_add else x + tf.cast(bias, x.dtype), activation)
    return outputs if residual is None else outputs + residual


def gelu(x: tf.Tensor) -> tf.Tensor:
    """x * Phi(x), Phi the distribution function of the standard normal (Hendrycks, Gimpel 2016)."""
    # In 16 bits, 1 + erf would be lost in rounding.
    return tf.cast(tf.nn.gelu(as_float32(x)), x.dtype)


relu, silu = tf.nn.relu, tf.nn.silu


def activate(x: tf.Tensor, activation: str) -> tf.Tensor:
    """An activation by its name in `choices.ACTIVATIONS`, or "linear" for none."""
    return x if activation == "linear" else ACTIVATIONS[activation](x)


def scaled_leaky_relu(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """sqrt(2) * leaky_relu(x * scale + bias), slope 0.2: what follows a demodulated product.

    Args:
      x: (rows, points, features).
      scale: (rows, features), not zero; float32 where x has 16 bits.
      bias: (features,), of the dtype of scale.
    """
    return tf.cast(math.sqrt(2.0) * tf.nn.leaky_relu(as_float32(x) * scale[:, None, :] + bias, 0.2), x.dtype)


def layer_norm(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> tf.Tensor:
    """scale * (x - mean) / sqrt(variance + epsilon) + offset, mean and variance over the last axis.

    Args:
      x: (batch, tokens, features).
      scale: (features,), or (batch, 1, features); float32 where x has 16 bits.
      offset: the same shape and dtype as scale.
      epsilon: added to the variance.
    """
    # Not tf.nn.moments, which stops the gradient at the mean in the variance: its second derivative is wrong.
    wide = as_float32(x)
    mean = tf.reduce_mean(wide, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), axis=-1, keepdims=True)
    return tf.cast(tf.nn.batch_normalization(wide, mean, variance, offset, scale, epsilon), x.dtype)
