"""Layers modulated by a style vector: self-modulated layer norm and modulated linear layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from vitgan_tf.layers.equalized import EqualizedDense, equalized_kernel_initializer, linear
from vitgan_tf.layers.formulas import layer_norm, scaled_leaky_relu
from vitgan_tf.layers.ops import as_float32


class SelfModulatedLayerNorm(tf.keras.layers.Layer):
    """Layer normalisation whose gain and offset are affine functions of a style vector.

    SLN(h, w) = gamma(w) * (h - mu) / sqrt(sigma^2 + epsilon) + beta(w)      (paper, "Self-modulated LayerNorm")
    [gamma(w), beta(w)] = [1, 0] + w A + b,   mu and sigma^2 over the features of each token

    The 1 in gamma and epsilon = 1e-3 follow the authors' reproduction.

    Call: (tokens (batch, num_tokens, embed_dim), style (batch, style_dim)) -> shape of tokens.
    """

    def __init__(self, epsilon: float = 1e-3, **kwargs: Any):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: Any) -> None:
        tokens_shape, style_shape = input_shape
        features = tokens_shape[-1]
        initial_bias = np.repeat([1.0, 0.0], features)
        self.affine = EqualizedDense(2 * features, bias_initial_value=initial_bias, name="affine")
        self.affine.build(style_shape)
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        tokens, style = inputs
        gamma, beta = tf.split(tf.expand_dims(as_float32(self.affine(style)), 1), 2, axis=-1)
        return layer_norm(tokens, gamma, beta, self.epsilon)


class ModulatedDense(tf.keras.layers.Layer):
    """Linear layer with style-modulated weights, one style per token.

    s = affine(y), bias initially 1;   W' = diag(s) W;   W'' = W' / sqrt(sum_in W'^2 + 1e-8)
    out = activation(x W'' + b)
    (Karras et al. 2020, section 2.2, Eq. 1 to 3; for coordinate networks Anokhin et al. 2021. W is an equalised
    kernel. The division by the square root, called demodulation, is optional.)

    Computing W' for each token would take tokens * fan_in * units numbers. If all tokens share the inputs x, like the
    Fourier codes of the pixels, x is folded into W, which leaves one product with s. Otherwise the style scales the
    smaller tensor: W if units is less than the number of points, else the inputs. Demodulation scales the outputs.

    Call: (x, y) -> (num_tokens, num_points, units), with styles y (num_tokens, style_dim) and inputs x
    (num_points, fan_in), shared by all tokens, or (num_tokens, num_points, fan_in).

    Args:
      units: number of output features.
      demodulate: whether to normalise the modulated weights.
      activation: "linear", or "leaky_relu" with slope 0.2 and gain sqrt(2).

    Raises:
      ValueError: units is below 1, activation is unknown, or leaky_relu is used without demodulation.
    """

    def __init__(self, units: int, demodulate: bool = True, activation: str = "linear", **kwargs: Any):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1, got {units}")
        if activation not in ("linear", "leaky_relu"):
            raise ValueError(f"activation must be 'linear' or 'leaky_relu', got {activation!r}")
        if activation == "leaky_relu" and not demodulate:
            raise ValueError("leaky_relu needs demodulate=True")
        self.units = units
        self.demodulate = demodulate
        self.activation = activation

    def build(self, input_shape: Any) -> None:
        points_shape, style_shape = input_shape
        fan_in = points_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(fan_in, self.units),
            initializer=equalized_kernel_initializer(),
            experimental_autocast=False,
        )
        self.bias = self.add_weight(
            name="bias", shape=(self.units,), initializer="zeros", experimental_autocast=False
        )
        self.affine = EqualizedDense(fan_in, bias_initial_value=1.0, name="affine")
        self.affine.build(style_shape)
        super().build(input_shape)

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        points, y = inputs
        scale = 1.0 / math.sqrt(self.kernel.shape[0])
        style = self.affine(y)  # (num_tokens, fan_in)
        outputs = self._modulated_product(points, style, scale)
        if not self.demodulate:
            return outputs + tf.cast(self.bias, outputs.dtype)
        energy = tf.matmul(tf.square(as_float32(style)), tf.square(self.kernel * scale))
        demodulation = tf.math.rsqrt(energy + 1e-8)  # (num_tokens, units), float32
        if self.activation == "leaky_relu":
            return scaled_leaky_relu(outputs, demodulation, self.bias)
        return tf.cast(as_float32(outputs) * demodulation[:, None, :] + self.bias, outputs.dtype)

    def _modulated_product(self, points: tf.Tensor, style: tf.Tensor, scale: float) -> tf.Tensor:
        """x diag(s) W * scale, (num_tokens, num_points, units)."""
        fan_in, units = self.kernel.shape
        num_points = points.shape[-2]
        if points.shape.rank == 2:
            folded = as_float32(points)[:, None, :] * tf.transpose(self.kernel)  # (num_points, units, fan_in)
            folded = tf.reshape(folded, [num_points * units, fan_in])
            product = linear(style, folded, scale=scale, kernel_is_transposed=True)
            return tf.reshape(product, [-1, num_points, units])
        if num_points is not None and units < num_points:
            kernels = style[:, None, :] * tf.cast(tf.transpose(self.kernel) * scale, style.dtype)
            return tf.matmul(points, kernels, transpose_b=True)
        return linear(points * style[:, None, :], self.kernel, scale=scale)
