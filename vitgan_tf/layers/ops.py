"""Plain TensorFlow formulas of the layers; `layers.formulas` selects these or the fused kernels."""

from __future__ import annotations

import math

import tensorflow as tf

from vitgan_tf.config.choices import ACTIVATIONS


def is_narrow(x: tf.Tensor) -> bool:
    """Returns True if x has a 16-bit dtype."""
    return x.dtype.size < 4


def as_float32(x: tf.Tensor) -> tf.Tensor:
    """Casts 16-bit tensors to float32 and returns others unchanged."""
    return tf.cast(x, tf.float32) if is_narrow(x) else x


def as_rows(x: tf.Tensor) -> tf.Tensor:
    """(..., features) -> (rows, features)."""
    return x if x.shape.rank == 2 else tf.reshape(x, [-1, x.shape[-1]])


def product(
    inputs: tf.Tensor, kernel: tf.Tensor, scale: tf.Tensor | float = 1.0, kernel_is_transposed: bool = False
) -> tf.Tensor:
    """inputs (kernel * scale), in the dtype of inputs; the kernel is scaled in its own dtype, then rounded once.

    Args:
      inputs: (rows, fan_in).
      kernel: (fan_in, units), float32 for any dtype of inputs; with kernel_is_transposed, (units, fan_in).
      scale: scalar factor of the kernel.
      kernel_is_transposed: see kernel.
    """
    return tf.matmul(inputs, tf.cast(kernel * scale, inputs.dtype), transpose_b=kernel_is_transposed)


def bias_act(
    x: tf.Tensor, bias: tf.Tensor, activation: str = "linear", residual: tf.Tensor | None = None
) -> tf.Tensor:
    """activation(x + bias) + residual, in the dtype of x.

    Args:
      x: (..., features).
      bias: (features,), or any shape that broadcasts to x; float32 if x has 16 bits.
      activation: see `activate`.
      residual: shape and dtype of x; None for no residual.
    """
    # On CPUs, the gradient of bias_add accumulates 16-bit values in 16 bits.
    can_add = bias.shape.rank == 1 and not is_narrow(x)
    outputs = activate(tf.nn.bias_add(x, bias) if can_add else x + tf.cast(bias, x.dtype), activation)
    return outputs if residual is None else outputs + residual


def product_of_activation(
    x: tf.Tensor,
    bias: tf.Tensor,
    activation: str,
    kernel: tf.Tensor,
    scale: tf.Tensor | float = 1.0,
    kernel_is_transposed: bool = False,
) -> tf.Tensor:
    """activation(x + bias) (kernel * scale) -> (rows, units), in the dtype of x (..., fan_in).

    See `bias_act` and `product`.
    """
    return product(as_rows(bias_act(x, bias, activation)), kernel, scale, kernel_is_transposed)


def gelu(x: tf.Tensor) -> tf.Tensor:
    """x * Phi(x), with Phi the CDF of the standard normal distribution (Hendrycks, Gimpel 2016)."""
    # 1 + erf(x) would be lost to rounding in 16 bits.
    return tf.cast(tf.nn.gelu(as_float32(x)), x.dtype)


relu, silu = tf.nn.relu, tf.nn.silu


def activate(x: tf.Tensor, activation: str) -> tf.Tensor:
    """Applies an activation by its name in `choices.ACTIVATIONS`; "linear" is the identity."""
    return x if activation == "linear" else ACTIVATIONS[activation](x)


def scaled_leaky_relu(x: tf.Tensor, scale: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """sqrt(2) * leaky_relu(x * scale + bias), slope 0.2: demodulation, bias and activation of a product.

    Args:
      x: (rows, points, features).
      scale: (rows, features), non-zero; float32 if x has 16 bits.
      bias: (features,), dtype of scale.
    """
    return tf.cast(math.sqrt(2.0) * tf.nn.leaky_relu(as_float32(x) * scale[:, None, :] + bias, 0.2), x.dtype)


def layer_norm(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float) -> tf.Tensor:
    """scale * (x - mean) / sqrt(variance + epsilon) + offset, with mean and variance over the last axis.

    Args:
      x: (batch, tokens, features).
      scale: (features,) or (batch, 1, features); float32 if x has 16 bits.
      offset: shape and dtype of scale.
      epsilon: added to the variance.
    """
    # tf.nn.moments stops the gradient at the mean inside the variance, so its second derivative is wrong.
    wide = as_float32(x)
    mean = tf.reduce_mean(wide, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), axis=-1, keepdims=True)
    return tf.cast(tf.nn.batch_normalization(wide, mean, variance, offset, scale, epsilon), x.dtype)
